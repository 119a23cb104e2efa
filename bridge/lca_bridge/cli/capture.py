"""`lca capture`: the motion of the person in a clip, as an ``.npz`` that drives any avatar.

The file holds SMPL-X poses, ARKit weights, gaze and the camera of every frame; ``lca animate`` plays it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from lca.errors import InvalidInputError
from lca_bridge.cli.output import print_json, progress_bar
from lca_core.progress import Progress

MOTION_WORK = [("decode", 3.0), ("detect", 40.0), ("fit", 30.0), ("expression", 0.5)]


def capture(args: argparse.Namespace) -> int:
    """Read the motion, write it, and say what was found."""
    from lca_core.capture.motion import capture_motion
    from lca_core.capture.pipeline import STAGES, capture_clip

    out = Path(args.out)
    if out.suffix != ".npz":
        raise InvalidInputError(f"The motion is written as .npz; give -o {out.stem}.npz, not {out.name}.")
    out.parent.mkdir(parents=True, exist_ok=True)
    clips = [str(c) for c in args.clips]
    source: Any = clips[0] if len(clips) == 1 else list(clips)
    known: dict[str, Any] = {
        "seed": args.seed,
        "focal_px": args.focal,
        "height_m": args.height,
        "tracks": args.tracks,
    }
    person = None
    with progress_bar(args.json) as advance:

        def steps(work: list[tuple[str, float]]) -> Progress:
            return Progress(work, lambda p: advance(p.message or p.stage, p.fraction, None))

        if args.sheet:  # the person as an avatar would be made, whose body then also moves
            person = capture_clip(source, report=steps(STAGES).report, debug_sheet=args.sheet, **known)
        motion = capture_motion(
            source,
            person=person,
            max_frames=args.frames,
            report=steps(MOTION_WORK).report,
            **known,
        )
    assert motion.betas is not None and motion.K is not None  # capture_motion always knows them
    np.savez_compressed(
        out,
        fps=np.float64(motion.fps),
        translation=motion.transl,
        joint_rotations=motion.pose,
        arkit=motion.expression,
        gaze=motion.gaze,
        timestamps=motion.timestamps,
        conf=motion.conf,
        betas=motion.betas,
        camera_K=motion.K,
        camera_image_size=np.array(motion.image_size),
    )
    facts = {
        "out": str(out),
        "frames": len(motion.pose),
        "fps": round(motion.fps, 3),
        "frames_with_person": int((motion.conf > 0).sum()),
        "focal_px": round(float(motion.K[0, 0]), 1),
        "size_is": "from the height given" if args.height else "a guess: one camera cannot tell the height",
    }
    if person is not None:
        facts["sheet"], facts["reference_frames"] = args.sheet, person.frame_index.tolist()
        facts["notes"] = person.notes
    if args.preview:
        from lca_core.capture.preview import write_preview

        facts["preview"] = str(write_preview(source, motion, Path(args.preview)))
    if args.json:
        print_json(facts)
    else:
        print(f"{facts['frames']} frames at {motion.fps:.2f} frames/s: {out}")
        print(f"A person was found in {facts['frames_with_person']} of them; the size is {facts['size_is']}.")
        if person is not None:
            print(f"Frames an avatar would be made from: {args.sheet}; why: {Path(args.sheet).stem}.json")
        if args.preview:
            print(f"Preview: {args.preview}")
    return 0

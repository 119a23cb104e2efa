"""Close-ups of synthetic faces, the pictures from which the expression encoder learns.

Full-body pictures of 256 px hold a face of 25 px: nothing of an expression can be read there, while real
crops are sharp. Here the generator's people are drawn as heads: random light, room, distance and head turn,
gaze, and ARKit weights from neutral to single actions at full strength. Neighbours 2k and 2k+1 of the
identity numbers make the same expressions, each with its own head pose and light, so that a code can be asked
to be the expression's and nobody's. ``python -m lca_core.train.faces --split train --people N --out DIR``
writes ``face_<identity number>.npz``; existing files are kept, so a stopped run continues.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca_core.body.names import ARKIT_INDEX, HEAD_JOINTS, JOINT_INDEX, NUM_ARKIT
from lca_core.data import motion, skinning
from lca_core.data.degrade import room
from lca_core.data.face_tracks import MOODS, VISEMES, follow_gaze, weights_of
from lca_core.data.library import extended_body
from lca_core.data.lights import sample_light
from lca_core.data.people import SPLITS, Person, sample_identity, streams
from lca_core.data.samples import fit_camera
from lca_core.data.splits import check_split

SIDE = 160
"""Pixels of a stored picture."""
MARGIN = 1.62
"""Its side in units of the head's larger extent: 1.2 times the crop the network reads, as room to jitter."""
FRAMES = 10
"""Expressions per person."""
MAX_TURN = np.radians(40.0)
"""Largest yaw between the face and the camera."""


@dataclass(frozen=True)
class Faces:
    """M close-ups: images uint8 [M,S,S,3] sRGB over a background, masks uint8 [M,S,S], ARKit weights float32
    [M,52], points float32 [M,54,2] (:func:`marked_vertices`; pictures span -1..1), identity and frame numbers
    [M]: people 2k and 2k+1 share the expression of a frame."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    weights: NDArray[np.float32]
    points: NDArray[np.float32]
    person: NDArray[np.int64]
    frame: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


def draw_expression(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """ARKit weights (52,) and gaze (2,2): moods, sounds, their sums, one or two actions at any strength,
    blinks on top; the eyes look somewhere and the lids follow."""
    kind, out = rng.random(), np.zeros(NUM_ARKIT)
    if kind < 0.04:
        pass
    elif kind < 0.3:
        out[rng.integers(NUM_ARKIT)] = rng.uniform(0.3, 1.0)
        if rng.random() < 0.5:
            out[rng.integers(NUM_ARKIT)] = rng.uniform(0.3, 1.0)
    elif kind < 0.65:
        out = weights_of(MOODS[rng.integers(len(MOODS))], rng.uniform(0.3, 1.0))
        if rng.random() < 0.7:
            sound = list(VISEMES.values())[rng.integers(len(VISEMES))]
            out = out + weights_of(sound, rng.uniform(0.4, 1.3))
    else:
        out = motion.random_expression(rng).astype(np.float64)
    if out[ARKIT_INDEX["mouthClose"]] > out[ARKIT_INDEX["jawOpen"]]:
        out[ARKIT_INDEX["jawOpen"]] = out[ARKIT_INDEX["mouthClose"]]  # ARKit means it on top of an open jaw
    left, right = ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]
    closing = rng.random()
    if closing < 0.25:
        out[[left, right]] = rng.uniform(0.3, 1.0)
    elif closing < 0.3:
        out[left if rng.random() < 0.5 else right] = rng.uniform(0.5, 1.0)
    for side in ("Left", "Right"):
        out[ARKIT_INDEX[f"eyeWide{side}"]] *= 1 - min(out[ARKIT_INDEX[f"eyeBlink{side}"]], 1.0)
    look = np.clip(rng.normal(0, [0.2, 0.13]), [-0.45, -0.3], [0.45, 0.3]) * (rng.random() < 0.75)
    gaze = np.stack([look, look])
    weights = follow_gaze(np.clip(out, 0, 1)[None], gaze[None])[0]
    return weights.astype(np.float32), gaze.astype(np.float32)


@cache
def head_vertices() -> NDArray[np.int64]:
    """Base vertices of the body model's head, jaw and eyes: what a crop is laid around."""
    body = extended_body()
    return body.body_ids[body.weights[body.body_ids][:, HEAD_JOINTS].sum(1) > 0.5]


@cache
def action_vertices() -> NDArray[np.int64]:
    """For each of the 52 actions the head's vertex that it moves most: (52,) on lids, lips, brows and jaw."""
    moved = np.linalg.norm(extended_body().expressions[:, head_vertices()], axis=-1)
    return head_vertices()[moved.argmax(1)]


def marked_vertices(person: Person) -> NDArray[np.int64]:
    """Vertices (54,) that say where the parts of a face are: the actions' and the left and right pupil."""
    pupils = []
    for side in ("left", "right"):
        ball = np.flatnonzero(person.weights[:, JOINT_INDEX[f"{side}_eye_smplhf"]] > 0.99)
        pupils.append(ball[person.rest[ball, 2].argmax()])
    return np.concatenate([action_vertices(), pupils])


def draw_person(split: str, number: int, frames: int = FRAMES, side: int = SIDE) -> dict[str, Any]:
    """Close-ups of one dressed person: ``images`` uint8 [F,S,S,3], ``masks`` uint8 [F,S,S], ``weights``
    [F,52], ``points`` [F,54,2]."""
    check_split(split, number)
    person = Person(sample_identity(split, number))
    scene = person.scene()
    (shared,) = streams(split, number - number % 2, "faceexpr")
    (own,) = streams(split, number, "facelook")
    head, marks = head_vertices(), marked_vertices(person)
    columns: dict[str, list[NDArray]] = {"images": [], "masks": [], "weights": [], "points": []}
    for _ in range(frames):
        weights, gaze = draw_expression(shared)
        joints = motion.stance("stand", own)
        rotations = skinning.local_rotations(joints, gaze)
        ahead = skinning.joint_transforms(rotations, person.joints)[JOINT_INDEX["head"], :, 2]
        turn = np.clip(own.normal(0, np.radians(18)), -MAX_TURN, MAX_TURN)
        yaw = float(np.arctan2(ahead[0], ahead[2])) + turn
        pitch = float(np.arcsin(np.clip(ahead[1], -1, 1))) + np.clip(own.normal(0.03, 0.16), -0.4, 0.4)
        distance = float(np.exp(own.uniform(np.log(0.7), np.log(4.0))))
        posed = person.skinned(joints, weights, gaze)
        scene.pose(posed)
        K, viewmat = fit_camera(posed[head], yaw, pitch, distance, side, side, 1 / MARGIN, np.zeros(2))
        frame = scene.render(K, viewmat, side, side, sample_light(own), samples=2)
        columns["images"].append(frame.composite(room(own, side, side)))
        columns["masks"].append(np.round(frame.coverage * 255).astype(np.uint8))
        columns["weights"].append(weights)
        camera = posed[marks] @ viewmat[:3, :3].T + viewmat[:3, 3]
        pixels = camera[:, :2] / camera[:, 2:] * K[0, 0] + K[:2, 2]
        columns["points"].append((pixels / side * 2 - 1).astype(np.float32))
    return {k: np.stack(v) for k, v in columns.items()}


def write_people(
    out: Path, split: str, people: int, *, frames: int = FRAMES, side: int = SIDE, seconds: float = 0.0
) -> int:
    """Write the first ``people`` of ``split`` that are missing in ``out``; returns how many were written.

    Args:
        seconds: stop after this time, 0 = never; repeat the call to continue.
    """
    check_split(split)
    out.mkdir(parents=True, exist_ok=True)
    low, high = SPLITS[split]
    if not 1 <= people <= high - low:
        raise InvalidInputError(f"Split {split} has {high - low} people; ask for 1 to that many.")
    start, written = time.monotonic(), 0
    for number in range(low, low + people):
        path = out / f"face_{number:06d}.npz"
        if path.is_file():
            continue
        if seconds and time.monotonic() - start > seconds:
            break
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez_compressed(file, **draw_person(split, number, frames, side))
        os.replace(part, path)
        written += 1
        if written % 50 == 0:
            print(f"{path.name} {written} written, {time.monotonic() - start:.0f} s", flush=True)
    return written


def load_faces(folder: Path, split: str, people: int = 0) -> Faces:
    """All close-ups of ``split`` in ``folder``, by identity number; ``people`` > 0 limits how many.

    The identity number says which split a person belongs to, so nobody held out can be trained on.
    """
    check_split(split)
    low, high = SPLITS[split]
    found = {int(p.stem[5:]): p for p in folder.glob("face_*.npz") if p.stem[5:].isdigit()}
    numbers = [n for n in sorted(found) if low <= n < high][: people or None]
    if not numbers:
        raise InvalidInputError(
            f"No faces of the split {split} in the folder {folder.name}; draw some with "
            f"'python -m lca_core.train.faces --split {split} --people 60 --out {folder.name}'."
        )
    parts: list[dict[str, NDArray]] = []
    for number in numbers:
        with np.load(found[number], allow_pickle=False) as file:
            parts.append({k: file[k] for k in ("images", "masks", "weights", "points")})
    counts = [len(p["weights"]) for p in parts]
    return Faces(
        images=np.concatenate([p["images"] for p in parts]),
        masks=np.concatenate([p["masks"] for p in parts]),
        weights=np.concatenate([p["weights"] for p in parts]),
        points=np.concatenate([p["points"] for p in parts]),
        person=np.repeat(numbers, counts).astype(np.int64),
        frame=np.concatenate([np.arange(c) for c in counts]),
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=sorted(SPLITS), default="train")
    parser.add_argument("--people", type=int, required=True, help="the first so many of the split")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=FRAMES, help="expressions per person (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after this time; repeat to continue")
    args = parser.parse_args(arguments)
    count = write_people(args.out, args.split, args.people, frames=args.frames, seconds=args.seconds)
    print(f"{count} people written")


if __name__ == "__main__":
    main()

"""The synthetic wild set: clips of a person before a phone, references and targets with noisy tracking.

In: split, identity number, clip number. Out: a sample (see docs/data.md): 1-8 reference frames and 4
targets of one clip and 1 target of another clip of the same person, with other light, place and camera;
pictures degraded as phones do; parameters as the tracker would say them, the exact ones kept as labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.motion import MotionClip
from lca_core.data import cameras, degrade, uv_bake
from lca_core.data.clips import make_clip
from lca_core.data.fields import (
    Actor,
    Sample,
    body_fields,
    light_fields,
    meta,
    set_streams,
    view_fields,
)
from lca_core.data.render import Frame, Light
from lca_core.data.samples import sample_light
from lca_core.data.tracking_noise import Tracked, Truth, joints_of, sample_noise

FPS = 30.0
MARGIN_M = 0.17
"""From joints to skin, hair and cloth."""


@dataclass(frozen=True)
class WildConfig:
    """Sizes: long side of the picture, UV side, clip length, references, targets, rays per pixel side."""

    long_side: int = 512
    uv_size: int = 512
    frames: tuple[int, int] = (90, 300)
    references: tuple[int, int] = (1, 8)
    targets: int = 4
    samples: int = 2
    noisy: bool = True
    vertices: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height: an upright phone."""
        return self.long_side * 3 // 4 // 8 * 8, self.long_side


@dataclass(frozen=True)
class Take:
    """One clip before it is rendered: motion, camera, light, look, and what the tracker says about it."""

    motion: MotionClip
    K: NDArray[np.float64]
    viewmats: NDArray[np.float64]
    light: Light
    look: degrade.Look
    true: Truth
    said: Tracked
    truncated: bool


def make_take(actor: Actor, seed: int, clip: int, config: WildConfig) -> Take:
    """Clip number ``clip`` of a person."""
    motion_rng, camera_rng, light_rng, look_rng, noise_rng = set_streams(
        "wild",
        actor.split,
        seed,
        actor.identity.number,
        clip,
        "motion",
        "camera",
        "light",
        "background",
        "tracking",
    )
    frames = int(motion_rng.integers(config.frames[0], config.frames[1] + 1))
    motion = make_clip(motion_rng, frames, FPS)
    joints, _ = joints_of(actor.person.betas, motion.poses, motion.translation)
    low, high = joints.min((0, 1)) - MARGIN_M, joints.max((0, 1)) + MARGIN_M
    truncated = bool(camera_rng.random() < 0.15)
    if truncated:
        # Legs below the knee or one side outside the picture.
        cut = camera_rng.uniform(0.2, 0.5)
        if camera_rng.random() < 0.6:
            low[1] += cut * (high[1] - low[1])
        else:
            low[0] += 0.6 * cut * (high[0] - low[0])
    K, viewmats = cameras.phone(camera_rng, low, high, frames, FPS, config.size)
    width, height = config.size
    look = degrade.draw_look(look_rng, frames, height, width)
    if truncated:
        look = degrade.without_occluder(look)
    true = Truth(
        motion.poses, motion.translation, motion.arkit, motion.gaze, actor.person.betas,
        np.repeat(K[None], frames, 0), viewmats, FPS, np.ones((frames, 2), bool),
    )  # fmt: skip
    said = sample_noise(noise_rng, true) if config.noisy else true
    return Take(motion, K, viewmats, sample_light(light_rng), look, true, said, truncated)


def wild_sample(actor: Actor, seed: int, clip: int, config: WildConfig) -> Sample:
    """Sample number ``clip`` of a person: frames of its clip 2 x ``clip`` and one of the next."""
    choice_rng, image_rng = set_streams(
        "wild", actor.split, seed, actor.identity.number, clip, "choice", "degradation"
    )
    takes = [make_take(actor, seed, 2 * clip + k, config) for k in (0, 1)]
    references = int(choice_rng.integers(config.references[0], config.references[1] + 1))
    first = choice_rng.choice(len(takes[0].motion), references + config.targets, replace=False)
    picks = [(0, int(f)) for f in first] + [(1, int(choice_rng.integers(len(takes[1].motion))))]
    columns: dict[str, list[Any]] = {
        k: []
        for k in (
            "image",
            "mask",
            "mask_amodal",
            "mask_degraded",
            "part",
            "depth",
            "loose_pos",
            "loose_diffused",
        )
    }
    seen = np.zeros(len(actor.truth.point), bool)
    vertices = []
    for v, (k, f) in enumerate(picks):
        take = takes[k]
        posed, skinned, frame = _render(actor, take, f, config)
        if v < references:
            seen |= uv_bake.seen(actor.truth, posed, frame, take.K, take.viewmats[f], config.uv_size)
        pictures = degrade.photograph(take.look, image_rng, frame.color, frame.coverage, f)
        for name, value in zip(("image", "mask", "mask_amodal", "mask_degraded"), pictures, strict=True):
            columns[name].append(value)
        for name, value in view_fields(frame).items():
            columns[name].append(value)
        loose, diffused = actor.loose(posed, skinned)
        columns["loose_pos"].append(loose)
        columns["loose_diffused"].append(diffused)
        vertices.append(posed)

    def gather(name: str, who: str = "true") -> NDArray:
        return np.stack([getattr(getattr(takes[k], who), name)[f] for k, f in picks])

    body = body_fields(
        actor.person, gather("pose"), gather("transl"), gather("expression"), gather("gaze"), gather("K"),
        gather("viewmat"),
    )  # fmt: skip
    found = gather("hands", "said")
    conf = np.ones((len(picks), 55), np.float32)
    conf[:, 25:40] *= found[:, :1]
    conf[:, 40:55] *= found[:, 1:]
    out: Sample = {
        "__key__": f"wild-{actor.split}-{seed:03d}-{actor.identity.number:06d}-{clip:03d}",
        **{k: np.stack(v) for k, v in columns.items()},
        **body,
        # One shape per clip: the second row belongs to the other clip's target.
        "betas_noisy": np.stack([t.said.betas for t in takes]).astype(np.float32),
        "pose_noisy": gather("pose", "said").astype(np.float32),
        "transl_noisy": gather("transl", "said").astype(np.float32),
        "expr_noisy": gather("expression", "said").astype(np.float32),
        "gaze_noisy": gather("gaze", "said").astype(np.float32),
        "Ks_noisy": gather("K", "said").astype(np.float32),
        "conf": conf,
        "clip_of_view": np.array([k for k, _ in picks], np.uint8),
        "frame_of_view": np.array([f for _, f in picks], np.int16),
        "references": np.array(references, np.uint8),
        **actor.uv_fields(seen),
        **light_fields([t.light for t in takes], [k for k, _ in picks]),
        "meta": meta(
            "wild", actor, seed, clip, motions=[t.motion.source for t in takes],
            truncated=[t.truncated for t in takes], occluded=[t.look.occluder is not None for t in takes],
            fps=FPS,
        ),
    }  # fmt: skip
    if config.vertices:
        from lca_core.data import library

        out["verts"] = np.stack([p[library.extended_body().body_ids] for p in vertices]).astype(np.float16)
    return out


def _render(actor: Actor, take: Take, f: int, config: WildConfig) -> tuple[NDArray, NDArray, Frame]:
    """Posed and skinned vertices and the frame, blurred over the open shutter where the look asks for it."""
    person, motion = actor.person, take.motion
    at = motion.poses[f], motion.arkit[f], motion.gaze[f]
    skinned = person.skinned(*at) + motion.translation[f]
    posed = skinned
    if person.skirt is not None:
        posed = person.posed(motion.poses[f], motion.translation[f], motion.arkit[f], motion.gaze[f])
    width, height = config.size
    render = (take.K, take.viewmats[f], width, height, take.light)
    actor.scene.pose(posed)
    if take.look.blur == 1 or len(motion) == 1:
        return posed, skinned, actor.scene.render(*render, samples=config.samples)
    other = f + 1 if f + 1 < len(motion) else f - 1
    there = (
        person.skinned(motion.poses[other], motion.arkit[other], motion.gaze[other])
        + motion.translation[other]
    )
    step = (there - skinned) * (other - f) * take.look.shutter
    # Buffers belong to the middle of the exposure; colour and coverage are means over it.
    middle = actor.scene.render(*render, samples=1)
    color, coverage = np.zeros_like(middle.color), np.zeros_like(middle.coverage)
    for k in range(take.look.blur):
        actor.scene.pose(posed + ((k + 0.5) / take.look.blur - 0.5) * step)
        part = actor.scene.render(*render, samples=1)
        color += part.color / take.look.blur
        coverage += part.coverage / take.look.blur
    frame = Frame(
        color, coverage, middle.part, middle.depth, middle.normal, middle.uv, middle.face, middle.bary
    )
    return posed, skinned, frame

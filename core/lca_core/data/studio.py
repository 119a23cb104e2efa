"""The synthetic studio set: one person, one pose, twelve exact views, known lights, UV truth.

In: split, identity number, pose number. Out: a sample (see docs/data.md). Eight of 24 ring cameras, two of
the face, two of the hands; five lights a pose, the first uniform white, the others one light of 64, groups
of them, or random order-2 light; linear Lambert shading on neutral grey; parameters are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX, NUM_ARKIT
from lca_core.data import cameras, motion, uv_bake
from lca_core.data.face_tracks import follow_gaze
from lca_core.data.fields import (
    Actor,
    Sample,
    body_fields,
    light_fields,
    meta,
    set_streams,
    view_fields,
)
from lca_core.data.render import Light, sh_basis
from lca_core.data.samples import sample_light
from lca_core.data.tracking_noise import joints_of

GREY = 0.21
"""Linear background."""
LIGHTS_PER_POSE = 5
OLAT = 64
"""Directions of the one-light-at-a-time patterns."""


@dataclass(frozen=True)
class StudioConfig:
    """Sizes: picture side, UV side, ring, face and hand cameras, poses per person, rays per pixel side."""

    size: int = 512
    uv_size: int = 512
    ring: int = 8
    faces: int = 2
    hands: int = 2
    poses: int = 16
    samples: int = 2
    vertices: bool = False


def light_directions(count: int = OLAT) -> NDArray[np.float64]:
    """Even directions (N,3) over the sphere (Fibonacci)."""
    k = np.arange(count) + 0.5
    y = 1 - 2 * k / count
    turn = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.cos(turn), y, r * np.sin(turn)], -1)


def uniform_light(level: float = 1.0) -> Light:
    """White light from everywhere: a white surface shows ``level``."""
    sh = np.zeros((9, 3), np.float32)
    sh[0] = level / 0.282095
    return Light(sh, np.array([0, 1, 0], np.float32), np.zeros(3, np.float32))


def one_light(direction: NDArray, strength: float = 1.0) -> Light:
    """A single white light with a sharp shadow and a little fill, so that nothing is black."""
    sh = np.zeros((9, 3), np.float32)
    sh[0] = 0.03 / 0.282095
    return Light(sh, direction.astype(np.float32), np.full(3, strength, np.float32))


def grouped_light(directions: NDArray, rgb: NDArray) -> Light:
    """Several lights (K,3) at once with colours (K,3), as order-2 light without shadows of their own."""
    lobe = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)
    sh = lobe[:, None] * np.einsum("kc,kl->lc", rgb, sh_basis(directions))
    return Light(sh.astype(np.float32), np.array([0, 1, 0], np.float32), np.zeros(3, np.float32))


def pose_lights(rng: np.random.Generator) -> list[Light]:
    """Uniform white, then four of: one light, a group, random order-2 light."""
    out, grid = [uniform_light(0.9)], light_directions()
    for _ in range(LIGHTS_PER_POSE - 1):
        kind = rng.integers(3)
        if kind == 0:
            out.append(one_light(grid[rng.integers(len(grid))], float(rng.uniform(0.6, 1.0))))
        elif kind == 1:
            near = grid @ grid[rng.integers(len(grid))]
            group = np.argsort(-near)[: int(rng.integers(3, 12))]
            colour = np.clip(1 + rng.normal(0, 0.12, 3), 0.5, 1.4)
            out.append(grouped_light(grid[group], np.tile(colour / len(group), (len(group), 1))))
        else:
            out.append(sample_light(rng))
    return out


def studio_expression(rng: np.random.Generator, turn: int) -> NDArray[np.float32]:
    """Expression of pose ``turn`` (identity number x poses + pose): every other one is a single action at
    1.0, in order, so that 52 such poses show all; the rest are pairs and natural mixtures."""
    if turn % 2 == 0:
        out = np.zeros(NUM_ARKIT, np.float32)
        out[turn // 2 % NUM_ARKIT] = 1.0
        if turn // 2 % NUM_ARKIT == ARKIT_INDEX["mouthClose"]:
            out[ARKIT_INDEX["jawOpen"]] = 1.0  # ARKit means it on top of an open jaw
        return out
    if rng.random() < 0.3:
        out = np.zeros(NUM_ARKIT, np.float32)
        out[rng.choice(NUM_ARKIT, 2, replace=False)] = rng.uniform(0.4, 1.0, 2)
        return out
    return motion.random_expression(rng)


def studio_sample(actor: Actor, seed: int, pose: int, config: StudioConfig) -> Sample:
    """Pose number ``pose`` of a person."""
    person, number = actor.person, actor.identity.number
    pose_rng, face_rng, camera_rng, light_rng = set_streams(
        "studio", actor.split, seed, number, pose, "motion", "expression", "camera", "light"
    )
    q = motion.random_pose(pose_rng)
    look = np.clip(face_rng.normal(0, [0.2, 0.12]), -0.45, 0.45)
    gaze = np.stack([look, look]).astype(np.float32)
    turn = number * config.poses + pose
    expression = studio_expression(face_rng, turn)
    if turn % 2:
        expression = follow_gaze(expression[None], gaze[None])[0].astype(np.float32)
    posed = person.posed(q.joints, q.transl, expression, gaze)
    skinned = person.skinned(q.joints, expression, gaze) + q.transl
    actor.scene.pose(posed)
    views = _cameras(actor, camera_rng, posed, q.joints, q.transl, config)
    lights = pose_lights(light_rng)
    columns: dict[str, list[Any]] = {k: [] for k in ("image", "mask", "part", "depth")}
    seen = np.zeros(len(actor.truth.point), bool)
    for v, (K, viewmat) in enumerate(views):
        frame = actor.scene.render(
            K, viewmat, config.size, config.size, lights[v % len(lights)], samples=config.samples
        )
        seen |= uv_bake.seen(actor.truth, posed, frame, K, viewmat, config.uv_size)
        columns["image"].append(frame.composite(GREY))
        columns["mask"].append(np.round(frame.coverage * 255).astype(np.uint8))
        for name, value in view_fields(frame).items():
            columns[name].append(value)
    count = len(views)

    def repeat(x: NDArray) -> NDArray:
        return np.repeat(np.asarray(x)[None], count, 0)

    K, viewmats = np.stack([k for k, _ in views]), np.stack([m for _, m in views])
    body = body_fields(
        person, repeat(q.joints), repeat(q.transl), repeat(expression), repeat(gaze), K, viewmats
    )
    loose, diffused = actor.loose(posed, skinned)
    noisy = {k.replace("_true", "_noisy"): v for k, v in body.items() if k.endswith("_true")}
    out: Sample = {
        "__key__": f"studio-{actor.split}-{seed:03d}-{number:06d}-{pose:03d}",
        **{k: np.stack(v) for k, v in columns.items()},
        **body,
        **noisy,
        "Ks_noisy": body["Ks"],
        "conf": np.ones((count, 55), np.float32),
        **actor.uv_fields(seen),
        "loose_pos": loose,
        "loose_diffused": diffused,
        **light_fields(lights, [v % len(lights) for v in range(count)]),
        "meta": meta(
            "studio", actor, seed, pose, pose=pose, ring=config.ring, faces=config.faces, hands=config.hands
        ),
    }
    if config.vertices:
        out["verts"] = posed[_body_ids()].astype(np.float16)
    return out


def _body_ids() -> NDArray[np.int64]:
    from lca_core.data import library

    return library.extended_body().body_ids


def _cameras(
    actor: Actor,
    rng: np.random.Generator,
    posed: NDArray,
    pose: NDArray,
    transl: NDArray,
    config: StudioConfig,
) -> list[cameras.Camera]:
    out = cameras.studio_ring(rng, posed[actor.used], config.size, config.ring)
    _, turns = joints_of(actor.person.betas, pose[None], transl[None])
    ahead = turns[0, JOINT_INDEX["head"]][:, 2]
    yaw = float(np.arctan2(ahead[0], ahead[2]))
    head = posed[actor.part_of(JOINT_INDEX["head"], JOINT_INDEX["head"] + 1)]
    for k in range(config.faces):
        out.append(cameras.crop_camera(rng, head, yaw + (0.0, 0.7)[k % 2] * rng.choice([-1, 1]), config.size))
    for k in range(config.hands):
        hand = posed[actor.part_of(25 + 15 * (k % 2), 40 + 15 * (k % 2))]
        out.append(cameras.crop_camera(rng, hand, float(rng.uniform(0, 2 * np.pi)), config.size, 0.75))
    return out

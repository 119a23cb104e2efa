"""Rendered clips of held-out synthetic adults with known motion, shape and camera, for the capture benchmark.

In: an identity number of the generator's ``test`` split, whose clothes, hair and skins no shipped weights
were trained on. Out: one MP4 per person and the truth. Everybody is dressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX
from lca_core.data.motion import random_pose
from lca_core.data.people import Person, sample_identity
from lca_core.data.performance import perform
from lca_core.data.render import Scene, Textures
from lca_core.data.samples import background, fit_camera, sample_light

FPS = 10
FRAMES = np.concatenate([np.arange(30), np.arange(30, 66, 2)])
"""Tenths of a second: three seconds of talk and hands, then a full turn, every second one drawn."""
SIZE = (720, 1080)
ARMS = [
    j for name, j in JOINT_INDEX.items() if any(p in name for p in ("collar", "shoulder", "elbow", "wrist"))
]


@dataclass(frozen=True)
class Truth:
    """What T frames were rendered from: betas [50], pose [T,55,3], transl [T,3] and expression [T,52] in the
    world of the scene, K [3,3], viewmat [4,4], seconds [T], barefoot height in metres."""

    betas: NDArray[np.float32]
    pose: NDArray[np.float32]
    transl: NDArray[np.float32]
    expression: NDArray[np.float32]
    K: NDArray[np.float64]
    viewmat: NDArray[np.float64]
    seconds: NDArray[np.float64]
    height_m: float


def motion(number: int) -> list[NDArray[np.float32]]:
    """[pose, transl, expression, gaze] of one person: talk and hands, then a turn with random arm stances."""
    rng = np.random.default_rng([7, number])
    poses = perform(int(FRAMES[-1]) + 1, FPS, seed=int(rng.integers(1 << 16)))
    joints, transl, expression, gaze = (
        np.stack([getattr(p, k) for p in poses]) for k in ("joints", "transl", "expression", "gaze")
    )
    kinds = rng.permutation(["reach", "gesture", "akimbo", "walk"])
    stances = np.stack([random_pose(rng, str(k)).joints for k in kinds])
    turn = np.arange(len(joints)) - 30
    wanted = joints[:, ARMS].copy()
    step = np.minimum(turn * len(stances) // (len(turn) - 30), len(stances) - 1)
    wanted[turn >= 0] = stances[step[turn >= 0]][:, ARMS]
    calm = gaussian_filter1d(wanted, 0.15 * FPS, axis=0, mode="nearest")  # no arm jumps
    joints[:, ARMS] = np.where((turn >= -4)[:, None, None], calm, joints[:, ARMS])
    return [x[FRAMES].astype(np.float32) for x in (joints, transl, expression, gaze)]


def write_person(number: int, folder: Path, *, split: str = "test") -> tuple[Path, Truth]:
    """Render and encode one person; light, backdrop and camera are drawn from the identity number."""
    import av

    rng = np.random.default_rng([11, number])
    person = Person(sample_identity(split, number))
    pose, transl, expression, gaze = motion(number)
    used = np.unique(person.faces)
    first = person.posed(pose[0], transl[0], expression[0], gaze[0])
    floor = float(first[used, 1].min())
    scene = Scene(
        person.faces, person.face_uvs, person.face_texture, person.face_part, Textures(person.textures)
    )
    light, back = sample_light(rng), background(rng, SIZE[1], SIZE[0])
    room = np.concatenate([first[used], first[used] * np.array([1.25, 1.06, 1.0], np.float32)])
    pitch, distance = float(rng.uniform(-0.02, 0.12)), float(rng.uniform(2.4, 4.0))
    camera = fit_camera(room, 0.0, pitch, distance, *SIZE, 0.93, np.zeros(2))
    path = folder / f"person_{number}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, FPS)
        stream.options = {"crf": "18", "preset": "veryfast"}
        for t, number_of_frame in enumerate(FRAMES):
            posed = person.posed(pose[t], transl[t], expression[t], gaze[t])
            lift = np.array([0, floor - posed[used, 1].min(), 0], np.float32)  # the standing foot stays down
            transl[t] += lift
            scene.pose(posed + lift)
            image = scene.render(*camera, *SIZE, light).composite(back)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(number_of_frame), Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    rest = BodyModel.load().rest(torch.as_tensor(person.betas)[None])[0][0]
    height = float(rest[:, 1].max() - rest[:, 1].min())
    k, view = camera
    return path, Truth(person.betas, pose, transl, expression, k, view, FRAMES / FPS, height)

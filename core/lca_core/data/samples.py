"""Training samples: a dressed person in several poses seen by several cameras, with exact ground truth.

In: split, seed, sizes. Out: dictionaries of arrays (see :func:`make_sample`), the format that
``lca_core.train`` reads. The same split, seed and generator version give the same bytes on CPU.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca.errors import InvalidInputError
from lca_core.data import motion, uv_bake
from lca_core.data.lights import blackbody, sample_light
from lca_core.data.people import GENERATOR_VERSION, SPLITS, Person, sample_identity, streams
from lca_core.data.render import srgb_to_linear

__all__ = [
    "Sample", "background", "blackbody", "fit_camera", "iter_samples", "make_sample", "sample_light", "timed",
]  # fmt: skip
Sample = dict[str, Any]


def fit_camera(
    points: NDArray,
    yaw: float,
    pitch: float,
    distance: float,
    width: int,
    height: int,
    fill: float,
    shift: NDArray,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A camera that shows all ``points`` (N,3).

    It stands at ``yaw`` (0 = in front, at +Z) and ``pitch`` radians above, ``distance`` metres from their
    middle; the focal length makes the larger extent fill the fraction ``fill`` of the frame. ``shift`` (2,)
    pixels moves the principal point. Returns K (3,3) and the world-to-camera matrix (4,4).
    """
    middle = (points.min(0) + points.max(0)) / 2
    back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    eye = middle + distance * back
    right = np.cross(-back, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(-back, right), -back])
    viewmat = np.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
    camera = points @ rotation.T + viewmat[:3, 3]
    plane = camera[:, :2] / camera[:, 2:]
    low, high = plane.min(0), plane.max(0)
    focal = fill * float(min(width / (high[0] - low[0]), height / (high[1] - low[1])))
    centre = np.array([width, height]) / 2 - focal * (low + high) / 2 + shift
    return np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]]), viewmat


def background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A blurry linear background (H,W,3): two colours, a gradient and coarse noise."""
    a, b = srgb_to_linear(rng.uniform(0.15, 0.9, (2, 3)))
    ramp = (
        np.linspace(0, 1, height)[:, None] * np.ones(width)
        if rng.random() < 0.5
        else np.zeros((height, width))
    )
    coarse = rng.standard_normal((6, 6))
    noise = ndimage.zoom(coarse, (height / 6, width / 6), order=1, grid_mode=True, mode="nearest")[
        :height, :width
    ]
    blend = np.clip(ramp + 0.25 * noise, 0, 1)[..., None]
    return a * (1 - blend) + b * blend


def make_sample(split: str, number: int, *, size: int = 256, views: int = 4, uv_size: int = 128) -> Sample:
    """One person as a dictionary of arrays.

    Returns:
        images uint8 [V,S,S,3] sRGB; masks uint8 [V,S,S] coverage 0-255; Ks float32 [V,3,3]; viewmats float32
        [V,4,4] world-to-camera; pose float32 [V,55,3]; transl [V,3]; expression [V,52]; gaze [V,2,2]; betas
        [50]; uv_albedo, uv_color uint8 [U,U,3] sRGB; uv_offset float16 [U,U,3] m; uv_validity uint8 [U,U];
        uv_correction float16 [V,U,U,3] m; meta JSON string. See :mod:`lca_core.data.uv_bake` for the maps.
    """
    person = Person(sample_identity(split, number))
    pose_rng, camera_rng, light_rng, back_rng = streams(
        split, number, "motion", "camera", "light", "backgrnd"
    )
    light = sample_light(light_rng)
    scene = uv_bake.layered_scene(person)
    truth = uv_bake.bake(person, scene, light, uv_size)
    used = np.unique(person.faces)
    start = camera_rng.uniform(0, 2 * np.pi)
    columns: dict[str, list[Any]] = {k: [] for k in _PER_VIEW}
    was_seen = np.zeros(len(truth.point), bool)
    for v in range(views):
        q = motion.random_pose(pose_rng)
        posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
        scene.pose(posed)
        yaw = start + 2 * np.pi * v / views + camera_rng.normal(0, 0.25)
        shift = camera_rng.uniform(-0.02, 0.02, 2) * size
        K, viewmat = fit_camera(
            posed[used], yaw, camera_rng.uniform(-0.1, 0.35), camera_rng.uniform(2.4, 5.0), size, size,
            camera_rng.uniform(0.8, 0.93), shift,
        )  # fmt: skip
        frame = scene.render(K, viewmat, size, size, light, samples=2)
        was_seen |= uv_bake.seen(truth, posed, frame, K, viewmat, uv_size)
        columns["images"].append(frame.composite(background(back_rng, size, size)))
        columns["masks"].append(np.round(frame.coverage * 255).astype(np.uint8))
        columns["Ks"].append(K.astype(np.float32))
        columns["viewmats"].append(viewmat.astype(np.float32))
        columns["pose"].append(q.joints)
        columns["transl"].append(q.transl)
        columns["expression"].append(q.expression)
        columns["gaze"].append(q.gaze)
        columns["uv_correction"].append(
            uv_bake.correction(person, truth, posed, q.joints, q.transl, q.gaze, uv_size)
        )
    t = uv_bake.texels(uv_size)
    validity = truth.validity | t.grid((was_seen * uv_bake.SEEN).astype(np.uint8))
    meta = {
        "generator": GENERATOR_VERSION,
        "split": split,
        "identity": person.identity.to_json(),
        "assets": person.identity.assets(),
        "synthetic": True,
        "light": {"sh": light.sh.tolist(), "direction": light.direction.tolist(), "rgb": light.rgb.tolist()},
    }
    return {
        **{k: np.stack(v) for k, v in columns.items()},
        "betas": person.betas.astype(np.float32),
        "uv_albedo": truth.albedo,
        "uv_color": truth.color,
        "uv_offset": truth.offset,
        "uv_validity": validity,
        "meta": json.dumps(meta),
    }


_PER_VIEW = ("images", "masks", "Ks", "viewmats", "pose", "transl", "expression", "gaze", "uv_correction")


def iter_samples(
    split: str,
    seed: int = 0,
    count: int | None = None,
    *,
    size: int = 256,
    views: int = 4,
    uv_size: int = 128,
) -> Iterator[tuple[int, Sample]]:
    """Yields (identity number, sample) for identities ``seed``, ``seed`` + 1, ... within the split's number
    range."""
    if split not in SPLITS:
        raise InvalidInputError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
    low, high = SPLITS[split]
    last = high if count is None else low + seed + count
    if not low <= low + seed < last <= high:
        raise InvalidInputError(
            f"Split {split} has {high - low} identities; start {seed} with {count} people goes past its end."
        )
    for number in range(low + seed, last):
        yield number, make_sample(split, number, size=size, views=views, uv_size=uv_size)


def timed(samples: Iterator[tuple[int, Sample]]) -> Iterator[tuple[int, Sample, float]]:
    """Adds the seconds each sample took."""
    start = time.perf_counter()
    for number, sample in samples:
        yield number, sample, time.perf_counter() - start
        start = time.perf_counter()

"""Synthetic people in many lights, cell by cell of the body's texture chart: for ``lca train relight``.

In: people of a split. Out: :class:`LitPerson`, what a photograph copies onto the body in each light, with the
true albedo beside it. People are kept as files, so a run that was stopped goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca_core.data import lights, motion, uv_bake
from lca_core.data.people import SPLITS, Person, sample_identity
from lca_core.data.render import srgb_to_linear, vertex_normals
from lca_core.relight.estimate import GRID

RAYS = 64
LIFT_M = 0.003


@dataclass(frozen=True)
class LitPerson:
    """T cells of one person in the pose of the photographs, in L lights.

    ``cell`` (T,) row x ``GRID`` + column; ``area`` (T,) mean 1; ``albedo`` (T,3) linear; ``transfer`` (T,9);
    ``sh`` (L,9,3) radiance in the harmonics of pose frames; ``lamp`` (L,T) what the one lamp leaves on white,
    shadow included, and its colour ``rgb`` (L,3).
    """

    cell: NDArray[np.int32]
    area: NDArray[np.float32]
    albedo: NDArray[np.float32]
    transfer: NDArray[np.float32]
    sh: NDArray[np.float32]
    lamp: NDArray[np.float16]
    rgb: NDArray[np.float32]

    def shading(self, light: int) -> NDArray[np.float32]:
        """Light (T,3) that leaves white in one of the lights."""
        soft = np.maximum(self.transfer @ self.sh[light] / np.float32(np.pi), 0)
        return np.asarray(soft + self.lamp[light].astype(np.float32)[:, None] * self.rgb[light], np.float32)

    def save(self, path: Path) -> None:
        """Written whole or not at all."""
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, **{f.name: getattr(self, f.name) for f in fields(self)})
        part.replace(path)

    @staticmethod
    def load(path: Path) -> LitPerson:
        """What :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return LitPerson(**{f.name: data[f.name] for f in fields(LitPerson)})


def photographed(split: str, index: int, count: int, seed: int = 0) -> LitPerson:
    """Person ``index`` of a split, standing with the arms off the body, in ``count`` lights."""
    number = SPLITS[split][0] + index
    rng = np.random.default_rng([seed, 5, number])
    person = Person(sample_identity(split, number))
    scene = uv_bake.layered_scene(person)
    truth = uv_bake.bake(person, scene, lights.white(), GRID)
    pose = motion.random_pose(rng, "a_pose")
    posed = person.posed(pose.joints, pose.transl, pose.expression, pose.gaze)
    scene.pose(posed)
    valid = np.flatnonzero(truth.part > 0)
    corners, share = truth.vertices[valid], truth.bary[valid][..., None]
    normals = (vertex_normals(posed, person.faces)[corners] * share).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    points = (posed[corners] * share).sum(1)
    chart = uv_bake.texels(GRID)
    rows, cols = chart.rows[valid], chart.cols[valid]
    drawn = [lights.sample_light(rng) for _ in range(count)]
    lamps = []
    for light in drawn:
        white = replace(light, sh=np.zeros((9, 3), np.float32), rgb=np.ones(3, np.float32))
        hits = scene.cast(points + LIFT_M * normals, -normals, 3 * LIFT_M, white)
        found = (hits.face >= 0) & (hits.albedo.max(1) > 0.004)
        lamp = np.where(found, hits.lit.sum(1) / np.maximum(hits.albedo.sum(1), 1e-4), 0)
        lamps.append(lamp if light.rgb.any() else np.zeros_like(lamp))
    return LitPerson(
        cell=(rows * GRID + cols).astype(np.int32),
        area=_area(truth.point, chart)[valid],
        albedo=srgb_to_linear(truth.albedo[rows, cols] / 255.0).astype(np.float32),
        transfer=(scene.transfer(points, normals, rays=RAYS) * lights.TO_FRAMES).astype(np.float32),
        sh=np.stack([lights.radiance_sh(light) for light in drawn]).astype(np.float32),
        lamp=np.stack(lamps).astype(np.float16),
        rgb=np.stack([light.rgb for light in drawn]).astype(np.float32),
    )


def _area(points: NDArray, chart: uv_bake.Texels) -> NDArray[np.float32]:
    """Area (T,) of each texel's patch of the surface ``points`` (T,3), scaled to mean 1, at most 4."""
    grid = chart.grid(points)
    known = chart.grid(np.ones(len(points), bool))
    spans = []
    for axis in (0, 1):
        step = np.roll(grid, -1, axis) - grid
        both = known & np.roll(known, -1, axis)
        length = np.linalg.norm(step, axis=-1)
        spans.append(np.where(both, length, np.median(length[both])))
    area = (spans[0] * spans[1])[chart.rows, chart.cols]
    return np.asarray(np.minimum(area / area.mean(), 4), np.float32)


def stored_people(
    folder: Path, split: str, people: int, each: int, tell: Callable[[str], None], seed: int = 0
) -> list[LitPerson]:
    """The first ``people`` of a split in ``each`` lights, from files in ``folder`` where they exist."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for index in range(people):
        path = folder / f"{split}-{seed}-{each}-{index}.npz"
        if not path.is_file():
            photographed(split, index, each, seed).save(path)
            if index % 25 == 24:
                tell(f"{split}: {index + 1} of {people} people photographed")
        out.append(LitPerson.load(path))
    return out

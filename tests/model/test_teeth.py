"""Teeth: the upper row stays with the head, the lower goes with the jaw, and closed lips hide both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lca_core.body.names import ARKIT_INDEX, HEAD_JOINTS, JOINT_INDEX
from lca_core.body.points import locate
from lca_core.data import build_teeth, library
from lca_core.model.assemble import CanonicalGaussians
from lca_core.model.density import FINEST, Samples, plan
from lca_core.model.mouth import EXTENT
from lca_core.model.surface import array
from lca_core.model.teeth import UV_SIZE, AmongTeeth, Teeth, drawn_teeth, table, with_teeth
from lca_core.model.template import Template

ZERO = np.zeros(50, np.float32)
CLOSED = (
    {}, {"mouthPucker": 1.0}, {"mouthPressLeft": 1.0, "mouthPressRight": 1.0}, {"mouthLeft": 1.0},
    {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}, {"jawLeft": 1.0}, {"mouthClose": 1.0, "jawOpen": 1.0},
    {"mouthShrugLower": 1.0},
)  # fmt: skip
"""Expressions that keep the lips shut."""


def expression(**weights: float) -> np.ndarray:
    out = np.zeros(52, np.float32)
    out[[ARKIT_INDEX[name] for name in weights]] = list(weights.values())
    return out


def people() -> list[np.ndarray]:
    scores = library.extended_body().scores
    return [ZERO, *(scores[i] for i in np.random.default_rng(2).integers(len(scores), size=2))]


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(128)


@pytest.fixture(scope="module")
def crown() -> np.ndarray:
    """Which drawn quads [G] are of crowns, not gum."""
    t = table()
    return np.asarray(t.height[t.quads[t.drawn]].min(1) >= 0)


@pytest.fixture(scope="module")
def lower() -> np.ndarray:
    t = table()
    return np.asarray(t.lower[t.quads[t.drawn, 0]])


def test_the_shipped_table_is_what_the_pack_gives() -> None:
    made = build_teeth.table(library.proxy("teeth", "Teeth_Base"), library.extended_body())
    with np.load(build_teeth.FILE) as shipped:
        assert set(shipped.files) == set(made)
        for name in shipped.files:
            np.testing.assert_allclose(shipped[name], made[name], atol=1e-6)


def test_rows_are_those_of_a_person_from_right_to_left() -> None:
    t = table()
    crowns = t.height.reshape(-1)[: 28 * build_teeth.CROWN_VERTICES].reshape(28, -1)
    middle = Teeth(ZERO).vertices[: crowns.size].reshape(28, -1, 3).mean(1)
    assert (np.diff(middle[:14, 0]) > 0).all() and (np.diff(middle[14:, 0]) > 0).all()
    assert middle[:14, 1].min() > middle[14:, 1].max()
    np.testing.assert_allclose(
        middle * [-1, 1, 1], middle[[*range(13, -1, -1), *range(27, 13, -1)]], atol=3e-4
    )


def test_only_the_lower_row_moves_and_as_the_chin_does(template: Template, lower: np.ndarray) -> None:
    neutral = array(template.body.rest(torch.zeros(1, 50), None)[0])[0]
    for betas in people():
        teeth = Teeth(betas)
        for name in ARKIT_INDEX:
            means, quats = teeth.moved(expression(**{name: 1.0}))
            assert not means[~lower].any() and not quats[~lower].any()
            jaw = name in ("jawOpen", "jawLeft", "jawRight", "jawForward")
            assert jaw == bool(np.linalg.norm(means[lower], axis=1).min() > 0.005)
    opened = array(
        template.body.rest(torch.zeros(1, 50), torch.from_numpy(expression(jawOpen=1.0))[None])[0]
    )[0]
    down = (opened - neutral)[:, 1]
    front = np.linalg.norm(
        Teeth(ZERO).vertices[table().lower] - neutral[:, None][down.argmin()], axis=1
    ).argsort()
    teeth = Teeth(ZERO).moves[ARKIT_INDEX["jawOpen"]][table().lower][front[:200], 1].mean()
    assert 0.75 < teeth / np.sort(down)[:30].mean() < 1.25


def test_the_jaw_turns_its_row_without_bending_it() -> None:
    """Distances within the row are kept at the full weight of a shape."""
    teeth = Teeth(ZERO)
    row = np.flatnonzero(table().lower)[::37]
    before = teeth.vertices[row]
    after = before + teeth.moves[ARKIT_INDEX["jawOpen"]][row]
    first, second = (np.linalg.norm(x[:, None] - x[None], axis=2) for x in (before, after))
    assert np.abs(first - second).max() < 1e-5
    assert np.linalg.norm(after - before, axis=1).max() > 0.02


def test_gaussians_lie_flat_on_their_quads_and_look_outwards(crown: np.ndarray) -> None:
    teeth = Teeth(people()[1])
    means, quats, scales = teeth.gaussians
    corner = teeth.vertices[table().quads[table().drawn]]
    np.testing.assert_allclose(means, (corner[:, 0] + corner[:, 2]) / 2, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-5)
    w, x, y, z = quats.T
    normal = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1)
    front = crown & (means[:, 2] > np.quantile(means[:, 2], 0.8))
    assert (normal[front, 2] > 0).mean() > 0.8
    assert (scales[:, 2] < scales[:, :2].mean(1)).all() and scales.min() > 1e-4 and scales.max() < 0.003


def test_texels_name_the_teeth_and_nothing_else(template: Template) -> None:
    texel = table().texel
    assert len(np.unique(texel, axis=0)) == len(texel) and UV_SIZE == FINEST
    rows, cols = (
        np.arange(low - 40, high + 40, 4) for low, high in zip(texel.min(0), texel.max(0), strict=True)
    )
    around = [x.ravel() for x in np.meshgrid(rows, cols, indexing="ij")]
    assert (locate(template.body, *around, FINEST).face < 0).all()
    order = np.random.default_rng(0).permutation(len(texel))
    np.testing.assert_array_equal(drawn_teeth(texel[order], UV_SIZE), order)
    samples = plan(template, 128)
    assert (drawn_teeth(np.stack([samples.rows, samples.cols], 1), FINEST) < 0).all()
    assert (drawn_teeth(texel, 256) < 0).all()


@pytest.mark.parametrize("weights", CLOSED, ids=lambda w: "+".join(w) or "neutral")
def test_no_gaussian_reaches_the_skin_of_a_closed_mouth(
    template: Template, weights: dict[str, float]
) -> None:
    """Not at three standard deviations, as a path tracer draws it, on several people."""
    samples = plan(template, 256)
    skin = ~samples.inside & (samples.part == 0) & (samples.weights[:, HEAD_JOINTS].sum(1) > 0.5)
    shape = expression(**weights)
    for betas in people():
        teeth = Teeth(betas)
        means, quats, scales = teeth.gaussians
        means = means + teeth.moved(shape)[0]
        vertices = array(template.body.rest(torch.from_numpy(betas)[None], torch.from_numpy(shape)[None])[0])[
            0
        ]
        outside = samples.on_texels(vertices)[skin]
        w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
        axes = np.stack(
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
             2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x),
             2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], 1
        ).reshape(-1, 3, 3)  # fmt: skip
        for i, near in enumerate(cKDTree(outside).query_ball_point(means, EXTENT * scales.max(1))):
            away = np.linalg.norm((outside[near] - means[i]) @ axes[i].T / scales[i], axis=1)
            assert not len(near) or away.min() > EXTENT


def test_corrections_of_a_stored_avatar_are_the_teeths_own() -> None:
    rng = np.random.default_rng(4)
    mixed = np.concatenate([rng.integers(0, 300, (50, 2)), table().texel])
    order = rng.permutation(len(mixed))
    rows = np.flatnonzero(order >= 50)
    among = AmongTeeth(mixed[order], UV_SIZE, ZERO)
    parts = [rng.normal(size=(50, width)).astype(np.float32) for width in (3, 4, 3, 3)]
    shape = expression(jawOpen=0.5, jawLeft=0.25)
    whole = among.added(parts, shape)
    for part, given in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(part[order < 50], given)
    for part, own in zip(whole, Teeth(ZERO).moved(shape), strict=False):
        np.testing.assert_array_equal(part[rows], own[order[rows] - 50])
    assert not whole[2][rows].any() and not whole[3][rows].any()
    assert AmongTeeth(mixed[:50], UV_SIZE, ZERO).added(parts, shape) is parts


def test_brightness_follows_the_white_of_the_eye_and_falls_towards_the_back(crown: np.ndarray) -> None:
    teeth = Teeth(ZERO)
    red = np.array([0.6, 0.35, 0.3])
    bright, dim = (teeth.colors(np.full(3, white), red) for white in (0.7, 0.5))
    depth = teeth.gaussians[0][:, 2]
    front, back = (crown & f for f in (depth > np.quantile(depth, 0.9), depth < np.quantile(depth, 0.1)))
    assert (
        bright[front].mean() > 1.15 * dim[front].mean() and bright[front].mean() > 1.5 * bright[back].mean()
    )
    np.testing.assert_allclose(bright[~crown], dim[~crown], atol=0.05)
    assert (bright[~crown, 0] > 1.2 * bright[~crown, 2]).all(), "gum is red"


def test_tongue_and_teeth_keep_apart(template: Template) -> None:
    samples: Samples = plan(template, 128)
    n, betas = samples.count, ZERO
    rest = {
        "means": samples._rest(torch.zeros(50))[0].numpy(),
        "quats": np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1)),
        "scales": np.full((n, 3), 0.004, np.float32),
        "weights": samples.weights,
        "texel": np.stack([samples.rows, samples.cols], 1).astype(np.int32),
    } | {k: np.zeros((n, 3), np.float32) for k in ("colors", "albedo")}
    rest |= {k: np.ones(n, np.float32) for k in ("opacities", "blend")}
    made = CanonicalGaussians(
        **rest, uv_size=FINEST, joints=np.zeros((55, 3)), betas=betas, identity_map=np.zeros((1, 1, 1))
    )
    tongue = samples.part == 1
    out = with_teeth(
        made, np.full(3, 0.7), np.array([0.6, 0.3, 0.3]), ~samples.inside & (samples.part == 0), tongue
    )
    assert len(out.means) == n + len(table().drawn) and out.teeth is not None
    np.testing.assert_array_equal(out.scales[:n][~tongue], made.scales[~tongue])
    near = cKDTree(out.means[n:]).query(out.means[:n])[0]
    assert (out.scales[:n][tongue & (near < 0.004)] < 0.004).all() and (tongue & (near < 0.004)).any()
    weights = out.weights[n:]
    lower = table().lower[table().quads[table().drawn, 0]]
    assert (weights[lower, JOINT_INDEX["jaw"]] == 1).all() and (
        weights[~lower, JOINT_INDEX["head"]] == 1
    ).all()

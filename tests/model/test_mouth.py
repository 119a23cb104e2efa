"""The inside of the mouth: hidden while it is closed, all that an open one shows, dark and red."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.body.names import ARKIT_INDEX
from lca_core.model import mouth
from lca_core.model.density import FINEST, Samples, plan
from lca_core.model.raster import depth_buffer
from lca_core.model.surface import array
from lca_core.model.template import Template


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(64)


@pytest.fixture(scope="module")
def samples(template: Template) -> Samples:
    return plan(template, 256)


def first_faces(template: Template, jaw: float, yaw: float) -> np.ndarray:
    """Numbers of the triangles seen in an area around the lips, at half a millimetre."""
    shape = torch.zeros(1, 52)
    shape[0, ARKIT_INDEX["jawOpen"]] = jaw
    vertices = array(template.body.rest(torch.zeros(1, 50), shape)[0])[0]
    centre = vertices[mouth.rim(template)].mean(0)
    c, s = np.cos(yaw), np.sin(yaw)
    x, y = (vertices - centre) @ np.array([c, 0, -s]), -(vertices - centre)[:, 1]
    away = 1 - (vertices - centre) @ np.array([s, 0, c])
    pixels = np.column_stack([x / 5e-4 + 60, y / 5e-4 + 60, away]).astype(np.float32)
    near = np.flatnonzero(np.linalg.norm(vertices[template.faces].mean(1) - centre, axis=1) < 0.14)
    depth = depth_buffer(pixels, template.faces[near], 120, 120)
    out = np.full((120, 120), -1)
    for face in near:
        own = depth_buffer(pixels, template.faces[face : face + 1], 120, 120)
        out[np.isfinite(own) & (own <= depth)] = face
    return out


def test_the_mouth_is_one_bag_behind_the_lips(template: Template) -> None:
    inside, shown = mouth.mouth_faces(template), mouth.shown_faces(template)
    assert inside.any() and (inside | ~shown).all() and 0.3 < shown.sum() / inside.sum() < 0.95
    vertices = array(template.body.rest(torch.zeros(1, 50), None)[0])[0]
    rim = vertices[mouth.rim(template)]
    assert np.ptp(rim[:, 1]) < 0.004, "lips are closed at rest"
    assert vertices[template.faces[inside]].mean(1)[:, 2].max() < rim[:, 2].max()


@pytest.mark.parametrize("yaw", [0.0, 0.6])
def test_closed_lips_hide_it_and_an_open_mouth_shows_nothing_else(template: Template, yaw: float) -> None:
    shown, tongue = mouth.shown_faces(template), (array(template.body.part)[template.faces] == 1).all(1)
    closed = first_faces(template, 0.0, yaw)
    seam = np.nonzero(mouth.mouth_faces(template)[closed] & (closed >= 0))[0]
    assert np.abs(seam - 60).max() < 3, "at most the line between the lips"
    opened = first_faces(template, 0.8, yaw)
    inner = mouth.mouth_faces(template)[opened] & (opened >= 0)
    assert inner.sum() > 300
    assert shown[opened[inner]].all(), "every place that shows carries Gaussians"
    assert tongue[opened[opened >= 0]].any()


def test_it_costs_little_and_other_inner_surfaces_carry_nothing(template: Template, samples: Samples) -> None:
    assert 800 < samples.inside.sum() + (samples.part == 1).sum() < 2200
    assert not samples.inside[samples.eyes].any()
    body = template.body
    socket = array(body.cavity)[template.faces].all(1) & ~mouth.mouth_faces(template)
    u, v = array(body.uvs)[array(body.face_uvs)[np.flatnonzero(socket)[0]]].mean(0)
    with pytest.raises(InvalidInputError, match="outside"):
        Samples(template, np.array([int((1 - v) * FINEST)]), np.array([int(u * FINEST)]), FINEST)


def test_it_is_painted_in_the_hue_of_the_lips_darker_with_depth(template: Template, samples: Samples) -> None:
    vertices = array(template.body.rest(torch.zeros(1, 50), None)[0])[0]
    place, lips = samples.on_texels(vertices), vertices[mouth.rim(template)]
    depth = np.linalg.norm(place[:, None] - lips[None], axis=2).min(1)
    color = np.tile(np.float32([0.8, 0.7, 0.6]), (samples.count, 1))
    color[depth < 0.01] = 0.75, 0.35, 0.40
    out = mouth.paint_mouth(samples, color, np.ones(samples.count))
    painted = samples.inside | (samples.part == 1)
    np.testing.assert_array_equal(out[~painted], color[~painted])
    assert (out[samples.inside, 0] < 0.75).all() and (out[painted, 0] > out[painted, 1]).all()
    order = np.argsort(depth[samples.inside])
    assert (np.diff(out[samples.inside][order, 0]) < 1e-6).all()
    deep = samples.inside & (depth > 0.04)
    assert out[deep].max() < 0.2
    pale = mouth.paint_mouth(samples, np.where(color == np.float32(0.35), np.float32(0.5), color),
                             np.ones(samples.count))  # fmt: skip
    assert pale[painted, 1].sum() > out[painted, 1].sum(), "paler lips, a paler mouth"


def test_the_inside_of_a_closed_mouth_stays_behind_the_skin(samples: Samples) -> None:
    position = samples._rest(torch.zeros(50))[0].numpy()
    skin = (samples.part == 0) & ~samples.inside
    scales = np.full((samples.count, 3), 0.002, np.float32)
    out = mouth.kept_within(position, scales, samples.inside, skin)
    gap = np.linalg.norm(
        position[samples.inside][:, None] - position[skin & (position[:, 1] > 0)][None], axis=2
    )
    reach = 3 * out[samples.inside].max(1)
    assert (reach <= np.maximum(gap.min(1), 0.0007)).all()
    assert (out[samples.inside] == scales[samples.inside]).any(), "deep inside there is room"
    np.testing.assert_array_equal(out[~samples.inside], scales[~samples.inside])

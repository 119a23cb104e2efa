"""Laws of the fit to the masks' outline: on an ellipsoid whose clothed shape is known, and on single rays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lca_core.body.names import JOINT_INDEX
from lca_core.model.assemble import canonical_gaussians
from lca_core.model.config import PRESETS
from lca_core.model.network import LCAModel
from lca_core.model.silhouette import (
    INSET_M,
    INWARD_M,
    STEP_M,
    UNSURE,
    _gaps,
    fit_outline,
    reach_outline,
    surface_graph,
)
from lca_core.model.template import Template

CONFIG = PRESETS["tiny"]


def worn(scenes, views: int, scale: float, size: int = 256):
    """References that claim the ellipsoid while their pictures show it ``scale`` times as large."""
    ks, viewmats = scenes.cameras(views, size)
    seen = viewmats.copy()
    seen[:, :3, 3] /= scale
    pictures = [scenes.render(scenes.smooth_paint, ks[i], seen[i], size) for i in range(views)]
    template = scenes.template(CONFIG.uv_size)
    return template, scenes.references(pictures, ks, viewmats, CONFIG, template)


def thickness(template, scale: float) -> np.ndarray:
    """Metres along the normal from the ellipsoid to its scaled copy, to first order."""
    position, frame, _ = (x.numpy() for x in template._rest(torch.zeros(50)))
    return (scale - 1) * np.einsum("tc,tc->t", position, frame[:, :, 2])


@pytest.mark.parametrize(("views", "scale"), [(4, 1.15), (4, 1.0), (1, 1.15)])
def test_the_outline_of_the_masks_is_met(scenes, views: int, scale: float) -> None:
    """Also from one picture: what it shows at the sides carries on to front and back."""
    template, refs = worn(scenes, views, scale)
    fitted = fit_outline(template, refs, np.zeros((template.count, 3), np.float32))
    position = template._rest(torch.zeros(50))[0].numpy()
    middle = (np.abs(position[:, 1]) < 0.3) & ~surface_graph(template).still
    wanted = thickness(template, scale) - INSET_M
    error = fitted[middle, 2] - wanted[middle]
    assert np.abs(error).mean() < (0.004 if views > 1 else 0.008)
    assert np.abs(fitted[:, :2]).max() == 0


def test_a_wrong_prediction_is_pulled_in(scenes) -> None:
    template, refs = worn(scenes, 4, 1.0)
    thick = np.zeros((template.count, 3), np.float32)
    thick[:, 2] = 0.03
    fitted = fit_outline(template, refs, thick)
    middle = np.abs(template._rest(torch.zeros(50))[0].numpy()[:, 1]) < 0.3
    assert np.abs(fitted[middle, 2]).mean() < 0.006


def test_faces_hands_and_what_a_skirt_hides_stay(scenes) -> None:
    template, refs = worn(scenes, 2, 1.15)
    graph = surface_graph(template)
    start = np.full((template.count, 3), 0.004, np.float32)
    assert graph.still.any() and graph.legs.any()
    assert np.array_equal(fit_outline(template, refs, start)[graph.still], start[graph.still])
    hidden = graph.still | graph.legs
    assert np.array_equal(fit_outline(template, refs, start, skirt=True)[hidden], start[hidden])


def test_gaussians_lie_on_the_clothes_that_the_masks_show(scenes) -> None:
    """Through the whole creation with an untrained network, whose clothes have no thickness."""
    torch.manual_seed(0)
    template, refs = worn(scenes, 4, 1.15, size=192)
    net = LCAModel(CONFIG, template).eval()
    wide, tight = (canonical_gaussians(net, refs, texture_size=64, outline=on) for on in (True, False))
    levels = []
    for g in (wide, tight):
        middle = np.abs(g.means[:, 1]) < 0.2
        levels.append(np.linalg.norm(g.means[middle] / scenes.ellipsoid.RADII, axis=1).mean())
    assert abs(levels[0] - 1.15) < 0.025 and abs(levels[1] - 1.0) < 0.025


def test_gaussians_grow_with_the_clothes(scenes) -> None:
    """Or the skin shows between them: 15 % wider clothes stretch every texel by as much."""
    _, refs = worn(scenes, 4, 1.15)
    template = scenes.template(64)
    maps = SimpleNamespace(offset=torch.zeros(1, 3, 64, 64), log_scale=torch.zeros(1, 3, 64, 64))
    reach_outline(template, refs, maps, skirt=False)
    waist = maps.log_scale[0, 0, 24:40]
    assert abs(float(waist.mean()) - np.log(1.15)) < 0.03
    assert float(maps.log_scale[0, 2].abs().max()) == 0


def test_cheeks_and_neck_of_the_real_body_are_still_and_hair_is_not() -> None:
    template = Template.load(128)
    position, _, joints = (x.numpy() for x in template._rest(torch.zeros(50)))
    still = surface_graph(template).still
    eye = joints[JOINT_INDEX["left_eye_smplhf"]]
    head = template.weights[:, JOINT_INDEX["head"]] > 0.9
    # Sides of the head level with the mouth and with the forehead, in front of the ears.
    wide = head & (np.abs(position[:, 0]) > 0.04) & (position[:, 2] > eye[2] - 0.07)
    assert still[wide & (position[:, 1] < eye[1] - 0.02)].all()
    assert not still[head & (position[:, 1] > eye[1] + 0.05) & (position[:, 2] < eye[2] - 0.1)].any()
    assert still[template.weights[:, JOINT_INDEX["neck"]] > 0.6].all()


def ray(*spans: tuple[float, float]) -> np.ndarray:
    """Coverage [1,K] along a ray that is 1 inside the ``spans`` of metres."""
    t = np.arange(-INWARD_M, 0.14 + STEP_M / 2, STEP_M)
    return np.stack([sum(((t >= a) & (t < b)).astype(np.float32) for a, b in spans)])


@pytest.mark.parametrize(
    ("body", "mask", "gap", "sure"),
    [
        (ray((-1, 0.0)), ray((-1, 0.05)), 0.05, 1.0),
        (ray((-1, 0.0)), ray((-1, -0.03)), -0.03, 1.0),
        (ray((-1, 0.0), (0.08, 1)), ray((-1, 1)), 0.04, UNSURE),
        (ray((-1, 0.0), (0.08, 1)), ray((-1, 0.02), (0.07, 1)), 0.02, 1.0),
        (ray((-1, 1)), ray((-1, 0.02)), None, 0.0),
        (ray((-1, 0.0)), ray((0.5, 1)), None, 0.0),
    ],
    ids=["cloth", "too thick", "up to the arm", "before the arm", "no outline", "not in the mask"],
)
def test_one_ray(body: np.ndarray, mask: np.ndarray, gap: float | None, sure: float) -> None:
    found, weight = _gaps(body, mask)
    assert weight[0] == sure
    if gap is not None:
        assert abs(found[0] - gap) < STEP_M

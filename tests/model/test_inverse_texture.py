"""Laws of the inverse texture map, on a body whose every answer is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.model.config import PRESETS
from lca_core.model.inverse_texture import fuse, sample_views
from lca_core.model.raster import depth_buffer
from lca_core.model.references import collate, prepare_references

CONFIG = PRESETS["tiny"]


def painted(scenes, views: int, size: int = 192, paint=None, first: float = 0.0):
    paint = paint or scenes.smooth_paint
    ks, viewmats = scenes.cameras(views, size, first=first)
    pictures = [scenes.render(paint, ks[i], viewmats[i], size) for i in range(views)]
    template = scenes.template(CONFIG.uv_size)
    return template, scenes.references(pictures, ks, viewmats, CONFIG, template)


def truth(scenes, template) -> torch.Tensor:
    atlas = template.atlas
    return torch.from_numpy(scenes.smooth_paint(atlas.u, atlas.v)).permute(2, 0, 1).float()


@pytest.mark.parametrize("size", [32, 64])
def test_visible_texels_get_their_own_colour(scenes, size: int) -> None:
    template, refs = painted(scenes, 4)
    template = template.at(size)
    views = sample_views(template, refs)
    seen = (views.hit[0, 0] > 0.6).numpy()
    error = (views.color[0] - truth(scenes, template)).abs().mean(0).numpy()
    assert seen.sum() > 0.5 * template.carries.sum()
    assert np.median(error[seen]) < 0.015
    assert np.quantile(error[seen], 0.98) < 0.06


def test_texels_facing_away_are_not_hit(scenes) -> None:
    template, refs = painted(scenes, 1)
    views = sample_views(template, refs)
    normal_z = template.rest(torch.zeros(1, 50)).normal[0, 2]
    # One camera in front, 3 m away: what faces backwards cannot be seen, what faces it squarely must be.
    assert float(views.hit[0, 0][(normal_z < 0) & template.carries_map[0, 0].bool()].max()) == 0
    assert float(views.hit[0, 0][normal_z > 0.9].min()) > 0.9
    assert float(views.weight[views.hit[:, :1].expand_as(views.weight) == 0].abs().max()) == 0


def test_weights_are_a_partition(scenes) -> None:
    template, refs = painted(scenes, 5)
    views = sample_views(template, refs)
    total = views.weight.sum(1)[0]
    hit = views.hit[0, 0] > 0
    assert torch.allclose(total[hit], torch.ones_like(total[hit]), atol=1e-5)
    assert float(total[~hit].abs().max()) == 0


def test_fusion_prefers_the_frontal_view_over_an_average(scenes) -> None:
    """A view 60 degrees off with wrong exposure must hardly tint what a frontal view sees."""
    size = 192
    ks, viewmats = scenes.cameras(6, size)
    first = scenes.render(scenes.smooth_paint, ks[0], viewmats[0], size)
    second = scenes.render(lambda u, v: scenes.smooth_paint(u, v) * 0.3, ks[1], viewmats[1], size)
    template = scenes.template(CONFIG.uv_size)
    zeros = np.zeros((2, 55, 3)), np.zeros((2, 3)), np.zeros((2, 52)), np.zeros((2, 2, 2)), np.zeros(50)
    refs = prepare_references(
        [first[0], second[0]], [first[1], second[1]], ks[:2], viewmats[:2], *zeros, CONFIG, template
    )
    views = sample_views(template, refs)
    frontal = template.rest(torch.zeros(1, 50)).normal[0, 2] > 0.95
    error = (views.color[0] - truth(scenes, template)).abs().mean(0)[frontal]
    assert float(error.mean()) < 0.02


def test_an_occluder_hides_what_is_behind_it(scenes) -> None:
    """The z-buffer decides: a triangle in front leaves its depth, everything else keeps infinity."""
    points = np.array([[2, 2, 1.0], [14, 2, 1.0], [2, 14, 1.0]], np.float32)
    depth = depth_buffer(points, np.array([[0, 1, 2]], np.int32), 16, 16)
    assert depth[3, 3] == pytest.approx(1.0)
    assert np.isinf(depth[14, 14])
    behind = np.concatenate([points, points + np.float32([0, 0, 1])])
    both = depth_buffer(behind, np.array([[3, 4, 5], [0, 1, 2]], np.int32), 16, 16)
    np.testing.assert_array_equal(both, depth)


def test_dressed_projection_follows_the_offset(scenes) -> None:
    """Texels lifted by d along the normal are looked up where the lifted surface projects."""
    template, refs = painted(scenes, 1)
    offset = torch.zeros(1, 3, CONFIG.uv_size, CONFIG.uv_size)
    offset[:, 2] = 0.05
    rest = template.rest(torch.zeros(1, 50))
    lifted = rest.position[0] + 0.05 * rest.normal[0]
    k, view = refs.Ks[0, 0], refs.viewmats[0, 0]
    camera = torch.einsum("ij,jhw->ihw", view[:3, :3], lifted) + view[:3, 3, None, None]
    pixels = torch.einsum("ij,jhw->ihw", k, camera / camera[2:])[:2]
    expected = pixels / refs.images.shape[-1] * 2 - 1
    grid = sample_views(template, refs, offset).grid[0, 0].permute(2, 0, 1)
    carries = template.carries_map[0, 0].bool()
    assert float((grid - expected)[:, carries].abs().max()) < 2e-3


def test_view_order_and_padding_do_not_matter(scenes) -> None:
    template, refs = painted(scenes, 3)
    padded = collate([refs, painted(scenes, 5)[1]])
    views, turned = sample_views(template, refs), sample_views(template, refs.select([2, 0, 1]))
    both = sample_views(template, padded)
    for name in ("color", "hit", "cosine", "variance"):
        torch.testing.assert_close(getattr(views, name), getattr(turned, name))
        torch.testing.assert_close(getattr(views, name), getattr(both, name)[:1])


def test_features_are_fused_where_colours_are(scenes) -> None:
    """Fusing the crop itself as a feature map gives nearly the colours of the texture map."""
    template, refs = painted(scenes, 4)
    views = sample_views(template, refs)
    fused = fuse(refs.images, views)
    seen = views.hit[0, 0] > 0.95
    assert float((fused - views.color)[0][:, seen].abs().mean()) < 0.05


def test_bad_input_names_cause_and_cure(scenes) -> None:
    template, refs = painted(scenes, 1)
    source = refs.sources[0][0]
    one = np.zeros((1, 55, 3)), np.zeros((1, 3)), np.zeros((1, 52)), np.zeros((1, 2, 2)), np.zeros(50)
    k, view = source.K[None], refs.viewmats[0].numpy()
    with pytest.raises(InvalidInputError, match="No reference frames"):
        prepare_references([], [], k[:0], view[:0], *one, CONFIG, template)
    with pytest.raises(InvalidInputError, match="masks has 2"):
        prepare_references([source.image], [source.mask] * 2, k, view, *one, CONFIG, template)
    with pytest.raises(InvalidInputError, match="expected uint8"):
        prepare_references([source.image / 255.0], [source.mask], k, view, *one, CONFIG, template)
    behind = view.copy()
    behind[0, 2, 3] -= 10
    with pytest.raises(InvalidInputError, match="behind"):
        prepare_references([source.image], [source.mask], k, behind, *one, CONFIG, template)

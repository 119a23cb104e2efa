"""From references to canonical Gaussians: on the analytic body, then on the real one; weights on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lca.errors import DataLossError, InvalidInputError, NotFoundError, PreconditionError
from lca_core.body.rotation import axis_angle_to_matrix, quaternion_to_matrix
from lca_core.model.assemble import Corrector, canonical_gaussians, place, resize_valid
from lca_core.model.checkpoint import load_model, save_weights, weights_path
from lca_core.model.config import PRESETS
from lca_core.model.density import plan
from lca_core.model.network import LCAModel
from lca_core.model.skinning import COARSE_OF_JOINT, residual_weights
from lca_core.model.template import Template

TINY = PRESETS["tiny"]


def person(scenes, template, config, views: int = 4, size: int = 128):
    ks, viewmats = scenes.cameras(views, size)
    pictures = [scenes.render(scenes.smooth_paint, ks[i], viewmats[i], size) for i in range(views)]
    return scenes.references(pictures, ks, viewmats, config, template)


@pytest.fixture(scope="module")
def made(scenes):
    torch.manual_seed(0)
    template = scenes.template(TINY.uv_size)
    net = LCAModel(TINY, template).eval()
    return net, canonical_gaussians(net, person(scenes, template, TINY), texture_size=64, outline=False)


def test_gaussians_are_well_formed(made) -> None:
    net, g = made
    n = len(g.means)
    assert n > 0.8 * plan(net.template, 64).count
    for name, width in (
        ("means", 3),
        ("quats", 4),
        ("scales", 3),
        ("colors", 3),
        ("albedo", 3),
        ("weights", 55),
    ):
        value = getattr(g, name)
        assert value.shape == (n, width) and np.isfinite(value).all()
    assert (g.scales > 0).all() and (g.scales < 0.1).all()
    np.testing.assert_allclose(np.linalg.norm(g.quats, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(g.weights.sum(1), 1, atol=1e-5)
    assert (g.colors >= 0).all() and (g.colors <= 1).all() and (g.opacities > 0).all()
    assert g.identity_map.shape == (TINY.identity_channels, TINY.uv_size, TINY.uv_size)


def test_untrained_gaussians_lie_on_the_body_in_the_photographed_colours(made, scenes) -> None:
    _, g = made
    rows, cols = g.texel.T
    u, v = (cols + 0.5) / g.uv_size, 1 - (rows + 0.5) / g.uv_size
    assert np.abs(g.means - scenes.ellipsoid.surface(u, v)).max() < 0.01
    paint = scenes.smooth_paint(u, v)
    seen = g.blend < 0.2
    assert seen.mean() > 0.5
    assert np.abs(g.colors - paint)[seen].mean() < 0.03


def test_cavities_carry_no_gaussians(made) -> None:
    _, g = made
    v = 1 - (g.texel[:, 0] + 0.5) / g.uv_size
    assert v.min() >= 0.1 and v.min() < 0.12  # the lowest tenth of the ellipsoid is its cavity


def test_gaussians_are_flat_and_face_outwards(made) -> None:
    _, g = made
    axes = quaternion_to_matrix(torch.from_numpy(g.quats)).numpy()
    outwards = g.means / np.array([0.25, 0.8, 0.2]) ** 2
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert (np.einsum("ni,ni->n", axes[:, :, 2], outwards) > 0.97).all()
    assert (g.scales[:, 2] < g.scales[:, :2].mean(1)).all()


def test_offsets_move_along_the_tangent_frame(scenes) -> None:
    samples = plan(scenes.template(32), 32)
    position, axes, _ = samples._rest(torch.zeros(50))
    spacing = torch.from_numpy(samples.spacing(torch.zeros(50)))
    t = samples.count
    unit = torch.tensor([1.0, 0, 0, 0]).expand(t, 4)
    offset = torch.zeros(t, 3)
    offset[:, 2] = 0.03
    means, quats, scales = place(position, axes, spacing, offset, unit, torch.zeros(t, 3))
    torch.testing.assert_close(means - position, 0.03 * axes[:, :, 2], atol=1e-6, rtol=0)
    doubled = place(position, axes, spacing, offset, unit, torch.full((t, 3), float(np.log(2))))[2]
    torch.testing.assert_close(doubled, 2 * scales)
    torch.testing.assert_close(quaternion_to_matrix(quats), axes, atol=1e-4, rtol=0)


def test_resize_keeps_constants_and_ignores_invalid_texels() -> None:
    valid = torch.zeros(1, 1, 8, 8)
    valid[..., :5] = 1
    values = torch.where(valid > 0, torch.tensor(0.7), torch.tensor(1e6))
    out = resize_valid(values, valid, 16)
    assert float((out[..., :11] - 0.7).abs().max()) < 1e-5


def test_body_outside_the_picture_is_reported(scenes) -> None:
    template = scenes.template(TINY.uv_size)
    net = LCAModel(TINY, template)
    refs = person(scenes, template, TINY, views=1)
    refs.transl[:] = torch.tensor([30.0, 0, 0])
    with pytest.raises(PreconditionError, match="does not match"):
        canonical_gaussians(net, refs, texture_size=32)


def shaken(net: LCAModel) -> LCAModel:
    """Corrections large enough to compare."""
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in net.correction.heads.parameters():
            p.add_(torch.randn(p.shape, generator=g) * 0.05)
    return net


def test_corrector_equals_the_network(made) -> None:
    """At the network's own texels the stored-avatar path is its correction turned into rest space."""
    net, g = made
    shaken(net)
    template = net.template
    step = 8  # texel centres of the network's grid fall between texels of an even multiple of it
    texel = np.stack([template.rows, template.cols], 1) * 2 * step + step
    corrector = Corrector(net, g.identity_map, g.betas, texel, template.size * 2 * step)
    rng = np.random.default_rng(0)
    pose, gaze = rng.normal(0, 0.3, (55, 3)), np.zeros((2, 2))
    out = corrector(pose, np.zeros(52), gaze)
    identity = net.restore(torch.from_numpy(g.identity_map)[None], torch.from_numpy(g.betas)[None])
    one = [torch.as_tensor(x, dtype=torch.float32)[None] for x in (pose, np.zeros(52), gaze)]
    with torch.no_grad():
        maps = net.correct(identity, *one)
    learned = template.gather(maps.offset)[0].numpy()
    local = np.einsum("nba,nb->na", corrector.frame.numpy(), out.means)
    # Half a fine texel away from the centre, a sixteenth of a texel, the bilinear value differs a little.
    near = 0.3 * np.abs(learned).mean()
    assert np.abs(local - learned).mean() < near
    assert np.abs(out.log_scales - template.gather(maps.log_scale)[0].numpy()).mean() < 0.02
    with pytest.raises(InvalidInputError, match="outside"):
        Corrector(net, g.identity_map, g.betas, np.array([[0, 0]]), template.size)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_skin_residual_keeps_weights_a_partition(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    weights = torch.rand(7, 55, generator=g) * (torch.rand(7, 55, generator=g) > 0.8)
    weights[:, 0] += 0.1
    weights = weights / weights.sum(1, keepdim=True)
    torch.testing.assert_close(residual_weights(weights, torch.zeros(7, 24)), weights)
    out = residual_weights(weights, torch.randn(7, 24, generator=g))
    assert bool((out >= 0).all())
    torch.testing.assert_close(out.sum(1), torch.ones(7))
    # A hand never learns to follow a thigh: joints without weight stay without, legs and pelvis excepted.
    outside = (weights == 0) & (torch.arange(55) > 5)
    assert float(out[outside].abs().max()) == 0


def test_coarse_joints_cover_hands_and_head() -> None:
    assert len(COARSE_OF_JOINT) == 55 and set(COARSE_OF_JOINT) == set(range(24))
    assert COARSE_OF_JOINT[22] == COARSE_OF_JOINT[23] == 15
    assert {COARSE_OF_JOINT[j] for j in range(25, 40)} == {22}


def test_weights_round_trip(tmp_path, scenes) -> None:
    template = scenes.template(TINY.uv_size)
    torch.manual_seed(1)
    net = LCAModel(TINY, template).eval()
    digest = save_weights(tmp_path / "w.safetensors", net.state_dict(), TINY, {"step": "7"})
    back = load_model(path=tmp_path / "w.safetensors", template=template)
    assert back.config == TINY and back.info.sha256 == digest
    assert back.info.metadata["step"] == "7"
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o444 == 0o444
    for (name, a), b in zip(net.state_dict().items(), back.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3, msg=name)
    refs = person(scenes, template, TINY)
    with torch.no_grad():
        difference = net.encode(refs).identity_map - back.encode(refs).identity_map
    assert float(difference.abs().max()) < 5e-3


def test_weights_errors_name_the_cure(tmp_path) -> None:
    with pytest.raises(NotFoundError, match="pretrain --config lca-s") as caught:
        load_model("lca-s", path=tmp_path / "missing.safetensors")
    assert caught.value.reason == "WEIGHTS_NOT_FOUND"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a weight file")
    with pytest.raises(DataLossError, match="not a readable"):
        load_model(path=broken)
    with pytest.raises(InvalidInputError, match="diverged"):
        save_weights(tmp_path / "nan.safetensors", {"a": torch.tensor([float("nan")])}, TINY)


def test_real_body_template() -> None:
    """The shipped body on its grid: frames are rotations, expressions move the face only, spacing is sane."""
    template = Template.load(128)
    rest = template.rest(torch.zeros(1, 50))
    frames = rest.frame.flatten(1, 2)[0, template._flat]
    eye = torch.eye(3).expand(template.count, 3, 3)
    assert float((frames.transpose(1, 2) @ frames - eye).abs().max()) < 1e-3
    assert 0.002 < float(template.gather(rest.spacing).median()) < 0.02
    smile = torch.zeros(1, 52)
    smile[0, 17] = 1  # jawOpen
    moved = template.gather(template.corrective(torch.zeros(1, 50), torch.zeros(1, 55, 3), smile))[0]
    length = moved.norm(dim=1)
    head = torch.from_numpy(template.weights[:, [15, 22, 12]].sum(1) > 0.01)
    assert float(length.max()) > 0.02
    assert float(length[~head].max()) < 2e-3


@pytest.mark.skipif(not weights_path().exists(), reason="no shipped weights")
def test_shipped_weights_load_and_say_what_they_are() -> None:
    net = load_model()
    assert net.config == PRESETS["lca-xs"]
    card = weights_path().with_suffix(".md").read_text()
    assert net.info.sha256 in card


def test_template_displacement_is_that_of_the_body() -> None:
    """Adding the corrective to the rest texels and skinning them gives the texels of the posed mesh."""
    template = Template.load(128)
    g = torch.Generator().manual_seed(0)
    betas, pose = torch.randn(1, 50, generator=g), torch.randn(1, 55, 3, generator=g) * 0.3
    expression = torch.rand(1, 52, generator=g)
    posed = template.body.forward(betas, pose, torch.zeros(1, 3), expression)
    truth = template.on_texels(posed.vertices[0].numpy())
    # "Skin, then interpolate" differs from "interpolate, then skin" inside a triangle: the exact
    # comparison is in rest space, where both are linear.
    rest = template.gather(template.rest(betas).position)[0]
    moved = rest + template.rest_corrective(pose, expression)[0]
    shaped = posed.rest_vertices[0].clone()
    shaped[template.body.pose_rows] += template.body.pose_correctives(axis_angle_to_matrix(pose))[0]
    torch.testing.assert_close(moved, torch.from_numpy(template.on_texels(shaped.numpy())), atol=2e-6, rtol=0)
    blended = (torch.from_numpy(template.weights) @ posed.transforms[0].flatten(1)).view(-1, 4, 4)
    skinned = (blended[:, :3, :3] @ moved[..., None])[..., 0] + blended[:, :3, 3]
    assert float((skinned - torch.from_numpy(truth)).norm(dim=1).quantile(0.99)) < 2e-3

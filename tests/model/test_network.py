"""Laws of the networks: symmetries, gradients, what may depend on what."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.model.codes import pose_code
from lca_core.model.config import PRESETS, ModelConfig, preset
from lca_core.model.network import LCAModel, parameter_count
from lca_core.model.paper import TokenModel
from lca_core.model.references import References, prepare_references
from lca_core.model.transformer import layer_rates

TINY = PRESETS["tiny"]


def references(scenes, views: int, config: ModelConfig = TINY) -> References:
    size = 64
    ks, viewmats = scenes.cameras(views, size)
    pictures = [scenes.render(scenes.smooth_paint, ks[i], viewmats[i], size) for i in range(views)]
    rng = np.random.default_rng(3)
    return prepare_references(
        [p[0] for p in pictures],
        [p[1] for p in pictures],
        ks,
        viewmats,
        rng.normal(0, 0.02, (views, 55, 3)),
        np.zeros((views, 3)),
        rng.uniform(0, 0.5, (views, 52)),
        np.zeros((views, 2, 2)),
        np.zeros(50),
        config,
        scenes.template(config.uv_size),
    )


def model(scenes, config: ModelConfig = TINY, seed: int = 0, shake: bool = True) -> LCAModel:
    """A tiny network; ``shake`` fills the zero heads so that nothing passes because it is zero."""
    torch.manual_seed(seed)
    net = LCAModel(config, scenes.template(config.uv_size))
    if shake:
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.randn_like(p) * 0.05)
    return net


def drive(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(1, 55, 3, generator=g) * 0.3,
        torch.rand(1, 52, generator=g),
        torch.randn(1, 2, 2, generator=g) * 0.2,
    )


def test_forward_and_backward_are_finite_and_reach_every_weight(scenes) -> None:
    net = model(scenes)
    refs = references(scenes, 2)
    identity = net.encode(refs)
    maps = net.canonical(identity)
    correction = net.correct(identity, *drive())
    code = net.expressions(refs.faces[:, 0], refs.face_masks[:, 0])
    parts = [*vars(maps).values(), *vars(correction).values(), code]
    assert all(bool(torch.isfinite(p).all()) for p in parts)
    sum(p.square().mean() for p in parts if p.requires_grad).backward()
    missing = [
        n for n, p in net.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())
    ]
    assert missing == ["expressions.where.bias"], "which a softmax does not see; it is frozen"
    assert maps.offset.shape == (1, 3, TINY.uv_size, TINY.uv_size)
    assert torch.allclose(maps.quat.norm(dim=1), torch.ones(1, TINY.uv_size, TINY.uv_size), atol=1e-5)
    assert float(maps.offset.detach().abs().max()) <= TINY.offset_limit


def test_untrained_network_is_template_with_copied_colours(scenes) -> None:
    net = model(scenes, shake=False)
    identity = net.encode(references(scenes, 4))
    maps = net.canonical(identity)
    correction = net.correct(identity, *drive())
    assert float(maps.offset.detach().abs().max()) == 0
    assert float((correction.offset - correction.template_offset).detach().abs().max()) == 0
    seen = (identity.hit > 0.95).expand_as(maps.color)
    assert float((maps.color - maps.copied)[seen].detach().abs().max()) < 0.05
    assert float((maps.opacity.detach() - torch.sigmoid(torch.tensor(3.0))).abs().max()) < 1e-6


@pytest.mark.parametrize("views", [1, 2, 3, 8])
def test_any_number_of_views(scenes, views: int) -> None:
    maps = model(scenes).canonical(model(scenes).encode(references(scenes, views)))
    assert bool(torch.isfinite(maps.color).all())


@pytest.mark.parametrize("image_attn", ["per_image", "all_images"])
@pytest.mark.parametrize("mix", ["joint", "cross"])
def test_order_of_views_does_not_matter(scenes, image_attn, mix) -> None:
    net = model(scenes, TINY.replace(image_attn=image_attn, mix=mix)).eval()
    refs = references(scenes, 4)
    with torch.no_grad():
        a, b = net.encode(refs), net.encode(refs.select([3, 1, 0, 2]))
    torch.testing.assert_close(a.identity_map, b.identity_map, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(a.heads, b.heads, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("image_attn", ["per_image", "all_images"])
@pytest.mark.parametrize("mix", ["joint", "cross"])
def test_invalid_views_have_no_influence(scenes, image_attn, mix) -> None:
    net = model(scenes, TINY.replace(image_attn=image_attn, mix=mix)).eval()
    refs = references(scenes, 4)
    refs.view_valid[:, 2:] = False
    with torch.no_grad():
        full, fewer = net.encode(refs), net.encode(refs.select([0, 1]))
    torch.testing.assert_close(full.identity_map, fewer.identity_map, atol=2e-5, rtol=1e-4)


def test_attention_switches_change_the_result(scenes) -> None:
    refs = references(scenes, 3)
    results = []
    for config in (TINY, TINY.replace(image_attn="all_images"), TINY.replace(mix="cross")):
        with torch.no_grad():
            results.append(model(scenes, config).encode(refs).identity_map)
    assert float((results[0] - results[1]).abs().max()) > 1e-4
    assert float((results[0] - results[2]).abs().max()) > 1e-4


def test_identity_runs_once_and_opacity_is_fixed(scenes) -> None:
    """Frames only read the identity map: no encoder or canonical head runs, and no opacity comes out."""
    net = model(scenes).eval()
    calls = {"images": 0, "decoder": 0, "encoder": 0, "correction": 0}
    for name in calls:
        getattr(net, name).register_forward_hook(
            lambda *_, name=name: calls.__setitem__(name, calls[name] + 1)
        )
    with torch.no_grad():
        identity = net.encode(references(scenes, 2))
        before = net.canonical(identity).opacity.clone()
        frames = [net.correct(identity, *drive(i)) for i in range(3)]
        after = net.canonical(identity).opacity
    assert calls == {"images": 1, "decoder": 1, "encoder": 1, "correction": 3}
    assert torch.equal(before, after)
    assert all("opacity" not in vars(f) for f in frames)
    assert float((frames[0].offset - frames[1].offset).abs().max()) > 1e-4


def test_stored_identity_drives_like_the_live_one(scenes) -> None:
    net = model(scenes).eval()
    with torch.no_grad():
        identity = net.encode(references(scenes, 2))
        live = net.correct(identity, *drive())
        stored = net.correct(net.restore(identity.identity_map, identity.betas), *drive())
    for name, value in vars(live).items():
        torch.testing.assert_close(getattr(stored, name), value)
    with pytest.raises(InvalidInputError, match="restored"):
        net.canonical(net.restore(identity.identity_map, identity.betas))


def test_expression_moves_the_template_exactly(scenes) -> None:
    """With a fresh correction net, expression 0 lifts the head by 1 cm in rest space, whatever the frames."""
    net = model(scenes, shake=False)
    identity = net.restore(torch.zeros(1, TINY.identity_channels, 32, 32), torch.zeros(1, 50))
    expression = torch.zeros(1, 52)
    expression[0, 0] = 1
    offset = net.correct(identity, torch.zeros(1, 55, 3), expression, torch.zeros(1, 2, 2)).offset
    frame = net.template.rest(torch.zeros(1, 50)).frame
    world = torch.einsum("bhwij,bjhw->bihw", frame, offset.detach())
    head = torch.from_numpy(net.template.weights[:, 15] > 0.999)
    lifted = net.template.gather(world)[0, head]
    torch.testing.assert_close(lifted, torch.tensor([0.0, 0.01, 0.0]).expand_as(lifted), atol=1e-5, rtol=0)


def test_pose_code_ignores_root_and_jaw_and_sees_the_rest() -> None:
    pose, _, gaze = drive()
    base = pose_code(pose, gaze)
    assert base.shape == (1, 80)
    for joint in (0, 22):
        changed = pose.clone()
        changed[:, joint] += 1
        assert torch.equal(pose_code(changed, gaze), base)
    for joint in (1, 21, 25, 54):
        changed = pose.clone()
        changed[:, joint, 2] += 1
        assert not torch.equal(pose_code(changed, gaze), base)
    assert not torch.equal(pose_code(pose, gaze + 1), base)


def test_no_views_is_refused(scenes) -> None:
    net = model(scenes)
    refs = references(scenes, 2)
    refs.view_valid[:] = False
    with pytest.raises(InvalidInputError, match="no valid reference"):
        net.encode(refs)
    with pytest.raises(InvalidInputError, match="1 to 8"):
        net.encode(references(scenes, 9))


def test_paper_shape_on_the_meta_device() -> None:
    with torch.device("meta"):
        net = TokenModel(preset("lca-paper"))
    assert parameter_count(net) == 308_743_408

    def linear(inputs: int, outputs: int) -> int:
        return inputs * outputs + outputs

    d, norm = 1024, 2 * 1024
    attention = norm + 2 * linear(d, d) + linear(d, 2 * d)
    feed = norm + linear(d, 4 * d) + linear(4 * d, d)
    heads = 2 * linear(d, d) + linear(d, 8 * 14) + linear(d + 512, 512) + linear(512, 512)
    heads += linear(512, 8 * 13) + linear(d, 24) + linear(138 + 128 + 4, 512) + linear(512, 512)
    expected = linear(1536, d) + linear(63, d) + linear(d, d) + 8 * 3 * (attention + feed) + norm + heads
    assert parameter_count(net) == expected
    assert net.config.tokens * net.config.gaussians_per_token == 65_536


@pytest.mark.parametrize("checkpointing", [False, True])
def test_small_paper_model_trains_and_keeps_its_laws(checkpointing: bool) -> None:
    config = preset("lca-paper").replace(
        dim=32, layers=2, heads=4, tokens=64, feature_dim=24, pose_dim=138, expression_dim=16
    )
    torch.manual_seed(0)
    net = TokenModel(config, torch.randn(64, 3), checkpointing=checkpointing)
    images, faces = torch.rand(2, 3, 3, 8, 8), torch.rand(2, 3, 3, 8, 8)
    features = net.extract(images, faces, lambda x: x.flatten(2)[:, :, :24].contiguous())
    assert features.shape == (2, 3, 6, 24)
    valid = torch.ones(2, 3, dtype=torch.bool)
    tokens = net.encode(features, valid)
    canonical = net.canonical(tokens)
    moved = net.correct(tokens, torch.randn(2, 138), torch.randn(2, 16), torch.randn(2, 2, 2))
    assert canonical.position.shape == (2, 64, 8, 3)
    assert moved.opacity is None
    assert float(moved.position.detach().abs().max()) == 0
    loss = sum(v.square().mean() for v in vars(canonical).values())
    loss = loss + sum(v.square().mean() for v in vars(moved).values() if v is not None)
    (loss + net.skin(tokens).square().mean()).backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    turned = net.encode(features[:, [2, 0, 1]], valid)
    torch.testing.assert_close(turned, tokens, atol=1e-5, rtol=1e-4)


def test_layer_wise_learning_rates() -> None:
    rates = layer_rates(8, 0.65)
    assert rates[-1] == 1 and rates[0] == pytest.approx(0.65**7)
    assert layer_rates(8, 1.0) == [1.0] * 8
    assert layer_rates(8, 0.0) == [0.0] * 7 + [1.0]


def test_config_round_trip_and_bad_values() -> None:
    for config in PRESETS.values():
        assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InvalidInputError, match="does not know: colour"):
        ModelConfig.from_dict({**TINY.to_dict(), "colour": 1})
    with pytest.raises(InvalidInputError, match="No model preset"):
        preset("lca-xl")
    with pytest.raises(InvalidInputError, match="heads"):
        TINY.replace(heads=5)
    with pytest.raises(InvalidInputError, match="token decoder"):
        LCAModel(preset("lca-paper"))

"""Laws of rendered losses: the training avatar is the created one, gradients reach every head that pictures
can teach, windows are cuts of the whole picture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lca_core.model.assemble import Corrector, canonical_gaussians
from lca_core.model.config import PRESETS
from lca_core.model.encoders import ExpressionEncoder
from lca_core.model.inverse_texture import sample_views
from lca_core.model.network import LCAModel
from lca_core.model.references import References
from lca_core.model.resample import MapSampler
from lca_core.train.examples import Augmentation, draw_batch
from lca_core.train.frames import choose_frames, target_frames, window
from lca_core.train.image_losses import ImageWeights, image_terms, ssim_map, weighted
from lca_core.train.losses import create
from lca_core.train.render_scores import render_scores
from lca_core.train.splatting import Splatter, draw, skin
from lca_core.train.stage_b import StageBOptions, jittered, stage_b

TINY = PRESETS["tiny"]
WHITE = np.ones(3, np.float32)


@pytest.fixture(scope="module")
def setting(scenes):
    torch.manual_seed(3)
    template = scenes.template(TINY.uv_size)
    net = LCAModel(TINY, template)
    with torch.no_grad():
        # Heads start at zero: give them something to say.
        for head in (net.decoder.heads, net.correction.heads):
            head.weight.normal_(std=0.02)
    batch = draw_batch([scenes.person(0), scenes.person(1)], 3, 1, 2, TINY, template, Augmentation.none())
    return net, template, batch, Splatter(template, 32)


def frames_of(batch, template, views=(0, 1)):
    return target_frames(batch.samples[0], views, template, TINY.input_size, WHITE)


def test_reader_is_the_map_sampler_with_its_transpose_as_gradient(setting) -> None:
    _, template, _, splatter = setting
    maps = torch.rand(1, 3, 32, 32, requires_grad=True)
    values = splatter.read(maps)
    torch.testing.assert_close(values, MapSampler(template, splatter.samples)(maps.detach()))
    weight = torch.rand_like(values)
    (grad,) = torch.autograd.grad((values * weight).sum(), maps)
    # <M x, w> = <x, M' w>
    assert float((maps.detach() * grad).sum()) == pytest.approx(
        float((values.detach() * weight).sum()), rel=1e-4
    )


def test_training_and_creation_make_the_same_picture(setting) -> None:
    net, template, batch, splatter = setting
    one = {
        f.name: getattr(batch.refs, f.name)[:1] for f in dataclasses.fields(batch.refs) if f.name != "sources"
    }
    refs = References(**one, sources=batch.refs.sources[:1])
    # Detail and the fit to the outline are steps of creation alone.
    made = canonical_gaussians(net, refs, 32, passes=1, detail=0, outline=False, agree=False)
    net.eval()
    with torch.no_grad():
        maps = net.canonical(net.encode(refs, sample_views(template, refs, by_part=True)))
        avatar = splatter.rest(maps, refs, 0)
    kept = avatar.splats.opacities > 0.08
    for ours, theirs in (
        (avatar.splats.means, made.means),
        (avatar.splats.scales, made.scales),
        (avatar.splats.opacities, made.opacities),
    ):
        torch.testing.assert_close(ours[kept], torch.from_numpy(theirs), atol=1e-5, rtol=1e-4)
    # Creation chooses views by part and paints eyes; an ellipsoid has neither parts nor eyes.
    difference = (avatar.splats.colors[kept] - torch.from_numpy(made.colors)).abs()
    assert float(difference.median()) < 0.02

    frame = frames_of(batch, template)[0]
    corrector = Corrector(net, made.identity_map, made.betas, made.texel, made.uv_size)
    change = corrector(frame.pose.numpy(), frame.expression.numpy(), frame.gaze.numpy())
    with torch.no_grad():
        identity = net.restore(torch.from_numpy(made.identity_map)[None], refs.betas)
        code = net.expression_map(frame.expression[None])
        correction = net.correct_code(identity, frame.pose[None], code, frame.gaze[None])
        shaped = splatter.shaped(avatar, frame.pose, frame.expression)
        moved = splatter.corrected(shaped, correction).splats
    torch.testing.assert_close(
        (moved.means - avatar.splats.means)[kept], torch.from_numpy(change.means), atol=1e-5, rtol=1e-3
    )
    torch.testing.assert_close(
        (moved.colors - avatar.splats.colors)[kept], torch.from_numpy(change.colors), atol=1e-5, rtol=1e-3
    )


def test_posed_gaussians_lie_where_the_body_is(setting) -> None:
    net, template, batch, splatter = setting
    with torch.no_grad():
        _, maps = create(net, batch)
        bare = dataclasses.replace(maps, offset=torch.zeros_like(maps.offset))
        avatar = splatter.rest(bare, batch.refs, 0)
        for view, frame in zip((0, 1), frames_of(batch, template), strict=True):
            posed = splatter.posed(splatter.shaped(avatar, frame.pose, frame.expression), frame.transforms)
            sample = batch.samples[0]
            one = slice(view, view + 1)
            true = splatter.samples.posed(
                sample["betas"], sample["pose"][one], sample["transl"][one], sample["expression"][one]
            )[0].position
            assert float((posed.means - torch.from_numpy(true)).norm(dim=1).median()) < 2e-3


def test_pictures_teach_every_head_and_both_branches(setting) -> None:
    net, _, batch, splatter = setting
    net.zero_grad()
    smiles = np.full_like(batch.samples[0]["expression"], 0.4)
    batch = dataclasses.replace(batch, samples=[dict(s, expression=smiles) for s in batch.samples])
    total, terms = stage_b(
        net, batch, splatter, np.random.default_rng(1), options=StageBOptions(frames=2, people=2)
    )
    total.backward()
    assert np.isfinite(float(total.detach())) and {"cano_l1", "pose_l1", "read", "acap", "asap"} <= set(terms)
    heads = net.correction.heads.weight.grad
    assert heads is not None
    for part in heads.split((3, 4, 3, 3)):
        assert float(part.abs().max()) > 0
    for name in ("decoder.heads.weight", "expression_map.weight", "images.face_out.weight"):
        grad = net.get_parameter(name).grad
        assert grad is not None and float(grad.abs().max()) > 0, name


def test_single_branch_leaves_the_correction_alone(setting) -> None:
    net, _, batch, splatter = setting
    net.zero_grad()
    total, terms = stage_b(net, batch, splatter, np.random.default_rng(1), options=StageBOptions(dual=False))
    total.backward()
    assert not any(k.startswith("pose_") for k in terms)
    grad = net.correction.heads.weight.grad
    assert grad is None or float(grad.abs().max()) == 0


def test_a_few_steps_of_stage_b_bring_the_picture_nearer(scenes) -> None:
    torch.manual_seed(0)
    template = scenes.template(TINY.uv_size)
    net, people = LCAModel(TINY, template), [scenes.person(0)]
    splatter, options = Splatter(template, 32), StageBOptions(frames=2, people=1)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)

    def step() -> float:
        batch = draw_batch(people, 0, 1, 1, TINY, template, Augmentation.none())
        total, terms = stage_b(net, batch, splatter, np.random.default_rng(0), options=options)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return terms["pose_l1"] + terms["pose_alpha"]

    first = step()
    for _ in range(12):
        last = step()
    assert last < 0.8 * first


def test_a_window_is_a_cut_of_the_whole_picture(setting) -> None:
    net, template, batch, splatter = setting
    frame = frames_of(batch, template)[0]
    part = window(frame, 24, np.random.default_rng(2))
    assert part.image.shape == (3, 24, 24)
    with torch.no_grad():
        _, maps = create(net, batch)
        avatar = splatter.rest(maps, batch.refs, 0)
        posed = skin(avatar.splats, avatar.weights, frame.transforms)
        whole, _ = draw(posed, frame.viewmat, frame.K, frame.mask.shape[2], frame.mask.shape[1])
        cut, _ = draw(posed, part.viewmat, part.K, 24, 24)
    shift = (frame.K - part.K)[:2, 2].round().long().tolist()
    same = whole[:, shift[1] : shift[1] + 24, shift[0] : shift[0] + 24]
    # Clipping at the border of the view changes the linearisation of far Gaussians a little.
    assert float((same - cut).abs().mean()) < 2e-3
    torch.testing.assert_close(frame.image[:, shift[1] : shift[1] + 24, shift[0] : shift[0] + 24], part.image)


def test_terms_are_zero_for_the_truth_and_grow_with_the_error() -> None:
    torch.manual_seed(0)
    target, mask = torch.rand(3, 32, 32), torch.zeros(1, 32, 32)
    mask[:, 8:24, 8:24] = 1
    target = target * mask
    box = (10, 20, 10, 20)
    same = image_terms(target, mask, target, mask, box, [box])
    assert all(float(v) < 1e-6 for v in same.values())
    near = image_terms(target + 0.05 * mask, mask, target, mask, box, [box])
    far = image_terms(target + 0.2 * mask, mask * 0.5, target, mask, box, [box])
    assert all(float(far[k]) > float(near[k]) for k in ("l1", "ssim", "alpha", "face", "hands", "gradient"))
    assert float(near["l1"]) == pytest.approx(0.05, rel=1e-3)
    assert set(near) == {f.name for f in dataclasses.fields(ImageWeights)}
    assert float(weighted(same, ImageWeights())) < 1e-5
    assert float((ssim_map(target, target) - 1).abs().max()) < 1e-4


def test_target_frames_prefer_views_the_network_has_not_seen(setting) -> None:
    _, _, batch, _ = setting
    used = batch.used[0]
    chosen = choose_frames(batch, 0, 4, np.random.default_rng(0))
    fresh = [v for v in chosen if v not in used]
    assert chosen[: len(fresh)] == fresh and len(set(chosen)) == len(chosen)


def test_jitter_moves_the_face_but_keeps_it() -> None:
    face, mask = torch.rand(3, 16, 16), torch.ones(1, 16, 16)
    moved, kept = jittered(face, mask, np.random.default_rng(0))
    assert moved.shape == (1, 3, 16, 16) and kept.shape == (1, 1, 16, 16)
    assert float((moved[0] - face).abs().mean()) > 0.01
    assert float(moved.mean() - face.mean()) == pytest.approx(0, abs=0.1)


def test_rendered_scores_fall_when_the_colours_are_wrong(setting, scenes) -> None:
    net, _, _, _ = setting
    people = [scenes.person(5)]
    good = render_scores(net, people, (2,), 1, 32)
    wrong = [dict(people[0], images=255 - people[0]["images"])]
    # Truth inverted in the held-out frames only: references stay.
    mixed = dict(people[0])
    mixed["images"] = np.where(
        np.array([1, 0, 1, 0])[:, None, None, None] > 0, mixed["images"], wrong[0]["images"]
    )
    bad = render_scores(net, [mixed], (2,), 1, 32)
    assert good["n2/psnr"] > bad["n2/psnr"] + 3
    assert good["n2/iou"] == pytest.approx(bad["n2/iou"])


def test_the_expression_encoder_learns_to_tell_faces_apart(setting) -> None:
    """Bright against dark faces with opposite codes: it must not answer with their mean."""
    torch.manual_seed(0)
    encoder = ExpressionEncoder(TINY)
    with torch.no_grad():
        encoder.pyramid.stages[-1][0].bias.fill_(-30.0)  # where the hidden layer died without normalisation
    mask = torch.ones(8, 1, 32, 32)
    faces = torch.rand(8, 3, 32, 32) * 0.3
    faces[::2, :, 16:] += 0.6
    codes = torch.zeros(8, TINY.expression_dim)
    codes[::2, 0] = 1.0
    optimizer = torch.optim.Adam(encoder.parameters(), 3e-3)
    for _ in range(60):
        loss = (encoder(faces, mask) - codes).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    read = encoder(faces, mask).detach()[:, 0]
    assert float(read[::2].min()) > float(read[1::2].max()) + 0.5

"""Samples: same seed same bytes; UV truth re-projects onto the images; the command line; the shipped clip."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.data import samples, uv_bake
from lca_core.data.generate import generate
from lca_core.data.library import ASSETS
from lca_core.data.people import Person, sample_identity
from lca_core.data.render import Light, srgb_to_linear
from lca_core.data.sample_clip import SIZE, sample_clip_path

from .conftest import UV


def digest(sample: samples.Sample) -> str:
    h = hashlib.sha256()
    for key in sorted(sample):
        value = sample[key]
        h.update(
            key.encode()
            + (value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
        )
    return h.hexdigest()


def test_same_seed_same_hash() -> None:
    def make(number: int) -> str:
        return digest(samples.make_sample("train", number, size=48, views=1, uv_size=32))

    assert make(31) == make(31) != make(32)


def test_fields(sample: samples.Sample) -> None:
    v, s = 3, 128
    shapes = {
        "images": (v, s, s, 3), "masks": (v, s, s), "Ks": (v, 3, 3), "viewmats": (v, 4, 4),
        "pose": (v, 55, 3), "transl": (v, 3), "expression": (v, 52), "gaze": (v, 2, 2), "betas": (50,),
        "uv_albedo": (UV, UV, 3),
        "uv_color": (UV, UV, 3), "uv_offset": (UV, UV, 3), "uv_validity": (UV, UV),
        "uv_correction": (v, UV, UV, 3),
    }  # fmt: skip
    for key, shape in shapes.items():
        assert sample[key].shape == shape, key
        assert np.isfinite(sample[key].astype(np.float64)).all(), key
    rotation = sample["viewmats"][:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (v, 1, 1)), atol=1e-5
    )
    border = np.concatenate(
        [sample["masks"][:, [0, -1]].reshape(-1), sample["masks"][:, :, [0, -1]].reshape(-1)]
    )
    assert border.max() == 0, "the whole person is in frame"
    meta = json.loads(sample["meta"])
    assert meta["synthetic"] is True and meta["identity"]["years"] >= 18


def test_validity_is_consistent(sample: samples.Sample) -> None:
    t = uv_bake.texels(UV)
    bits = sample["uv_validity"]
    assert not bits[~t.atlas.mask].any()
    surface = (bits & uv_bake.SURFACE) > 0
    assert surface[t.rows, t.cols][~t.cavity].mean() > 0.985
    assert not sample["uv_offset"][~surface].any()
    assert np.abs(sample["uv_offset"]).max() <= uv_bake.REACH_M + 0.02
    assert ((bits & uv_bake.CLOTH) > 0).sum() > 0.3 * t.atlas.mask.sum()
    assert ((bits & uv_bake.SEEN) > 0).sum() > 0.6 * surface.sum()


def test_white_light_shows_the_albedo(person: Person, truth: uv_bake.UvTruth) -> None:
    assert np.abs(truth.albedo.astype(int) - truth.color).max() <= 1


def test_uv_truth_reprojects_onto_the_rendered_depth(white: Light) -> None:
    """Body model + offset + correction lands on the surface that the camera saw: depth within millimetres."""
    from lca_core.data import motion

    person = Person(sample_identity("train", 7))
    scene = uv_bake.layered_scene(person)
    truth = uv_bake.bake(person, scene, white, UV)
    q = motion.random_pose(np.random.default_rng(5), "gesture")
    posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
    scene.pose(posed)
    K, viewmat = samples.fit_camera(posed[np.unique(person.faces)], 0.3, 0.1, 3.0, 512, 512, 0.9, np.zeros(2))
    frame = scene.render(K, viewmat, 512, 512, white)
    seen = uv_bake.seen(truth, posed, frame, K, viewmat, UV)
    correction = uv_bake.correction(person, truth, posed, q.joints, q.transl, q.gaze, UV)

    t, body = uv_bake.texels(UV), uv_bake.body_model()
    vertices = body.rest(torch.from_numpy(person.betas)[None])[0][0].numpy()
    frames = t.atlas.frames(vertices)[t.rows, t.cols]
    local = truth.offset[t.rows, t.cols].astype(np.float64) + correction[t.rows, t.cols]
    point = (vertices[t.tri] * t.bary[..., None]).sum(1) + np.einsum("tij,tj->ti", frames, local)
    transforms = (
        body.forward(torch.from_numpy(person.betas)[None], torch.from_numpy(q.joints)[None])
        .transforms[0]
        .numpy()
    )
    a = np.einsum("tj,jab->tab", t.weights, transforms)
    world = np.einsum("tab,tb->ta", a[:, :3, :3], point) + a[:, :3, 3] + q.transl
    camera = world @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixel = np.floor(camera[:, :2] / camera[:, 2:] * np.diag(K)[:2] + K[:2, 2]).astype(int)
    use = seen & ~t.eye & (pixel >= 0).all(1) & (pixel < 512).all(1)
    depth = frame.depth[pixel[use, 1], pixel[use, 0]]
    assert use.sum() > 600
    error = np.abs(depth - camera[use, 2])[depth > 0]
    assert (depth > 0).mean() > 0.97
    assert np.median(error) < 0.004 and np.quantile(error, 0.9) < 0.02
    # Without offset and correction the bare body lies under the cloth: the law above is not vacuous.
    assert np.quantile(np.linalg.norm(local[use], axis=1), 0.7) > 0.005


def test_uv_colours_match_the_image(white: Light) -> None:
    """In white light a seen texel has the colour of its pixel."""
    from lca_core.data import motion

    person = Person(sample_identity("train", 7))
    scene = uv_bake.layered_scene(person)
    truth = uv_bake.bake(person, scene, white, UV)
    q = motion.random_pose(np.random.default_rng(1), "a_pose")
    posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
    scene.pose(posed)
    K, viewmat = samples.fit_camera(posed[np.unique(person.faces)], 0.0, 0.0, 3.0, 384, 384, 0.9, np.zeros(2))
    frame = scene.render(K, viewmat, 384, 384, white, samples=2)
    seen = uv_bake.seen(truth, posed, frame, K, viewmat, UV, tolerance=0.003)
    t = uv_bake.texels(UV)
    camera = uv_bake.surface_points(truth, posed) @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixel = np.floor(camera[:, :2] / camera[:, 2:] * np.diag(K)[:2] + K[:2, 2]).astype(int)
    x, y = np.clip(pixel, 0, 383).T
    image = frame.color[y, x] / np.maximum(frame.coverage[y, x], 1e-3)[:, None]
    truth_color = srgb_to_linear(truth.color[t.rows, t.cols] / 255.0)
    error = np.abs(image - truth_color).mean(1)[seen]
    assert seen.sum() > 500 and np.median(error) < 0.03


def test_blackbody_colours() -> None:
    """6504 K is the white of sRGB to a few percent; cooler bodies are redder, hotter ones bluer."""
    np.testing.assert_allclose(samples.blackbody(6504), 1.0, atol=0.06)
    ratios = [samples.blackbody(t)[0] / samples.blackbody(t)[2] for t in (2000, 2700, 4000, 6500, 10000)]
    assert all(a > b for a, b in pairwise(ratios))
    # A 2856 K lamp (CIE illuminant A, xy 0.4476 0.4074) in linear sRGB.
    np.testing.assert_allclose(samples.blackbody(2856), [2.235, 1.0, 0.2826], rtol=0.02)


def test_iter_samples_rejects_bad_ranges() -> None:
    with pytest.raises(InvalidInputError, match="no split"):
        next(samples.iter_samples("nobody"))
    with pytest.raises(InvalidInputError, match="past its end"):
        next(samples.iter_samples("val", 199, 5))


def test_generate_writes_once_and_resumes(tmp_path: Path) -> None:
    written = generate(tmp_path, "val", 2, size=32, views=1, uv_size=32)
    assert [p.name for p in written] == ["person_900000.npz", "person_900001.npz"]
    stamp = written[0].stat().st_mtime_ns
    assert generate(tmp_path, "val", 2, size=32, views=1, uv_size=32) == []
    assert written[0].stat().st_mtime_ns == stamp
    with np.load(written[0], allow_pickle=False) as data:
        assert json.loads(str(data["meta"]))["split"] == "val"


def test_shipped_clip_matches_its_motion() -> None:
    av = pytest.importorskip("av")
    path = sample_clip_path()
    assert path.stat().st_size < 2e6
    with np.load(ASSETS / "sample_clip.npz", allow_pickle=False) as data, av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height) == SIZE
        frames = sum(1 for _ in clip.decode(video=0))
        assert frames == len(data["pose"]) == len(data["transl"]) == len(data["expression"])
        assert 6 <= frames / float(data["fps"]) <= 7.5
        assert np.ptp(data["pose"][:, 0, 1]) == pytest.approx(2 * np.pi, abs=1e-3)

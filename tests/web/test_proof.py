"""What a browser shows of our USD is what we render: silhouettes, colours, points, sliders, offline. Skips
without a Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import web_browser as browser
import web_proof as proof
from pxr import Usd, UsdGeom, UsdSkel

from lca_bridge.web import page

IOU, PSNR = 0.9, 25.0


@pytest.fixture(scope="session")
def proven(chromium: str, package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of the browser over every shot; pictures lie in the session's temporary folder."""
    return proof.run(chromium, browser.drive, package, tmp_path_factory.mktemp("proof"))


@pytest.mark.parametrize("name", ["standing", "stride", "expression"])
def test_the_browser_shows_what_we_render(proven: dict[str, Any], name: str) -> None:
    score = proven["scores"][name]
    assert score.iou >= IOU and score.psnr >= PSNR, score
    # Measured 0.999 and 50 dB; anything near the promise would already be a fault in the deformation.
    assert score.iou >= 0.99 and score.psnr >= 40, score


@pytest.mark.parametrize("name", ["standing", "stride"])
def test_a_wrong_rest_pose_fails(proven: dict[str, Any], name: str) -> None:
    score = proven["wrong"][name]
    assert score.iou < IOU and score.psnr < PSNR, score


def test_points_equal_usdskel(proven: dict[str, Any]) -> None:
    """Splats and mesh as the browser deforms them against UsdSkel's own shapes and skinning."""
    answer = proven["answer"]
    stage = Usd.Stage.Open(str(proven["asset"]))
    for frame, points in enumerate(answer["points"]):
        got = np.reshape(points, (-1, 3))
        assert np.abs(got - usdskel_points(stage, "Splats/body", "positions", frame)).max() < 1e-5
    stage.GetDefaultPrim().GetVariantSets().SetSelection("representation", "both")
    got = np.reshape(answer["meshPoints"], (-1, 3))
    assert np.abs(got - usdskel_points(stage, "Proxy", "points", 1)).max() < 1e-5


def usdskel_points(stage: Usd.Stage, path: str, attribute: str, frame: int) -> np.ndarray:
    """(N,3) points of a bound prim at ``frame`` by UsdSkel alone: blend shapes, then LBS."""
    cache = UsdSkel.Cache()
    cache.Populate(UsdSkel.Root(stage.GetDefaultPrim()), Usd.TraverseInstanceProxies())
    prim = stage.GetPrimAtPath(f"/Avatar/Geom/{path}")
    skin = cache.GetSkinningQuery(prim)
    skeleton = cache.GetSkelQuery(UsdSkel.BindingAPI(prim).GetInheritedSkeleton())
    points = prim.GetAttribute(attribute).Get()
    weights = skin.GetBlendShapeMapper().Remap(skeleton.GetAnimQuery().ComputeBlendShapeWeights(frame))
    shapes = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(prim))
    sub_weights, indices, sub_shapes = shapes.ComputeSubShapeWeights(weights)
    places = shapes.ComputeBlendShapePointIndices(), shapes.ComputeSubShapePointOffsets()
    assert shapes.ComputeDeformedPoints(sub_weights, indices, sub_shapes, *places, points)
    assert skin.ComputeSkinnedPoints(skeleton.ComputeSkinningTransforms(frame), points, frame)
    return np.asarray(points)


def test_mesh_stands_where_the_splats_stand(proven: dict[str, Any]) -> None:
    splats = proof.browser_picture(proven["answer"]["right"][1])
    mesh = proof.browser_picture(proven["answer"]["mesh"])
    assert proof.compare(splats, mesh).iou > 0.85


def test_page_controls(proven: dict[str, Any]) -> None:
    answer = proven["answer"]
    assert answer["frames"] == 3 and answer["fps"] == 30
    assert answer["sliders"] >= 52 + 10  # expressions and finger curls
    assert 0.005 < answer["moved"] < 0.08  # metres: a slider opens the jaw


def test_the_page_opens_offline(chromium: str, package: Path, tmp_path: Path) -> None:
    """From disk, asset inside, no server: it opens, plays and turns a finger."""
    from lca_bridge.cli.view import avatar_asset, write_page

    write_page(avatar_asset(package), "A <b>", tmp_path / "view.html")
    html = (tmp_path / "view.html").read_text()
    assert "src=" not in html.replace("src=\\", "") and "<title>A &lt;b&gt;</title>" in html
    script = """
lca.resize(200, 200);
const wave = lca.avatar.animation.rotations.length;
lca.playing = false;
lca.seek(60);
lca.evaluate();
const at = (joint) => lca.transforms.world[lca.avatar.skeleton.names.indexOf(joint)].elements.slice(12, 15);
const raised = at("left_wrist")[1] - at("right_wrist")[1];
const before = lca.splats.deformer.points.slice();
const curl = lca.avatar.controls.find((c) => c.drives === "joints:left_index1,left_index2,left_index3");
lca.setControls({[curl.name]: 1});
lca.tick(0.1);
const index = lca.avatar.splats.jointIndices;
const names = lca.avatar.skeleton.names;
let finger = 0, rest = 0;
for (let i = 0; i < before.length / 3; i++) {
  const d = Math.hypot(...[0, 1, 2].map((c) => before[3 * i + c] - lca.splats.deformer.points[3 * i + c]));
  const influences = [0, 1, 2, 3].map((k) => names[index[4 * i + k]]);
  if (names[index[4 * i]] === "left_index3") finger = Math.max(finger, d);
  if (!influences.some((name) => name.startsWith("left_index"))) rest = Math.max(rest, d);
}
return {origin: location.protocol, finger, rest, wave, raised, name: lca.avatar.name};
"""
    answer = browser.drive(chromium, html, script)
    assert answer["origin"] == "file:"
    assert answer["wave"] == 180 and answer["raised"] > 0.3 and answer["name"]
    assert answer["finger"] > 0.02 and answer["rest"] < 1e-6


def test_it_plays_by_itself(chromium: str, package: Path) -> None:
    """As a person opens it: the loop runs, the picture changes, the button stops it."""
    from lca_bridge.cli.view import avatar_asset

    script = """
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
for (let i = 0; i < 100 && lca.time < 1; i++) await wait(100);
const first = lca.renderer.domElement.toDataURL();
document.getElementById("play").click();
await wait(300);
const stopped = lca.time;
await wait(500);
return {first, stopped, later: lca.time};
"""
    answer = browser.drive(chromium, page("x", avatar_asset(package)), script, query="")
    picture = proof.decode(answer["first"])
    background = picture[2, 2]
    assert 0.03 < (np.abs(picture - background).max(axis=2) > 0.1).mean() < 0.6
    assert answer["stopped"] == answer["later"] >= 1


@pytest.mark.parametrize("damage", ["cut", "foreign", "text"])
def test_bad_files_are_refused_in_words(chromium: str, package: Path, tmp_path: Path, damage: str) -> None:
    if damage == "foreign":
        stage = Usd.Stage.CreateNew(str(tmp_path / "x.usdc"))
        UsdGeom.Sphere.Define(stage, "/Ball")
        stage.GetRootLayer().Save()
        data = (tmp_path / "x.usdc").read_bytes()
    elif damage == "cut":
        import lca_usd

        lca_usd.export_usd(package, tmp_path / "a.usdz", preset="web")
        data = (tmp_path / "a.usdz").read_bytes()[:-5000]
    else:
        data = b"#usda 1.0\n"
    with pytest.raises(RuntimeError, match=r"cut off|no LCA avatar|no binary USD"):
        browser.drive(chromium, page("x", data), "return 1;")

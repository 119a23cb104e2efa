"""``make_blend.py``: one command from an avatar file to a .blend that travels alone, and a true picture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lca_bridge.wire.package import read_package
from lca_core.splat import render

pytest.importorskip("bpy", reason="needs the bpy module")
pytestmark = pytest.mark.bpy

ADDON = Path(__file__).parents[2] / "blender_addon"
SIZE = (160, 240)
Run = Callable[..., subprocess.CompletedProcess[str]]

REOPEN = """
import json, sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
rig = next(obj for obj in bpy.data.objects if "lca_avatar" in obj)
proxy = next(child for child in rig.children if child.type == "MESH")
rig["jawOpen"] = 0.25
rig.update_tag()
bpy.context.view_layer.update()
camera = bpy.context.scene.camera
print("FACTS" + json.dumps({
    "jaw": proxy.data.shape_keys.key_blocks["jawOpen"].value,
    "packed": [list(image.size) for image in bpy.data.images if image.packed_file],
    "libraries": len(bpy.data.libraries),
    "camera": [list(row) for row in camera.matrix_world],
    "rig": [list(row) for row in rig.matrix_world],
    "lens": camera.data.lens / camera.data.sensor_width,
    "world": list(bpy.context.scene.world.node_tree.nodes["Background"].inputs[0].default_value),
}))
"""


@pytest.fixture
def made(run_python: Run, template_lca: Path, tmp_path: Path) -> tuple[dict, np.ndarray]:
    """Facts of the saved file, read by another process, and the preview (H, W, 3)."""
    blend, preview = tmp_path / "out" / "ada.blend", tmp_path / "out" / "ada.png"
    blend.parent.mkdir()
    blend.write_bytes(b"of an earlier run")
    script = tmp_path / "make.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ADDON)!r})\n"
        "from make_blend import save_blend\n"
        f"paths = {str(template_lca)!r}, {str(blend)!r}, {str(preview)!r}\n"
        f"save_blend(*paths, samples=48, denoise=False, resolution={SIZE})\n"
    )
    done = run_python(script)
    assert done.returncode == 0, done.stdout + done.stderr
    reopen = tmp_path / "reopen.py"
    reopen.write_text(REOPEN)
    done = run_python(reopen, blend)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout.split("FACTS")[1].splitlines()[0])
    return facts, np.asarray(Image.open(preview).convert("RGB"), np.float64) / 255


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    return np.where(value < 0.0031308, 12.92 * value, 1.055 * np.maximum(value, 0) ** (1 / 2.4) - 0.055)


def reference(package_path: Path, facts: dict) -> np.ndarray:
    """The same view by the product's own splat renderer, which never heard of Blender."""
    splats = read_package(package_path).canonical
    width, height = SIZE
    to_camera = np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(facts["camera"]) @ np.array(facts["rig"])
    focal = facts["lens"] * max(SIZE)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    background = linear_to_srgb(np.array(facts["world"][:3]))

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.asarray(array, np.float32))

    image, _, _ = render(
        tensor(splats.means),
        tensor(splats.quats),
        tensor(splats.scales),
        tensor(splats.opacities),
        tensor(splats.sh),
        tensor(to_camera)[None],
        tensor(intrinsics)[None],
        width,
        height,
        sh_degree=0,
        backgrounds=tensor(background)[None],
    )
    return image[0].numpy()


def test_the_file_travels_alone_and_cycles_shows_the_splats_truly(
    made: tuple[dict, np.ndarray], template_lca: Path, tmp_path: Path
) -> None:
    facts, picture = made
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"ada.blend", "ada.png"}, "no backup is left"
    assert facts["jaw"] == pytest.approx(0.25)
    assert facts["packed"] == [[512, 512]] and facts["libraries"] == 0
    expected = reference(template_lca, facts)
    assert picture.shape == expected.shape
    body = np.abs(expected - expected[0, 0]).max(-1) > 0.1
    assert 0.1 < body.mean() < 0.5  # the person fills the frame
    difference = np.abs(picture - expected)
    print("mean difference", difference.mean(), "on the body", difference[body].mean())
    assert difference.mean() < 0.015
    assert difference[body].mean() < 0.05
    # No blending order or colour space error: the mean colour of the body agrees closely.
    assert np.abs(picture[body].mean(0) - expected[body].mean(0)).max() < 0.02


def test_the_command_line_names_a_bad_file(run_python: Run, tmp_path: Path) -> None:
    done = run_python(ADDON / "make_blend.py", tmp_path / "none.lca", tmp_path / "x.blend")
    assert done.returncode == 2 and "no avatar file" in done.stderr and "Traceback" not in done.stderr

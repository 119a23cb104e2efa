"""Other people's readers and validators open our files: Blender, LightUSD, NVIDIA's validator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pxr import Usd, UsdSkel

from lca.errors import InvalidInputError
from lca_usd import contract, export_shot, export_usd
from lca_usd.asset import load_asset
from lca_usd.motion import read_motion
from lca_usd.posed import posed_splats

BODY, PROXY = "/Avatar/Geom/Splats/body", "/Avatar/Geom/Proxy"

BLENDER = """
import json, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.wm.usd_import(filepath=sys.argv[1])
found = {o.type: o for o in bpy.data.objects}
mesh, armature = found["MESH"], found["ARMATURE"]
def spots(frame):
    bpy.context.scene.frame_set(frame)
    shown = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return [list(mesh.matrix_world @ v.co) for v in shown.data.vertices]
action = bpy.data.actions[0].frame_range[:] if bpy.data.actions else None
points = found.get("POINTCLOUD")
print("RESULT" + json.dumps({
    "bones": [b.name for b in armature.data.bones],
    "keys": [k.name for k in mesh.data.shape_keys.key_blocks],
    "modifiers": [m.type for m in mesh.modifiers],
    "vertices": len(mesh.data.vertices),
    "images": [list(n.image.size) for m in mesh.data.materials for n in m.node_tree.nodes
               if n.type == "TEX_IMAGE"],
    "action": action,
    "first": spots(3), "last": spots(8),
    "points": {a.name: (a.data_type, len(a.data)) for a in points.data.attributes} if points else None,
}))
"""


def in_blender(path: Path) -> dict[str, Any]:
    """Import a file with default options in a fresh Blender process."""
    pytest.importorskip("bpy")
    done = subprocess.run(
        [sys.executable, "-c", BLENDER, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[0][6:])


@pytest.mark.bpy
def test_blender_imports_rig_shapes_texture_and_points(template: Path, tmp_path: Path) -> None:
    export_usd(template, tmp_path / "a.usdz", preset="blender")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    found = in_blender(tmp_path / "a.usdz")
    names = UsdSkel.BindingAPI(stage.GetPrimAtPath(PROXY)).GetBlendShapesAttr().Get()
    assert len(found["bones"]) == 55 and found["bones"][0] == "pelvis"
    assert found["keys"] == ["Basis", *names] and len(found["keys"]) == 53
    assert found["modifiers"] == ["ARMATURE"]
    assert found["vertices"] == len(stage.GetPrimAtPath(PROXY).GetAttribute("points").Get())
    assert found["images"] and min(found["images"][0]) > 0
    wanted = {"rotation": "QUATERNION", "scale": "FLOAT_VECTOR", "radiance:base": "FLOAT_COLOR"}
    for name, kind in wanted.items():
        assert found["points"][name] == [kind, 4000]


POINTS = """
import json, sys
import bpy
import numpy as np
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.wm.usd_import(filepath=sys.argv[1])
cloud = next(o for o in bpy.data.objects if o.type == "POINTCLOUD")
out = {}
for frame in (2, 9):
    bpy.context.scene.frame_set(frame)
    data = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    world = np.array(cloud.matrix_world)
    for name, width in (("position", 3), ("rotation", 4)):
        values = np.empty(len(data.points) * width, np.float32)
        data.attributes[name].data.foreach_get("vector" if width == 3 else "value", values)
        out[f"{name}{frame}"] = values.reshape(-1, width)
    out[f"position{frame}"] = out[f"position{frame}"] @ world[:3, :3].T + world[:3, 3]
np.savez(sys.argv[2], **out)
"""


@pytest.mark.bpy
def test_blender_plays_the_splats_of_a_shot_as_points(template: Path, moves: Any, tmp_path: Path) -> None:
    pytest.importorskip("bpy")
    export_shot(template, moves, tmp_path / "s.usdz", preset="blender")
    done = subprocess.run(
        [sys.executable, "-c", POINTS, str(tmp_path / "s.usdz"), str(tmp_path / "seen.npz")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (tmp_path / "seen.npz").is_file(), done.stderr[-2000:]
    seen = np.load(tmp_path / "seen.npz")
    asset = load_asset(template)
    for frame, posed in enumerate(posed_splats(asset, read_motion(moves))):
        if frame in (2, 9):
            x, y, z = posed.means.T
            assert np.abs(seen[f"position{frame}"] - np.stack([x, -z, y], 1)).max() < 1e-4
            turn = np.abs(np.einsum("nc,nc->n", seen[f"rotation{frame}"], posed.quats))
            assert turn.min() > 1 - 1e-4
    assert np.abs(seen["position2"] - seen["position9"]).max() > 0.05


def test_points_of_a_long_shot_are_refused_in_words(plain: Any, moves: Any, tmp_path: Path) -> None:
    long = type(moves)(
        30.0,
        *(np.repeat(a, 30, 0) for a in (moves.translation, moves.joint_rotations, moves.arkit, moves.gaze)),
    )
    with pytest.raises(InvalidInputError, match="at most 300"):
        export_shot(plain.path, long, tmp_path / "s.usdz", preset="blender")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.bpy
def test_blender_plays_a_shot_as_usdskel_does(template: Path, moves: Any, tmp_path: Path) -> None:
    export_shot(template, moves, tmp_path / "s.usdz", preset="apple")
    found = in_blender(tmp_path / "s.usdz")
    assert found["action"] == [0.0, 11.0]
    stage = Usd.Stage.Open(str(tmp_path / "s.usdz"))
    UsdSkel.BakeSkinning(stage.Traverse())
    points = stage.GetPrimAtPath(PROXY).GetAttribute("points")
    for frame, key in ((3, "first"), (8, "last")):
        x, y, z = np.asarray(points.Get(frame)).T
        # Blender is Z up.
        gap = np.abs(np.array(found[key]) - np.stack([x, -z, y], 1)).max()
        assert gap < 1e-3
    assert np.abs(np.array(found["first"]) - np.array(found["last"])).max() > 0.05


@pytest.mark.parametrize("name", ["a.usdz", "a.usdc"])
def test_lightusd_reads_the_same_numbers(plain: Any, tmp_path: Path, name: str) -> None:
    lightusd = pytest.importorskip("lightusd")
    export_usd(plain.path, tmp_path / name)
    ours = Usd.Stage.Open(str(tmp_path / name))
    prim = ours.GetPrimAtPath(BODY)
    theirs = lightusd.load(str(tmp_path / name)).get_prim_at(BODY)
    for attribute in (
        "positions",
        "scalesh",
        "opacities",
        "radiance:sphericalHarmonicsCoefficientsh",
        "primvars:skel:jointIndices",
        "primvars:skel:jointWeights",
    ):
        read = np.asarray(theirs.attribute(attribute).get(), np.float64)
        wanted = np.asarray(prim.GetAttribute(attribute).Get(), np.float64)
        assert np.array_equal(read.reshape(wanted.shape), wanted)
    quats = np.asarray(theirs.attribute("orientationsh").get(), np.float64)
    wanted = np.array([[q.GetReal(), *q.GetImaginary()] for q in prim.GetAttribute("orientationsh").Get()])
    assert np.array_equal(quats, wanted)


def nvidia_issues(path: Path, splat_rule: bool = False) -> list[str]:
    """Findings of NVIDIA's default rules (or of its splat rule VG.035 alone), every variant selected in
    turn."""
    nvidia = pytest.importorskip("usd_validation_nvidia")
    stage = Usd.Stage.Open(str(path))
    variants = stage.GetDefaultPrim().GetVariantSet("representation")
    found = []
    for name in variants.GetVariantNames() or [""]:
        if name:
            variants.SetVariantSelection(name)
        engine = nvidia.ValidationEngine(init_rules=not splat_rule)
        if splat_rule:
            engine.enable_rule(nvidia.GaussianSplatSchemaChecker)
        found += [f"{name}: {issue.message} at {issue.at}" for issue in engine.validate(stage).issues()]
    return found


def test_nvidias_default_rules_find_nothing(plain: Any, moves: Any, tmp_path: Path) -> None:
    for preset in ("usd", "float", "blender", "apple"):
        export_usd(plain.path, tmp_path / f"{preset}.usdz", preset=preset)
        assert nvidia_issues(tmp_path / f"{preset}.usdz") == []
    export_shot(plain.path, moves, tmp_path / "shot.usdz")
    assert nvidia_issues(tmp_path / "shot.usdz") == []


def test_nvidias_splat_rule_passes_floats_and_rejects_legal_halfs(plain: Any, tmp_path: Path) -> None:
    """VG.035 knows only the float twins; Tier A fails it by design, for the four half attributes and no
    more."""
    for preset in ("float", "usd"):
        export_usd(plain.path, tmp_path / f"{preset}.usdc", preset=preset, representation="splat")
    assert nvidia_issues(tmp_path / "float.usdc", splat_rule=True) == []
    waived = nvidia_issues(tmp_path / "usd.usdc", splat_rule=True)
    assert waived
    for name in ("orientations", "scales", "sphericalHarmonicsCoefficients"):
        assert any(name in finding for finding in waived), waived
    assert not any("positions" in finding or "opacities" in finding for finding in waived)


def test_codeless_schema_gives_fallbacks_in_a_fresh_process(plain: Any, tmp_path: Path) -> None:
    """With the plug-in the contract's attributes are built in, and our files are as valid as without it."""
    program = """
import sys
from pxr import Usd
definition = Usd.SchemaRegistry().FindAppliedAPIPrimDefinition("LcaSplatDeformAPI")
stage = Usd.Stage.CreateInMemory()
prim = stage.DefinePrim("/P", "ParticleField3DGaussianSplat")
prim.AddAppliedSchema("LcaSplatDeformAPI")
assert prim.GetAttribute("lca:orientationMode").Get() == "blendedRotation"
assert prim.GetAttribute("lca:shRotation").Get() == "none"
assert prim.GetRelationship("lca:correctives")
from lca_usd.validate import validate
assert validate(sys.argv[1]) == []
"""
    export_usd(plain.path, tmp_path / "a.usdz")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.usdz")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PXR_PLUGINPATH_NAME": str(contract.SCHEMA_FOLDER)},
    )
    assert done.returncode == 0, done.stderr
    program = "from lca_usd.contract import register_schema; assert register_schema()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_export_never_imports_torch() -> None:
    program = "import sys, lca_usd, lca_usd.validate; assert not {'torch', 'lca_core'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

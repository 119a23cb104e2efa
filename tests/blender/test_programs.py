"""What Blender leaves to the ``lca`` program: the full USD asset of a shot, and the performance of a clip."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bpy", reason="needs the bpy module")
pytestmark = pytest.mark.bpy

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "core" / "lca_core" / "data" / "assets" / "sample_clip.mp4"
PROGRAM = Path(sys.executable).with_name("lca")
PRELUDE = """
import os, sys, time
from pathlib import Path
import bpy
import numpy as np
bundled = Path(bpy.utils.resource_path("LOCAL"), "python", "lib", f"python3.{{sys.version_info[1]}}")
sys.path.insert(0, str(bundled / "site-packages"))
sys.path.insert(0, {addon!r})
bpy.ops.wm.read_factory_settings(use_empty=True)
import lca_avatars
from lca_avatars.bl import importer, pose_reader
from lca_avatars.ops import task
lca_avatars.register()
bpy.ops.lca.import_avatar(filepath=os.environ["LCA_TEST_AVATAR"])
rig, scene, folder = bpy.context.object, bpy.context.scene, Path({folder!r})
for frame, turn in ((1, 0.0), (3, 0.8)):
    rig.pose.bones["forearm_fk.L"].rotation_quaternion = (np.cos(turn / 2), np.sin(turn / 2), 0, 0)
    rig.pose.bones["forearm_fk.L"].keyframe_insert("rotation_quaternion", frame=frame)
scene.frame_start, scene.frame_end = 1, 3

def refused(call, **arguments):
    try:
        result = call(**arguments)
    except RuntimeError as error:
        return str(error)
    raise AssertionError(f"was not refused: {{result}}")
"""


@pytest.fixture
def blender(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[[str], None]:
    """Run a script in Blender with a keyed avatar."""

    def run(body: str) -> None:
        script = tmp_path / "script.py"
        prelude = PRELUDE.format(addon=str(ROOT / "blender_addon"), folder=str(tmp_path))
        script.write_text(prelude + body + "\nprint('DONE')\n")
        done = run_python(script)
        assert done.returncode == 0 and "DONE" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]

    return run


def test_usd_of_both_ways_is_valid_and_shows_the_same(blender: Callable[[str], None], tmp_path: Path) -> None:
    from pxr import Usd, UsdSkel

    from lca_usd.validate import ERROR, validate

    blender(f"""
assert bpy.ops.lca.export_usd(filepath=str(folder / "shot.usdc"), proxy=False) == {{"FINISHED"}}
done = bpy.ops.lca.export_asset(filepath=str(folder / "asset.usdz"), program={str(PROGRAM)!r})
assert done == {{"FINISHED"}}
scene.frame_set(3)
np.save(folder / "elbow.npy", pose_reader.PoseReader(rig).read(rig).joint_rotations[18])
assert "not found" in refused(bpy.ops.lca.export_asset, filepath=str(folder / "b.usdz"), program="/no/lca")
message = refused(bpy.ops.lca.export_asset, filepath=str(folder / "b.txt"), program={str(PROGRAM)!r})
assert "Traceback" not in message and "b.txt" in message, message
assert not (folder / "b.usdz").exists() and not (folder / "b.txt").exists()
""")
    shot = Usd.Stage.Open(str(tmp_path / "shot.usdc"))
    (field,) = [p for p in shot.Traverse() if p.GetTypeName() == "ParticleField3DGaussianSplat"]
    count = len(field.GetAttribute("positions").Get(1))
    for name in ("orientations", "scales", "opacities", "radiance:sphericalHarmonicsCoefficients"):
        assert len(field.GetAttribute(name).Get(1)) == count, name
    # Usd's own definition of the schema knows every attribute that we wrote.
    known = set(field.GetPrimDefinition().GetPropertyNames())
    for attribute in field.GetAuthoredAttributes():
        name = attribute.GetName()
        assert name in known or name.startswith(("xformOp", "userProperties", "colorSpace")), name
        if name in known:
            definition = field.GetPrimDefinition().GetAttributeDefinition(name)
            assert definition.GetTypeName() == attribute.GetTypeName(), name
    asset = tmp_path / "asset.usdz"
    assert not [issue for issue in validate(asset) if issue.severity == ERROR]
    stage = Usd.Stage.Open(str(asset))
    (animation,) = [UsdSkel.Animation(p) for p in stage.Traverse() if p.IsA(UsdSkel.Animation)]
    times = animation.GetRotationsAttr().GetTimeSamples()
    assert len(times) == 3
    joints = [str(joint).rpartition("/")[2] for joint in animation.GetJointsAttr().Get()]
    turn = animation.GetRotationsAttr().Get(times[-1])[joints.index("left_elbow")]
    angle = 2 * np.arctan2(np.linalg.norm(turn.imaginary), abs(turn.real))
    assert angle == pytest.approx(np.linalg.norm(np.load(tmp_path / "elbow.npy")), abs=2e-3)


def test_the_performance_of_a_clip(blender: Callable[[str], None]) -> None:
    blender(f"""
program, clip = {str(PROGRAM)!r}, {str(CLIP)!r}
bpy.ops.lca.transfer(filepath=clip, program=program, most=4, wait=False)
bpy.app.timers.unregister(task._tick)
task.advance()
assert task.running() is not None and not bpy.ops.lca.transfer.poll()
bpy.ops.lca.cancel_task()
while task.running() is not None:
    begun = time.perf_counter()
    try:
        task.advance()
    except Exception as error:
        assert "ancelled" in str(error)
    time.sleep(0.01)
assert "ancelled" in task.outcome()
before = pose_reader.PoseReader(rig).read(rig)
assert bpy.ops.lca.transfer(filepath=clip, program=program, most=4, start=1) == {{"FINISHED"}}
assert "Keyed" in task.outcome(), task.outcome()
scene.frame_set(scene.frame_start)
pose = pose_reader.PoseReader(rig).read(rig)
assert pose.differs(before, 0.05) and np.isfinite(pose.joint_rotations).all()
message = refused(bpy.ops.lca.transfer, filepath=str(folder / "none.mp4"), program=program)
assert "There is no clip" in message
(folder / "no.mp4").write_bytes(b"not a video")
assert "Traceback" not in refused(bpy.ops.lca.transfer, filepath=str(folder / "no.mp4"), program=program)
""")

"""The measurements of ``benchmarks/blender.py``; runs in a process of its own that holds Blender.

``python -m parts.blender_measures AVATAR FOLDER`` prints one line ``MEASURED {json}``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from lca_avatars.bl import importer, limbs, pose, snap, splats
from lca_avatars.core.control_names import controls_of
from lca_avatars.core.deps import package
from lca_avatars.core.splat_ply import read_ply

FRAMES = 24
REFERENCE = (
    "per-vertex way (Blender's own PLY importer, then a Python loop per point for scale, rotation and "
    "colour, as splat add-ons do; the KIRI add-on itself is not installed here)"
)


def median_ms(step: Callable[[int], Any], frames: int = FRAMES) -> float:
    """Median wall time of ``step(i)``; the first two warm up and are dropped."""
    times = []
    for i in range(frames + 2):
        start = time.perf_counter()
        step(i)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def fresh() -> None:
    """An empty file."""
    bpy.ops.wm.read_factory_settings(use_empty=True)


def swing(i: int) -> np.ndarray:
    """(55, 3) a whole-body pose that differs in every frame."""
    rng = np.random.default_rng(1)
    return rng.normal(0, 0.25, (55, 3)) * np.sin(0.4 * i + rng.uniform(0, 6, (55, 1)))


def time_import(path: str) -> float:
    """Median seconds of three imports after one that warms the file cache."""
    times = []
    for _ in range(4):
        fresh()
        start = time.perf_counter()
        importer.import_avatar(path)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def time_posing(handles: importer.AvatarHandles) -> float:
    """One body pose to the next, splats shown: what dragging a control costs."""
    importer.set_display(handles.proxy, handles.splats, "SPLATS")

    def step(i: int) -> None:
        bpy.context.view_layer.update()

    times = []
    for i in range(FRAMES + 2):
        pose.apply_pose(handles.rig, handles.info.joint_names, swing(i))
        start = time.perf_counter()
        step(i)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def time_full_rig(handles: importer.AvatarHandles) -> float:
    """Playback: every control keyed, limbs on IK, 52 keyed shapes, finger sliders; proxy and splats shown."""
    rig, scene = handles.rig, bpy.context.scene
    rng = np.random.default_rng(2)
    for i in range(0, FRAMES + 3, 3):
        pose.apply_pose(rig, handles.info.joint_names, swing(i))
        for limb in limbs.limbs():
            snap.to_ik(rig, limb, key=True, frame=i)
        for control in controls_of(handles.info.joint_names).values():
            snap.key_bone(rig, control, i)
        for name in (*handles.info.arkit_names, "curl_hand.L", "curl_hand.R"):
            rig[name] = float(rng.uniform(0.05, 0.6))
            rig.keyframe_insert(f'["{name}"]', frame=i)
    importer.set_display(handles.proxy, handles.splats, "BOTH")
    return median_ms(lambda i: scene.frame_set(i % (FRAMES + 2)))


def time_live(handles: importer.AvatarHandles) -> float:
    """Frames as the service sends them (half floats), decoded, written and evaluated."""
    cloud = handles.splats
    importer.set_display(handles.proxy, cloud, "SPLATS")
    splats.follow_rig(cloud, False)
    means, quats = splats.read_frame(cloud)
    frames = [((means + 0.001 * i).astype(np.float16), quats.astype(np.float16)) for i in range(8)]

    def step(i: int) -> None:
        splats.write_frame(cloud, *frames[i % 8])
        bpy.context.view_layer.update()

    result = median_ms(step, 2 * FRAMES)
    splats.write_frame(cloud, means, quats)
    splats.follow_rig(cloud, True)
    return result


def write_ply(path: Path, canonical: Any) -> None:
    """The avatar's rest splats as an ordinary splat PLY, degree 0."""
    names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"]
    names += [f"rot_{i}" for i in range(4)]
    opacity = np.clip(canonical.opacities, 1e-6, 1 - 1e-6)
    columns = [canonical.means, canonical.sh[:, 0], np.log(opacity / (1 - opacity))[:, None]]
    columns += [np.log(canonical.scales), canonical.quats]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(opacity)}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    path.write_bytes("\n".join(header).encode() + np.concatenate(columns, 1).astype("<f4").tobytes())


def time_ply(path: Path) -> tuple[float, float]:
    """(ours, the per-vertex way) in ms, each the better of two."""
    ours, theirs = [], []
    for _ in range(2):
        fresh()
        start = time.perf_counter()
        splats.build_static("ply", read_ply(path), bpy.context.scene.collection)
        ours.append(time.perf_counter() - start)
        fresh()
        start = time.perf_counter()
        per_vertex_import(path)
        theirs.append(time.perf_counter() - start)
    return 1e3 * min(ours), 1e3 * min(theirs)


def per_vertex_import(path: Path) -> None:
    """The usual way: import as a mesh, then activate each point's values one by one."""
    bpy.ops.wm.ply_import(filepath=str(path))
    mesh = bpy.context.object.data
    source = mesh.attributes
    count = len(mesh.vertices)
    for name, kind in (("scale", "FLOAT_VECTOR"), ("rotation", "QUATERNION"), ("rgba", "FLOAT_COLOR")):
        source.new(name, kind, "POINT")
    # Only now: a new attribute moves the others in memory.
    scale, rotation, colour = (source[name].data for name in ("scale", "rotation", "rgba"))
    scales = [source[f"scale_{i}"].data for i in range(3)]
    turns = [source[f"rot_{i}"].data for i in range(4)]
    bases = [source[f"f_dc_{i}"].data for i in range(3)]
    opacity = source["opacity"].data
    exp = np.exp
    for i in range(count):
        scale[i].vector = [exp(part[i].value) for part in scales]
        rotation[i].value = [part[i].value for part in turns]
        base = [0.5 + 0.28209479 * part[i].value for part in bases]
        colour[i].color = [*base, 1.0 / (1.0 + exp(-opacity[i].value))]


def main(avatar: str, folder: str) -> None:
    """Run everything and print the line."""
    import_s = time_import(avatar)
    fresh()
    handles = importer.import_avatar(avatar)
    count, bones = len(handles.splats.data.points), len(handles.rig.data.bones)
    posing = time_posing(handles)
    live = time_live(handles)
    full = time_full_rig(handles)
    importer.set_display(handles.proxy, handles.splats, "PROXY")
    proxy_only = median_ms(lambda i: bpy.context.scene.frame_set(i % (FRAMES + 2)))
    ply = Path(folder) / "rest.ply"
    write_ply(ply, package.read_package(avatar).canonical)
    ours, theirs = time_ply(ply)
    result = {
        "blender_version": bpy.app.version_string,
        "splats": count,
        "bones": bones,
        "import_s_100k": import_s,
        "import_over_reference": theirs / ours,
        "reference": REFERENCE,
        "depsgraph_ms_100k": posing,
        "full_rig_ms": full,
        "live_update_fps_100k": 1e3 / live,
        "detail": {
            "full_rig_proxy_only_ms": proxy_only,
            "live_update_ms": live,
            "ply_import_ms": ours,
            "ply_reference_ms": theirs,
        },
    }
    print("MEASURED" + json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:3])

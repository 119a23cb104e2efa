"""Inside Blender: motion files become keys, layers lie on top, a bake shows what the rig showed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

from lca.motion import MotionClip, read_motion
from lca.motion.skeleton import ARKIT, JOINTS
from lca_avatars.bl import limbs, motion, pose_reader
from lca_avatars.core.board import knob_of
from lca_avatars.core.control_names import IK_PROPERTIES
from lca_avatars.core.motion_keys import PARTS, continuous
from lca_bridge.wire.skin import rotation_matrices

AVATAR = os.environ["LCA_TEST_AVATAR"]
MEDIA = Path(os.environ.get("LCA_MEDIA", Path(__file__).parents[4] / "shared" / "media"))
FPS = 24.0


def clip_of(frames: int = 7, seed: int = 0, **silent: bool) -> MotionClip:
    """A smooth motion of every joint, the face and both eyes (each looking its own way)."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.linspace(0.0, 2.0, frames))[:, None]
    poses = (wave * rng.normal(0, 0.35, (1, 165))).reshape(frames, 55, 3)
    return MotionClip.of(
        FPS,
        poses=poses,
        translation=wave * rng.normal(0, 0.3, (1, 3)),
        arkit=np.abs(wave * rng.uniform(0, 0.6, (1, 52))) * [not n.startswith("eyeLook") for n in ARKIT],
        gaze=(wave * rng.normal(0, 0.2, (1, 4))).reshape(frames, 2, 2),
        source="made up",
    )


def write_bvh(path: Path, turns: np.ndarray) -> Path:
    """A T-pose figure in centimetres with both arms, both legs and a head; ``turns`` (T, 3) degrees bend the
    left upper arm (Z), the right knee (X) and the head (Y)."""

    def joint(name: str, offset: tuple, *children: str, root: bool = False) -> str:
        kind = "ROOT" if root else "JOINT"
        channels = "6 Xposition Yposition Zposition" if root else "3"
        inner = " ".join(children) or "End Site { OFFSET 0 10 0 }"
        place = " ".join(map(str, offset))
        return f"{kind} {name} {{ OFFSET {place} CHANNELS {channels} Zrotation Xrotation Yrotation {inner} }}"

    def leg(side: str, x: float) -> str:
        foot = joint(f"{side}Foot", (0, -40, 0), joint(f"{side}ToeBase", (0, -6, 12)))
        return joint(f"{side}UpLeg", (x, -5, 0), joint(f"{side}Leg", (0, -42, 0), foot))

    def arm(side: str, s: float) -> str:
        fore = joint(f"{side}ForeArm", (28 * s, 0, 0), joint(f"{side}Hand", (25 * s, 0, 0)))
        return joint(f"{side}Shoulder", (6 * s, 18, 0), joint(f"{side}Arm", (12 * s, 0, 0), fore))

    head = joint("Neck", (0, 24, 0), joint("Head", (0, 10, 0)))
    spine = joint("Spine", (0, 12, 0), joint("Spine1", (0, 16, 0), arm("Left", 1), arm("Right", -1), head))
    tree = joint("Hips", (0, 0, 0), leg("Left", 10), leg("Right", -10), spine, root=True)
    order = [w for w in tree.replace("{", " { ").split() if w]
    names = [order[i + 1] for i, w in enumerate(order) if w in ("ROOT", "JOINT")]
    rows = []
    for arm_z, knee_x, head_y in turns:
        row = [0.0, 95.0, 0.0]
        for name in names:
            row += {"LeftArm": [arm_z, 0, 0], "RightLeg": [0, knee_x, 0], "Head": [0, 0, head_y]}.get(
                name, [0.0, 0.0, 0.0]
            )
        rows.append(" ".join(f"{v:.4f}" for v in row))
    body = tree.replace("{", "\n{\n").replace("}", "\n}\n").replace(" CHANNELS", "\nCHANNELS")
    for word in ("JOINT", "End Site"):
        body = body.replace(word, f"\n{word}")
    text = f"HIERARCHY\n{body}\nMOTION\nFrames: {len(rows)}\nFrame Time: {1 / FPS:.7f}\n"
    path.write_text(text + "\n".join(rows) + "\n")
    return path


def shown(rig: bpy.types.Object, frame: int) -> pose_reader.RigPose:
    bpy.context.scene.frame_set(frame)
    return pose_reader.PoseReader(rig).read(rig)


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Largest turn between two sets of axis-angle rotations, degrees."""
    delta = np.swapaxes(rotation_matrices(first), -1, -2) @ rotation_matrices(second)
    skew = np.linalg.norm(delta - np.swapaxes(delta, -1, -2), axis=(-2, -1)) / np.sqrt(8)
    return float(np.degrees(np.arcsin(np.clip(skew, 0, 1))).max())


def with_gaze(clip: MotionClip, frame: int) -> np.ndarray:
    """Joint rotations of a frame with the gaze inside the eye joints, as (55, 3, 3) would be skinned."""
    from lca_bridge.wire.skin import local_rotations, quaternions

    q = quaternions(local_rotations(clip.poses[frame], clip.gaze[frame]))
    n = np.linalg.norm(q[:, 1:], axis=1, keepdims=True)
    return 2 * np.arctan2(n, q[:, :1]) * q[:, 1:] / np.maximum(n, 1e-12)


def test_what_is_keyed_is_what_the_rig_shows(rig) -> None:
    clip = clip_of()
    bpy.context.scene.render.fps = int(FPS)
    action = motion.key_clip(rig, clip, 10)
    assert rig.animation_data.action == action and len(action.slots) == 1
    for frame in (0, 3, 6):
        pose = shown(rig, 10 + frame)
        assert apart(pose.joint_rotations, with_gaze(clip, frame)) < 0.02
        assert np.abs(pose.translation - clip.translation[frame]).max() < 1e-5
        plain = [not name.startswith("eyeLook") for name in ARKIT]
        assert np.abs(pose.arkit - clip.arkit[frame])[plain].max() < 1e-5
    gaze = clip.gaze.mean(1)
    bpy.context.scene.frame_set(13)
    assert rig["gaze_yaw"] == pytest.approx(gaze[3, 0], abs=1e-5)


def test_curves_never_jump_to_the_other_side_of_the_sphere() -> None:
    angle = np.linspace(0, 4 * np.pi, 60)
    quats = np.stack([np.cos(angle / 2), np.sin(angle / 2), 0 * angle, 0 * angle], -1)
    quats *= np.where(np.arange(60) % 3, 1.0, -1.0)[:, None]
    fixed = continuous(quats)
    assert (fixed[1:] * fixed[:-1]).sum(-1).min() > 0.9
    assert np.abs(np.abs((fixed * quats).sum(-1)) - 1).max() < 1e-12


def test_a_bvh_moves_the_joints_it_names_and_the_right_way(rig, tmp_path: Path) -> None:
    turns = np.stack([np.linspace(0, 60, 13), np.linspace(0, 70, 13), np.linspace(0, 30, 13)], -1)
    file = write_bvh(tmp_path / "walk.bvh", turns)
    bpy.context.scene.render.fps = int(FPS)
    assert bpy.ops.lca.import_motion(filepath=str(file), start=1) == {"FINISHED"}
    assert bpy.context.scene.frame_start == 1 and bpy.context.scene.frame_end == 13
    first, last = shown(rig, 1), shown(rig, 13)
    moved = {
        JOINTS[j]: apart(first.joint_rotations[j : j + 1], last.joint_rotations[j : j + 1]) for j in range(55)
    }
    assert moved["left_shoulder"] == pytest.approx(60, abs=1.0)
    assert moved["right_knee"] == pytest.approx(70, abs=1.0)
    assert moved["left_knee"] < 0.5 and moved["right_shoulder"] < 0.5 and moved["left_index1"] < 0.01
    bones = rig.pose.bones
    bpy.context.scene.frame_set(1)
    hand, foot = bones["left_wrist"].head.copy(), bones["right_ankle"].head.copy()
    bpy.context.scene.frame_set(13)
    assert bones["left_wrist"].head.y > hand.y + 0.2  # avatar space is Y up: the arm was raised
    assert bones["right_ankle"].head.z < foot.z - 0.2  # +X bends the shin backwards
    expected = read_motion(file, fps=FPS, face_forward=True)
    assert apart(last.joint_rotations, expected.poses[-1]) < 0.05


def test_the_rate_of_the_scene_decides(rig, tmp_path: Path) -> None:
    file = write_bvh(tmp_path / "walk.bvh", np.zeros((25, 3)) + np.linspace(0, 60, 25)[:, None])
    bpy.context.scene.render.fps = 48
    bpy.ops.lca.import_motion(filepath=str(file), start=1)
    assert bpy.context.scene.frame_end == 49


def test_npz_json_and_csv(rig, tmp_path: Path) -> None:
    bpy.context.scene.render.fps = int(FPS)
    clip = clip_of(5)
    ours = {"joint_rotations": clip.poses, "translation": clip.translation, "arkit": clip.arkit}
    np.savez(tmp_path / "ours.npz", fps=FPS, gaze=clip.gaze, **ours)
    poses = np.zeros((5, 165), np.float32)
    poses[:, 18 * 3 + 1] = np.linspace(0, -1.2, 5)
    np.savez(tmp_path / "smplx.npz", poses=poses, trans=np.zeros((5, 3)), mocap_frame_rate=FPS)
    frames = [{"weights": [0.1 * i] * 52, "time": i / FPS} for i in range(5)]
    (tmp_path / "face.json").write_text(json.dumps({"names": list(ARKIT), "frames": frames}))
    header = ["Timecode", "BlendShapeCount", *(n[0].upper() + n[1:] for n in ARKIT)]
    header += [f"{part}{k}" for part in ("Head", "LeftEye", "RightEye") for k in ("Yaw", "Pitch", "Roll")]
    rows = [
        [f"00:00:0{i // 24}:{i % 24:02d}.000", "61", *[f"{0.02 * i}"] * 52, *["0.1"] * 9] for i in range(25)
    ]
    (tmp_path / "live.csv").write_text("\n".join(",".join(row) for row in (header, *rows)))
    for name, count in (("ours.npz", 5), ("smplx.npz", 5), ("face.json", 5), ("live.csv", 25)):
        assert bpy.ops.lca.import_motion(filepath=str(tmp_path / name), start=1) == {"FINISHED"}
        assert bpy.context.scene.frame_end == count, name
    bpy.ops.lca.import_motion(filepath=str(tmp_path / "smplx.npz"), start=1)
    elbow = shown(rig, 5).joint_rotations[JOINTS.index("left_elbow")]
    assert np.abs(elbow - [0, -1.2, 0]).max() < 1e-3
    bpy.ops.lca.import_motion(filepath=str(tmp_path / "face.json"), start=1)
    assert shown(rig, 5).arkit[ARKIT.index("jawOpen")] == pytest.approx(0.4, abs=1e-4)
    bpy.ops.lca.import_motion(filepath=str(tmp_path / "live.csv"), start=1)
    assert shown(rig, 25).arkit[ARKIT.index("mouthSmileLeft")] == pytest.approx(0.48, abs=1e-3)


def test_a_file_that_is_no_motion_changes_nothing(rig, tmp_path: Path) -> None:
    (tmp_path / "no.bvh").write_text("this is a letter")
    np.savez(tmp_path / "no.npz", something=np.zeros(3))
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    before = len(bpy.data.actions)
    for name in ("no.bvh", "no.npz", "no.csv", "absent.bvh"):
        with pytest.raises(RuntimeError) as caught:
            bpy.ops.lca.import_motion(filepath=str(tmp_path / name))
        assert "Traceback" not in str(caught.value) and name in str(caught.value)
    assert len(bpy.data.actions) == before and not (rig.animation_data and rig.animation_data.action)


def test_a_layer_lies_on_top_and_only_where_it_moves_something(rig, tmp_path: Path) -> None:
    scene = bpy.context.scene
    scene.render.fps = int(FPS)
    rig["mouthSmileLeft"], rig["ik_arm.L"] = 0.7, 1.0
    for frame in (1, 40):
        bpy.context.scene.frame_set(frame)
        bpy.ops.lca.key_pose(part="ALL")
    under = shown(rig, 30)
    file = write_bvh(tmp_path / "arm.bvh", np.full((11, 3), 40.0))
    assert bpy.ops.lca.import_motion(filepath=str(file), start=10, layer=True) == {"FINISHED"}
    anim = rig.animation_data
    assert anim.action is None and len(anim.nla_tracks) == 2
    on, off = shown(rig, 15), shown(rig, 30)
    assert apart(on.joint_rotations, read_motion(file, fps=FPS, face_forward=True).poses[5]) < 0.05
    smile = ARKIT.index("mouthSmileLeft")
    assert on.arkit[smile] == pytest.approx(0.7, abs=1e-5) == off.arkit[smile]
    assert apart(off.joint_rotations, under.joint_rotations) < 0.01
    scene.frame_set(15)
    assert rig["ik_arm.L"] == 0.0
    scene.frame_set(30)
    assert rig["ik_arm.L"] == 1.0


def test_a_bake_shows_what_was_shown(rig) -> None:
    scene = bpy.context.scene
    for switch in IK_PROPERTIES:
        rig[switch] = 1.0
    for frame, size in ((1, 0.0), (6, 1.0), (12, -0.6)):
        scene.frame_set(frame)
        for limb in limbs.limbs():
            rig.pose.bones[limb.handle].location = (0.05 * size, 0.08 * size, 0.1 * size)
        rig.pose.bones["chest"].rotation_mode = "XYZ"
        rig.pose.bones["chest"].rotation_euler = (0.3 * size, 0.1, 0.2 * size)
        rig.pose.bones["hips"].location = (0.0, 0.04 * size, 0.02)
        rig.pose.bones["root"].location = (0.1 * size, 0.0, 0.2)
        knob = knob_of("mouthSmileLeft")
        rig.pose.bones[knob.bone].location = [
            0.02 * abs(size) * (knob.sign if a == knob.axis else 0) for a in "XYZ"
        ]
        rig["curl_hand.L"], rig["jawOpen"], rig["gaze_yaw"] = abs(size), 0.3 * abs(size), 0.2 * size
        rig.update_tag()
        bpy.ops.lca.key_pose(part="ALL")
    before = {frame: shown(rig, frame) for frame in (1, 4, 6, 9, 12)}
    assert apart(before[1].joint_rotations, before[6].joint_rotations) > 5
    assert bpy.ops.lca.bake_keys(start=1, end=12) == {"FINISHED"}
    for frame, was in before.items():
        now = shown(rig, frame)
        assert apart(now.joint_rotations, was.joint_rotations) < 0.05, frame
        assert np.abs(now.translation - was.translation).max() < 1e-4
        assert np.abs(now.arkit - was.arkit).max() < 1e-3
    assert rig["ik_arm.L"] == 0.0 and rig["curl_hand.L"] == 0.0


@pytest.mark.parametrize("name", ["jumping_jacks.bvh", "smplx_pose.npz", "arkit_expression.json"])
def test_files_of_other_tools(rig, name: str) -> None:
    file = MEDIA / "motion" / name
    if not file.is_file():
        pytest.skip("the test media are not here")
    bpy.context.scene.render.fps = 12
    assert bpy.ops.lca.import_motion(filepath=str(file), start=1) == {"FINISHED"}
    clip = read_motion(file, fps=12.0, face_forward=True)
    last = len(clip) - 1
    pose = shown(rig, 1 + last)
    assert apart(pose.joint_rotations, with_gaze(clip, last)) < 0.05
    assert set(PARTS)

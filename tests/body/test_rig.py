"""The rig description: JSON round trip, completeness, mirror laws, and that its axes do what they say on the
body.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.body.names import ARKIT_NAMES, JOINT_INDEX, JOINT_NAMES, JOINT_PARENTS
from lca_core.body.rig import RigDescription, default_rig, display_name, side_of


def test_json_round_trip_is_exact():
    rig = default_rig()
    again = RigDescription.from_json(rig.to_json())
    assert again == rig
    assert again.to_json() == rig.to_json()


def test_names_and_parents_are_the_shared_ones():
    rig = default_rig()
    assert rig.joint_names == JOINT_NAMES
    assert rig.joint_parents == JOINT_PARENTS
    assert rig.arkit_names == ARKIT_NAMES
    assert [c.name for c in rig.controls[:52]] == list(ARKIT_NAMES)


def test_unknown_keys_are_ignored_and_broken_text_is_refused():
    data = json.loads(default_rig().to_json())
    data["future"] = 1
    data["joints"][0]["future"] = 1
    assert RigDescription.from_json(json.dumps(data)) == default_rig()
    breakages = [
        lambda d: d.update(schema="lca.rig/2"),
        lambda d: d.pop("joints"),
        lambda d: d["joints"].reverse(),
        lambda d: d["joints"][3].update(min_degrees=[99, 0, 0]),
        lambda d: d["controls"].append(d["controls"][0]),
        lambda d: d["controls"][0].update(default=7),
        lambda d: d["controls"][0].update(drives="blendShapes:smirk"),
        lambda d: d["name_maps"]["unity"].update(head="Hips"),
        lambda d: d.update(name_maps=3),
    ]
    for breakage in breakages:
        data = json.loads(default_rig().to_json())
        breakage(data)
        with pytest.raises(InvalidInputError) as caught:
            RigDescription.from_json(json.dumps(data))
        assert caught.value.reason == "RIG_INVALID"
    for text in ("", "[]", "{", b"\xff\xfe"):
        with pytest.raises(InvalidInputError):
            RigDescription.from_json(text)


def test_a_rig_with_one_axis_per_finger_still_opens():
    """Avatars made before every joint of a finger had its own axis."""
    data = json.loads(default_rig().to_json())
    for finger in data["fingers"]:
        del finger["curl_axes"]
    for finger in RigDescription.from_json(json.dumps(data)).fingers:
        assert finger.curl_axes == (finger.curl_axis,) * 3
    data["fingers"][0]["curl_axes"] = [[0, 0, 1], [0, 1], [1, 0, 0]]
    with pytest.raises(InvalidInputError) as caught:
        RigDescription.from_json(json.dumps(data))
    assert caught.value.reason == "RIG_INVALID"


def test_right_limits_mirror_the_left():
    joints = {joint.name: joint for joint in default_rig().joints}
    for name, joint in joints.items():
        if joint.side == "left":
            other = joints[name.replace("left", "right", 1)]
            low, high = np.array(joint.min_degrees), np.array(joint.max_degrees)
            flip = np.array([1, -1, -1])
            np.testing.assert_array_equal(np.minimum(low * flip, high * flip), other.min_degrees)
            np.testing.assert_array_equal(np.maximum(low * flip, high * flip), other.max_degrees)
        assert np.all(np.array(joint.min_degrees) <= 0) and np.all(np.array(joint.max_degrees) >= 0)


def test_name_maps_cover_the_body_and_both_sides():
    maps = default_rig().name_maps
    assert set(maps) == {"unreal", "unreal5", "unity", "mixamo", "rigify"}
    faceless = {"jaw", "left_eye_smplhf", "right_eye_smplhf"}
    for rig, table in maps.items():
        assert set(JOINT_NAMES) - set(table) <= faceless, rig
        assert len(set(table.values())) == len(table)
    assert maps["unreal"]["right_pinky2"] == "pinky_02_r"
    assert maps["unity"]["left_pinky3"] == "LeftLittleDistal"
    assert maps["mixamo"]["right_knee"] == "mixamorig:RightLeg"
    assert maps["rigify"]["right_thumb1"] == "thumb.01.R"
    assert maps["unreal5"]["spine3"] == "spine_05" and maps["unreal"]["spine3"] == "spine_03"


def bend(body, joint: str, axis: list[float], degrees: float) -> torch.Tensor:
    pose = torch.zeros(1, 55, 3)
    pose[0, JOINT_INDEX[joint]] = torch.tensor(axis) * np.radians(degrees)
    return body(torch.zeros(1, 50), pose).joints[0]


@pytest.mark.parametrize(
    ("joint", "end", "axis", "degrees", "direction"),
    [
        ("left_elbow", "left_wrist", [0, 1, 0], -90, [0, 0, 1]),
        ("left_knee", "left_ankle", [1, 0, 0], 90, [0, 0, -1]),
        ("left_hip", "left_knee", [1, 0, 0], -90, [0, 0, 1]),
        ("left_shoulder", "left_elbow", [0, 0, 1], -80, [0, -1, 0]),
    ],
)
def test_wide_side_of_each_limit_is_the_way_the_joint_bends(body, joint, end, axis, degrees, direction):
    joints = bend(body, joint, axis, degrees)
    step = joints[JOINT_INDEX[end]] - joints[JOINT_INDEX[joint]]
    assert torch.nn.functional.normalize(step, dim=0) @ torch.tensor(direction, dtype=torch.float32) > 0.9
    limits = default_rig().joints[JOINT_INDEX[joint]]
    k = axis.index(1)
    wide = limits.min_degrees[k] if degrees < 0 else limits.max_degrees[k]
    assert abs(wide) >= abs(degrees)


@pytest.mark.parametrize("side", ["left", "right"])
def test_spread_opens_the_hand(body, side):
    pose = torch.zeros(1, 55, 3)
    for master in default_rig().fingers:
        if master.side == side:
            angle = np.radians(master.spread_degrees)
            pose[0, JOINT_INDEX[master.joints[0]]] = torch.tensor(master.spread_axis) * angle
    still, wide = (body(torch.zeros(1, 50), p).joints[0] for p in (torch.zeros(1, 55, 3), pose))
    index, pinky = JOINT_INDEX[f"{side}_index3"], JOINT_INDEX[f"{side}_pinky3"]
    assert (wide[index] - wide[pinky]).norm() > (still[index] - still[pinky]).norm() + 0.01


def test_sides_and_labels():
    assert [side_of(n) for n in ("left_hip", "mouthSmileRight", "jawOpen", "jawLeft")] == [
        "left", "right", "middle", "left",
    ]  # fmt: skip
    assert display_name("mouthSmileLeft") == "Mouth Smile Left"


def test_rig_needs_no_gpu_stack():
    code = "import sys, lca_core.body.rig; sys.exit(int('torch' in sys.modules or 'numpy' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

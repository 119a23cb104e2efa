"""The hand-written tables behind ``rig.py``: joint limits, control groups, finger ranges, names in other
rigs.

Left side only; ``rig.py`` mirrors. Angles in degrees about the world axes of the T-pose (left arm along +X,
legs along -Y, facing +Z).
"""

from __future__ import annotations

Triple = tuple[float, float, float]

FINGERS = ("index", "middle", "pinky", "ring", "thumb")
"""In the order of the joints."""

# Fingers fan out in the T-pose: bent about its own axis, one has a share of x and y too.
_FAN = {"index": ((-5.0, -6.0), (6.0, 16.0)), "middle": ((-10.0, -10.0), (5.0, 5.0)),
        "ring": ((-16.0, -24.0), (8.0, 6.0)), "pinky": ((-22.0, -31.0), (9.0, 8.0))}  # fmt: skip


def _phalanges(finger: str) -> dict[str, tuple[Triple, Triple]]:
    (low_x, low_y), (high_x, high_y) = _FAN[finger]
    first = (min(low_x, -10.0), min(low_y, -22.0), -95.0), (max(high_x, 10.0), max(high_y, 22.0), 30.0)
    second = (low_x, low_y, -110.0), (high_x, high_y, 23.0)
    third = (low_x, low_y, -80.0), (high_x, high_y, 15.0)
    return {f"{finger}1": first, f"{finger}2": second, f"{finger}3": third}


_SPINE = ((-15.0, -20.0, -20.0), (35.0, 20.0, 20.0))

JOINT_LIMITS: dict[str, tuple[Triple, Triple]] = {
    "pelvis": ((-180.0, -180.0, -180.0), (180.0, 180.0, 180.0)),
    "spine1": _SPINE,
    "spine2": _SPINE,
    "spine3": _SPINE,
    "neck": ((-35.0, -40.0, -25.0), (35.0, 40.0, 25.0)),
    "head": ((-35.0, -45.0, -25.0), (40.0, 45.0, 25.0)),
    "jaw": ((-2.0, -8.0, -4.0), (30.0, 8.0, 4.0)),
    "eye_smplhf": ((-31.5, -40.1, -5.0), (31.5, 40.1, 5.0)),
    "hip": ((-130.0, -45.0, -30.0), (35.0, 45.0, 60.0)),
    "knee": ((-5.0, -15.0, -5.0), (150.0, 15.0, 5.0)),
    "ankle": ((-30.0, -25.0, -30.0), (55.0, 25.0, 30.0)),
    "foot": ((-65.0, -5.0, -5.0), (40.0, 5.0, 5.0)),
    "collar": ((-15.0, -25.0, -12.0), (15.0, 25.0, 35.0)),
    "shoulder": ((-95.0, -135.0, -100.0), (95.0, 45.0, 95.0)),
    "elbow": ((-90.0, -150.0, -10.0), (90.0, 5.0, 10.0)),
    "wrist": ((-90.0, -30.0, -85.0), (90.0, 25.0, 80.0)),
    "thumb1": ((-45.0, -50.0, -45.0), (45.0, 50.0, 45.0)),
    "thumb2": ((-30.0, -70.0, -40.0), (60.0, 30.0, 40.0)),
    "thumb3": ((-60.0, -90.0, -60.0), (60.0, 60.0, 60.0)),
    **{joint: limits for finger in FINGERS[:4] for joint, limits in _phalanges(finger).items()},
}
"""Smallest and largest Euler angle of each joint (side prefix dropped)."""

ARKIT_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Brows", ("brow",)),
    ("Eye Look", ("eyeLook",)),
    ("Eyes", ("eye",)),
    ("Cheeks and Nose", ("cheek", "nose")),
    ("Jaw and Tongue", ("jaw", "tongue")),
    ("Mouth", ("mouth",)),
)
"""Interface section by the beginning of the ARKit name; first match wins."""

GAZE_LIMITS = {"gaze_yaw": 0.7, "gaze_pitch": 0.55}
"""Radians to either side."""

CURL_DEGREES: dict[str, Triple] = {
    "index": (70.0, 85.0, 51.0),
    "middle": (74.0, 90.0, 57.0),
    "ring": (73.0, 88.0, 54.0),
    "pinky": (65.0, 80.0, 46.0),
    "thumb": (48.0, 34.0, 55.0),
}
"""A fist of the shipped body: tips rest on the palm, the thumb lies over index and middle finger."""
CURL_AXES: dict[str, tuple[Triple, Triple, Triple]] = {
    "index": ((0.148, 0.105, -0.983),) * 3,
    "middle": ((-0.14, 0.0, -0.99),) * 3,
    "ring": ((-0.312, -0.087, -0.946),) * 3,
    "pinky": ((-0.423, -0.156, -0.893),) * 3,
    "thumb": ((0.884, -0.396, 0.247), (0.809, 0.574, 0.127), (0.726, 0.642, 0.246)),
}
"""Per joint from the palm to the tip. Each finger closes across its own bones, leaning a little towards the
middle one, so that the fan closes too. The thumb's root opposes: it swings under the palm and turns its pad
to the fingers; its other joints bend towards the pad."""
SPREAD_DEGREES = {"index": 18.0, "middle": 3.0, "ring": -9.0, "pinky": -22.0, "thumb": 30.0}

_SIDED = {
    # joint: (Unreal, Unity, Mixamo, Rigify), left
    "left_hip": ("thigh_l", "LeftUpperLeg", "LeftUpLeg", "thigh.L"),
    "left_knee": ("calf_l", "LeftLowerLeg", "LeftLeg", "shin.L"),
    "left_ankle": ("foot_l", "LeftFoot", "LeftFoot", "foot.L"),
    "left_foot": ("ball_l", "LeftToes", "LeftToeBase", "toe.L"),
    "left_collar": ("clavicle_l", "LeftShoulder", "LeftShoulder", "shoulder.L"),
    "left_shoulder": ("upperarm_l", "LeftUpperArm", "LeftArm", "upper_arm.L"),
    "left_elbow": ("lowerarm_l", "LeftLowerArm", "LeftForeArm", "forearm.L"),
    "left_wrist": ("hand_l", "LeftHand", "LeftHand", "hand.L"),
    "left_eye_smplhf": ("", "LeftEye", "", "eye.L"),
}
_MIDDLE = {
    "pelvis": ("pelvis", "Hips", "Hips", "spine"),
    "spine1": ("spine_01", "Spine", "Spine", "spine.001"),
    "spine2": ("spine_02", "Chest", "Spine1", "spine.002"),
    "spine3": ("spine_03", "UpperChest", "Spine2", "spine.003"),
    "neck": ("neck_01", "Neck", "Neck", "spine.004"),
    "head": ("head", "Head", "Head", "spine.006"),
    "jaw": ("", "Jaw", "", "jaw"),
}


def _name_maps() -> dict[str, dict[str, str]]:
    rows, sided = dict(_MIDDLE), dict(_SIDED)
    unity_part = ("Proximal", "Intermediate", "Distal")
    for finger in FINGERS:
        title, short = finger.capitalize(), "Little" if finger == "pinky" else finger.capitalize()
        for k in (1, 2, 3):
            rigify = f"thumb.0{k}.L" if finger == "thumb" else f"f_{finger}.0{k}.L"
            sided[f"left_{finger}{k}"] = (
                f"{finger}_0{k}_l", f"Left{short}{unity_part[k - 1]}", f"LeftHand{title}{k}", rigify,
            )  # fmt: skip
    for joint, names in sided.items():
        rows[joint] = names
        right = [names[0].removesuffix("_l") + "_r" if names[0] else ""]
        right += [name.replace("Left", "Right", 1) for name in names[1:3]]
        right.append(names[3].removesuffix(".L") + ".R")
        rows[joint.replace("left", "right", 1)] = (right[0], right[1], right[2], right[3])
    maps: dict[str, dict[str, str]] = {}
    for column, rig in enumerate(("unreal", "unity", "mixamo", "rigify")):
        prefix = "mixamorig:" if rig == "mixamo" else ""
        maps[rig] = {joint: prefix + names[column] for joint, names in rows.items() if names[column]}
    # UE5's mannequin has five spine bones; ours sit at its first, third and fifth.
    maps["unreal5"] = {**maps["unreal"], "spine2": "spine_03", "spine3": "spine_05"}
    return maps


NAME_MAPS = _name_maps()
"""For each foreign rig our joint -> its bone name."""

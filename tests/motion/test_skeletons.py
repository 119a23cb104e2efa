"""Retargeting laws: limbs point where the foreign skeleton's own limbs point, in every convention of rigs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lca.errors import InvalidInputError
from lca.motion import read_motion
from lca.motion.bvh import read_bvh
from lca.motion.joint_names import match_joints, plain
from lca.motion.retarget import _body_frame, _Source
from lca.motion.rotation import axis_angles, interpolate, matrices, quaternions, shortest, unit
from lca.motion.skeleton import ARKIT, INDEX, JOINTS, PARENTS, REST

MEDIA = Path(os.environ.get("LCA_MEDIA", Path(__file__).parents[3] / "shared" / "media")) / "motion"
LIMBS = [
    (f"{s}_{a}", f"{s}_{b}")
    for s in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
]
MIXAMO = {
    "pelvis": "mixamorig:Hips", "spine1": "mixamorig:Spine", "spine2": "mixamorig:Spine1",
    "spine3": "mixamorig:Spine2", "neck": "mixamorig:Neck", "head": "mixamorig:Head",
    **{f"{s}_{ours}": f"mixamorig:{s.title()}{theirs}" for s in ("left", "right") for ours, theirs in {
        "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder",
        "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand",
        **{f"{f}{k}": f"Hand{f.title()}{k}" for f in ("index", "middle", "pinky", "ring", "thumb")
           for k in (1, 2, 3)}}.items()},
}  # fmt: skip
CMU = {
    "pelvis": "Hips", "spine1": "LowerBack", "spine3": "Spine1", "neck": "Neck1", "head": "Head",
    **{f"{s}_{ours}": f"{s.title()}{theirs}" for s in ("left", "right") for ours, theirs in {
        "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder",
        "shoulder": "Arm", "elbow": "ForeArm", "wrist": "Hand"}.items()},
}  # fmt: skip
UNREAL = {
    "pelvis": "pelvis", "spine1": "spine_01", "spine2": "spine_02", "spine3": "spine_03", "neck": "neck_01",
    "head": "head",
    **{f"{s}_{ours}": f"{theirs}_{s[0]}" for s in ("left", "right") for ours, theirs in {
        "hip": "thigh", "knee": "calf", "ankle": "foot", "foot": "ball", "collar": "clavicle",
        "shoulder": "upperarm", "elbow": "lowerarm", "wrist": "hand"}.items()},
}  # fmt: skip
RIGIFY = {
    "pelvis": "hips", "spine1": "spine", "spine3": "chest", "neck": "neck", "head": "head",
    **{f"{s}_{ours}": f"{theirs}.{s[0].upper()}" for s in ("left", "right") for ours, theirs in {
        "hip": "thigh", "knee": "shin", "ankle": "foot", "foot": "toe", "shoulder": "upper_arm",
        "elbow": "forearm", "wrist": "hand"}.items()},
}  # fmt: skip
LEFT_HANDED_NAMES = {
    "pelvis": "Hips", "spine1": "Chest", "spine2": "Chest2", "neck": "Neck", "head": "Head",
    **{f"{s}_{ours}": f"{s.title()}{theirs}" for s in ("left", "right") for ours, theirs in {
        "hip": "Hip", "knee": "Knee", "ankle": "Ankle", "collar": "Collar", "shoulder": "Shoulder",
        "elbow": "Elbow", "wrist": "Wrist"}.items()},
}  # fmt: skip
FAMILIES = {"mixamo": MIXAMO, "cmu": CMU, "unreal": UNREAL, "rigify": RIGIFY, "plain": LEFT_HANDED_NAMES}


def motion(frames: int = 24, seed: int = 0) -> np.ndarray:
    """Poses (T,55,3) of bending, swinging, folding limbs about their anatomical axes."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / frames * 2 * np.pi
    out = np.zeros((frames, 55, 3))
    for s, sign in (("left", 1.0), ("right", -1.0)):
        p, q = rng.uniform(0, 6, 2)
        out[:, INDEX[f"{s}_shoulder"], 2] = -sign * (0.5 + 0.6 * np.sin(t + p))
        out[:, INDEX[f"{s}_shoulder"], 1] = -sign * 0.4 * np.sin(t + q)
        out[:, INDEX[f"{s}_elbow"], 1] = -sign * (0.8 + 0.5 * np.sin(t + q))
        out[:, INDEX[f"{s}_hip"], 0] = -0.4 + 0.3 * np.sin(t + p)
        out[:, INDEX[f"{s}_knee"], 0] = 0.7 + 0.4 * np.sin(t + q)
        out[:, INDEX[f"{s}_wrist"]] = 0.2 * rng.normal(size=3) * np.sin(t + p)[:, None]
    out[:, INDEX["spine2"]] = 0.15 * np.sin(t)[:, None]
    out[:, INDEX["head"], 1] = 0.3 * np.sin(t)
    out[:, 0, 1] = 0.3 * np.sin(t)
    return out


def write_bvh(
    path: Path,
    names: dict[str, str],
    poses: np.ndarray,
    *,
    unit_scale: float = 100.0,
    axes: dict[str, np.ndarray] | None = None,
    world: np.ndarray | None = None,
    order: str = "ZXY",
    fps: float = 30.0,
) -> None:
    """Our skeleton's motion as BVH; ``axes`` (3,3) per joint changes the joint's own axes in the rest pose,
    ``world`` the world."""
    axes = axes or {}
    world = np.eye(3) if world is None else world
    keep = [n for n in JOINTS if n in names]
    parent: dict[str, str | None] = {}
    for n in keep:
        j = PARENTS[INDEX[n]]
        while j >= 0 and JOINTS[j] not in names:
            j = PARENTS[j]
        parent[n] = JOINTS[j] if j >= 0 else None
    turns = np.empty((len(poses), 55, 3, 3))
    local = matrices(poses)
    for j, p in enumerate(PARENTS):
        turns[:, j] = local[:, j] if p < 0 else turns[:, p] @ local[:, j]
    own = {n: world @ turns[:, INDEX[n]] @ axes.get(n, np.eye(3)) for n in keep}
    lines: list[str] = ["HIERARCHY"]
    written: list[str] = []

    def joint(n: str, depth: int) -> None:
        pad, up = "\t" * depth, parent[n]
        written.append(n)
        lines.append(f"{pad}{'ROOT' if up is None else 'JOINT'} {names[n]}")
        offset = np.zeros(3)
        if up is not None:
            # In axes of the parent; with every rotation zero all own axes coincide.
            offset = axes.get(up, np.eye(3)).T @ (REST[INDEX[n]] - REST[INDEX[up]]) * unit_scale
        lines.append(f"{pad}{{\n{pad}\tOFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}")
        place = "Xposition Yposition Zposition " if up is None else ""
        lines.append(
            f"{pad}\tCHANNELS {6 if up is None else 3} {place}{' '.join(c + 'rotation' for c in order)}"
        )
        children = [c for c in keep if parent[c] == n]
        for c in children:
            joint(c, depth + 1)
        if not children:
            lines.append(f"{pad}\tEnd Site\n{pad}\t{{\n{pad}\t\tOFFSET 0 {0.05 * unit_scale} 0\n{pad}\t}}")
        lines.append(f"{pad}}}")

    joint("pelvis", 0)
    lines += ["MOTION", f"Frames: {len(poses)}", f"Frame Time: {1 / fps:.8f}"]
    from scipy.spatial.transform import Rotation

    columns = []
    root = world @ np.array([0.1, 0.95, 0.2]) * unit_scale
    for n in written:
        up = parent[n]
        r = own[n] if up is None else np.swapaxes(own[up], -1, -2) @ own[n]
        columns.append(Rotation.from_matrix(r).as_euler(order, degrees=True))
    table = np.concatenate([np.tile(root, (len(poses), 1)), *columns], 1)
    lines += [" ".join(f"{v:.6f}" for v in row) for row in table]
    path.write_text("\n".join(lines) + "\n")


def limb_errors(path: Path) -> dict[str, float]:
    """Largest angle in degrees between our limbs and the file's own, per limb."""
    bvh, clip = read_bvh(path), read_motion(path)
    match = match_joints(bvh.names, bvh.parents)
    _, places = bvh.world()
    middle = (places[:, match["left_hip"]] + places[:, match["right_hip"]]) / 2
    z_up = abs((places[:, match["head"]] - middle)[:, 2].mean()) > abs(
        (places[:, match["head"]] - middle)[:, 1].mean()
    )
    world = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]) if z_up else np.eye(3)
    ours = clip.joints()
    out = {}
    for a, b in LIMBS:
        theirs = unit(places[:, match[b]] - places[:, match[a]]) @ world.T
        mine = unit(ours[:, INDEX[b]] - ours[:, INDEX[a]])
        out[a] = float(np.degrees(np.arccos(np.clip((theirs * mine).sum(1), -1, 1))).max())
    return out


def test_tables_equal_the_core() -> None:
    from lca_core.body import names
    from lca_core.body.model import BodyModel

    assert JOINTS == names.JOINT_NAMES and PARENTS == names.JOINT_PARENTS and ARKIT == names.ARKIT_NAMES
    assert np.abs(BodyModel.load().joint_template.numpy() - REST).max() < 1e-3


def test_rotation_laws() -> None:
    rng = np.random.default_rng(0)
    v = rng.normal(size=(200, 3))
    v *= rng.uniform(0, np.pi - 1e-4, (200, 1)) / np.linalg.norm(v, axis=1, keepdims=True)
    assert np.abs(axis_angles(matrices(v)) - v).max() < 1e-7
    assert np.abs(axis_angles(matrices(np.zeros((2, 3))))).max() == 0
    half = matrices(np.array([0.0, 0.0, np.pi]))
    assert np.allclose(matrices(axis_angles(half)), half)
    assert np.allclose(np.linalg.norm(quaternions(matrices(v)), axis=-1), 1)
    for a, b in rng.normal(size=(20, 2, 3)):
        assert np.allclose(shortest(a, b) @ unit(a), unit(b))
    assert np.allclose(shortest(np.array([1.0, 0, 0]), np.array([-1.0, 0, 0])) @ [1, 0, 0], [-1, 0, 0])
    frames = v[:5].reshape(5, 1, 3)
    assert np.allclose(interpolate(frames, np.arange(5.0)), frames)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order", ["ZXY", "XYZ"])
def test_limbs_point_as_in_the_file(tmp_path: Path, family: str, order: str) -> None:
    write_bvh(tmp_path / "a.bvh", FAMILIES[family], motion(), order=order)
    assert max(limb_errors(tmp_path / "a.bvh").values()) < 0.5


def test_our_own_skeleton_comes_back_as_it_was(tmp_path: Path) -> None:
    poses = motion(seed=3)
    write_bvh(tmp_path / "a.bvh", MIXAMO, poses)
    clip = read_motion(tmp_path / "a.bvh")
    there, here = matrices(poses), matrices(clip.poses)
    angle = np.degrees(np.linalg.norm(axis_angles(np.swapaxes(there, -1, -2) @ here), axis=-1)).max(0)
    assert angle.max() < 0.05, JOINTS[int(angle.argmax())]
    assert clip.fps == pytest.approx(30, abs=1e-3)


def test_rest_poses_with_hanging_arms_give_the_same_limbs(tmp_path: Path) -> None:
    """A rig whose zero pose lets the arms hang: the joints' own axes are turned by a quarter."""
    axes: dict[str, np.ndarray] = {}
    for s, sign in (("left", 1.0), ("right", -1.0)):
        down = matrices(np.array([0, 0, sign * np.pi / 2]))
        for n in ("shoulder", "elbow", "wrist"):
            axes[f"{s}_{n}"] = down
    poses = motion(seed=5)
    write_bvh(tmp_path / "a.bvh", CMU, poses, axes=axes)
    assert max(limb_errors(tmp_path / "a.bvh").values()) < 0.5
    clip = read_motion(tmp_path / "a.bvh")
    turn = np.swapaxes(matrices(poses), -1, -2) @ matrices(clip.poses)
    rolled = np.degrees(np.linalg.norm(axis_angles(turn), axis=-1))
    assert rolled[:, INDEX["left_shoulder"]].max() < 25  # the elbow's axis fixes the roll


def test_rest_poses_without_a_persons_shape(tmp_path: Path) -> None:
    """Every bone along one axis, as recording suits write it: the roll must come from the motion."""
    rng = np.random.default_rng(7)
    poses = motion(60, seed=7)
    axes: dict[str, np.ndarray] = {}
    for n in MIXAMO:
        children = [c for c in MIXAMO if PARENTS[INDEX[c]] == INDEX[n]]
        if n == "pelvis" or not children or n.endswith(("hip", "wrist")) or "spine" in n:
            continue
        d = unit(REST[INDEX[children[0]]] - REST[INDEX[n]])
        roll = matrices(d * rng.uniform(-3, 3))
        axes[n] = roll @ shortest(np.array([1.0, 0, 0]), d)
    for n in ("left_hip", "right_hip"):
        d = unit(REST[INDEX[n.replace("hip", "knee")]] - REST[INDEX[n]])
        axes[n] = shortest(np.array([1.0, 0, 0]), d)
    for n in ("spine1", "spine2", "spine3"):
        axes[n] = matrices(np.array([0.0, 0, np.pi / 2]))
    write_bvh(tmp_path / "a.bvh", MIXAMO, poses, axes=axes)
    bvh = read_bvh(tmp_path / "a.bvh")
    match = match_joints(bvh.names, bvh.parents)
    assert _body_frame(_Source(match, bvh, bvh.rest(), bvh.world()[0])) is None
    assert max(limb_errors(tmp_path / "a.bvh").values()) < 0.5
    clip = read_motion(tmp_path / "a.bvh")
    turn = np.swapaxes(matrices(poses), -1, -2) @ matrices(clip.poses)
    rolled = np.degrees(np.linalg.norm(axis_angles(turn), axis=-1)).max(0)
    for n in ("left_elbow", "right_knee", "left_knee"):
        assert rolled[INDEX[n]] < 15, (n, rolled[INDEX[n]])


def test_size_and_vertical_of_the_file_do_not_matter(tmp_path: Path) -> None:
    poses = motion(seed=9)
    z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    write_bvh(tmp_path / "cm.bvh", MIXAMO, poses)
    write_bvh(tmp_path / "m.bvh", MIXAMO, poses, unit_scale=1.0)
    write_bvh(tmp_path / "z.bvh", MIXAMO, poses, world=z_up)
    one, two, three = (read_motion(tmp_path / f"{n}.bvh") for n in ("cm", "m", "z"))
    for other in (two, three):
        assert np.abs(one.translation - other.translation).max() < 1e-3
        assert np.abs(one.joints() - other.joints()).max() < 1e-3


def test_the_body_stands_on_the_ground(tmp_path: Path) -> None:
    write_bvh(tmp_path / "a.bvh", MIXAMO, motion())
    joints = read_motion(tmp_path / "a.bvh").joints()
    feet = joints[:, [INDEX["left_foot"], INDEX["right_foot"]], 1].min(1)
    rest = REST[INDEX["left_foot"], 1]
    assert feet.min() > rest - 0.06 and abs(np.percentile(feet, 20) - rest) < 0.08


def test_unknown_names_are_listed(tmp_path: Path) -> None:
    strange = {**CMU, "left_elbow": "Tentacle7", "right_knee": "Wheel"}
    write_bvh(tmp_path / "a.bvh", strange, motion(4))
    with pytest.raises(InvalidInputError, match=r"Tentacle7") as caught:
        read_motion(tmp_path / "a.bvh")
    assert "left_elbow" in caught.value.message and "Wheel" in caught.value.message
    assert caught.value.reason == "UNKNOWN_SKELETON"


@pytest.mark.parametrize(
    "name,want",
    [
        ("mixamorig:LeftUpLeg", ("left", "upleg")), ("mixamorig1_RightArm", ("right", "arm")),
        ("upper_arm.L", ("left", "upperarm")), ("thigh_r", ("right", "thigh")),
        ("Bip01 L UpperArm", ("left", "upperarm")), ("lhand", ("left", "hand")),
        ("LowerBack", ("", "lowerback")),
        ("RHipJoint", ("right", "hipjoint")), ("Root", ("", "root")), ("lThumb1", ("left", "thumb1")),
        ("index_01_l", ("left", "index01")), ("Reference", ("", "reference")), ("rShldr", ("right", "shldr")),
    ],
)  # fmt: skip
def test_names_are_read(name: str, want: tuple[str, str]) -> None:
    assert plain(name) == want


def test_cut_off_files_are_refused_clearly(tmp_path: Path) -> None:
    write_bvh(tmp_path / "a.bvh", CMU, motion(3))
    text = (tmp_path / "a.bvh").read_text()
    rng = np.random.default_rng(0)
    for cut in [0, 5, *rng.integers(0, len(text) - 40, 40).tolist()]:
        (tmp_path / "b.bvh").write_text(text[:cut])
        with pytest.raises(InvalidInputError, match=r"b\.bvh"):
            read_motion(tmp_path / "b.bvh")
    for old, new in (("OFFSET", "OFSET"), ("Frames: 3", "Frames: 900000"), ("Xrotation", "Wrotation"),
                     ("Frame Time: 0.0", "Frame Time: nan 0.0")):  # fmt: skip
        (tmp_path / "b.bvh").write_text(text.replace(old, new))
        with pytest.raises(InvalidInputError):
            read_motion(tmp_path / "b.bvh")


@pytest.mark.parametrize("name", ["jesse_dance", "jumping_jacks", "wave_hello"])
def test_real_recordings_keep_their_limbs(name: str) -> None:
    path = MEDIA / f"{name}.bvh"
    if not path.is_file():
        pytest.skip("no sample media")
    assert max(limb_errors(path).values()) < 3
    clip = read_motion(path, fps=30, face_forward=True)
    joints = clip.joints()
    assert clip.fps == 30 and len(clip) > 60
    heads = matrices(np.array([clip.poses[:, INDEX["neck"]], clip.poses[:, INDEX["head"]]]))
    assert (heads[0] @ heads[1])[:, 1, 1].mean() > 0.7  # nobody carries the head on the shoulder
    # Upright, left on the left, in front of us, elbows and knees folding the right way.
    assert (joints[:, INDEX["head"], 1] - joints[:, 0, 1]).mean() > 0.5
    assert (joints[0, INDEX["left_shoulder"]] - joints[0, INDEX["right_shoulder"]])[0] > 0.2
    knees = clip.poses[:, [INDEX["left_knee"], INDEX["right_knee"]], 0]
    assert knees.min() > -0.5 and knees.max() < 2.6
    elbows = clip.poses[:, INDEX["left_elbow"], 1], -clip.poses[:, INDEX["right_elbow"], 1]
    assert max(e.mean() for e in elbows) < 0.1

"""The half of the add-on without bpy: following, names, the board, rest frames, the rig
description, endpoints, jobs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lca.errors import CancelledError, InvalidInputError, PreconditionError
from lca_bridge.wire.package import read_package
from lca_core.body.names import ARKIT_NAMES
from lca_core.body.rig import default_rig
from lca_core.relight import environment
from lca_core.relight.light import Illumination

ADDON = Path(__file__).parents[2] / "blender_addon"
sys.path.insert(0, str(ADDON))

from lca_avatars.core import (  # noqa: E402
    board,
    control_names,
    endpoint,
    follow,
    frames,
    jobs,
    light,
    local_service,
    media,
    rig_info,
    splat_view,
)

seeds = st.integers(0, 2**31)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_turn_shares_build_the_weighted_mean(seed: int) -> None:
    """Slerping about one axis with the shares gives the weighted mean angle of the three heaviest."""
    rng = np.random.default_rng(seed)
    weights = np.sort(rng.dirichlet([1, 1, 1, 1], 20), 1)[:, ::-1]
    angles = rng.normal(size=(20, 3))
    second, third = follow.turn_shares(weights)
    mean = angles[:, 0] + second * (angles[:, 1] - angles[:, 0])
    mean = mean + third * (angles[:, 2] - mean)
    expected = (weights[:, :3] * angles).sum(1) / weights[:, :3].sum(1)
    assert np.abs(mean - expected).max() < 1e-5


def test_the_face_carrier_holds_every_splat_that_a_shape_moves(template_lca: Path) -> None:
    package = read_package(template_lca)
    proxy = package.proxy
    assert proxy is not None
    face = follow.face_carrier(proxy)
    assert np.array_equal(face.vertices[3:], proxy.vertices[face.source[3:]])
    moved = np.zeros(len(proxy.vertices), bool)
    moved[proxy.arkit_index] = True
    riders = face.splat_triangle > 0
    assert np.array_equal(riders, moved[proxy.bind_tri].any(1)) and 0.02 < riders.mean() < 0.6
    theirs = face.source[face.triangles[face.splat_triangle[riders]]]
    assert np.array_equal(theirs, proxy.bind_tri[riders])
    # The stored inverse takes a triangle's own corners to (0, 0, 0), (1, 0, 0), (0, 1, 0).
    corners = face.vertices[face.triangles].astype(float)
    local = np.einsum("fij,fcj->fci", face.inverse[:, :3, :3], corners) + face.inverse[:, None, :3, 3]
    assert np.abs(local - np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])).max() < 2e-3


def test_importance_ranks_every_splat_once_and_big_solid_ones_first() -> None:
    scales = np.array([[0.01, 0.01, 0.001], [0.001, 0.01, 0.01], [0.02, 0.02, 0.02], [0.001, 0.001, 0.001]])
    rank = follow.importance_rank(scales, np.array([0.9, 0.5, 1.0, 1.0]))
    assert rank.tolist() == [0.25, 0.5, 0.0, 0.75]


def test_the_board_has_one_knob_per_shape_and_mirrors() -> None:
    names = [n for n in ARKIT_NAMES if not n.startswith("eyeLook")]
    axes = {name: board.knob_of(name) for name in names}
    assert len({(a.bone, a.axis, a.sign) for a in axes.values()}) == len(names) == 44
    assert {k.bone for k in board.knobs()} == {a.bone for a in axes.values()} | {board.EYES_KNOB}
    for name, axis in axes.items():
        other = board.knob_of(control_names.mirrored(name))
        assert other.bone == control_names.mirrored(axis.bone)
        across = -1.0 if axis.axis == "X" else 1.0
        assert other.sign == (axis.sign * across if other.bone != axis.bone or across < 0 else axis.sign), (
            name
        )
    places = [k.place for k in board.knobs()]
    assert len(set(places)) == len(places)
    with pytest.raises(KeyError):
        board.knob_of("eyeLookUpLeft")


def test_every_joint_has_a_control_of_its_own_that_flips() -> None:
    names = control_names.controls_of(default_rig().joint_names)
    assert len(set(names.values())) == 55
    for joint, control in names.items():
        assert names[control_names.mirrored(joint)] == control_names.mirrored(control)
    with pytest.raises(KeyError):
        control_names.control_of("tail")


@pytest.fixture(scope="module")
def rig() -> rig_info.RigInfo:
    return rig_info.read_rig(json.loads(default_rig().to_json()))


def test_the_rig_description_arrives_whole(rig: rig_info.RigInfo) -> None:
    source = default_rig()
    assert rig.joint_names == source.joint_names and rig.arkit_names == source.arkit_names
    assert [c.name for c in rig.controls] == [c.name for c in source.controls]
    assert rig.name_maps == {k: dict(v) for k, v in source.name_maps.items()}
    assert rig.limits["left_knee"].high == source.joints[source.joint_names.index("left_knee")].max_degrees
    assert {f.finger for f in rig.fingers} == {"index", "middle", "ring", "pinky", "thumb"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: r.pop("controls"),
        lambda r: r.update(schema="lca.rig/2"),
        lambda r: r["controls"].pop(0),
        lambda r: r["controls"].append(r["controls"][0]),
        lambda r: r["controls"][3].update(default=7.0),
        lambda r: r["fingers"][0].update(joints=["left_index1"]),
        lambda r: r["fingers"][0].update(joints=["a", "b", "c"]),
        lambda r: r["fingers"][0].update(curl_axes=[[0, 1]] * 3),
        lambda r: r.update(controls=[None]),
        lambda r: r.update(name_maps=[1]),
        lambda r: r["joints"][1].pop("min_degrees"),
    ],
)
def test_a_damaged_rig_description_is_refused(damage: Callable[[dict], object]) -> None:
    raw = json.loads(default_rig().to_json())
    damage(raw)
    with pytest.raises(InvalidInputError) as caught:
        rig_info.read_rig(raw)
    assert caught.value.reason == "RIG_INVALID"


@pytest.fixture(scope="module")
def skeleton(template_lca: Path, rig: rig_info.RigInfo) -> frames.Skeleton:
    skinning = read_package(template_lca).skinning
    return frames.Skeleton(rig.joint_names, tuple(map(int, skinning.parents)), skinning.joints.astype(float))


def test_rest_frames_are_rotations_along_the_limbs(skeleton: frames.Skeleton, rig: rig_info.RigInfo) -> None:
    axes = {
        j: axis for finger in rig.fingers for j, axis in zip(finger.joints, finger.curl_axes, strict=True)
    }
    found = frames.bone_frames(skeleton, axes)
    assert np.allclose(np.swapaxes(found.rest, 1, 2) @ found.rest, np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(found.rest), 1.0)
    assert found.lengths.min() > 0.01
    limbs = {"left_elbow": "left_wrist", "right_knee": "right_ankle", "left_ring1": "left_ring2"}
    for name, child in limbs.items():
        i = skeleton.names.index(name)
        along = skeleton.at(child) - skeleton.at(name)
        assert found.rest[i][:, 1] @ along == pytest.approx(np.linalg.norm(along))
    for joint, axis in axes.items():
        # X is the part of the axis across the bone; only the root of the thumb turns about itself too.
        x, _, z = np.asarray(axis) @ found.rest[skeleton.names.index(joint)]
        assert abs(z) < 0.02 and x > (0.5 if "thumb1" in joint else 0.95), joint


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:50061", True),
        ("localhost:1", True),
        ("[::1]:7", True),
        ("unix:/run/lca.sock", True),
        ("127.8.8.8:1", True),
        ("10.0.0.2:50061", False),
        ("example.com:443", False),
        ("localhost.example.com:443", False),
        ("127.0.0.1.example.com:443", False),
        ("0.0.0.0:50061", False),
    ],
)
def test_only_loopback_is_allowed_without_online_access(address: str, local: bool) -> None:
    assert (endpoint.refusal(address, online_access=False) is None) == local
    assert endpoint.refusal(address, online_access=True) is None


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the program")
def test_a_local_service_starts_once_and_ends(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="lca program was not found"):
        local_service.start(str(tmp_path / "nothing"), "127.0.0.1:1")
    seen = tmp_path / "seen"
    program = tmp_path / "lca"
    program.write_text(f'#!/bin/sh\necho "$@" > {seen}\nexec sleep 60\n')
    program.chmod(0o755)
    local_service.start(str(program), "127.0.0.1:7")
    try:
        assert local_service.running()
        with pytest.raises(PreconditionError, match="still running"):
            local_service.start(str(program), "127.0.0.1:7")
        deadline = time.monotonic() + 20
        while not (seen.is_file() and seen.read_text().endswith("\n")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert seen.read_text().split() == ["serve", "--listen", "127.0.0.1:7"]
    finally:
        local_service.stop()
    assert not local_service.running()


def test_an_empty_address_is_refused() -> None:
    assert endpoint.refusal("  ", online_access=True) is not None


def test_a_job_reports_returns_and_raises() -> None:
    gate = threading.Event()

    def work(report: jobs.Report, cancelled: threading.Event) -> int:
        report(0.5, "half")
        gate.wait(5)
        return 7

    job = jobs.Job(work).start()
    while job.progress.fraction < 0.5:
        pass
    assert not job.done and job.progress.message == "half"
    with pytest.raises(RuntimeError):
        job.result()
    gate.set()
    assert job.wait(5) and job.result() == 7

    def fail(report: jobs.Report, cancelled: threading.Event) -> None:
        raise ValueError("broken")

    failed = jobs.Job(fail).start()
    assert failed.wait(5)
    with pytest.raises(ValueError, match="broken"):
        failed.result()


def test_a_cancelled_job_stops_at_its_next_report() -> None:
    started = threading.Event()

    def work(report: jobs.Report, cancelled: threading.Event) -> None:
        started.set()
        while True:
            report(0.1, "working")

    job = jobs.Job(work).start()
    started.wait(5)
    job.cancel()
    assert job.wait(5)
    with pytest.raises(CancelledError):
        job.result()


def test_core_never_imports_bpy_or_torch() -> None:
    folder = ADDON / "lca_avatars" / "core"
    modules = [f"lca_avatars.core.{path.stem}" for path in folder.glob("[a-z]*.py")]
    code = f"import sys, {', '.join(modules)}\nassert not {{'bpy', 'torch', 'grpc'}} & set(sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ADDON, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_an_avatar_can_be_made_from(tmp_path: Path) -> None:
    photos = [tmp_path / name for name in ("b.JPG", "a.png", "c.webp")]
    clip, other, notes = (tmp_path / name for name in ("walk.mp4", "run.mov", "notes.txt"))
    for path in (*photos, clip, other, notes):
        path.touch()
    assert media.source_files([clip]) == [clip] and media.title_of([clip]) == "walk"
    assert media.source_files(photos) == sorted(photos) and media.title_of(photos) == tmp_path.name
    assert media.source_files([photos[0]]) == [photos[0]]
    assert media.source_files([tmp_path]) == sorted(photos), "a folder gives its photos"
    empty = tmp_path / "empty"
    empty.mkdir()
    for chosen, why in (
        ([], "Choose"),
        ([clip, other], "one video"),
        ([clip, *photos], "not both"),
        ([notes], "notes.txt"),
        ([tmp_path / "gone.mp4"], "no clip"),
        ([empty], "no photos"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            media.source_files(chosen)
    for i in range(media.MOST_PHOTOS + 1):
        (empty / f"{i}.jpg").touch()
    with pytest.raises(InvalidInputError, match="65 photos"):
        media.source_files([empty])


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_splats_are_drawn_from_far_to_near(seed: int) -> None:
    """The camera looks along -Z: depth never decreases towards it by more than the promised step."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(int(rng.integers(0, 3000)), 3)).astype(np.float32)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = turn, rng.normal(size=3)
    order = splat_view.far_to_near(means, view)
    assert sorted(order.tolist()) == list(range(len(means)))
    depth = (means[order] @ turn.T)[:, 2]
    step = np.ptp(depth) / 65535 if len(depth) else 0.0
    assert (np.diff(depth) >= -1.01 * step - 1e-6).all()
    texels = splat_view.order_texels(order)
    assert texels.shape[1] == splat_view.ROW and np.array_equal(texels.reshape(-1)[: len(order)], order)


def test_packed_splats_are_where_the_shader_looks() -> None:
    rng = np.random.default_rng(0)
    count = splat_view.ROW + 3
    means, quats, scales, base = (rng.normal(size=(count, width)) for width in (3, 4, 3, 4))
    texels = splat_view.pack(means, quats, scales, base)
    assert texels.shape == (2, 4 * splat_view.ROW, 4) and texels.dtype == np.float32
    for i in (0, 5, splat_view.ROW - 1, splat_view.ROW, count - 1):
        mean, quat, scale, colour = texels[i // splat_view.ROW, 4 * (i % splat_view.ROW) :][:4]
        assert np.allclose(mean, [*means[i], base[i, 3]]) and np.allclose(quat, quats[i])
        assert np.allclose(scale[:3], scales[i])
        assert np.allclose(colour[:3], 0.5 + splat_view.SH_C0 * base[i, :3])
    assert not texels.reshape(-1, 16)[count:].any()


def scene_to_avatar() -> np.ndarray:
    """Blender's scene (Z up, the avatar faces -Y) to the avatar's axes (Y up, faces +Z)."""
    return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def test_light_means_what_the_core_means_by_it() -> None:
    """Harmonics, lamps and pictures agree with ``lca_core.relight``, which evaluates them."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.allclose(light.harmonics(directions), environment.sh_basis(directions))

    # A lamp of irradiance E leaves E / pi on white.
    sun = light.Lamp("SUN", np.array([2.0, 3.0, 4.0]), np.zeros(3), np.array([0.0, 0.0, -1.0]))
    mine = light.gathered(np.zeros((9, 3)), [sun], np.zeros(3), scene_to_avatar())
    lamp = environment.directional((0.0, 1.0, 0.0), np.array([2.0, 3.0, 4.0]) / np.pi)
    theirs = Illumination.of(environment.Environment(np.zeros((64, 128, 3)), (lamp,))).frame_light()
    assert np.abs(mine - theirs).max() < 1e-5

    # A picture with the same light in it, seen by both: theirs from the top down, +Z in the middle.
    height = 32
    towards, _area = environment.directions(height)
    scene = towards @ scene_to_avatar()
    radiance = np.exp(scene @ np.array([0.3, -0.7, 0.2]))[..., None] * np.array([1.0, 0.5, 0.25])
    latitude = ((np.arange(height) + 0.5) / height - 0.5) * np.pi
    turn = (0.5 - (np.arange(2 * height) + 0.5) / (2 * height)) * 2 * np.pi
    flat = np.cos(latitude)[:, None]
    blender = np.stack(
        np.broadcast_arrays(flat * np.cos(turn), flat * np.sin(turn), np.sin(latitude)[:, None]), -1
    )
    picture = np.exp(blender @ np.array([0.3, -0.7, 0.2]))[..., None] * np.array([1.0, 0.5, 0.25])
    mine = light.turned(light.sky(picture), scene_to_avatar())
    theirs = Illumination.of(environment.Environment(radiance), highlights=False).sh
    assert np.abs(mine - theirs).max() < 2e-3 * np.abs(theirs).max()
    assert np.abs(light.sky(np.ones((16, 32, 3))) - light.constant(np.ones(3))).max() < 2e-2


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_turning_light_turns_what_it_is_seen_by(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    lit, towards = rng.normal(size=(9, 3)), rng.normal(size=(20, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    there = light.harmonics(towards @ turn.T) @ light.turned(lit, turn)
    assert np.abs(there - light.harmonics(towards) @ lit).max() < 1e-9

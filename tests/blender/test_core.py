"""The half of the add-on without bpy: binding laws, rest frames, rig description, endpoints, jobs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lca.errors import CancelledError, InvalidInputError
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import multiply_quaternions, quaternions, rotation_matrices
from lca_core.body.rig import default_rig

ADDON = Path(__file__).parents[2] / "blender_addon"
sys.path.insert(0, str(ADDON))

from lca_avatars.core import bind, endpoint, frames, jobs, rig_info  # noqa: E402

seeds = st.integers(0, 2**31)


def scene(seed: int, splats: int = 40) -> tuple[np.ndarray, ...]:
    """Random triangles that are not slivers, with splats near them."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-1, 1, (12, 1, 3)) + np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]])
    corners = np.einsum("fij,fkj->fki", rotation_matrices(rng.normal(size=(12, 3))), corners)
    vertices = corners.reshape(-1, 3) + rng.normal(0, 0.01, (36, 3))
    tri = np.arange(36).reshape(12, 3)[rng.integers(0, 12, splats)]
    bary = rng.dirichlet([1, 1, 1], splats)
    means = np.einsum("nk,nkd->nd", bary, vertices[tri]) + rng.normal(0, 0.02, (splats, 3))
    quats = rng.normal(size=(splats, 4))
    return means, quats / np.linalg.norm(quats, axis=1, keepdims=True), vertices, tri, bary


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_attaching_to_the_rest_mesh_gives_the_rest_splats(seed: int) -> None:
    means, quats, vertices, tri, bary = scene(seed)
    back, turned = bind.attach(bind.bind(means, quats, vertices, tri, bary), vertices)
    assert np.abs(back - means).max() < 1e-6
    assert np.abs(np.abs((turned * quats).sum(1)) - 1).max() < 1e-6


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_attached_splats_move_with_any_rigid_motion(seed: int) -> None:
    means, quats, vertices, tri, bary = scene(seed)
    rng = np.random.default_rng(seed + 1)
    rotation, shift = rotation_matrices(rng.normal(size=3)), rng.normal(size=3)
    moved, turned = bind.attach(bind.bind(means, quats, vertices, tri, bary), vertices @ rotation.T + shift)
    assert np.abs(moved - (means @ rotation.T + shift)).max() < 1e-5
    expected = multiply_quaternions(quaternions(rotation)[None], quats)
    assert np.abs(np.abs((turned * expected).sum(1)) - 1).max() < 1e-5


def test_a_splat_on_a_triangle_without_area_is_refused() -> None:
    means, quats, vertices, tri, bary = scene(0)
    vertices = vertices.copy()
    vertices[tri[0]] = vertices[tri[0, 0]]
    with pytest.raises(InvalidInputError, match="without area"):
        bind.bind(means, quats, vertices, tri, bary)


@pytest.fixture(scope="module")
def rig() -> rig_info.RigInfo:
    return rig_info.read_rig(json.loads(default_rig().to_json()))


def test_the_rig_description_arrives_whole(rig: rig_info.RigInfo) -> None:
    source = default_rig()
    assert rig.joint_names == source.joint_names and rig.arkit_names == source.arkit_names
    assert [c.name for c in rig.controls] == [c.name for c in source.controls]
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
        lambda r: r["fingers"][0].update(curl_axis=[0, 1]),
        lambda r: r.update(controls=[None]),
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
    axes = {joint: finger.curl_axis for finger in rig.fingers for joint in finger.joints}
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
        assert found.rest[skeleton.names.index(joint)][:, 0] @ np.asarray(axis) > 0.85, joint


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

"""Streams in every form: shared memory, differences, correction frames, batches, and the live driver."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from lca.errors import InvalidInputError, LcaError, UnimplementedError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import animation_service_pb2_grpc, motion_pb2
from lca_bridge.client import LiveDriver, animate
from lca_bridge.client.errors import translate
from lca_bridge.server.frames import is_local
from lca_bridge.wire import shared
from lca_bridge.wire.messages import pose_to_proto
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig

linux = pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="looks into /dev/shm")


def random_pose(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "joint_rotations": rng.normal(0, 0.3, (55, 3)),
        "translation": rng.normal(0, 0.1, 3),
        "arkit": rng.random(52),
        "gaze": rng.normal(0, 0.2, (2, 2)),
    }


def poses(count: int, start: int = 1):
    return (pose_to_proto(i, **random_pose(i)) for i in range(start, start + count))


def regions() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("lca-*")}


@pytest.fixture(scope="module")
def rig(package_bytes) -> BakedRig:
    return BakedRig(read_package(package_bytes))


# -- shared memory ------------------------------------------------------------------------------------------


def test_shared_frames_are_the_baked_rig_without_copies(shared_client, avatar, rig):
    with shared_client.animate(avatar.name, codec="shm", every=True) as stream:
        assert stream.shares_memory
        slots = set()
        for frame in stream.play(poses(30)):
            expected = rig.pose(**random_pose(frame.frame_id))
            assert np.abs(frame.splats.means - expected.means).max() < 2e-5
            assert np.abs(frame.splats.sh - expected.sh).max() < 1e-4
            if frame.slot is not None:
                slots.add(frame.slot)
                assert not frame.splats.means.flags.writeable and not frame.splats.means.flags.owndata
                assert frame.splats.means.flags.c_contiguous and frame.splats.quats.shape[1] == 4
        assert len(slots) > 1, "frames went through the ring"
        assert stream.counts.finished.frames_sent == 30


def test_a_kept_copy_stays_while_the_view_moves_on(shared_client, avatar):
    with shared_client.animate(avatar.name, codec="shm", every=True, credit=2) as stream:
        kept = [frame.copied() for frame in stream.play(poses(12))]
    assert all(frame.slot is None for frame in kept)
    assert len({frame.splats.means.tobytes() for frame in kept}) == 12


@linux
def test_the_name_goes_as_soon_as_both_have_mapped_it(shared_client, avatar):
    before = regions()
    with shared_client.animate(avatar.name, codec="shm", every=True) as stream:
        frames = stream.play(poses(5))
        frame = next(f for f in frames if f.slot is not None)
        assert regions() == before, "a crash from here on leaves nothing"
        means = frame.splats.means
    copy = np.array(means)  # still mapped: the array holds the memory
    del frame, frames
    gc.collect()
    assert np.array_equal(copy, means)


@linux
def test_a_client_that_attaches_and_dies_leaves_the_segment(tmp_path):
    """Fault 22: with multiprocessing.shared_memory the dying client would remove it."""
    region = shared.SharedRegion.create(2, 1000)
    try:
        code = (
            "from lca_bridge.wire.shared import SharedRegion\n"
            f"SharedRegion.attach({region.name!r}, 2, {region.stride})\n"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
        assert (Path("/dev/shm") / region.name).exists()
        region.payload(1, 4)[:] = 7
        again = shared.SharedRegion.attach(region.name, 2, region.stride)
        assert again.payload(1, 4).tolist() == [7] * 4
        with pytest.raises(ValueError):
            again.payload(1, 4)[0] = 1  # read-only
        again.close()
    finally:
        region.close()
    assert not (Path("/dev/shm") / region.name).exists()


@linux
def test_a_region_that_is_forgotten_leaves_no_name():
    name = shared.SharedRegion.create(1, 100).name
    gc.collect()
    assert not (Path("/dev/shm") / name).exists()


@linux
def test_a_client_that_never_answers_leaves_nothing(shared_service, avatar):
    before = regions()
    output = pb.OutputSpec(gaussians=pb.GaussianOutput(encoding=1, prefer_shared_memory=True))
    start = pb.AnimateRequest(start=pb.AnimateStart(avatar=avatar.name, output=output))
    held = threading.Event()

    def requests():
        yield start
        yield pb.AnimateRequest(pose=motion_pb2.PoseFrame(frame_id=1))
        held.wait(20)

    with grpc.insecure_channel(shared_service.target) as channel:
        stub = animation_service_pb2_grpc.AnimationServiceStub(channel)
        call = stub.Animate(requests(), metadata=(("authorization", f"Bearer {shared_service.token}"),))
        started = next(call).started
        assert started.shared_memory.region_name in regions() - before
        inline = next(call).frame
        assert inline.gaussians.payload and not inline.gaussians.HasField("slot")
        call.cancel()
        held.set()
    deadline = time.monotonic() + 5
    while regions() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert regions() == before


@linux
def test_what_a_killed_service_left_is_swept():
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    stale = Path("/dev/shm") / f"lca-{dead.pid:08x}{'ab' * 8}"
    ours = Path("/dev/shm") / f"lca-{os.getpid():08x}{'ab' * 8}"
    try:
        stale.write_bytes(b"x")
        ours.write_bytes(b"x")
        assert shared.sweep_regions() >= 1
        assert not stale.exists() and ours.exists()
    finally:
        stale.unlink(missing_ok=True)
        ours.unlink(missing_ok=True)


def test_a_client_that_cannot_attach_gets_frames_inline(shared_client, avatar, rig, monkeypatch):
    def nowhere(*_):
        raise OSError("another machine")

    monkeypatch.setattr(shared, "_attach", nowhere)
    with shared_client.animate(avatar.name, codec="shm", every=True) as stream:
        frames = list(stream.play(poses(5)))
    assert not stream.shares_memory and [f.slot for f in frames] == [None] * 5
    assert np.abs(frames[4].splats.means - rig.pose(**random_pose(5)).means).max() < 2e-5


@pytest.mark.parametrize(
    "name,slots,stride",
    [
        ("../../etc/passwd", 2, 8192),
        ("lca-" + "g" * 24, 2, 8192),
        ("lca-" + "a" * 24, 0, 8192),
        ("lca-" + "a" * 24, 2, 8191),
        ("lca-" + "a" * 24, 2**31, 8192),
    ],
)
def test_odd_offers_are_refused(name, slots, stride):
    with pytest.raises(InvalidInputError):
        shared.SharedRegion.attach(name, slots, stride)


@pytest.mark.parametrize(
    "peer,local",
    [
        ("unix:", True),
        ("unix:/run/lca.sock", True),
        ("ipv4:127.0.0.1:5000", True),
        ("ipv6:[::1]:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv4:10.0.0.1:5000", False),
        ("ipv4:128.127.0.1:5000", False),
        ("ipv6:[2001:db8::1]:5000", False),
        ("", False),
    ],
)
def test_shared_memory_is_offered_on_this_machine_only(peer, local):
    assert is_local(peer) is local


def test_the_service_says_what_it_grants(shared_client):
    features = set(shared_client.server_info().features)
    assert {"SHARED_MEMORY", "PAYLOAD_CODEC_DELTA_ZSTD", "BAKE_FORMAT_USDZ", "MOVIE_FORMAT_MP4"} <= features


def test_slots_that_were_not_lent_cannot_be_returned(shared_client, avatar):
    with shared_client.animate(avatar.name, codec="shm", every=True) as stream:
        stream._requests.put(pb.AnimateRequest(credit=pb.AnimateCredit(frames=1, released_slots=[0])))
        with pytest.raises(InvalidInputError) as caught:
            list(stream.frames())
    assert caught.value.reason == "BAD_SEQUENCE"


# -- differences --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec,tolerance", [("q20-delta", 1.5), ("q10-delta", 1.5), ("q10-zstd", 1.0)])
def test_compressed_streams_follow_the_person(shared_client, avatar, rig, codec, tolerance):
    with shared_client.animate(avatar.name, codec=codec, every=True) as stream:
        frames = list(stream.play(poses(20)))
    assert [f.frame_id for f in frames] == list(range(1, 21)) and stream.counts.lost == 0
    for frame in frames:
        expected = rig.pose(**random_pose(frame.frame_id))
        extent = np.ptp(expected.means, axis=0).max()
        # the box of differences is that of their key frame, and larger
        assert np.abs(frame.splats.means - expected.means).max() < 2 * tolerance * extent / 65535


def test_someone_who_walks_away_gets_a_new_key_frame(shared_client, avatar, rig):
    steps = [pose_to_proto(i + 1, translation=np.array([float(i), 0, 0])) for i in range(8)]
    with shared_client.animate(avatar.name, codec="q10-delta", every=True) as stream:
        frames = list(stream.play(steps))
    rest = rig.pose(np.zeros((55, 3))).means
    for i, frame in enumerate(frames):
        assert np.abs(frame.splats.means - rest - [i, 0, 0]).max() < 1e-3


def test_a_damaged_frame_is_counted_and_the_stream_goes_on(shared_client, avatar, rig):
    with shared_client.animate(avatar.name, codec="q10-delta", every=True, credit=1) as stream:
        source = poses(6)
        good = []
        for number, pose in enumerate(source):
            stream.push(pose)
            if number == 2:
                stream._decoder._base = (999, {})  # as if the frame before had never come
            if number != 2:
                good.append(stream.take())
                stream.release(good[-1])
        stream.finish()
        rest = list(stream.frames())
    found = [f.frame_id for f in [*good, *rest]]
    assert stream.counts.lost == 1 and found == [1, 2, 4, 5, 6]
    last = [*good, *rest][-1]
    assert np.abs(last.splats.means - rig.pose(**random_pose(6)).means).max() < 1e-3


def test_differences_of_floats_are_refused(shared_client, avatar):
    from lca_bridge.wire.frames import Codec, Encoding

    with pytest.raises(InvalidInputError) as caught:
        shared_client.animate(avatar.name, encoding=Encoding.FLOAT32, codec=Codec.DELTA_ZSTD)
    assert caught.value.reason == "BAD_START"


def test_unknown_codecs_are_named(shared_client, avatar):
    with pytest.raises(InvalidInputError, match="q10-delta"):
        shared_client.animate(avatar.name, codec="mp3")
    with pytest.raises(InvalidInputError):
        shared_client.animate(avatar.name, latest=True, every=True)


# -- corrections --------------------------------------------------------------------------------------------


def test_skinning_correction_frames_gives_the_baked_rig(shared_client, avatar, rig):
    with shared_client.animate(avatar.name, codec="corrections", every=True) as stream:
        frames = list(stream.play(poses(100)))
    assert stream.layout is None and [f.frame_id for f in frames] == list(range(1, 101))
    for frame in frames[::13]:
        ours, expected = rig.apply(**vars(frame.rig_frame)), rig.pose(**random_pose(frame.frame_id))
        for name in ("means", "quats", "scales", "sh"):
            assert np.abs(getattr(ours, name) - getattr(expected, name)).max() < 2e-5, name
    final = stream.counts.finished
    assert (final.frames_received, final.frames_sent) == (100, 100)


def test_correction_frames_are_live_too(shared_client, avatar):
    with shared_client.animate(avatar.name, codec="corrections", latest=True) as stream:
        stream.push(next(poses(1)))
        frame = stream.take()
        assert frame.rig_frame.transforms.shape == (55, 3, 4) and frame.splats is None
        stream.finish()
        stream.release(frame)
        assert stream.take() is None


def test_correction_frames_of_the_network_are_refused(shared_service, avatar):
    start = pb.AnimateStart(
        avatar=avatar.name,
        output=pb.OutputSpec(corrections=pb.CorrectionOutput()),
        correction=pb.CORRECTION_MODE_LIVE,
    )
    with grpc.insecure_channel(shared_service.target) as channel:
        stub = animation_service_pb2_grpc.AnimationServiceStub(channel)
        metadata = (("authorization", f"Bearer {shared_service.token}"),)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Animate(iter([pb.AnimateRequest(start=start)]), metadata=metadata))
    assert isinstance(translate(caught.value), UnimplementedError)


def test_a_bad_pose_inside_a_batch_is_one_warning(shared_client, avatar):
    with shared_client.animate(avatar.name, codec="corrections", every=True) as stream:
        batch = list(poses(6))
        batch[2].ClearField("joint_rotations")
        batch[2].joint_rotations.extend([float("nan")] * 165)
        stream.push_many(batch)
        stream.finish()
        found = [frame.frame_id for frame in stream.frames()]
    assert found == [1, 2, 4, 5, 6]
    assert [(w.frame_id, w.reason) for w in stream.counts.warnings] == [(3, "BAD_POSE")]
    assert stream.counts.finished.frames_rejected == 1


def test_a_broken_stream_ends_at_once_not_after_a_heartbeat(shared_client, avatar):
    """Found by fuzzing: the reader's error waited for the next heartbeat if frames were on their way."""
    for _ in range(5):
        begun = time.monotonic()
        with shared_client.animate(avatar.name, codec="q10", every=True) as stream:
            for pose in poses(3):
                stream.push(pose)
            stream.push_many(list(poses(65)))
            with pytest.raises(InvalidInputError):
                list(stream.frames())
        assert time.monotonic() - begun < 1.5


def test_batches_have_a_limit(shared_client, avatar):
    with shared_client.animate(avatar.name, codec="corrections", every=True) as stream:
        stream.push_many(list(poses(65)))
        with pytest.raises(InvalidInputError):
            list(stream.frames())


# -- the live driver ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["shm", "q10", "corrections"])
def test_the_driver_never_waits_and_shows_the_newest(shared_client, avatar, rig, codec):
    with shared_client.drive(avatar.name, codec=codec) as driver:
        assert isinstance(driver, LiveDriver) and driver.latest() is None
        newest = 0
        seen = []
        for seed in range(1, 40):
            newest = driver.push(**random_pose(seed))
            time.sleep(0.01)
            begun = time.monotonic()
            frame = driver.latest()
            assert time.monotonic() - begun < 0.05
            if frame is not None:
                seen.append(frame.frame_id)
        deadline = time.monotonic() + 10
        while (not seen or seen[-1] != newest) and time.monotonic() < deadline:
            frame = driver.latest(wait=0.2)
            if frame is not None:
                seen.append(frame.frame_id)
                splats = frame.splats or rig.apply(**vars(frame.rig_frame))
                error = np.abs(splats.means - rig.pose(**random_pose(frame.frame_id)).means).max()
                assert error < 1e-3
        assert seen[-1] == newest and seen == sorted(set(seen))


def test_a_driver_that_is_not_asked_does_not_hold_the_stream(shared_client, avatar):
    with shared_client.drive(avatar.name, codec="shm") as driver:
        for seed in range(1, 30):
            last = driver.push(**random_pose(seed))
            time.sleep(0.01)
        deadline = time.monotonic() + 10
        frame = None
        while (frame is None or frame.frame_id != last) and time.monotonic() < deadline:
            frame = driver.latest(wait=0.2) or frame
        assert frame is not None and frame.frame_id == last


def test_a_failed_stream_says_so_once(client, package_file):
    name = client.import_avatar(client.upload(package_file).name).name
    with client.drive(name, codec="q10") as driver:
        for number in range(1, 101):
            driver._stream.push(motion_pb2.PoseFrame(frame_id=number, gaze=[1.0]))
        deadline = time.monotonic() + 10
        with pytest.raises(LcaError) as caught:
            while time.monotonic() < deadline:
                driver.latest(wait=0.2)
        assert caught.value.reason == "TOO_MANY_BAD_POSES"
        assert driver.latest() is None


def test_every_mode_has_a_name_and_a_meaning():
    assert {"shm", "f32", "q20", "q10", "q10-delta"} <= set(animate.MODES)
    assert len(set(animate.MODES.values())) == len(animate.MODES)

"""Animation over real sockets: frames equal the local baked rig, credit and mailbox keep their promises."""

from __future__ import annotations

import io
import queue
import threading
import time

import grpc
import numpy as np
import pytest

from lca.errors import InvalidInputError, LcaError, NotFoundError, PreconditionError, UnimplementedError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import animation_service_pb2_grpc, image_pb2, motion_pb2
from lca_bridge.client.client import camera
from lca_bridge.client.errors import translate
from lca_bridge.server.session import MAX_BAD_POSES
from lca_bridge.wire.encode import BOX_MARGIN
from lca_bridge.wire.frames import Codec, Encoding
from lca_bridge.wire.messages import pose_to_proto
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig


def random_pose(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "joint_rotations": rng.normal(0, 0.3, (55, 3)),
        "translation": rng.normal(0, 1, 3),
        "arkit": rng.random(52),
        "gaze": rng.normal(0, 0.2, (2, 2)),
    }


def poses(count: int, start: int = 1):
    return (pose_to_proto(i, time_code=i / 30, **random_pose(i)) for i in range(start, start + count))


@pytest.fixture(scope="module")
def rig(package_bytes) -> BakedRig:
    return BakedRig(read_package(package_bytes))


@pytest.mark.parametrize(
    "encoding,codec",
    [(e, c) for e in Encoding for c in Codec if (e, c) != (Encoding.FLOAT32, Codec.DELTA_ZSTD)],
)
def test_frames_equal_the_local_baked_rig(shared_client, avatar, rig, encoding, codec):
    got = shared_client.evaluate_pose(
        avatar.name, pose_to_proto(1, **random_pose(1)), encoding=encoding, codec=codec
    )
    ours = rig.pose(**random_pose(1))
    coarse = encoding is not Encoding.FLOAT32
    extent = np.ptp(ours.means, axis=0).max() * (1 + 2 * BOX_MARGIN if codec is Codec.DELTA_ZSTD else 1)
    assert np.abs(got.means - ours.means).max() < (extent / 65535 if coarse else 2e-5)
    dots = np.abs(np.einsum("ij,ij->i", got.quats, ours.quats)).clip(0, 1)
    assert np.degrees(2 * np.arccos(dots)).max() < (0.8 if coarse else 0.1)
    assert np.abs(got.scales / ours.scales - 1).max() < (3e-4 if coarse else 1e-4)
    assert np.abs(got.opacities - ours.opacities).max() < (1 / 400 if coarse else 1e-6)
    if not coarse:
        assert np.abs(got.sh - ours.sh).max() < 1e-4


def test_every_pose_comes_back_in_order(shared_client, avatar, rig):
    with shared_client.animate(avatar.name, every=True, encoding=Encoding.FLOAT32) as stream:
        frames = list(stream.play(poses(40)))
    assert [f.frame_id for f in frames] == list(range(1, 41))
    assert frames[6].time_code == pytest.approx(7 / 30)
    for frame in (frames[0], frames[39]):
        expected = rig.pose(**random_pose(frame.frame_id)).means
        assert np.abs(frame.splats.means - expected).max() < 2e-5
    final = stream.counts.finished
    assert (final.frames_received, final.frames_sent, final.frames_dropped) == (40, 40, 0)


def test_the_start_says_what_was_granted(shared_client, avatar):
    with shared_client.animate(avatar.name, credit=100, encoding=Encoding.Q10) as stream:
        assert stream.started.delivery.initial_credit == 8
        assert stream.started.revision == avatar.revision
        assert stream.started.correction == pb.CORRECTION_MODE_BAKED
        assert [a.is_static for a in stream.layout.attributes] == [False, False, True, True, True]
        assert len(stream.rig.joints) == 55


def test_q10_streams_hold_the_static_planes_until_a_keyframe(shared_client, avatar, rig):
    with shared_client.animate(avatar.name, every=True, encoding=Encoding.Q10) as stream:
        frames = stream.frames()
        for pose in poses(2):
            stream.push(pose)
        first, second = next(frames), next(frames)
        assert np.array_equal(first.splats.sh, second.splats.sh)
        stream.request_keyframe()
        stream.push(next(poses(1, start=3)))
        third = next(frames)
        assert not np.array_equal(first.splats.sh, third.splats.sh)
        expected = rig.pose(**random_pose(3))
        assert (
            np.abs(third.splats.means - expected.means).max() < np.ptp(expected.means, axis=0).max() / 65535
        )
        stream.finish()
        assert list(frames) == []


class RawStream:
    """The protocol by hand, so that tests can hold credit back."""

    def __init__(self, service, start: pb.AnimateStart) -> None:
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(service.target)
        stub = animation_service_pb2_grpc.AnimationServiceStub(self._channel)
        self.call = stub.Animate(
            iter(self._requests.get, None), metadata=(("authorization", f"Bearer {service.token}"),)
        )
        self.inbox: queue.Queue = queue.Queue()
        threading.Thread(target=self._receive, daemon=True).start()
        self.send(start=start)

    def _receive(self) -> None:
        try:
            for response in self.call:
                self.inbox.put(response)
        except grpc.RpcError as error:
            self.inbox.put(translate(error))
        self.inbox.put(None)

    def send(self, **kind) -> None:
        self._requests.put(pb.AnimateRequest(**kind))

    def next(self, timeout: float = 10.0):
        value = self.inbox.get(timeout=timeout)
        if isinstance(value, LcaError):
            raise value
        return value

    def next_of(self, kind: str):
        while True:
            response = self.next()
            assert response is not None
            if response.WhichOneof("message") == kind:
                return getattr(response, kind)

    def quiet(self, seconds: float) -> bool:
        try:
            return self.inbox.get(timeout=seconds) is None
        except queue.Empty:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._requests.put(None)
        self.call.cancel()
        self._channel.close()


def start_of(avatar, mode=pb.DELIVERY_MODE_LATEST, credit=2) -> pb.AnimateStart:
    return pb.AnimateStart(
        avatar=avatar.name,
        delivery=pb.DeliveryPolicy(mode=mode, initial_credit=credit),
        correction=pb.CORRECTION_MODE_BAKED,
    )


def test_no_frame_without_credit_and_latest_keeps_only_the_newest(shared_service, avatar):
    with RawStream(shared_service, start_of(avatar, credit=1)) as stream:
        stream.next_of("started")
        stream.send(pose=motion_pb2.PoseFrame(frame_id=1))
        assert stream.next_of("frame").frame_id == 1
        for i in range(2, 50):
            stream.send(pose=motion_pb2.PoseFrame(frame_id=i))
        drops = 0
        while drops < 47:  # 2..48 are superseded, 49 waits in the mailbox
            response = stream.next()
            assert response.WhichOneof("message") == "dropped", "a frame came without credit"
            assert response.dropped.reason == pb.DROP_REASON_SUPERSEDED
            drops += response.dropped.count
        assert drops == 47 and stream.quiet(0.3)
        stream.send(credit=pb.AnimateCredit(frames=1, last_frame_id=1))
        assert stream.next_of("frame").frame_id == 49
        stream.send(finish=pb.AnimateFinish())
        final = stream.next_of("finished")
        assert (final.frames_received, final.frames_sent, final.frames_dropped) == (49, 2, 47)


def test_a_slow_reader_gets_fresh_frames(shared_client, avatar):
    """60 poses a second, 10 frames a second taken: the age of a frame stays below credit x frame time +
    150 ms.
    """
    sent: dict[int, float] = {}
    ages: list[float] = []
    with shared_client.animate(avatar.name, credit=2, live=False) as stream:

        def feed() -> None:
            for i in range(1, 150):
                sent[i] = time.monotonic()
                stream.push(motion_pb2.PoseFrame(frame_id=i))
                time.sleep(1 / 60)
            stream.finish()

        feeder = threading.Thread(target=feed)
        feeder.start()
        for frame in stream.frames():
            ages.append(time.monotonic() - sent[frame.frame_id])
            time.sleep(0.1)
        feeder.join()
        final = stream.counts.finished
    assert final.frames_received == 149 == final.frames_sent + final.frames_dropped
    assert stream.counts.dropped == final.frames_dropped > 60
    assert max(ages[:-2]) < 2 * 0.1 + 0.15


def test_heartbeats_fill_silence(shared_service, avatar):
    with RawStream(shared_service, start_of(avatar)) as stream:
        stream.next_of("started")
        begun = time.monotonic()
        stream.next_of("heartbeat")
        assert 1.5 < time.monotonic() - begun < 4


def test_every_holds_the_reader_back_without_losing_poses(shared_service, avatar):
    with RawStream(shared_service, start_of(avatar, pb.DELIVERY_MODE_EVERY, credit=1)) as stream:
        stream.next_of("started")
        for i in range(1, 41):
            stream.send(pose=motion_pb2.PoseFrame(frame_id=i))
        stream.send(finish=pb.AnimateFinish())
        for i in range(1, 41):
            assert stream.next_of("frame").frame_id == i
            stream.send(credit=pb.AnimateCredit(frames=1, last_frame_id=i))
        assert stream.next_of("finished").frames_sent == 40


def test_old_poses_are_dropped_when_asked(shared_service, avatar):
    start = start_of(avatar, credit=1)
    start.delivery.max_age.FromMilliseconds(100)
    with RawStream(shared_service, start) as stream:
        stream.next_of("started")
        stream.send(pose=motion_pb2.PoseFrame(frame_id=1))
        stream.next_of("frame")
        stream.send(pose=motion_pb2.PoseFrame(frame_id=2))
        time.sleep(0.3)
        stream.send(credit=pb.AnimateCredit(frames=1))
        dropped = stream.next_of("dropped")
        assert (dropped.reason, dropped.first_frame_id) == (pb.DROP_REASON_TOO_OLD, 2)
        stream.send(pose=motion_pb2.PoseFrame(frame_id=3))
        assert stream.next_of("frame").frame_id == 3


def test_bad_poses_are_warnings_until_there_are_too_many(shared_service, avatar):
    with RawStream(shared_service, start_of(avatar)) as stream:
        stream.next_of("started")
        bad = {
            2: motion_pb2.PoseFrame(frame_id=2, joint_rotations=[float("nan")] * 165),
            3: motion_pb2.PoseFrame(frame_id=3, joint_rotations=[0.0] * 10),
            4: motion_pb2.PoseFrame(frame_id=4, arkit_weights=[1e30] * 52),
        }
        stream.send(pose=motion_pb2.PoseFrame(frame_id=1))
        stream.next_of("frame")
        for frame_id, pose in bad.items():
            stream.send(pose=pose)
            warning = stream.next_of("warning")
            assert (warning.frame_id, warning.reason) == (frame_id, "BAD_POSE")
        stream.send(pose=motion_pb2.PoseFrame(frame_id=1))
        assert stream.next_of("warning").reason == "FRAME_ID_NOT_INCREASING"
        stream.send(pose=motion_pb2.PoseFrame(frame_id=5))
        assert stream.next_of("frame").frame_id == 5
        for i in range(MAX_BAD_POSES):
            stream.send(pose=motion_pb2.PoseFrame(frame_id=6 + i, gaze=[1.0]))
        with pytest.raises(InvalidInputError) as caught:
            while True:
                stream.next()
        assert caught.value.reason == "TOO_MANY_BAD_POSES"


def test_bad_starts_end_the_stream(shared_service, shared_client, avatar):
    with pytest.raises(NotFoundError):
        shared_client.animate("avatars/nobody")
    with pytest.raises(PreconditionError) as caught:
        shared_client.animate(avatar.name, revision="0" * 64)
    assert caught.value.reason == "REVISION_CHANGED"
    with pytest.raises(UnimplementedError):  # the test person was made by no network
        shared_client.animate(avatar.name, live=True)
    unknown = start_of(avatar)
    unknown.output.gaussians.encoding = 99  # type: ignore[assignment]
    with RawStream(shared_service, unknown) as stream, pytest.raises(InvalidInputError):
        stream.next_of("started")
    metadata = (("authorization", f"Bearer {shared_service.token}"),)
    with grpc.insecure_channel(shared_service.target) as channel:
        stub = animation_service_pb2_grpc.AnimationServiceStub(channel)
        for first in (pb.AnimateRequest(pose=motion_pb2.PoseFrame()), pb.AnimateRequest()):
            with pytest.raises(grpc.RpcError) as refused:
                list(stub.Animate(iter([first]), metadata=metadata))
            assert translate(refused.value).reason == "BAD_SEQUENCE"


def test_closed_streams_free_their_place(shared_service, shared_client, avatar):
    for _ in range(40):  # more than the limit of 32 at a time
        with shared_client.animate(avatar.name) as stream:
            stream.push(motion_pb2.PoseFrame(frame_id=1))
    assert shared_client.server_info().api_version == "v1"


def test_large_frames_are_split_and_come_together(client, new_groups, repack, tmp_path):
    path = tmp_path / "big.lca"
    path.write_bytes(repack({k: v for k, v in new_groups(2, 60_000, 0).items() if k != "network"} | {
        "network": {"identity_map": np.zeros((1, 1, 1), np.float16)}}))  # fmt: skip
    name = client.import_avatar(client.upload(path).name).name
    rig = BakedRig(read_package(path))
    with client.animate(name, every=True, encoding=Encoding.FLOAT32, live=False) as stream:
        frames = list(stream.play(poses(3)))
    assert stream.layout.decoded_size(True) > 2 << 20
    for frame in frames:
        expected = rig.pose(**random_pose(frame.frame_id)).means
        assert np.abs(frame.splats.means - expected).max() < 5e-5


# -- pictures -----------------------------------------------------------------------------------------------


def test_stills_in_every_format(shared_client, avatar):
    from PIL import Image

    raw = image_pb2.ImageOutput(width=64, height=96, format=image_pb2.IMAGE_FORMAT_RAW_RGB8)
    exact = np.frombuffer(shared_client.render_still(avatar.name, output=raw).data, np.uint8).reshape(
        96, 64, 3
    )
    for kind, tolerance in ((image_pb2.IMAGE_FORMAT_PNG, 0), (image_pb2.IMAGE_FORMAT_JPEG, 12)):
        output = image_pb2.ImageOutput(width=64, height=96, format=kind)
        image = shared_client.render_still(avatar.name, output=output)
        pixels = np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB"))
        assert pixels.shape == (96, 64, 3) and (image.width, image.height) == (64, 96)
        assert np.abs(pixels.astype(int) - exact).mean() <= tolerance
    assert exact.std() > 5, "the picture shows something"


def test_moving_camera_and_person_together_changes_nothing(shared_client, avatar):
    view = np.diag([1.0, -1.0, -1.0, 1.0])
    view[:3, 3] = (0, 0, 3.0)

    def shot(shift: np.ndarray) -> np.ndarray:
        moved = view.copy()
        moved[:3, 3] -= view[:3, :3] @ shift
        output = image_pb2.ImageOutput(
            width=64, height=64, format=image_pb2.IMAGE_FORMAT_RAW_RGB8,
            camera=camera(moved, (80.0, 80.0, 32.0, 32.0)), background=[0.0, 0.0, 0.0],
        )  # fmt: skip
        image = shared_client.render_still(avatar.name, pose_to_proto(1, translation=shift), output=output)
        return np.frombuffer(image.data, np.uint8).astype(int)

    still, moved = shot(np.zeros(3)), shot(np.array([0.5, -0.25, 1.0]))
    assert still.max() > 40 and np.abs(still - moved).max() <= 2


def test_light_scales_linearly_and_darkness_is_black(shared_client, avatar):
    def colours(light: np.ndarray) -> np.ndarray:
        pose = pose_to_proto(1, light=light)
        splats = shared_client.evaluate_pose(avatar.name, pose, encoding=Encoding.FLOAT32, live=False)
        shown = 0.5 + 0.28209479177387814 * splats.sh[:, 0]
        return np.where(shown <= 0.04045, shown / 12.92, ((shown.clip(0.04045) + 0.055) / 1.055) ** 2.4)

    light = np.zeros((9, 3))
    assert np.abs(colours(light)).max() < 1e-5
    light[0] = (1.0, 0.5, 0.25)
    assert np.allclose(colours(2 * light), 2 * colours(light), atol=1e-4)


@pytest.mark.parametrize("output", [
    image_pb2.ImageOutput(width=5000),
    image_pb2.ImageOutput(camera=image_pb2.Camera(view_matrix=[1.0] * 15, intrinsics=[1.0] * 4)),
    image_pb2.ImageOutput(camera=image_pb2.Camera(view_matrix=[float("nan")] * 16, intrinsics=[1.0] * 4)),
    image_pb2.ImageOutput(camera=image_pb2.Camera(view_matrix=[1.0] * 16, intrinsics=[0.0] * 4)),
    image_pb2.ImageOutput(background=[0.5]),
])  # fmt: skip
def test_bad_cameras_are_refused(shared_client, avatar, output):
    with pytest.raises(InvalidInputError) as caught:
        shared_client.render_still(avatar.name, output=output)
    assert caught.value.reason == "BAD_CAMERA"


def test_pictures_can_be_streamed(shared_client, avatar):
    output = image_pb2.ImageOutput(width=48, height=64, format=image_pb2.IMAGE_FORMAT_JPEG)
    with shared_client.animate(avatar.name, every=True, image=output, live=False) as stream:
        frames = list(stream.play(poses(3)))
    assert stream.layout is None and [f.frame_id for f in frames] == [1, 2, 3]
    assert all(f.image.data[:2] == b"\xff\xd8" and f.splats is None for f in frames)

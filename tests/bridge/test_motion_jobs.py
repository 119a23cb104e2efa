"""Whole motions as jobs: the file holds what single calls give, downloads resume, bad requests end early."""

from __future__ import annotations

import io
import threading
import uuid
import zipfile
import zlib

import numpy as np
import pytest

from lca.errors import (
    AlreadyExistsError,
    CancelledError,
    InvalidInputError,
    LcaError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    UnavailableError,
    UnimplementedError,
)
from lca.v1 import gaussian_pb2, image_pb2, job_pb2, job_service_pb2, motion_pb2
from lca_bridge.wire.frames import FrameDecoder
from lca_bridge.wire.messages import FrameAssembler, layout_from_proto, pose_to_proto
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig


def poses(count: int) -> list[motion_pb2.PoseFrame]:
    rng = np.random.default_rng(1)
    return [
        pose_to_proto(0, joint_rotations=rng.normal(0, 0.2, (55, 3)), arkit=rng.random(52))
        for _ in range(count)
    ]


def pose_of(message: motion_pb2.PoseFrame) -> tuple[np.ndarray, None, np.ndarray]:
    return np.array(message.joint_rotations).reshape(55, 3), None, np.array(message.arkit_weights)


@pytest.fixture(scope="module")
def rig(package_bytes) -> BakedRig:
    return BakedRig(read_package(package_bytes))


@pytest.fixture(scope="module")
def baked(shared_client, avatar) -> job_pb2.Job:
    return shared_client.wait_job(shared_client.bake_motion(avatar.name, poses(6), fps=25).name)


def test_a_bake_holds_every_frame(shared_client, baked, rig, tmp_path):
    assert baked.kind == job_pb2.JOB_KIND_BAKE_MOTION and not baked.result_resource
    assert baked.result.file_name == "motion.lcaframes"
    path = shared_client.download_result(baked.name, tmp_path)
    assert path.name == "motion.lcaframes" and path.stat().st_size == baked.result.size_bytes
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with zipfile.ZipFile(path) as archive:
        layout = layout_from_proto(gaussian_pb2.GaussianLayout.FromString(archive.read("layout.pb")))
        motion = motion_pb2.Motion.FromString(archive.read("motion.pb"))
        assert motion.frame_rate == 25 and len(motion.frames) == 6 and len(archive.namelist()) == 8
        for index in (5, 0):  # any frame can be read alone
            message = gaussian_pb2.GaussianFrame.FromString(archive.read(f"{index:06d}.pb"))
            got = FrameDecoder(layout).decode(FrameAssembler(layout).add(message))
            assert np.abs(got.means - rig.pose(*pose_of(motion.frames[index])).means).max() < 2e-5


def test_an_interrupted_download_goes_on(shared_client, baked, tmp_path):
    class Enough(Exception):
        pass

    def stop(done: int, size: int) -> None:
        raise Enough

    target = tmp_path / "bake.zip"
    with pytest.raises(Enough):
        shared_client.download_result(baked.name, target, stop)
    part = tmp_path / "bake.zip.part"
    assert part.exists()
    with part.open("r+b") as stream:
        stream.truncate(1000)
    shared_client.download_result(baked.name, target, lambda done, size: None)
    assert target.stat().st_size == baked.result.size_bytes and not part.exists()


def test_pieces_are_as_small_as_asked_and_carry_their_sums(shared_client, baked):
    request = job_service_pb2.DownloadResultRequest(name=baked.name, offset=100, max_chunk_bytes=5000)
    header, *pieces = shared_client._jobs.DownloadResult(request)
    assert header.header.sha256 == baked.result.sha256
    at = 100
    for piece in pieces:
        assert piece.offset == at and 0 < len(piece.data) <= 5000 and zlib.crc32(piece.data) == piece.crc32
        at += len(piece.data)
    assert at == baked.result.size_bytes


def test_results_have_an_end_and_belong_to_jobs_that_have_one(shared_client, baked, tmp_path):
    from lca_bridge.client.errors import translated_stream

    beyond = job_service_pb2.DownloadResultRequest(name=baked.name, offset=baked.result.size_bytes + 1)
    with pytest.raises(OutOfRangeError):
        list(translated_stream(shared_client._jobs.DownloadResult(beyond)))
    with pytest.raises(NotFoundError):
        shared_client.download_result("jobs/nothing", tmp_path)


def test_ply_and_usdz(shared_client, avatar, rig, tmp_path):
    from pxr import Usd

    ply = shared_client.wait_job(shared_client.bake_motion(avatar.name, poses(2), fps=30, format="ply").name)
    with zipfile.ZipFile(shared_client.download_result(ply.name, tmp_path)) as archive:
        assert archive.namelist() == ["000000.ply", "000001.ply"]
        head, _, body = archive.read("000001.ply").partition(b"end_header\n")
        means = np.frombuffer(body, "<f4").reshape(200, -1)[:, :3]
    assert f"element vertex {len(means)}".encode() in head
    assert np.abs(means - rig.pose(*pose_of(poses(2)[1])).means).max() < 2e-5
    usd = shared_client.wait_job(shared_client.bake_motion(avatar.name, poses(3), fps=30, format="usdz").name)
    path = shared_client.download_result(usd.name, tmp_path)
    stage = Usd.Stage.Open(str(path))
    assert path.suffix == ".usdz" and stage.GetEndTimeCode() - stage.GetStartTimeCode() == 2


def test_movies_and_pictures(shared_client, avatar, tmp_path):
    import av
    from PIL import Image

    output = image_pb2.ImageOutput(width=48, height=64)
    movie = shared_client.wait_job(
        shared_client.render_motion(avatar.name, poses(5), fps=12.5, output=output).name
    )
    assert movie.kind == job_pb2.JOB_KIND_RENDER_MOTION and movie.result.media_type == "video/mp4"
    with av.open(str(shared_client.download_result(movie.name, tmp_path))) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate) == 12.5 and len(frames) == 5
    assert frames[0].shape == (64, 48, 3)
    output.format = image_pb2.IMAGE_FORMAT_JPEG
    sheet = shared_client.wait_job(
        shared_client.render_motion(avatar.name, poses(2), fps=12, format="pictures", output=output).name
    )
    with zipfile.ZipFile(shared_client.download_result(sheet.name, tmp_path)) as archive:
        assert archive.namelist() == ["000000.jpg", "000001.jpg"]
        one = np.asarray(Image.open(io.BytesIO(archive.read("000000.jpg"))))
    still = shared_client.render_still(avatar.name, poses(2)[0], output=output)
    assert np.array_equal(one, np.asarray(Image.open(io.BytesIO(still.data))))
    assert np.abs(frames[0].astype(int) - one).mean() < 25, "the movie shows the same person"


@pytest.mark.parametrize(
    "change,reason",
    [
        ({"poses": []}, "BAD_MOTION"),
        ({"fps": float("nan")}, "BAD_MOTION"),
        ({"fps": 0.5}, "BAD_MOTION"),
        ({"poses": [motion_pb2.PoseFrame(), motion_pb2.PoseFrame(gaze=[1.0])]}, "BAD_POSE"),
        ({"format": "avi"}, "BAD_FORMAT"),
        ({"request_id": "no uuid"}, "INVALID_REQUEST_ID"),
    ],
)
def test_bad_motions_are_refused_before_anything_is_queued(shared_client, avatar, change, reason):
    before = len(shared_client.list_jobs())
    arguments = {"poses": poses(1), "fps": 30.0} | change
    with pytest.raises(InvalidInputError) as caught:
        shared_client.bake_motion(avatar.name, arguments.pop("poses"), **arguments)
    assert caught.value.reason == reason
    assert len(shared_client.list_jobs()) == before


def test_a_bad_pose_names_its_frame(shared_client, avatar):
    with pytest.raises(InvalidInputError, match="Frame 1:"):
        shared_client.bake_motion(avatar.name, [*poses(1), motion_pb2.PoseFrame(gaze=[1.0])], fps=30)


def test_other_refusals(shared_client, avatar):
    odd = image_pb2.ImageOutput(width=47, height=64)
    with pytest.raises(InvalidInputError, match="even"):
        shared_client.render_motion(avatar.name, poses(1), fps=30, output=odd)
    with pytest.raises(PreconditionError):
        shared_client.bake_motion(avatar.name, poses(1), fps=30, revision="0" * 64)
    with pytest.raises(NotFoundError):
        shared_client.bake_motion("avatars/nobody", poses(1), fps=30)
    with pytest.raises(UnimplementedError):  # the test person was made by no network
        shared_client.bake_motion(avatar.name, poses(1), fps=30, live=True)


def test_the_same_request_is_one_job(shared_client, avatar):
    key = str(uuid.uuid4())
    first = shared_client.bake_motion(avatar.name, poses(1), fps=30, request_id=key)
    again = shared_client.bake_motion(avatar.name, poses(1), fps=30, request_id=key)
    assert again.name == first.name
    with pytest.raises(AlreadyExistsError) as caught:
        shared_client.bake_motion(avatar.name, poses(2), fps=30, request_id=key)
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_a_deleted_job_takes_its_file_along(client, service, package_file, tmp_path):
    name = client.import_avatar(client.upload(package_file).name).name
    job = client.wait_job(client.bake_motion(name, poses(1), fps=30).name)
    folder = service.service.core.config.data_dir / "results"
    assert [p.suffix for p in folder.iterdir()] == [".result"]
    used = client.server_info().limits.storage_used_bytes
    client.delete_job(job.name)
    assert list(folder.iterdir()) == []
    assert client.server_info().limits.storage_used_bytes == used - job.result.size_bytes
    (folder / "jdead.result").write_bytes(b"x")
    service.service.core.sweep()
    assert list(folder.iterdir()) == []


def test_a_cancelled_bake_makes_no_file(client, package_file, tmp_path):
    name = client.import_avatar(client.upload(package_file).name).name
    job = client.bake_motion(name, poses(1) * 4000, fps=30)
    client.cancel_job(job.name)
    with pytest.raises(CancelledError):
        client.wait_job(job.name)
    with pytest.raises(PreconditionError) as caught:
        client.download_result(job.name, tmp_path)
    assert caught.value.reason == "NO_RESULT"


# -- jobs: waiting and filters ------------------------------------------------------------------------------


def test_waiting_ends_with_the_job_or_the_time(client, package_file):
    name = client.import_avatar(client.upload(package_file).name).name
    job = client.bake_motion(name, poses(1) * 2000, fps=30)
    request = job_service_pb2.WaitJobRequest(name=job.name)
    request.timeout.FromMilliseconds(1)
    assert client._jobs.WaitJob(request).state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING)
    threading.Timer(0.3, client.cancel_job, [job.name]).start()
    done = client._jobs.WaitJob(job_service_pb2.WaitJobRequest(name=job.name))
    assert done.state == job_pb2.JOB_STATE_CANCELLED
    request.timeout.FromSeconds(-1)
    with pytest.raises(Exception) as caught:
        client._jobs.WaitJob(request)
    assert caught.value.code().name == "INVALID_ARGUMENT"


def test_lists_can_be_narrowed(client, package_file):
    first = client.import_avatar(
        client.upload(package_file).name, avatar_id="a", labels={"show": "x", "k": "1"}
    )
    client.import_avatar(client.upload(package_file).name, avatar_id="b", labels={"show": "x", "k": "2"})
    assert {a.name for a in client.list_avatars(labels={"show": "x"})} == {"avatars/a", "avatars/b"}
    assert [a.name for a in client.list_avatars(labels={"show": "x", "k": "1"})] == ["avatars/a"]
    assert client.list_avatars(labels={"show": "' OR 1=1 --"}) == []
    job = client.wait_job(client.bake_motion(first.name, poses(1), fps=30).name)
    bake, create = job_pb2.JOB_KIND_BAKE_MOTION, job_pb2.JOB_KIND_CREATE_AVATAR
    assert [j.name for j in client.list_jobs(kinds=[bake])] == [job.name]
    assert client.list_jobs(kinds=[create]) == []
    assert [j.name for j in client.list_jobs(states=[job_pb2.JOB_STATE_SUCCEEDED])] == [job.name]
    assert client.list_jobs(states=[job_pb2.JOB_STATE_FAILED], kinds=[bake, create]) == []
    with pytest.raises(InvalidInputError):
        client.list_jobs(states=[99])


# -- uploads that exist -------------------------------------------------------------------------------------


def test_bytes_that_are_there_are_not_sent_again(client, clip):
    first = client.upload(clip, reuse=True)
    sent: list[int] = []
    again = client.upload(clip, lambda done, size: sent.append(done), reuse=True)
    assert again.name == first.name and sent == []
    assert client.upload(clip).name != first.name, "only who asks shares"


def test_half_an_upload_goes_on_without_its_name(client, clip):
    import hashlib

    data = clip.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    half = len(data) // 2
    opened = client.create_upload(len(data), clip.name, sha256=sha256, reuse=True)
    from lca.v1 import upload_service_pb2 as pb

    piece = pb.WriteUploadRequest(name=opened.name, data=data[:half], crc32=zlib.crc32(data[:half]))
    client.write_upload(iter([piece]))
    seen: list[int] = []
    done = client.upload(clip, lambda sent, size: seen.append(sent), reuse=True)
    assert done.name == opened.name and done.sha256 == sha256
    assert client.create_upload(len(data), sha256=sha256, reuse=True).state == pb.UPLOAD_STATE_VERIFIED


def test_promised_bytes_are_held_to_their_promise(client, clip):
    size = clip.stat().st_size
    with pytest.raises(InvalidInputError):
        client.create_upload(size, sha256="XYZ")
    with pytest.raises(InvalidInputError):
        client.create_upload(size, reuse=True)
    other = client.create_upload(size, sha256="0" * 64)
    with pytest.raises(LcaError) as caught:
        client.upload(clip, resume=other.name)
    assert caught.value.reason == "SHA256_MISMATCH"
    assert not isinstance(caught.value, UnavailableError)

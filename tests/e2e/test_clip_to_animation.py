"""The whole way over real sockets: a clip is uploaded, becomes an avatar in a worker, is animated and erased.

Uses the shipped sample clip and weights; real clips (``../shared/media``, ``LCA_MEDIA``) when present.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lca.errors import InvalidInputError, NoPersonFoundError, PreconditionError
from lca.v1 import job_pb2
from lca_bridge.client import connect
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig
from lca_bridge.wire.frames import Encoding
from lca_bridge.wire.messages import pose_to_proto
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig

MEDIA = Path(os.environ.get("LCA_MEDIA", Path(__file__).parents[3] / "shared" / "media"))
CLIP = Path(__file__).parents[2] / "core" / "lca_core" / "data" / "assets" / "sample_clip.mp4"
FRAMES = 30


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    with ServiceThread(ServerConfig(data_dir=folder, address="127.0.0.1:0")) as running:
        yield running


@pytest.fixture(scope="module")
def client(service):
    with connect(service.target, service.token, wait_seconds=10) as connected:
        yield connected


@pytest.fixture(scope="module")
def made(client):
    """The avatar, and every job snapshot on the way."""
    job = client.create_avatar(client.upload(CLIP).name, avatar_id="dancer", display_name="Dancer", seed=1)
    return list(client.watch_job(job.name))


@pytest.mark.slow
def test_a_clip_becomes_an_animated_avatar(client, service, made, tmp_path):
    last = made[-1]
    assert last.state == job_pb2.JOB_STATE_SUCCEEDED, last.error
    assert last.result_resource == "avatars/dancer"
    fractions = [job.progress.fraction for job in made]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    stages = {job.progress.stage for job in made}
    assert {"decode", "fit", "encode"} <= stages, stages
    assert any(job.progress.HasField("remaining_estimate") for job in made)

    avatar = client.get_avatar("avatars/dancer")
    assert avatar.stats.gaussian_count > 1000 and 1.2 < avatar.stats.height_meters < 2.3
    path = client.download(avatar.name, tmp_path / "dancer.lca")
    package = read_package(path)
    assert package.gaussian_count == avatar.stats.gaussian_count and package.name == "Dancer"

    # what the service streams is what any client computes from the file
    rig = BakedRig(package)
    rng = np.random.default_rng(0)
    rotations = rng.normal(0, 0.15, (FRAMES, 55, 3))
    with client.animate(avatar.name, every=True, encoding=Encoding.FLOAT32, live=False) as stream:
        frames = list(stream.play(pose_to_proto(i + 1, joint_rotations=r) for i, r in enumerate(rotations)))
    assert len(frames) == FRAMES
    for frame, rotation in zip(frames, rotations, strict=True):
        assert np.abs(frame.splats.means - rig.pose(rotation).means).max() < 1e-4
    # the network's own correction stays close to its linear distillation
    live = client.evaluate_pose(avatar.name, pose_to_proto(1, joint_rotations=rotations[0]), live=True)
    assert np.median(np.linalg.norm(live.means - frames[0].splats.means, axis=1)) < 0.005

    image = client.render_still(avatar.name)
    assert image.data.startswith(b"\x89PNG")
    left = [p for part in ("tmp", "uploads") for p in (service.service.core.config.data_dir / part).iterdir()]
    assert left == []
    client.delete_avatar(avatar.name)
    assert client.list_avatars() == []


@pytest.mark.slow
def test_a_clip_with_nobody_is_refused_within_ten_seconds(client, tmp_path):
    import av

    path = tmp_path / "nobody.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 480, "yuv420p"
        y, x = np.mgrid[0:480, 0:320]
        for k in range(25):
            pixels = np.stack([x // 2 + 3 * k, y // 2, x * 0 + 90], 2).clip(0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    job = client.create_avatar(client.upload(path).name)
    started = time.monotonic()
    with pytest.raises(NoPersonFoundError) as caught:
        client.wait_job(job.name)
    assert isinstance(caught.value, PreconditionError) and caught.value.reason == "NO_PERSON_FOUND"
    assert time.monotonic() - started < 10


def test_a_cut_off_clip_is_refused_at_once(client, tmp_path):
    data = CLIP.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    started = time.monotonic()
    with pytest.raises(InvalidInputError) as caught:
        client.upload(cut)
    assert caught.value.reason == "MEDIA_UNREADABLE" and time.monotonic() - started < 10


@pytest.mark.skipif(not MEDIA.is_dir(), reason="no real clips beside the checkout")
def test_real_clips_pass_the_probe(client):
    for path in sorted((MEDIA / "real").glob("*.mp4"))[:2]:
        upload = client.upload(path)
        assert upload.media_info.frame_count > 10 and upload.media_info.height >= 512
        client.delete_upload(upload.name)


def lca(*args: str, data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lca_bridge.cli", *args, "--json", "--data", str(data)]

    def hear_ctrl_c() -> None:
        """A run in the background of a shell ignores SIGINT, and so would its children."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    )


def test_the_command_line_reports_the_same_error_as_the_service(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    out, _ = (process := lca("create", str(text), data=tmp_path / "d")).communicate(timeout=60)
    error = json.loads(out)["error"]
    assert process.returncode == error["exit_code"] == 2 and error["reason"] == "MEDIA_UNREADABLE"


def test_interrupting_lca_create_cancels_and_leaves_nothing(tmp_path):
    data = tmp_path / "d"
    process = lca("create", str(CLIP), data=data)
    deadline = time.monotonic() + 60
    while not list(data.glob("tmp/job-*/worker.log")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [p for part in ("tmp", "uploads") for p in (data / part).iterdir()] == []


def test_a_service_killed_in_the_middle_takes_its_worker_along_and_goes_on_later(tmp_path):
    data = tmp_path / "d"
    for attempt in (1, 2):
        server = lca("serve", "--listen", "127.0.0.1:0", data=data)
        facts = json.loads(server.stdout.readline())
        with connect(facts["target"], (data / "token").read_text(), wait_seconds=10) as client:
            if attempt == 1:
                job = client.create_avatar(client.upload(CLIP).name, avatar_id="survivor").name
            for seen in client.watch_job(job):
                if seen.state == job_pb2.JOB_STATE_RUNNING:
                    break
            assert seen.attempt == attempt
            workers = _children(server.pid)
            assert workers
            server.kill()
        server.communicate(timeout=10)
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def _children(pid: int) -> list[int]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        if found:
            return found
        time.sleep(0.05)
    return []

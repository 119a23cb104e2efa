"""The add-on against a real service on a real socket: connect, fetch an avatar, refuse a bad clip, cancel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bpy", reason="needs the bpy module")
pytestmark = pytest.mark.bpy

from lca.v1 import job_pb2  # noqa: E402
from lca_bridge.client import connect  # noqa: E402
from lca_bridge.server.app import ServiceThread  # noqa: E402
from lca_bridge.server.config import ServerConfig  # noqa: E402

ROOT = Path(__file__).parents[2]
ADDON = ROOT / "blender_addon"
MEDIA = Path(os.environ.get("LCA_MEDIA", ROOT.parent / "shared" / "media"))
PRELUDE = """
import sys, threading, time
from pathlib import Path
import bpy
sys.path.insert(0, {addon!r})
bpy.ops.wm.read_factory_settings(use_empty=True)
import lca_avatars
from lca_avatars.bl import importer
from lca_avatars.core import service as service_core
from lca_avatars.core.jobs import Job
from lca_avatars.ops import landing, service
lca_avatars.register()
where = dict(endpoint={endpoint!r}, token_file={token!r})

def refused(call, **arguments):
    try:
        result = call(**arguments)
    except RuntimeError as error:
        return str(error)
    raise AssertionError(f"was not refused: {{result}}")
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, template_lca: Path) -> Iterator[tuple[str, Path, str]]:
    """A service that holds the template avatar: (address, token file, avatar's resource name)."""
    data = tmp_path_factory.mktemp("service")
    with ServiceThread(ServerConfig(data_dir=data, address="127.0.0.1:0")) as thread:
        token_file = data / "token"
        with connect(thread.target, thread.token, wait_seconds=10) as client:
            upload = client.upload(template_lca)
            avatar = client.import_avatar(upload.name, display_name="Ada")
        yield thread.target, token_file, avatar.name


@pytest.fixture
def blender(
    running: tuple[str, Path, str],
    tmp_path: Path,
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[[str], str]:
    """Run a script with the add-on registered and ``where`` naming the service; returns its output."""

    def run(body: str) -> str:
        script = tmp_path / "script.py"
        endpoint, token_file, _ = running
        prelude = PRELUDE.format(addon=str(ADDON), endpoint=endpoint, token=str(token_file))
        script.write_text(prelude + body + "\nprint('DONE')\n")
        done = run_python(script)
        assert done.returncode == 0 and "DONE" in done.stdout, done.stdout + done.stderr
        return done.stdout

    return run


def test_connect_and_fetch(running: tuple[str, Path, str], blender: Callable[[str], str]) -> None:
    blender(f"""
assert bpy.ops.lca.connect(**where) == {{"FINISHED"}}
info = service.service_info()
assert info.line.startswith("Service ")
assert [(a.resource, a.title) for a in info.avatars] == [({running[2]!r}, "Ada")], info
assert info.avatars[0].gaussians > 1000
assert bpy.ops.lca.fetch_avatar(resource=info.avatars[0].resource, **where) == {{"FINISHED"}}
assert importer.find_avatar(bpy.context.object)["lca_gaussians"] == info.avatars[0].gaussians
assert "no avatar 'nobody'" in refused(bpy.ops.lca.fetch_avatar, resource="avatars/nobody", **where)
""")


def test_a_wrong_token_is_explained(tmp_path: Path, blender: Callable[[str], str]) -> None:
    wrong = tmp_path / "wrong_token"
    wrong.write_text("not the token")
    out = blender(f"""
where["token_file"] = {str(wrong)!r}
print(refused(bpy.ops.lca.connect, **where))
where["token_file"] = {str(tmp_path / "absent")!r}
print(refused(bpy.ops.lca.connect, **where))
""")
    assert out.lower().count("token") >= 2 and "Traceback" not in out


def test_a_clip_that_is_none_is_refused_with_the_services_reason(
    tmp_path: Path, blender: Callable[[str], str]
) -> None:
    clip = tmp_path / "holiday.mp4"
    clip.write_bytes(np.random.default_rng(0).bytes(200_000))
    out = blender(f"""
print(refused(bpy.ops.lca.create_avatar, filepath={str(clip)!r}, **where))
assert landing.running() is None and not bpy.data.armatures
""")
    assert "Traceback" not in out and any(word in out.lower() for word in ("video", "clip", "file"))


def test_cancelling_stops_the_job_on_the_service(
    running: tuple[str, Path, str], blender: Callable[[str], str]
) -> None:
    clip = MEDIA / "real" / "face_d0.mp4"
    if not clip.is_file():
        pytest.skip("the test media are not here")
    blender(f"""
target = service_core.Target(where["endpoint"], where["token_file"])
clip, folder = Path({str(clip)!r}), Path(bpy.app.tempdir)
landing.start(Job(lambda report, cancelled: service_core.create_avatar(
    target, [clip], "never", folder, report, cancelled)))
job, deadline = landing.running(), time.monotonic() + 60
with service_core.open_client(target) as client:
    while not client.list_jobs():
        assert time.monotonic() < deadline and not job.done, job.progress
        time.sleep(0.02)
assert bpy.ops.lca.cancel_job() == {{"FINISHED"}}
assert job.wait(20), job.progress
try:
    landing.drain()
except service_core.errors.CancelledError:
    pass
else:
    raise AssertionError("the job was not cancelled")
""")
    with connect(running[0], running[1].read_text(), wait_seconds=10) as client:
        states = [job.state for job in client.list_jobs()]
        assert states == [job_pb2.JOB_STATE_CANCELLED]
        assert [avatar.name for avatar in client.list_avatars()] == [running[2]]

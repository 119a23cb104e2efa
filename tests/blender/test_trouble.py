"""What goes wrong between Blender and its service: Blender stays responsive, says why, imports nothing half.

One script per trouble, each in a Blender of its own. Jobs run as the interface runs them: a thread, and short
steps of the main thread whose longest is measured.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import pytest

pytest.importorskip("bpy", reason="needs the bpy module")
pytestmark = pytest.mark.bpy

import grpc  # noqa: E402

from lca.v1 import job_pb2  # noqa: E402

from .conftest import Server  # noqa: E402

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "core" / "lca_core" / "data" / "assets" / "sample_clip.mp4"
PRELUDE = """
import os, shutil, signal, sys, threading, time
from pathlib import Path
import bpy
sys.path.insert(0, {addon!r})
bpy.ops.wm.read_factory_settings(use_empty=True)
import lca_avatars
from lca_avatars.core import service as service_core
from lca_avatars.core.deps import describe_error
from lca_avatars.ops import landing
lca_avatars.register()
clip, folder = {clip!r}, Path({folder!r})
folder.mkdir()
landing.download_folder = lambda: folder

def settle(wait_for=None):
    "Steps of the timer until the job has landed; returns what it said."
    own, wall = [], []
    while landing.running() is not None:
        begun, cpu = time.perf_counter(), time.thread_time()
        try:
            landing.drain()
        except Exception as error:
            pass
        wall.append(time.perf_counter() - begun)
        own.append(time.thread_time() - cpu)
        time.sleep(0.01)
        if wait_for is not None and landing.running() is not None and wait_for(landing.running().progress):
            wait_for = None
    assert max(own) < 0.05, max(own)
    assert sorted(wall)[int(0.95 * (len(wall) - 1))] < 0.05, sorted(wall)[-5:]
    return landing.outcome()

def start(call, **arguments):
    begun = time.perf_counter()
    assert call(wait=False, **arguments) == {{"FINISHED"}}
    assert time.perf_counter() - begun < 0.05
    bpy.app.timers.unregister(landing._tick)  # it would never fire in background; settle() takes its place

def clean():
    assert not bpy.data.objects and not bpy.data.armatures and not bpy.data.collections
    assert not [p for p in folder.iterdir() if p.suffix == ".lca"], list(folder.iterdir())
    assert not bpy.ops.lca.cancel_job.poll() and bpy.ops.lca.create_avatar.poll()
"""


@pytest.fixture
def blender(
    tmp_path: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[[str], str]:
    """Run a script with the add-on registered; what it prints after SAID is returned."""

    def run(body: str) -> str:
        script = tmp_path / "script.py"
        addon, folder = str(ROOT / "blender_addon"), str(tmp_path / "avatars")
        script.write_text(PRELUDE.format(addon=addon, folder=folder, clip=str(CLIP)) + body)
        done = run_python(script)
        assert done.returncode == 0 and "SAID" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]
        said = done.stdout.partition("SAID ")[2].strip()
        assert said and "Traceback" not in said and "Error:" not in said, said
        return said

    return run


def test_no_service(blender: Callable[[str], str]) -> None:
    said = blender("""
service_core.open_client.__defaults__ = (1.0,)
start(bpy.ops.lca.create_avatar, filepath=clip, endpoint="127.0.0.1:1")
said = settle()
clean()
print("SAID", said)
""")
    assert "127.0.0.1:1" in said and "lca serve" in said


def test_killed_while_it_makes_the_avatar(blender: Callable[[str], str], server: Server) -> None:
    said = blender(f"""
service_core.PATIENCE_SECONDS = 1.0
killed = []
def kill(progress):
    if progress.fraction <= service_core._UPLOADED:
        return False
    killed.append(progress)
    os.kill({server.pid}, signal.SIGKILL)
    return True
where = dict(endpoint={server.target!r}, token_file={str(server.token_file)!r})
start(bpy.ops.lca.create_avatar, filepath=clip, **where)
said = settle(kill)
assert killed
clean()
start(bpy.ops.lca.fetch_avatar, resource="avatars/ada", **where)
settle()
clean()
print("SAID", said)
""")
    assert "reached" in said or "answers" in said


def test_wrong_token(blender: Callable[[str], str], server: Server, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the token")
    said = blender(f"""
start(bpy.ops.lca.create_avatar, filepath=clip, endpoint={server.target!r}, token_file={str(wrong)!r})
said = settle()
clean()
print("SAID", said)
""")
    assert "token" in said.lower()


def test_cancel(blender: Callable[[str], str], server: Server) -> None:
    said = blender(f"""
where = dict(endpoint={server.target!r}, token_file={str(server.token_file)!r})
def cancel(progress):
    if progress.fraction <= service_core._UPLOADED:
        return False
    bpy.ops.lca.cancel_job()
    return True
start(bpy.ops.lca.create_avatar, filepath=clip, **where)
said = settle(cancel)
clean()
with service_core.open_client(service_core.Target(*where.values())) as client:
    deadline = time.monotonic() + 20
    while [job.state for job in client.list_jobs()] != [{job_pb2.JOB_STATE_CANCELLED}]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not list(client.list_avatars())
print("SAID", said)
""")
    assert "ancelled" in said


@pytest.fixture
def stranger() -> Iterator[str]:
    """A gRPC server that speaks another protocol, or another version of ours: every method is unknown."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


def test_another_version_of_the_service(blender: Callable[[str], str], stranger: str) -> None:
    said = blender(f"""
start(bpy.ops.lca.create_avatar, filepath=clip, endpoint={stranger!r})
said = settle()
clean()
print("SAID", said)
""")
    assert "version" in said.lower() or "not" in said.lower()
    print(said)


def test_a_port_that_accepts_and_says_nothing(blender: Callable[[str], str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: [listener.accept() for _ in range(9)], daemon=True).start()
        said = blender(f"""
service_core.open_client.__defaults__ = (1.5,)
start(bpy.ops.lca.create_avatar, filepath=clip, endpoint="127.0.0.1:{listener.getsockname()[1]}")
said = settle()
clean()
print("SAID", said)
""")
    assert "answer" in said or "reach" in said


def test_an_avatar_file_of_another_version(
    blender: Callable[[str], str], template_lca: Path, tmp_path: Path
) -> None:
    future = tmp_path / "future.lca"
    with zipfile.ZipFile(template_lca) as source, zipfile.ZipFile(future, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "avatar.json":
                data = json.dumps({**json.loads(data), "schema": "lca.avatar/2"}).encode()
            target.writestr(name, data)
    said = blender(f"""
try:
    bpy.ops.lca.import_avatar(filepath={str(future)!r})
except RuntimeError as error:
    said = str(error).removeprefix("Error: ")
clean()
print("SAID", said)
""")
    assert "version 2" in said and "Update" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full_while_the_avatar_arrives(
    blender: Callable[[str], str], server: Server, template_lca: Path
) -> None:
    shutil.copy(template_lca, server.token_file.parent / "template.lca")
    said = blender(f"""
where = dict(endpoint={server.target!r}, token_file={str(server.token_file)!r})
with service_core.open_client(service_core.Target(*where.values())) as client:
    upload = client.upload({str(template_lca)!r})
    name = client.import_avatar(upload.name, display_name="Ada").name
    revision = client.get_avatar(name).revision
part = folder / (name.rpartition("/")[2] + ".lca.part")
part.symlink_to("/dev/full")
Path(str(part) + ".revision").write_text(revision)
start(bpy.ops.lca.fetch_avatar, resource=name, **where)
said = settle()
clean()
part.unlink()
start(bpy.ops.lca.fetch_avatar, resource=name, **where)
job = landing.running()
assert job.wait(20)
landing.drain()
assert bpy.data.armatures
print("SAID", said)
""")
    assert "space" in said.lower() or "disk" in said.lower()

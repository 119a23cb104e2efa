"""`lca demo`: the whole way on this machine. A clip goes through a freshly started service and leaves as an
avatar file, pictures, a Blender file and a USD package, with the seconds each stage took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lca.errors import LcaError, NotFoundError, PreconditionError, UnavailableError
from lca.v1 import job_pb2
from lca_bridge.client import LcaClient, connect
from lca_bridge.client.client import job_error

if TYPE_CHECKING:
    import numpy as np

MAKE_BLEND = Path(__file__).parents[3] / "blender_addon" / "make_blend.py"
INPUTS_SHOWN = 8


class Log:
    """Lines for people on standard output, seconds per stage for the record."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._shown = ("", -1)
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and announce its result."""
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start
        self.say(f"  {name:<12} {self.seconds[name]:6.1f} s")

    def job(self, progress: job_pb2.JobProgress) -> None:
        """One line for each new stage and each further quarter of the job."""
        now = (progress.stage, int(progress.fraction * 10))
        if progress.stage and now != self._shown:
            self._shown = now
            left = progress.remaining_estimate.ToTimedelta().total_seconds()
            eta = f", about {left:.0f} s left" if progress.HasField("remaining_estimate") else ""
            self.say(f"    {progress.fraction:4.0%} {progress.stage}{eta}")


def run(args: argparse.Namespace) -> int:
    """Make everything into ``--out``."""
    out = Path(args.out)
    clip = _clip(args.clip)
    out.mkdir(parents=True, exist_ok=True)
    log = Log(args.json)
    log.say(f"Clip: {clip}\nOut:  {out}")
    package = out / "avatar.lca"
    with tempfile.TemporaryDirectory(prefix="lca-demo-") as data:
        with log.stage("service"):
            process, target, token = _start_service(Path(data))
        try:
            with connect(target, token, wait_seconds=30) as client:
                _create(client, clip, package, log)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
    _pictures(package, clip, out, log)
    with log.stage("blender"):
        _blend(package, out, log)
    with log.stage("usd"):
        import lca_usd

        log.say("  " + lca_usd.export_usd(package, out / "avatar.usdz").summary().splitlines()[0])
    with log.stage("page"):
        from lca_bridge.cli.view import avatar_asset, write_page

        write_page(avatar_asset(package), clip.stem, out / "view.html")
    total = sum(log.seconds.values())
    rounded = {name: round(value, 1) for name, value in log.seconds.items()} | {"total": round(total, 1)}
    (out / "timings.json").write_text(json.dumps(rounded, indent=1), encoding="utf-8")
    files = sorted(str(path) for path in out.iterdir() if path.is_file())
    if args.json:
        print(json.dumps({"files": files, "seconds": rounded}, indent=1))
    else:
        print("Timings: " + ", ".join(f"{name} {value:g} s" for name, value in rounded.items()))
        print("\n".join(files))
    return 0


def _clip(given: str | None) -> Path:
    if given:
        path = Path(given)
    else:
        from lca_core.data.sample_clip import sample_clip_path

        path = sample_clip_path()
    if not path.exists():
        raise NotFoundError(f"There is no clip at {path}.")
    return path


def _start_service(data: Path) -> tuple[subprocess.Popen[str], str, str | None]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lca_bridge.cli",
            "serve",
            "--data",
            str(data),
            "--listen",
            "127.0.0.1:0",
            "--json",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        with suppress(json.JSONDecodeError):
            target = json.loads(text)["target"]
            token_file = data / "token"
            return process, target, token_file.read_text().strip() if token_file.exists() else None
    raise UnavailableError("The service did not start; run 'lca serve' to see why.")


def _create(client: LcaClient, clip: Path, package: Path, log: Log) -> None:
    with log.stage("upload"):
        upload = client.upload(clip)
    stage, started = "", time.monotonic()
    job = client.create_avatar(upload.name, display_name=clip.stem)
    try:
        for snapshot in client.watch_job(job.name):
            job = snapshot
            log.job(job.progress)
            if job.progress.stage != stage:
                now = time.monotonic()
                if stage:
                    log.seconds[stage] = now - started
                stage, started = job.progress.stage, now
    except KeyboardInterrupt:
        with suppress(LcaError):
            client.cancel_job(job.name)
        raise
    if stage:
        log.seconds[stage] = time.monotonic() - started
    if job.state != job_pb2.JOB_STATE_SUCCEEDED:
        raise job_error(job)
    with log.stage("download"):
        client.download(job.result_resource, package)


def _pictures(package: Path, clip: Path, out: Path, log: Log) -> None:
    from PIL import Image

    from lca_core.avatar import Avatar, pictures

    with log.stage("pictures"):
        avatar = Avatar.load(package)
        inputs = reference_frames(clip, avatar.provenance.get("reference_frames", []))
        sheets = {
            "turntable.png": pictures.turntable(avatar, inputs=inputs[:INPUTS_SHOWN]),
            "expressions.png": pictures.expressions_sheet(avatar),
            "hands.png": pictures.hands_sheet(avatar),
        }
        for name, sheet in sheets.items():
            Image.fromarray(sheet).save(out / name)


def reference_frames(clip: Path, numbers: list[int]) -> list[np.ndarray]:
    """The frames of ``clip`` that creation used, uint8 (H, W, 3)."""
    from lca_core.capture import read_clip
    from lca_core.capture.pipeline import SAMPLED_FRAMES

    decoded = read_clip(clip, SAMPLED_FRAMES)
    place = {int(number): i for i, number in enumerate(decoded.frame_index)}
    frames = []
    for number in numbers:
        if number in place:
            width, height = decoded.sizes[place[number]]
            frames.append(decoded.frames[place[number]][:height, :width])
    return frames


def _blend(package: Path, out: Path, log: Log) -> None:
    if not MAKE_BLEND.exists():
        raise PreconditionError(
            "The Blender part of the demo needs a source checkout.", reason="NO_SOURCE_TREE"
        )
    picture = out / "blender.png"
    command = [sys.executable, str(MAKE_BLEND), str(package), str(out / "avatar.blend")]
    done = subprocess.run(
        [*command, "--render", str(picture), "--samples", "16"], capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PreconditionError(
            f"Blender could not write the file ({' '.join(last)}). Run 'lca doctor' for what is missing.",
            reason="BLENDER_FAILED",
        )
    log.say(f"  Blender file and picture: {out / 'avatar.blend'}, {picture}")

"""A minute of everything at once: 20 live streams, 3 creations, uploads and health checks on one service.

``lca bench soak [--json] [--seconds 60] [--save FILE]``. Asked for: the service's resident memory flat within
5 %, 99 % of health checks within 100 ms, and every acknowledged thing still there: all poses accounted for,
all imported avatars listed, all jobs done. The creations work on the shipped sample clip; the minute starts
once streams run and workers are up, and the jobs may end after it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from parts.machine import FOLDER, environment, load_average, say
from stream import AVATAR, service

from lca.v1 import job_pb2
from lca_bridge.client import LcaClient
from lca_bridge.wire.messages import pose_to_proto
from lca_core.data.sample_clip import sample_clip_path

CODECS = ("q10", "shm", "q20", "corrections", "q10-delta")
POSES_PER_SECOND = 10


class Person:
    """One live stream: poses at a steady rate, every frame looked at."""

    def __init__(self, client: LcaClient, number: int) -> None:
        self.stream = client.animate(AVATAR, codec=CODECS[number % len(CODECS)], latest=True)
        self.pushed = self.frames = 0
        self.ages: list[float] = []
        self.failure: Exception | None = None
        self._sent: dict[int, float] = {}
        self._stop = threading.Event()
        rng = np.random.default_rng(number)
        self._pose = pose_to_proto(0, joint_rotations=rng.normal(0, 0.1, (55, 3)), arkit=rng.random(52))
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._feed, self._read)]
        for thread in self._threads:
            thread.start()

    def _feed(self) -> None:
        while not self._stop.wait(1 / POSES_PER_SECOND):
            self.pushed += 1
            pose = type(self._pose)()
            pose.CopyFrom(self._pose)
            pose.frame_id = self.pushed
            self._sent[self.pushed] = time.monotonic()
            self.stream.push(pose)
        self.stream.finish()

    def _read(self) -> None:
        try:
            for frame in self.stream.frames():
                self.ages.append(time.monotonic() - self._sent.pop(frame.frame_id))
                self.frames += 1
        except Exception as error:
            self.failure = error

    def end(self) -> dict[str, Any]:
        """Finish; poses that are not accounted for are lost acknowledgements."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        final = self.stream.counts.finished
        lost = self.pushed
        if final is not None:
            told = final.frames_sent + final.frames_dropped + final.frames_rejected
            lost = abs(self.pushed - final.frames_received) + abs(final.frames_received - told)
            lost += abs(final.frames_sent - self.frames) + abs(
                final.frames_dropped - self.stream.counts.dropped
            )
        self.stream.close()
        return {"lost": lost, "frames": self.frames, "failure": str(self.failure or "")}


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def importer(client: LcaClient, path: Path, stop: threading.Event, acknowledged: list[str]) -> None:
    """Import small avatars all the while; what was acknowledged must be there at the end."""
    while not stop.wait(3.0):
        acknowledged.append(client.import_avatar(client.upload(path).name).name)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole minute as one document."""
    from parts.stream_avatar import write_random_avatar

    report: dict[str, Any] = {"benchmark": "soak", "environment": environment()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = folder / "small.lca"
        write_random_avatar(small, 500)
        with service(folder / "data", options.gaussians, "--jobs", options.creations) as (client, facts):
            people = [Person(client, number) for number in range(options.streams)]
            jobs = [
                client.create_avatar(client.upload(sample_clip_path()).name, display_name=f"soak {k}", seed=k)
                for k in range(options.creations)
            ]
            time.sleep(options.warm)
            stop, imported = threading.Event(), list[str]()
            feeder = threading.Thread(target=importer, args=(client, small, stop, imported), daemon=True)
            feeder.start()
            path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH", "")]))
            with subprocess.Popen(
                [sys.executable, "-m", "parts.health_probe", facts["target"], str(options.seconds)],
                stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
            ) as probe:  # fmt: skip
                assert probe.stdout is not None
                probe.stdout.readline()
                memory = []
                for _ in range(int(options.seconds * 2)):
                    memory.append(resident(facts["pid"]))
                    time.sleep(0.5)
                health = np.array(json.loads(probe.stdout.read()))
            running = sum(client.get_job(job.name).state == job_pb2.JOB_STATE_RUNNING for job in jobs)
            stop.set()
            feeder.join(30)
            ends = [person.end() for person in people]
            say(f"{sum(e['frames'] for e in ends)} frames; {running} creations still at work")
            done = [client.wait_job(job.name) for job in jobs]
            kept = {avatar.name for avatar in client.list_avatars()}
            lost_avatars = [n for n in [*imported, *(job.result_resource for job in done)] if n not in kept]
    tenth = max(len(memory) // 6, 1)
    first, last = np.median(memory[:tenth]), np.median(memory[-tenth:])
    ages = 1e3 * np.concatenate([np.array(person.ages) for person in people if person.ages])
    report |= {
        "seconds": options.seconds,
        "streams": options.streams,
        "creations": options.creations,
        "creations_running_at_end": running,
        "gaussians": options.gaussians,
        "frames": sum(end["frames"] for end in ends),
        "stream_failures": [end["failure"] for end in ends if end["failure"]],
        "frame_age_ms_p50": float(np.percentile(ages, 50)),
        "frame_age_ms_p99": float(np.percentile(ages, 99)),
        "rss_mb_first": float(first / 1e6),
        "rss_mb_last": float(last / 1e6),
        "rss_mb_peak": max(memory) / 1e6,
        "rss_change": float(last / first - 1),
        "health_checks": len(health),
        "health_p50_ms": float(np.percentile(health, 50)),
        "health_p99_ms": float(np.percentile(health, 99)),
        "health_max_ms": float(health.max()),
        "acknowledged_imports": len(imported),
        "lost_acknowledgements": sum(end["lost"] for end in ends) + len(lost_avatars),
    }
    report["met"] = {
        "rss_flat_5_percent": abs(report["rss_change"]) <= 0.05,
        "health_p99_100_ms": report["health_p99_ms"] <= 100,
        "nothing_lost": report["lost_acknowledgements"] == 0 and not report["stream_failures"],
    }
    report["environment"]["load_average_at_end"] = load_average()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured time (%(default)s)")
    parser.add_argument("--warm", type=float, default=15.0, help="before it (%(default)s)")
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--creations", type=int, default=3)
    parser.add_argument("--gaussians", type=int, default=20_000, help="of the streamed avatar (%(default)s)")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    report = run(options)
    text = json.dumps(report, indent=1)
    print(text) if options.json else say(json.dumps(report["met"]))
    if options.save:
        options.save.write_text(text + "\n", encoding="utf-8")
    return 0 if all(report["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Commands on stored avatars: create, import, list, info, download, delete."""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lca.errors import InvalidInputError, LcaError
from lca_bridge.cli.output import Advance, message_dict, print_json, print_table, progress_bar
from lca_bridge.cli.serve import client_for
from lca_bridge.client import LcaClient
from lca_bridge.client.client import job_error


def avatar_name(text: str) -> str:
    """``ada`` or ``avatars/ada`` -> ``avatars/ada``."""
    return text if text.startswith("avatars/") else f"avatars/{text}"


def create(args: argparse.Namespace) -> int:
    """Upload, create, watch; Ctrl-C cancels the job."""
    parameters = _parameters(args.set)
    if args.refine:
        parameters.setdefault("refine_seconds", f"{args.refine:g}")
    seconds: dict[str, float] = {}
    with client_for(args) as client, progress_bar(args.json) as advance:
        clips = [_upload(client, Path(clip), advance) for clip in args.clips]
        job = client.create_avatar(
            clips,
            display_name=args.name or Path(args.clips[0]).stem,
            avatar_id=args.id,
            seed=args.seed,
            parameters=parameters,
        )
        try:
            result = _follow(client, job.name, advance, seconds)
        except KeyboardInterrupt:
            with suppress(LcaError):
                client.cancel_job(job.name)
                client.wait_job(job.name)  # a private service must not end before its job has
            # A cancelled job keeps its clips to be resumed; whoever pressed Ctrl-C wants nothing kept.
            with suppress(LcaError):
                client.delete_job(job.name)
            raise
        avatar = client.get_avatar(result)
        saved = client.download(avatar.name, args.out) if args.out else None
    facts = message_dict(avatar) | ({"file": str(saved)} if saved else {})
    facts["seconds"] = {stage: round(value, 2) for stage, value in seconds.items()}
    if args.json:
        print_json(facts)
    else:
        print(
            f"{avatar.name}: {avatar.stats.gaussian_count} Gaussians"
            + (f", saved to {saved}" if saved else "")
        )
        print("  ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items()))
    return 0


def _parameters(pairs: list[str]) -> dict[str, str]:
    if any("=" not in pair for pair in pairs):
        raise InvalidInputError("--set takes NAME=VALUE.", reason="BAD_PARAMETER")
    return dict(pair.split("=", 1) for pair in pairs)


def _upload(client: LcaClient, path: Path, advance: Advance) -> str:
    return client.upload(path, lambda done, size: advance(f"upload {path.name}", done / size, None)).name


def _follow(
    client: LcaClient, job_name: str, advance: Advance, seconds: dict[str, float] | None = None
) -> str:
    """Wait for a job; ``seconds`` receives the wall time of every stage, in order ("encode" is the
    network)."""
    from lca.v1 import job_pb2

    stage, since = "waiting", time.monotonic()
    for job in client.watch_job(job_name):
        progress = job.progress
        now = time.monotonic()
        if seconds is not None:
            seconds[stage] = seconds.get(stage, 0.0) + now - since
            stage, since = progress.stage or stage, now
        left = progress.remaining_estimate.ToTimedelta().total_seconds()
        known = left if progress.HasField("remaining_estimate") else None
        advance(f"{progress.stage} {progress.message}".strip() or "waiting", progress.fraction, known)
    if job.state != job_pb2.JOB_STATE_SUCCEEDED:
        raise job_error(job)
    return job.result_resource


def import_file(args: argparse.Namespace) -> int:
    """Store an avatar file, or what a USD asset of ours holds (``import usd FILE``)."""
    if args.file[0] == "usd" and len(args.file) == 2:
        from lca_bridge.cli.scene import rebuild

        if args.out:
            return rebuild(args.file[1], Path(args.out), args.json)
        with tempfile.TemporaryDirectory(prefix="lca-import-") as folder:
            made = Path(folder) / f"{Path(args.file[1]).name.partition('.')[0] or 'avatar'}.lca"
            rebuild(args.file[1], made, None)
            return _store(args, made)
    if len(args.file) != 1 or args.out:
        raise InvalidInputError("Give one .lca file, or: lca import usd FILE [--out FILE.lca].")
    return _store(args, Path(args.file[0]))


def _store(args: argparse.Namespace, package: Path) -> int:
    """Upload a package and register it as an avatar."""
    with client_for(args) as client, progress_bar(args.json) as advance:
        upload = _upload(client, package, advance)
        try:
            avatar = client.import_avatar(upload, display_name=args.name, avatar_id=args.id)
        except LcaError:
            with suppress(LcaError):
                client.delete_upload(upload)
            raise
    print_json(message_dict(avatar)) if args.json else print(avatar.name)
    return 0


def list_avatars(args: argparse.Namespace) -> int:
    """Newest first."""
    with client_for(args) as client:
        avatars = client.list_avatars()
    if args.json:
        print_json([message_dict(avatar) for avatar in avatars])
        return 0
    rows = [
        (
            a.name,
            a.display_name,
            f"{a.stats.gaussian_count:,}",
            f"{a.stats.package_size_bytes / 1e6:.1f} MB",
            a.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
        )
        for a in avatars
    ]
    print_table(("name", "display name", "Gaussians", "size", "made (UTC)"), rows)
    return 0


def list_jobs(args: argparse.Namespace) -> int:
    """Newest first."""
    with client_for(args) as client:
        jobs = client.list_jobs()
    if args.json:
        print_json([message_dict(job) for job in jobs])
        return 0
    from lca.v1 import job_pb2

    rows = [
        (
            job.name,
            job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower(),
            f"{job.progress.fraction:.0%} {job.progress.stage}",
            job.result_resource or job.error.reason,
        )
        for job in jobs
    ]
    print_table(("name", "state", "progress", "result"), rows)
    return 0


def info(args: argparse.Namespace) -> int:
    """An avatar of the service, or a file on disk."""
    facts: dict[str, Any]
    if Path(args.avatar).is_file():
        from lca_bridge.wire.package import read_package

        package = read_package(args.avatar)
        facts = {k: v for k, v in package.info.items() if k not in ("files", "betas")}
        facts["entries"] = {name: about["bytes"] for name, about in package.info["files"].items()}
    else:
        with client_for(args) as client:
            facts = message_dict(client.get_avatar(avatar_name(args.avatar)))
    if args.json:
        print_json(facts)
    else:
        print_table(("", ""), [(key, str(value)) for key, value in facts.items()])
    return 0


def download(args: argparse.Namespace) -> int:
    """Save the package."""
    with client_for(args) as client, progress_bar(args.json) as advance:
        path = client.download(
            avatar_name(args.avatar),
            args.out,
            lambda done, size: advance("download", done / max(size, 1), None),
        )
    print_json({"file": str(path)}) if args.json else print(path)
    return 0


def delete(args: argparse.Namespace) -> int:
    """Hide for a while, or erase now."""
    name = avatar_name(args.avatar)
    with client_for(args) as client:
        if args.now:
            client.purge_avatar(name)
            print_json({"erased": name}) if args.json else print("Erased.")
            return 0
        avatar = client.delete_avatar(name)
    if args.json:
        print_json({"deleted": name, "purge_time": avatar.purge_time.ToJsonString()})
    else:
        day = avatar.purge_time.ToDatetime().date()
        print(f"Deleted; `lca undelete {args.avatar}` brings it back until {day}, --now erases at once.")
    return 0


def undelete(args: argparse.Namespace) -> int:
    """Take a deletion back."""
    with client_for(args) as client:
        avatar = client.undelete_avatar(avatar_name(args.avatar))
    print_json(message_dict(avatar)) if args.json else print(avatar.name)
    return 0

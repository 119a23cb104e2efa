"""The `lca` command: parses, calls, reports. Everything heavy is imported by the command that needs it.

Errors are one line on standard error and an exit code from the table below; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from lca.errors import Category, LcaError

EXIT_CODES: dict[Category, int] = {
    Category.INTERNAL: 1,
    Category.INVALID_ARGUMENT: 2,
    Category.FAILED_PRECONDITION: 3,
    Category.NOT_FOUND: 4,
    Category.ALREADY_EXISTS: 5,
    Category.ABORTED: 6,
    Category.OUT_OF_RANGE: 7,
    Category.RESOURCE_EXHAUSTED: 8,
    Category.UNAUTHENTICATED: 9,
    Category.UNAVAILABLE: 10,
    Category.DATA_LOSS: 11,
    Category.UNIMPLEMENTED: 12,
    Category.CANCELLED: 130,
}
"""Exit code of every kind of error."""

MOTION_FILES = ".npz (ours, SMPL-X), .bvh, ARKit .json, Live Link Face .csv"

REFINE_SECONDS = 30.0
"""Time of ``lca create --refine`` when none is given."""

Command = Callable[[argparse.Namespace], int]


def _lazy(module: str, function: str) -> Command:
    """A command that imports its module when it runs."""

    def run(args: argparse.Namespace) -> int:
        from importlib import import_module

        return int(getattr(import_module(f"lca_bridge.cli.{module}"), function)(args) or 0)

    return run


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="lca", description="Photoreal, animatable full-body avatars from a clip, for Blender and USD."
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and service logs")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, help: str, run: Command, service: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print JSON")
        if service:
            _service_options(sub)
        return sub

    serve = add("serve", "run the service", _lazy("serve", "serve"))
    serve.add_argument("--listen", default="127.0.0.1:50551", help="HOST:PORT or unix:PATH (%(default)s)")
    serve.add_argument("--data", help="data folder")
    serve.add_argument("--tls-cert", help="PEM certificate; needed beyond this machine")
    serve.add_argument("--tls-key", help="PEM key")
    serve.add_argument("--tls-client-ca", help="PEM CA of client certificates (mutual TLS)")
    serve.add_argument("--insecure-i-know", action="store_true", help="no TLS beyond this machine")
    serve.add_argument("--log", action="store_true", help="log every call (JSON lines on standard error)")
    serve.add_argument("--jobs", type=int, default=1, help="avatars made at the same time")
    serve.add_argument("--tokens", help="file of NAME TOKEN lines: callers that see only what they made")
    serve.add_argument("--metrics", default="", metavar="HOST:PORT", help="Prometheus metrics, loopback only")
    serve.add_argument(
        "--blobs", default="", metavar="URL", help="object store for packages (fsspec: s3://...)"
    )
    serve.add_argument("--executor", choices=["local", "ray"], default="local", help="what runs the jobs")
    serve.add_argument("--animate", choices=["local", "ray"], default="local", help="where streams are posed")
    serve.add_argument(
        "--limit", action="append", default=[], metavar="NAME=VALUE", help="e.g. storage_bytes=68719476736"
    )
    serve.add_argument("--check", action="store_true", help="check settings, data folder and tools, then end")

    create = add("create", "make an avatar from a clip or photos", _lazy("avatars", "create"), True)
    create.add_argument("clips", nargs="+", metavar="CLIP", help="one video, or photos")
    create.add_argument("--name", default="", help="display name")
    create.add_argument("--id", default="", help="avatar id (a-z, 0-9, -)")
    create.add_argument("--out", help="also save the .lca file here")
    create.add_argument("--seed", type=int, default=0)
    create.add_argument(
        "--refine", nargs="?", type=float, const=REFINE_SECONDS, default=0.0, metavar="SECONDS",
        help="fit the avatar to its own reference frames afterwards (30 s when no time is given)",
    )  # fmt: skip
    create.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="creation parameter")

    imported = add("import", "store an .lca file as an avatar", _lazy("avatars", "import_file"), True)
    imported.add_argument("file", nargs="+", metavar="FILE", help="FILE.lca, or: usd FILE --out FILE.lca")
    imported.add_argument("-o", "--out", help="usd: the avatar file to write, instead of storing it")
    imported.add_argument("--name", default="", help="display name")
    imported.add_argument("--id", default="", help="avatar id")

    add("list", "list avatars", _lazy("avatars", "list_avatars"), True)
    add("jobs", "list jobs", _lazy("avatars", "list_jobs"), True)
    info = add("info", "describe an avatar or an .lca file", _lazy("avatars", "info"), True)
    info.add_argument("avatar")
    fetch = add("download", "save the .lca file of an avatar", _lazy("avatars", "download"), True)
    fetch.add_argument("avatar")
    fetch.add_argument("out")
    delete = add("delete", "delete an avatar", _lazy("avatars", "delete"), True)
    delete.add_argument("avatar")
    delete.add_argument("--now", action="store_true", help="erase it and all made from it; cannot be undone")
    undelete = add("undelete", "bring a deleted avatar back", _lazy("avatars", "undelete"), True)
    undelete.add_argument("avatar")

    library = add("library", "export or import all avatars", _lazy("library", "library"), True)
    library.add_argument("action", choices=["export", "import"])
    library.add_argument("url", help="folder, or file://, s3://, ... (fsspec)")

    render = add("render", "turntable and contact sheets", _lazy("show", "render"), True)
    render.add_argument("avatar", help="avatar name or .lca file")
    render.add_argument("--out", default="pictures", help="folder (%(default)s)")
    render.add_argument("--views", type=int, default=8)
    render.add_argument("--size", type=int, default=512, help="height of a turntable view in pixels")
    render.add_argument("--no-sheets", action="store_true", help="only the turntable")
    from lca_bridge.cli.light import add_light

    add_light(render)
    animate = add("animate", "play a motion: movie or pictures", _lazy("show", "animate"), True)
    animate.add_argument("avatar", help="avatar name or .lca file")
    animate.add_argument("--motion", required=True, help=MOTION_FILES)
    animate.add_argument("--out", required=True, help="FILE.mp4, or a folder for PNG frames")
    animate.add_argument("--size", type=int, default=512, help="height in pixels")
    animate.add_argument("--frames", type=int, default=0, help="at most so many frames")
    animate.add_argument("--fps", type=float, default=0.0, help="resample the motion to this rate")
    animate.add_argument("--live", action="store_true", help="use the correction network")

    motion = add("capture", "the motion of a clip, to drive an avatar with", _lazy("capture", "capture"))
    motion.add_argument("clips", nargs="+", metavar="CLIP", help="one video, or photos")
    motion.add_argument("-o", "--out", required=True, help="motion file (.npz), for lca animate --motion")
    motion.add_argument("--preview", metavar="FILE.mp4", help="also the clip with the skeleton over it")
    motion.add_argument("--sheet", metavar="FILE.png", help="the frames an avatar would use; .json: why")
    motion.add_argument("--frames", type=int, default=300, help="at most so many frames, evenly spaced")
    motion.add_argument("--height", type=float, metavar="METRES", help="the person's height, if known")
    motion.add_argument("--focal", type=float, metavar="PX", help="focal length at <= 1920 px, if known")
    motion.add_argument("--tracks", metavar="TRACKS", help="tracks.npz or tracker:NAME, docs/tracks.md")
    motion.add_argument("--seed", type=int, default=0)

    from lca_bridge.cli import scene

    scene.add_export(add("export", "write other formats", _lazy("scene", "export"), True))
    from lca_bridge.cli import view

    view.add_arguments(add("view", "an avatar in the browser", _lazy("view", "view"), True))
    scene.add_usd(add("usd", "validate USD files, import ours", _lazy("scene", "validate")))

    add("doctor", "check what this installation can do", _lazy("doctor", "doctor"))
    add("warmup", "compile the fast paths once", _lazy("doctor", "warmup"))
    demo = add("demo", "the whole way, from a clip to pictures and USD", _lazy("demo", "run"))
    demo.add_argument("--out", default="out/demo", help="folder (%(default)s)")
    demo.add_argument("--clip", help="a clip of a person; without one a synthetic person is used")
    from lca_bridge.cli.train import add_commands

    add_commands(add("train", "train the network, distil its corrections", _lazy("train", "train")))
    from lca_bridge.cli.eval import add_commands as add_protocols

    add_protocols(add("eval", "how good the avatars are", _lazy("eval", "evaluate")))
    from lca_bridge.cli.data import add_commands as add_data

    add_data(add("data", "synthetic people to look at and to train on", _lazy("data", "data")))
    bench = add("bench", "run a benchmark of the source tree", _lazy("doctor", "bench"))
    bench.add_argument("name", help="e.g. splat")
    bench.add_argument("rest", nargs=argparse.REMAINDER, help="options of the benchmark")
    return parser


def _service_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "service", "default: the running one of the data folder, else a private one"
    )
    group.add_argument("--server", default=os.environ.get("LCA_SERVER", ""), help="HOST:PORT or unix:PATH")
    group.add_argument("--token", default=os.environ.get("LCA_TOKEN", ""), help="its token")
    group.add_argument("--tls-ca", help="PEM CA of a remote service")
    group.add_argument("--data", help="data folder of this machine's service")


def _refine_alone(words: list[str]) -> list[str]:
    """``--refine`` before a file name means the usual time, not a time called like the file."""
    for i, word in enumerate(words[:-1]):
        if word == "--refine" and not words[i + 1].replace(".", "", 1).isdigit():
            words[i] = f"--refine={REFINE_SECONDS:g}"
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = build_parser().parse_args(_refine_alone(list(sys.argv[1:] if argv is None else argv)))
    if args.debug:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        return args.run(args)
    except LcaError as error:
        return _report(args, error)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return EXIT_CODES[Category.CANCELLED]
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]
        return 0
    except ModuleNotFoundError as error:
        missing = error.name or "a module"
        return _report(
            args,
            LcaError(
                f"{missing} is not installed. Run `lca doctor` to see what it belongs to.", reason="MISSING"
            ),
        )
    except Exception as error:
        where = "" if args.debug else " Run again with `lca --debug ...` for details."
        return _report(args, LcaError(f"Unexpected trouble: {error}.{where}"))


def _report(args: argparse.Namespace, error: LcaError) -> int:
    code = EXIT_CODES[error.category]
    if args.debug:
        traceback.print_exc()
    if getattr(args, "json", False):
        facts = {"category": error.category.value, "reason": error.reason, "message": error.message}
        print(json.dumps({"error": facts | {"metadata": error.metadata, "exit_code": code}}, indent=1))
    else:
        print(f"lca: {error.message} [{error.reason}]", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())

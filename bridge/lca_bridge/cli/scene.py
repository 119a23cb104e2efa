"""Scene files: export to USD, PLY and glTF, validation of USD, the way back from USD to an avatar file."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lca.errors import InvalidInputError
from lca_bridge.cli.output import print_json

Command = Callable[[argparse.Namespace], int]


def add_export(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lca export``."""
    parser.add_argument("format", choices=("usd", "ply", "glb"))
    parser.add_argument("avatar", help="avatar name or .lca file")
    parser.add_argument("out", help="FILE.usdz, .usdc, .usdz.zst, .ply or .glb")
    parser.add_argument("--preset", default="usd", help="USD preset (%(default)s)")
    parser.add_argument(
        "--unlit",
        action="store_true",
        help="albedo instead of colours, for renderers with lights of their own",
    )
    parser.add_argument("--motion", help="usd: write a shot that plays this motion")
    parser.add_argument("--bake", action="store_true", help="usd: splats of every frame as value clips")
    parser.add_argument("--pose-shapes", action="store_true", help="usd: also the pose correctives (large)")
    parser.add_argument("--frame", type=int, default=0, help="ply: the frame of --motion to write")


def add_usd(parser: argparse.ArgumentParser) -> None:
    """Sub-commands of ``lca usd``."""
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    check = commands.add_parser("validate", help="check a USD file with every validator there is")
    check.add_argument("file")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=validate)
    back = commands.add_parser("import", help="rebuild an .lca file from our own USD")
    back.add_argument("file")
    back.add_argument("-o", "--out", required=True, help="FILE.lca")
    back.add_argument("--json", action="store_true", help="print JSON")
    back.set_defaults(run=import_usd)


def export(args: argparse.Namespace) -> int:
    """USD, PLY or glTF."""
    import lca_usd
    from lca_bridge.cli.show import package_file

    with package_file(args) as given, _as_asked(given, args.unlit) as path:
        if args.format == "usd":
            options: dict[str, Any] = {"preset": args.preset, "pose_shapes": args.pose_shapes}
            if args.bake and not args.motion:
                raise InvalidInputError("--bake writes the splats of a motion; give one with --motion.")
            if args.bake:
                report = lca_usd.export_baked(path, args.motion, args.out)
            elif args.motion:
                report = lca_usd.export_shot(path, args.motion, args.out, **options)
            else:
                report = lca_usd.export_usd(path, args.out, **options)
            files, text = {**report.files, **report.sidecars}, report.summary()
        elif args.format == "glb":
            lca_usd.export_glb(path, args.out)
            files, text = {Path(args.out).name: Path(args.out).stat().st_size}, str(args.out)
        else:
            pose = lca_usd.frame_of(args.motion, args.frame) if args.motion else None
            lca_usd.export_ply(path, args.out, pose)
            files, text = {Path(args.out).name: Path(args.out).stat().st_size}, str(args.out)
    print_json({"out": str(args.out), "files": files}) if args.json else print(text)
    return 0


@contextlib.contextmanager
def _as_asked(path: Path, unlit: bool) -> Iterator[Path]:
    """The file itself, or a copy of it whose colours are the albedo (proxy texture included)."""
    if not unlit:
        yield path
        return
    from lca_core.avatar.avatar import Avatar
    from lca_core.avatar.light import unlit as without_light

    with tempfile.TemporaryDirectory(prefix="lca-") as folder:
        # The asset is named after its file.
        copy = Path(folder) / path.name
        without_light(Avatar.load(path)).save(copy)
        yield copy


def validate(args: argparse.Namespace) -> int:
    """Findings of USD's validators, our splat rules and, when installed, NVIDIA's; 1 when one is an error."""
    from lca_usd.second_opinion import nvidia_issues
    from lca_usd.validate import ERROR
    from lca_usd.validate import validate as check

    issues = check(args.file)
    others = nvidia_issues(args.file)
    issues += others or []
    errors = sum(issue.severity == ERROR for issue in issues)
    if args.json:
        found = [
            {"rule": i.rule, "path": i.path, "message": i.message, "severity": i.severity} for i in issues
        ]
        print_json(
            {"file": args.file, "errors": errors, "issues": found, "nvidia_validator": others is not None}
        )
    else:
        for issue in issues:
            print(f"{issue.severity}: {issue}")
        checked = "USD, LCA and NVIDIA rules" if others is not None else "USD and LCA rules"
        print(f"{Path(args.file).name}: {errors} errors, {len(issues) - errors} warnings ({checked})")
    return 1 if errors else 0


def import_usd(args: argparse.Namespace) -> int:
    """Rebuild an avatar from a USD asset of ours and save it."""
    return rebuild(args.file, Path(args.out), args.json)


def rebuild(source: str, out: Path, json: bool | None) -> int:
    """Read ``source`` and write ``out``; says what was lost as text, as JSON, or (None) not at all."""
    from lca_core.avatar.rebuild import rebuild_avatar, same_joints
    from lca_core.body.names import ARKIT_NAMES
    from lca_usd.read import read_usd

    if out.suffix.lower() != ".lca":
        raise InvalidInputError(f"{out.name} is no avatar file name; end it in .lca.")
    found = read_usd(source, tuple(ARKIT_NAMES))
    if not same_joints(found.joint_names):
        raise InvalidInputError(
            f"{Path(source).name} has another skeleton than ours and cannot become an avatar.",
            reason="NOT_OUR_USD",
        )
    rows = {
        "arkit_ptr": found.shapes.ptr,
        "arkit_index": found.shapes.index,
        **{f"arkit_{name}": value for name, value in found.shapes.values.items()},
    }
    mesh = {
        **found.mesh,
        "arkit_ptr": found.mesh_shapes.ptr,
        "arkit_index": found.mesh_shapes.index,
        "arkit_vertices": found.mesh_shapes.values["means"],
    }
    avatar = rebuild_avatar(
        found.info, found.canonical, found.skinning, {**rows, **found.pose}, mesh, found.texture
    )
    avatar.save(out)
    lost = "network features, texels and light transfer are not in USD"
    facts = {"out": str(out), "gaussians": avatar.gaussian_count, "lost": lost}
    if json is not None:
        print_json(facts) if json else print(f"{out}: {avatar.gaussian_count} Gaussians; {lost}")
    return 0

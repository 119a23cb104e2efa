"""`lca train`: pre-training, post-training, and linear correctives distilled from the correction branch.

The work is `lca_core.train.run`; this module parses, reports, and refits the correctives of stored avatars.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

from lca_bridge.cli.output import print_json, progress_bar


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Subcommands of ``lca train``."""
    from lca_core.train.options import PHASES, add_options

    commands = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    helps = {
        "pretrain": "from random weights, on varied people (stage a: UV maps)",
        "posttrain": "from pre-trained weights, with rendered losses and layer-wise rates",
    }
    for phase in PHASES:
        sub = commands.add_parser(phase, help=helps[phase], description=helps[phase])
        sub.add_argument("--json", action="store_true", help="print JSON")
        add_options(sub, phase)
    _small_network(
        commands, "loose", "the node deformer of skirts and dresses, on simulated cloth",
        {"garments": (28, "garments simulated"), "frames": (28, "frames of each"),
         "steps": (1500, "optimisation steps")},
    )  # fmt: skip
    light = _small_network(
        commands, "relight", "the estimate of the light in which photographs were taken, on synthetic people",
        {"people": (400, "people drawn"), "lights": (8, "lights on each"),
         "steps": (14000, "optimisation steps")},
    )  # fmt: skip
    light.add_argument(
        "--work", type=Path, help="folder of people and of an unfinished run, which goes on (FILE.work)"
    )
    text = "fit the linear correctives of an avatar to the correction branch again"
    distil = commands.add_parser("distill", help=text, description=text)
    distil.add_argument("--json", action="store_true", help="print JSON")
    distil.add_argument("avatar", type=Path, help=".lca file")
    distil.add_argument("out", type=Path, help="new .lca file")
    distil.add_argument("--weights", type=Path, help="weight file (default: the shipped one)")
    distil.add_argument("--components", type=int, default=6, help="pose components (%(default)s)")
    distil.add_argument("--poses", type=int, default=40, help="sampled poses (%(default)s)")
    distil.add_argument("--seed", type=int, default=0)


def _small_network(
    commands: Any, name: str, text: str, counts: dict[str, tuple[int, str]]
) -> argparse.ArgumentParser:
    """A subcommand that writes one file of weights; ``counts``: option -> default and help."""
    sub: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument(
        "--out", type=Path, required=True, help="FILE.safetensors; its card is written beside it"
    )
    for option, (default, said) in counts.items():
        sub.add_argument(f"--{option}", type=int, default=default, help=f"{said} (%(default)s)")
    sub.add_argument("--seed", type=int, default=0)
    return sub


def train(args: argparse.Namespace) -> int:
    """Run one of the subcommands."""
    return {"distill": distill, "loose": loose, "relight": relight}.get(args.what, fit)(args)


def loose(args: argparse.Namespace) -> int:
    """Train the node deformer of loose garments."""
    from lca_core.train.loose import LooseOptions, train_loose

    options = LooseOptions(args.garments, args.frames, args.steps, seed=args.seed)
    facts = train_loose(args.out, options, lambda line: print(line, file=sys.stderr, flush=True))
    if args.json:
        print_json({"out": str(args.out), **facts})
    else:
        print(f"{args.out}: {facts['rms_cm']} cm from the simulation")
    return 0


def relight(args: argparse.Namespace) -> int:
    """Train the estimate of the photographs' light."""
    from lca_core.train.relight import RelightOptions, train_relight

    options = RelightOptions(args.people, args.lights, args.steps, seed=args.seed)
    facts = train_relight(args.out, options, args.work, lambda line: print(line, file=sys.stderr, flush=True))
    if args.json:
        print_json({"out": str(args.out), **facts})
    else:
        print(f"{args.out}: {facts['estimated']} dB in another light, {facts['no_relighting']} dB without")
    return 0


def fit(args: argparse.Namespace) -> int:
    """Pre- or post-training."""
    from lca_core.train.run import from_options

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    done = from_options(args, args.what)
    facts = {
        "out": str(args.out),
        "weights": str(args.out / "weights.safetensors"),
        "steps": done.step,
        "seconds": round(done.elapsed, 1),
    }
    if done.world.first:
        if args.json:
            print_json(facts)
        else:
            print(f"{facts['weights']}: {done.step} steps in {done.elapsed / 60:.0f} min")
    return 0


def distill(args: argparse.Namespace) -> int:
    """Refit the linear correctives and say how much of the network they keep."""
    import numpy as np

    from lca_core.avatar.animate import Correction, LinearCorrection, local_rotations
    from lca_core.avatar.correctives import distill as fit_correctives
    from lca_core.avatar.correctives import face_points, sample_poses
    from lca_core.avatar.file import load_avatar, save_avatar
    from lca_core.avatar.frame import PoseFrame
    from lca_core.avatar.live import NetworkCorrection
    from lca_core.model.checkpoint import load_model

    avatar = load_avatar(args.avatar)
    model = load_model(path=args.weights) if args.weights else load_model(avatar.weights.config)
    network = NetworkCorrection.of(avatar, model)
    weights = np.zeros((avatar.gaussian_count, len(avatar.skinning.parents)), np.float32)
    np.put_along_axis(
        weights, avatar.skinning.joint_indices.astype(np.int64), avatar.skinning.joint_weights, 1
    )
    with progress_bar(args.json) as advance:
        made = fit_correctives(
            network, seed=args.seed, components=args.components, pose_samples=args.poses,
            face=face_points(weights),
            report=lambda fraction: advance("distilling", fraction, None),
        )  # fmt: skip
    avatar = dataclasses.replace(avatar, correctives=made)
    save_avatar(avatar, args.out)

    # Judged on frames the fit has not seen: other poses, several shapes at once at partial weights.
    rng = np.random.default_rng(args.seed + 1)
    lengths: dict[str, list[float]] = {"network": [], "missed": []}
    linear: Correction = LinearCorrection(avatar)
    for pose in sample_poses(6, args.seed + 1):
        arkit = (rng.uniform(0, 1, 52) * (rng.uniform(0, 1, 52) < 0.15)).astype(np.float32)
        frame = PoseFrame(joint_rotations=pose.joint_rotations, arkit=arkit)
        rotations = local_rotations(frame).numpy()
        wanted = network(frame, rotations).means
        lengths["network"].append(float(np.linalg.norm(wanted, axis=1).mean()))
        missed = np.linalg.norm(linear(frame, rotations).means - wanted, axis=1)
        lengths["missed"].append(float(missed.mean()))
    facts = {
        "out": str(args.out),
        "components": args.components,
        "network_mm": round(1e3 * float(np.mean(lengths["network"])), 4),
        "residual_mm": round(1e3 * float(np.mean(lengths["missed"])), 4),
    }
    if args.json:
        print_json(facts)
    else:
        print(f"{args.out}: misses {facts['residual_mm']} mm of {facts['network_mm']} mm on unseen frames")
    return 0

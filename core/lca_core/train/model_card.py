"""The card beside a checkpoint: what the weights are, from what data, with which command, how good, how bad.

``python -m lca_core.train.model_card --run DIR --weights FILE.safetensors --data DIR`` reads log.csv and
validation.csv of the run and writes FILE.md and FILE.log.csv; ``--earlier DIR`` names the runs that the run
started from, first one first. Numbers come from the logs, never from memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
import re
import resource
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca.errors import NotFoundError
from lca_core.model.checkpoint import file_hash, load_model, read_info
from lca_core.model.network import LCAModel, parameter_count
from lca_core.train.evaluate import evaluate
from lca_core.train.examples import Augmentation, SampleFolder
from lca_core.train.losses import StageAWeights
from lca_core.train.render_scores import render_scores
from lca_core.train.stage_b import StageBWeights

ENCODER = "Expression encoder"
"""Heading of the section that ``expression_scores`` writes."""
METRICS = (
    ("psnr", "colour, all texels (dB)", "psnr_mean", "psnr_fill"),
    ("psnr_dressed", "colour after the dressed second pass (dB)", "psnr_mean", "psnr_fill"),
    ("psnr_unseen", "colour, unseen texels only (dB)", "psnr_unseen_mean", "psnr_unseen_fill"),
    ("offset_mm", "clothing offset error (mm)", "offset_mm_zero", None),
    ("correction_mm", "correction error (mm)", "correction_mm_template", None),
    ("opacity_iou", "opacity IoU", None, None),
    ("albedo", "albedo (dB)", None, None),
)


def read_rows(path: Path) -> list[dict[str, float]]:
    """A CSV of numbers."""
    if not path.exists():
        raise NotFoundError(f"{path.name} is missing in the run folder; train first.")
    with path.open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def results_table(scores: dict[str, float]) -> str:
    """Markdown table of ours beside both baselines, one block per number of views."""
    counts = sorted({int(k[1:].split("/")[0]) for k in scores if k.startswith("n") and "/" in k})
    lines = [
        "| views | quantity | ours | baseline: nothing learned | baseline: fill, no network |",
        "|---|---|---|---|---|",
    ]

    def cell(key: str | None, n: int) -> str:
        value = scores.get(f"n{n}/{key}") if key else None
        return "" if value is None else f"{value:.2f}"

    for n in counts:
        for key, label, mean, fill in METRICS:
            lines.append(f"| {n} | {label} | **{cell(key, n)}** | {cell(mean, n)} | {cell(fill, n)} |")
    return "\n".join(lines)


RENDERED = (
    ("psnr", "whole person, PSNR (dB)"),
    ("face", "face, PSNR (dB)"),
    ("hands", "hands, PSNR (dB)"),
    ("iou", "silhouette, IoU"),
    ("cano_psnr", "whole person without learned correction (dB)"),
    ("cano_face", "face without learned correction (dB)"),
)


def rendered_table(columns: dict[str, dict[str, float]]) -> str:
    """Markdown table of rendered scores; ``columns`` maps a heading to scores with keys ``n2/psnr`` ..."""
    counts = sorted({int(k[1:].split("/")[0]) for c in columns.values() for k in c if "/" in k})
    lines = ["| views | quantity | " + " | ".join(columns) + " |", "|---|---|" + "---|" * len(columns)]
    for n in counts:
        for key, label in RENDERED:
            cells = [c.get(f"n{n}/{key}") for c in columns.values()]
            if any(v is not None for v in cells):
                shown = ["" if v is None else f"{v:.3f}" if key == "iou" else f"{v:.2f}" for v in cells]
                lines.append(f"| {n} | {label} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def curve(rows: Sequence[dict[str, float]], points: int = 12) -> str:
    """Loss against steps, each a mean over its stretch of the log."""
    wanted = ("loss", "color", "offset", "correction", "cano_l1", "pose_l1", "pose_ssim", "pose_alpha")
    keys = [k for k in wanted if k in rows[0]]
    lines = ["| steps | " + " | ".join(keys) + " |", "|---|" + "---|" * len(keys)]
    for part in np.array_split(np.arange(len(rows)), min(points, len(rows))):
        means = [float(np.mean([rows[i][k] for i in part])) for k in keys]
        span = f"{int(rows[part[0]]['step'])}-{int(rows[part[-1]]['step'])}"
        lines.append(f"| {span} | " + " | ".join(f"{m:.4g}" for m in means) + " |")
    return "\n".join(lines)


STAGES = {
    "a": "stage A (UV supervision, no rasteriser)",
    "b": "stage B (rendered pictures of both branches beside UV supervision)",
    "c": "stage C (crops of larger pictures beside UV supervision)",
}


def history(runs: Sequence[Path]) -> str:
    """One line per run: phase, stage, steps, minutes."""
    lines = []
    for run in runs:
        rows = read_rows(run / "log.csv")
        recipe = run / "recipe.json"
        facts = json.loads(recipe.read_text())["run"] if recipe.exists() else {}
        stage = facts.get("stage") or ("b" if "pose_l1" in rows[-1] else "a")
        people = f", {facts['people']} people" if "people" in facts else ""
        first, last = int(rows[0]["step"]), int(rows[-1]["step"])
        minutes = (rows[-1]["elapsed"] - rows[0]["elapsed"]) / 60
        lines.append(
            f"- {facts.get('phase', 'pretrain')}, {STAGES[stage]}: steps {first}-{last}, "
            f"{minutes:.0f} min by the clock{people}"
        )
    return "\n".join(lines)


def merge_logs(runs: Sequence[Path], out: Path) -> None:
    """All rows of all runs with a leading column ``run`` (0 = first); columns a run lacks stay empty."""
    tables = [read_rows(run / "log.csv") for run in runs]
    columns = list(dict.fromkeys(k for rows in tables for k in rows[0]))
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *columns])
        for number, rows in enumerate(tables):
            for row in rows:
                writer.writerow([number, *(f"{row[k]:.6g}" if k in row else "" for k in columns)])


def data_recipe(folder: Path) -> dict[str, Any]:
    """Counts and provenance of a sample folder (any ``meta`` stored in the samples is summarised)."""
    train, held = SampleFolder(folder, "train"), SampleFolder(folder, "val")
    meta: Counter[str] = Counter()
    for i in range(min(len(held), 4)):
        value = held[i].get("meta")
        if value is not None:
            try:
                stored = json.loads(str(value))
            except ValueError:
                continue
            meta.update(
                {f"{k}={stored[k]}": 1 for k in ("generator", "version", "generator_version") if k in stored}
            )
    first = train[0]
    manifest = folder / "manifest.json"
    return {
        "train": len(train),
        "validation": len(held),
        "views": len(first["images"]),
        "image": first["images"].shape[1],
        "uv": first["uv_albedo"].shape[0],
        "generator": sorted(meta),
        "manifest": json.loads(manifest.read_text()) if manifest.exists() else None,
    }


def write_card(
    run: Path,
    weights: Path,
    data: Path,
    command: str,
    notes: str = "",
    test_scores: dict[str, float] | None = None,
    earlier: Sequence[Path] = (),
    test_before: dict[str, float] | None = None,
) -> Path:
    """Write ``<weights>.md`` and ``<weights>.log.csv``; returns the card's path.

    Args:
        test_scores: of the exported file on the test split (see :func:`score_test`), added as further tables.
        earlier: runs whose weights this one started from, in order.
        test_before: ``test_scores`` of the weights that these replace.
    """
    info = read_info(weights)
    log, validation = read_rows(run / "log.csv"), read_rows(run / "validation.csv")
    # The log may run ahead of the exported weights: the card describes the weights.
    step = int(info.metadata["step"])
    log = [r for r in log if r["step"] <= step] or log
    scores = [r for r in validation if r["step"] <= step][-1] if validation else {}
    loop = json.loads((run / "run.json").read_text())
    recipe = data_recipe(data)
    from lca_core.model.template import Template

    model = LCAModel(info.config, Template.load(info.config.uv_size))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    stage = info.metadata.get("stage", "a")
    untrained = (
        "- Stage A only: no image loss, so corrections of colour and orientation (`color`, `quat` of the\n"
        "  correction branch) are untrained and stay zero; expression is the body's own shapes plus a\n"
        "  learned residual.\n"
    )
    pictures = (
        "- No LPIPS (its backbone weights are not in this repository): pictures were compared by L1, SSIM,\n"
        "  gradients at three scales and alpha. Frames of 256 px teach nothing finer than about 7 mm.\n"
    )
    drawn = {k.removeprefix("render/"): v for k, v in scores.items() if k.startswith("render/")}
    card = f"""# {info.config.name}

Feed-forward avatar network in the design of Large-scale Codec Avatars, trained by this repository's own scripts on
its own synthetic people. It is *not* the published model, whose code and weights are not available.

| | |
|---|---|
| file | `{weights.name}`, fp16, sha256 `{info.sha256}` |
| parameters | {parameter_count(model):,} |
| licence | Apache-2.0 |
| training | {STAGES[stage]}, {int(log[-1]["step"])} steps in the last run |
| hardware | CPU, one thread ({platform.machine()}); cores shared with other jobs; peak memory of this report {peak:.1f} GB |
| libraries | torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()} |
| seed | {loop["seed"]} |
| command | `{command}` |

## Data
Synthetic dressed adults from `lca_core.data` (CC0 asset pack, see NOTICE): {recipe["train"]} people for training,
{recipe["validation"]} held out; {recipe["views"]} views of {recipe["image"]} px each with its own pose and expression; UV
truth at {recipe["uv"]}. {"Generator: " + ", ".join(recipe["generator"]) + "." if recipe["generator"] else ""}
Augmentation: {Augmentation()}.
Loss weights: {StageAWeights() if stage == "a" else StageBWeights()}.
Loop: {json.dumps(loop)}.

## Runs
{history([*earlier, run])}

{rendered_section(drawn, test_scores, test_before)}## Scores on held-out synthetic people
UV space, at the network's {info.config.uv_size} x {info.config.uv_size} grid, averaged weights after step {int(scores.get("step", 0))}. "Nothing learned":
for colour the inverse texture map alone with the mean colour on unseen texels, for offsets no clothing, for
corrections the body's own expression and pose shapes. "Fill": unseen texels as `lca_core.model.fill` guesses them,
from principal components of training people, without the network.
With this few people, differences below 0.1 dB or 0.1 mm are not claims.
These are synthetic numbers on our own data: do not compare them with published PSNRs.

{results_table(scores)}

## Training log
Full log: `{weights.stem}.log.csv`.

{curve(log)}

## Known limits
- Never saw a photograph. Skin, hair and cloth of real people are outside its training domain: visible colour is
  copied from the input, unseen regions and clothing thickness are guesses.
{untrained if stage == "a" else pictures}- Offsets follow the body normal: hair and skirts are described poorly.
{notes}
"""  # noqa: E501
    if test_scores:
        heading = f"## Scores on the test split ({int(test_scores['people'])} people)"
        table = results_table(test_scores)
        text = "The exported fp16 file itself; unseen identities, held-out garments where the split has them."
        card = card.replace("## Training log", f"{heading}\n{text}\n\n{table}\n\n## Training log")
    path = weights.with_suffix(".md")
    # Parts trained on their own (expression_scores) wrote sections of their own.
    if path.exists() and (text := section_of(path.read_text(), ENCODER)):
        card = with_section(card, ENCODER, text)
    path.write_text(card)
    merge_logs([*earlier, run], weights.with_name(weights.stem + ".log.csv"))
    return path


def with_section(card: str, heading: str, text: str, before: str = "Training log") -> str:
    """``card`` with the section ``heading`` saying ``text``: in its place, or new in front of ``before``."""
    parts = re.split(r"(?m)^(?=## )", card)
    made = f"## {heading}\n{text}\n\n"
    places = [i for i, part in enumerate(parts) if part.startswith(f"## {heading}\n")]
    if places:
        parts[places[0]] = made
    else:
        last = [i for i, part in enumerate(parts) if part.startswith(f"## {before}\n")]
        parts.insert(last[0] if last else len(parts), made)
    return "".join(parts)


def section_of(card: str, heading: str) -> str:
    """The text of a section, "" when there is none."""
    found = re.search(rf"(?ms)^## {re.escape(heading)}\n(.*?)\s*(?=^## |\Z)", card)
    return found.group(1) if found else ""


def restamped(card: str, weights: Path) -> str:
    """``card`` with hash and number of parameters of the file ``weights``, a part of which was exchanged."""
    from safetensors import safe_open

    with safe_open(str(weights), "pt") as file:
        count = sum(math.prod(file.get_slice(k).get_shape()) for k in file.keys())  # noqa: SIM118
    card = re.sub(r"sha256 `[0-9a-f]{64}`", f"sha256 `{file_hash(weights)}`", card, count=1)
    return re.sub(r"\| parameters \| [\d,]+ \|", f"| parameters | {count:,} |", card, count=1)


def rendered_section(
    drawn: dict[str, float], test: dict[str, float] | None, before: dict[str, float] | None
) -> str:
    """The card's section on pictures; empty where nothing was drawn."""

    def only(scores: dict[str, float]) -> dict[str, float]:
        return {k.removeprefix("render/"): v for k, v in scores.items() if k.startswith("render/")}

    columns = {"validation": drawn} if drawn else {}
    if test is not None and only(test):
        columns[f"test ({int(test['people'])} people)"] = only(test)
        if before is not None and only(before):
            columns["test, weights before these"] = only(before)
    if not columns:
        return ""
    return (
        "## Rendered scores\nThe real creation and animation, drawn into frames that were not references: "
        "other view, pose and expression. PSNR\nover the true foreground, which does not see what spills "
        "over the silhouette (IoU does). Exact tracking; synthetic.\n\n" + rendered_table(columns) + "\n\n"
    )


def score_test(weights: Path, data: Path, limit: int = 24, views: Sequence[int] = (1, 4)) -> dict[str, float]:
    """Scores of a weight file on people of the test split in ``data``: in UV space and (keys ``render/``)
    rendered; ``people`` says how many."""
    people, model = SampleFolder(data, "test"), load_model(path=weights)
    scores = evaluate(model, people, limit=limit)
    drawn = render_scores(model, people, views, limit)
    return scores | {f"render/{k}": v for k, v in drawn.items()} | {"people": float(min(limit, len(people)))}


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--command", default="", help="the training command, as the reader should type it")
    parser.add_argument("--notes", default="")
    parser.add_argument("--test", action="store_true", help="also score the test split")
    parser.add_argument("--before", type=Path, help="with --test: weights to compare with")
    parser.add_argument("--earlier", type=Path, action="append", default=[], help="runs before this one")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scores = score_test(args.weights, args.data) if args.test else None
    before = score_test(args.before, args.data) if args.test and args.before else None
    print(
        write_card(args.run, args.weights, args.data, args.command, args.notes, scores, args.earlier, before)
    )


if __name__ == "__main__":
    main()

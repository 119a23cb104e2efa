"""How well the expression encoder reads faces of people it never saw, and its section of the model card.

In: weights and close-ups (``faces``). Out: R squared of the codes, R squared by group and correlation by
action of the ARKit weights read out of them, and retrieval: among ten expressions of another person, is the
one with the nearest code the same? The linear read-out is fitted to the map alone, never to what the encoder
says: it judges whether the encoder speaks the map's language.
``python -m lca_core.train.expression_scores --weights FILE --faces DIR --run RUN --card FILE.md``.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lca_core.body.names import ARKIT_INDEX, ARKIT_NAMES
from lca_core.model.checkpoint import load_model
from lca_core.model.encoders import ExpressionEncoder
from lca_core.train.face_augment import plain
from lca_core.train.faces import Faces, load_faces
from lca_core.train.model_card import ENCODER, restamped, with_section

GROUPS = {
    "jaw, mouth, tongue": ("jaw", "mouth", "tongue"),
    "eyelids": ("eyeBlink", "eyeSquint", "eyeWide"),
    "gaze": ("eyeLook",),
    "brows": ("brow",),
    "cheeks, nose": ("cheek", "nose"),
}
"""Groups of ARKit actions by the beginnings of their names."""
SHOWN = (
    "jawOpen", "mouthSmile", "mouthFrown", "mouthPucker", "mouthFunnel", "mouthUpperUp", "mouthLowerDown",
    "mouthLeft", "eyeBlink", "eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp", "eyeLookOut", "browInnerUp",
    "browDown", "browOuterUp", "cheekPuff", "noseSneer", "tongueOut",
)  # fmt: skip
"""Actions that the card lists; a name without side is the mean of both."""
SMALL = (64, 32)
"""Sides in pixels to which crops are also reduced and enlarged again."""


@dataclass(frozen=True)
class Scores:
    """R squared of the codes, and by group of the weights read out of them; correlation by action; share of
    expressions found again at another person, and chance; spread of the codes against the truth's; crops."""

    code_r2: float
    group_r2: dict[str, float]
    correlation: dict[str, float]
    found: float
    chance: float
    spread: float
    count: int


@torch.no_grad()
def read_codes(encoder: ExpressionEncoder, faces: Faces, side: int, small: int = 0) -> Tensor:
    """Codes [M,E] of close-ups at the encoder's crop ``side``; ``small``: from crops of so many pixels."""
    parts = []
    for start in range(0, len(faces), 64):
        part = slice(start, start + 64)
        both = plain(faces.images[part], faces.masks[part], side)
        if small:
            both = tuple(_resized(_resized(x, small), side) for x in both)  # type: ignore[assignment]
        parts.append(encoder(*both))
    return torch.cat(parts)


def _resized(pictures: Tensor, side: int) -> Tensor:
    return F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def read_out(map_weight: Tensor, weights: Tensor, ridge: float = 1e-3) -> Tensor:
    """The linear map [52,E] from codes back to ARKit weights that is best over the expressions ``weights``
    [M,52]; 48 numbers cannot hold 52, so it leans on what faces do together."""
    codes = weights @ map_weight.T
    gram = codes.T @ codes + ridge * len(codes) * torch.eye(codes.shape[1])
    return torch.linalg.solve(gram, codes.T @ weights).T


def explained(truth: Tensor, guess: Tensor) -> float:
    """R squared over all columns against predicting their means."""
    left = (truth - guess).square().sum()
    return float(1 - left / (truth - truth.mean(0)).square().sum().clamp(min=1e-12))


def partners(faces: Faces) -> NDArray[np.int64]:
    """Per close-up the one of the neighbour that shows the same expression; itself where there is none."""
    place = {(int(p), int(f)): i for i, (p, f) in enumerate(zip(faces.person, faces.frame, strict=True))}
    return np.array([place.get((p ^ 1, f), i) for (p, f), i in place.items()], np.int64)


def retrieval(codes: Tensor, faces: Faces) -> tuple[float, float]:
    """Share of close-ups whose nearest code among the neighbour's is the same expression, and chance; 0 where
    nobody has a neighbour."""
    hits, chance = [], []
    for i, j in enumerate(partners(faces)):
        if i == j:
            continue
        rows = np.nonzero(faces.person == faces.person[j])[0]
        nearest = rows[int((codes[rows] - codes[i]).square().sum(1).argmin())]
        hits.append(float(nearest == j))
        chance.append(1 / len(rows))
    return float(np.mean(hits or [0])), float(np.mean(chance or [0]))


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r; 0 where either is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 1e-9 else 0.0


def score(codes: Tensor, map_weight: Tensor, faces: Faces, fitted_to: Tensor) -> Scores:
    """Scores of ``codes`` [M,E] read from ``faces``.

    Args:
        map_weight: [E,52]. fitted_to: expressions [K,52] for the read-out.
    """
    weights = torch.from_numpy(faces.weights)
    true, back = weights @ map_weight.T, codes @ read_out(map_weight, fitted_to).T
    groups = {}
    for name, starts in GROUPS.items():
        columns = [i for i, n in enumerate(ARKIT_NAMES) if n.startswith(starts)]
        groups[name] = explained(weights[:, columns], back[:, columns])
    found, chance = retrieval(codes, faces)
    return Scores(
        code_r2=explained(true, codes),
        group_r2=groups,
        correlation={n: correlation(weights[:, i], back[:, i]) for n, i in ARKIT_INDEX.items()},
        found=found,
        chance=chance,
        spread=float(codes.std(0).norm() / true.std(0).norm()),
        count=len(faces),
    )


def facts_of(weights: Path, faces: Path, split: str = "test") -> dict[str, Any]:
    """Scores of a weight file on the people of ``split``, also from small crops, and of the truth itself."""
    model = load_model(path=weights)
    held, train = load_faces(faces, split), load_faces(faces, "train")
    side, fitted_to = model.config.input_size, torch.from_numpy(train.weights)
    map_weight = model.expression_map.weight.detach()
    codes = read_codes(model.expressions, held, side)
    true = torch.from_numpy(held.weights) @ map_weight.T
    small = {n: explained(true, read_codes(model.expressions, held, side, n)) for n in SMALL}
    truth = score(true, map_weight, held, fitted_to)
    return {
        "split": split,
        "people": len(np.unique(held.person)),
        "train_people": len(np.unique(train.person)),
        "train_crops": len(train),
        "scores": asdict(score(codes, map_weight, held, fitted_to)),
        "truth": asdict(truth),
        "small": small,
    }


def section(facts: dict[str, Any], run: Path, command: str, before: dict[str, Any] | None = None) -> str:
    """The card's text about the encoder.

    Args:
        facts: of :func:`facts_of`. run: folder of the training run. before: ``scores`` of the weights that
        these replace.
    """
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    seed, minutes = json.loads((run / "run.json").read_text())["seed"], float(rows[-1]["elapsed"]) / 60
    new, truth, old = facts["scores"], facts["truth"], before or {}
    small = ", ".join(f"{r2:.2f} at {side} px" for side, r2 in facts["small"].items())

    def line(label: str, *values: float | None) -> str:
        return f"| {label} | " + " | ".join("" if v is None else f"{v:.2f}" for v in values) + " |"

    def action(scores: dict[str, Any], name: str) -> float | None:
        table = scores.get("correlation", {})
        found = [table[n] for n in (name, f"{name}Left", f"{name}Right") if n in table]
        return sum(found) / len(found) if found else None

    text = f"""`expressions.*` was trained by itself, every other weight untouched: {len(rows)} steps, {minutes:.0f} min on a CPU core
shared with other jobs, seed {seed}, {facts["train_crops"]} close-ups of {facts["train_people"]} synthetic people (`lca_core.train.faces`). Command:
`{command}`.

Scores on exact crops of {facts["people"]} people of the {facts["split"]} split ({new["count"]} crops): R squared against predicting the
mean, Pearson's r, and the share of expressions whose nearest code among ten expressions of another person, in another
head pose and light, is the same expression. ARKit weights are read out of a code by the linear inverse of the map,
fitted without the encoder; the last column reads them out of the code that the map itself gives.

| quantity | before | now | true code |
|---|---|---|---|
"""  # noqa: E501
    lines = [line("code, R squared", old.get("code_r2"), new["code_r2"], truth["code_r2"])]
    for name in GROUPS:
        values = (old.get("group_r2", {}).get(name), new["group_r2"][name], truth["group_r2"][name])
        lines.append(line(f"{name}, R squared", *values))
    found = f"found at another person (chance {new['chance']:.2f})"
    lines.append(line(found, old.get("found"), new["found"], truth["found"]))
    lines.append(line("spread of the codes", old.get("spread"), new["spread"], truth["spread"]))
    lines += [line(f"{n}, r", action(old, n), action(new, n), action(truth, n)) for n in SHOWN]
    limits = f"""
R squared of the code from smaller crops: {small}. The map from ARKit weights to codes stayed as it was, because
the correction branch speaks its language. Faces are the generator's, turned at most 40 degrees from the camera."""  # noqa: E501
    return text + "\n".join(lines) + "\n" + limits


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True, help="folder of lca_core.train.faces")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--run", type=Path, help="with --card: folder of the training run")
    parser.add_argument("--before", type=Path, help="JSON of this command for the weights that these replace")
    parser.add_argument("--card", type=Path, help="model card whose section to write")
    parser.add_argument("--command", default="", help="the training command, as the reader should type it")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    facts = facts_of(args.weights, args.faces, args.split)
    print(json.dumps(facts, indent=1))
    if args.card and args.run:
        before = json.loads(args.before.read_text())["scores"] if args.before else None
        text = section(facts, args.run, args.command, before)
        args.card.write_text(restamped(with_section(args.card.read_text(), ENCODER, text), args.weights))


if __name__ == "__main__":
    main()

"""Contact sheets and Markdown tables of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lca_core.evaluate.real import METHODS, Outcome

JPEG_QUALITY = 86


def save_sheets(outcomes: list[Outcome], folder: Path) -> list[str]:
    """Write one sheet of bodies and one of faces; returns their file names."""
    from lca_core.avatar.pictures import sheet

    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, rows in (
        (
            "real.jpg",
            [[(f"{o.name}: {label}", tile) for label, tile in o.tiles] for o in outcomes if o.tiles],
        ),
        (
            "faces.jpg",
            [[(f"{o.name}: {label}", tile) for label, tile in o.faces] for o in outcomes if o.faces],
        ),
    ):
        if rows:
            save(sheet(rows), folder / name)
            names.append(name)
    return names


def save(picture: np.ndarray, path: Path) -> None:
    """A picture (H,W,3) uint8 as JPEG."""
    Image.fromarray(picture).save(path, quality=JPEG_QUALITY)


def markdown(report: dict[str, Any]) -> str:
    """The tables of a real-people report."""
    head = ["subject", "method", "PSNR dB", "SSIM", "FLIP", "IoU", "face PSNR", "hands PSNR", "identity"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    people = {k: v for k, v in report["subjects"].items() if v["status"] == "ok"}
    for name, person in [*people.items(), *([("**mean**", report["mean"])] if people else [])]:
        for method in METHODS:
            lines.append("| " + " | ".join([name, method.replace("_", " "), *_cells(person[method])]) + " |")
    for name, person in report["subjects"].items():
        if person["status"] != "ok":
            lines.append(f"\n{name} failed: {person['message']} [{person['reason']}]")
    lines += ["", "Cosine of face embeddings, renders (rows) against photographs (columns):", ""]
    table = report["identity"]["similarity"]
    lines += ["| | " + " | ".join(table) + " |", "|---|" + "---|" * len(table)]
    for name, row in table.items():
        cells = ["-" if row[other] is None else f"{row[other]:.3f}" for other in table]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    def text(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return [
        text(row["psnr"], 2),
        text(row["ssim"], 3),
        text(row["flip"], 3),
        text(row["iou"], 3),
        text(row.get("face", {}).get("psnr"), 2),
        text(row.get("hands", {}).get("psnr"), 2),
        text(row.get("identity_similarity"), 3),
    ]

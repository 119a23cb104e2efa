"""Pictures that let a person judge a capture: fitted skeleton and mask outline over the reference frames.

Only lines and dots are drawn, never the body surface. In: a :class:`Capture`; out: RGB arrays or one PNG
sheet.
"""

from __future__ import annotations

import os
import textwrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from lca_core.body.names import JOINT_NAMES, JOINT_PARENTS

from .networks import Array

LETTER, LINE, LABEL_LINES = 6, 12, 2
"""Pixels a letter and a line take in Pillow's built-in font, and lines above a picture."""
LEFT, RIGHT, MIDDLE, OUTLINE = (255, 80, 60), (70, 170, 255), (255, 220, 60), (80, 255, 120)


def overlay(frame: NDArray[np.uint8], mask: Array, joints_px: Array, *, side: int = 640) -> NDArray[np.uint8]:
    """Draw the mask outline and the skeleton over one frame.

    Args:
        frame: [H,W,3]; mask: [H,W] 0..1; joints_px: [55,2] pixels.
        side: longer side of the result.

    Returns:
        uint8 RGB; left limbs red, right limbs blue, spine yellow, outline green.
    """
    scale = side / max(frame.shape[:2])
    size = (max(round(frame.shape[1] * scale), 1), max(round(frame.shape[0] * scale), 1))
    image = Image.fromarray(frame).resize(size, Image.Resampling.BOX)
    solid = np.asarray(Image.fromarray((mask > 0.5).astype(np.uint8) * 255).resize(size)) > 127
    pixels = np.asarray(image).copy()
    pixels[ndimage.binary_dilation(solid) ^ solid] = OUTLINE
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    points = np.asarray(joints_px) * scale
    for j, name in enumerate(JOINT_NAMES):
        if name == "jaw":
            continue
        colour = LEFT if name.startswith("left") else RIGHT if name.startswith("right") else MIDDLE
        finger = j >= 25
        parent = JOINT_PARENTS[j]
        if parent >= 0:
            line = [(float(x), float(y)) for x, y in points[[parent, j]]]
            draw.line(line, fill=colour, width=1 if finger else 2)
        if not finger:
            x, y = float(points[j, 0]), float(points[j, 1])
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
    return np.asarray(image)


def project_joints(joints: Array, k: Array, viewmat: Array) -> Array:
    """World joints [J,3] to pixels [J,2]."""
    camera = joints @ viewmat[:3, :3].T + viewmat[:3, 3]
    pixels = camera @ k.T
    return (pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-6)).astype(np.float32)


def labelled(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """The picture with a line or two of text on a dark bar above it."""
    width = image.shape[1]
    lines = textwrap.wrap(text, max(width // LETTER, 8))[:LABEL_LINES] or [""]
    bar = Image.new("RGB", (width, LINE * LABEL_LINES + 4), (24, 24, 24))
    draw = ImageDraw.Draw(bar)
    for n, line in enumerate(lines):
        draw.text((3, 2 + LINE * n), line, fill=(235, 235, 235))
    return np.concatenate([np.asarray(bar), image])


def contact_sheet(
    images: list[NDArray[np.uint8]], path: str | os.PathLike[str] | None = None, columns: int = 4
) -> NDArray[np.uint8]:
    """Tile pictures into one sheet [H,W,3] and save it as PNG when ``path`` is given."""
    height, width = max(i.shape[0] for i in images), max(i.shape[1] for i in images)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for n, image in enumerate(images):
        y, x = (n // columns) * height, (n % columns) * width
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    if path is not None:
        Image.fromarray(sheet).save(path)
    return sheet

"""Compares ``make_pictures.py``'s splat render in Cycles with our own renderer: same pose, same camera.

``python -m parts.blender_picture AVATAR.lca FOLDER [OUT.jpg]`` reads ``blender-splats.json`` and ``.png``
from the folder, prints the PSNR over the whole picture, on the body and inside its rim, and can write both
side by side.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import binary_erosion

from lca_core.avatar.animate import Animator
from lca_core.avatar.file import load_avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.body.names import ARKIT_NAMES
from lca_core.splat import render

RIM = 6
"""Pixels along the silhouette, where the two blend half-covered pixels differently."""


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """Scene-linear 0..1 to display values."""
    return np.where(value < 0.0031308, 12.92 * value, 1.055 * np.maximum(value, 0) ** (1 / 2.4) - 0.055)


def reference(avatar: Path, view: dict) -> np.ndarray:
    """(H, W, 3) display values 0..1 of the view that ``make_pictures.py`` wrote down."""
    arkit = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, weight in view["arkit"].items():
        arkit[ARKIT_NAMES.index(name)] = weight
    frame = PoseFrame(joint_rotations=np.array(view["joint_rotations"], np.float32), arkit=arkit)
    splats = Animator(load_avatar(avatar)).evaluate(frame)
    # Blender's camera looks along -Z with Y up, ours along +Z with Y down.
    to_camera = np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(view["camera"]) @ np.array(view["rig"])
    width, height = view["size"]
    focal = view["focal_pixels"]
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    background = linear_to_srgb(np.array(view["world_linear"]))
    tensors = [torch.tensor(np.asarray(a, np.float32))[None] for a in (to_camera, intrinsics, background)]
    image, _alpha, _meta = render(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.sh,
        *tensors[:2],
        width,
        height,
        sh_degree=0,
        backgrounds=tensors[2],
    )
    return image[0].numpy().clip(0, 1)


def psnr(difference: np.ndarray) -> float:
    """Decibels for values 0..1."""
    return float(-10 * np.log10(np.mean(difference**2)))


def main(avatar: str, folder: str, out: str = "") -> None:
    """Print the numbers; write the pair if asked to."""
    view = json.loads((Path(folder) / "blender-splats.json").read_text())
    cycles = np.asarray(Image.open(Path(folder) / "blender-splats.png").convert("RGB"), np.float64) / 255
    ours = reference(Path(avatar), view)
    body = np.abs(ours - ours[0, 0]).max(-1) > 0.04
    apart, inside = cycles - ours, binary_erosion(body, iterations=RIM)
    print(
        f"PSNR {psnr(apart):.2f} dB, on the body alone {psnr(apart[body]):.2f} dB, "
        f"without its rim of {RIM} pixels {psnr(apart[inside]):.2f} dB"
    )
    if out:
        pair = np.concatenate([cycles, ours], 1)
        Image.fromarray((255 * pair).round().astype(np.uint8)).save(out, quality=90)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What phones and rooms do to pictures: backgrounds, things in the way, blur, noise, JPEG, drifting exposure.

In: linear colour and coverage of a rendered person. Out: sRGB pictures as a phone stores them, and the mattes
a matting network would give. One :class:`Look` is drawn per clip, so that a clip is of a piece.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lca_core.data.render import linear_to_srgb, srgb_to_linear
from lca_core.data.samples import background


@dataclass(frozen=True)
class Look:
    """The camera and surroundings of one clip.

    Attributes:
        back: (H,W,3) linear background. exposure: (T,) stops. tint: (3,) white balance left over.
        tone: strength 0-1 of a film-like tone curve. defocus: px. noise: standard deviation at mid grey.
        quality: JPEG 40-95. scale: size of the stored picture against the rendered one. blur: number of
        sub-frames, 1 = sharp; shutter: share of the frame time that it is open.
        occluder: (H,W,3) linear and (H,W) alpha, or None. halo: px by which the degraded matte grows.
    """

    back: NDArray[np.float64]
    exposure: NDArray[np.float64]
    tint: NDArray[np.float64]
    tone: float
    defocus: float
    noise: float
    quality: int
    scale: float
    blur: int
    shutter: float
    occluder: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    halo: float


def _paint(rng: np.random.Generator, low: float, high: float) -> NDArray[np.float64]:
    """A linear colour (3,) as rooms have it: mostly greys and browns, now and then a strong one."""
    colour = rng.uniform(low, high, 3)
    keep = rng.beta(1.0, 3.0)
    return np.asarray(
        srgb_to_linear(keep * colour + (1 - keep) * colour.mean() * np.array([1.03, 1.0, 0.95]))
    )


def room(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A linear background (H,W,3): a blurry gradient, or a wall over a floor with furniture-like boxes."""
    base = background(rng, height, width)
    if rng.random() < 0.35:
        return base
    wall, floor = _paint(rng, 0.3, 0.9), _paint(rng, 0.15, 0.7)
    horizon = int(height * rng.uniform(0.55, 0.85))
    out = np.empty((height, width, 3))
    out[:horizon] = wall * np.linspace(rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0), horizon)[:, None, None]
    out[horizon:] = floor * np.linspace(0.7, 1.1, height - horizon)[:, None, None]
    for _ in range(int(rng.integers(0, 7))):
        w, h = rng.uniform(0.05, 0.4, 2) * (width, height)
        x, y = rng.uniform(-0.1, 1.0) * width, rng.uniform(0.0, 0.8) * height
        rows, cols = slice(int(max(y, 0)), int(y + h)), slice(int(max(x, 0)), int(max(x + w, 0)))
        out[rows, cols] = _paint(rng, 0.05, 0.95)
        if rng.random() < 0.4:
            out[rows, cols] *= 0.8 + 0.2 * (np.arange(out[rows, cols].shape[1]) % 16 < 8)[:, None]
    out = out * (1 + 0.06 * ndimage.gaussian_filter(rng.standard_normal((height, width)), 1.5)[..., None] * 6)
    blur = rng.uniform(0.3, 4.0) * max(height, width) / 512
    return ndimage.gaussian_filter(np.maximum(out, 0), (blur, blur, 0))


def occluder(
    rng: np.random.Generator, height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Something between camera and person: a soft-edged box or disc from one side; colour and alpha (H,W)."""
    y, x = np.mgrid[:height, :width]
    side, reach = int(rng.integers(4)), rng.uniform(0.08, 0.3)
    if rng.random() < 0.5:
        edges = (
            x / width < reach,
            x / width > 1 - reach,
            y / height > 1 - reach,
            y / height > 1 - reach * 0.7,
        )
        shape = edges[side].astype(float)
    else:
        centre = [(0.0, 0.6), (1.0, 0.6), (0.3, 1.0), (0.7, 1.0)][side]
        far = np.hypot(x / width - centre[0], (y / height - centre[1]) * height / width)
        shape = (far < reach).astype(float)
    soft = rng.uniform(0.5, 4) * max(height, width) / 512
    colour = _paint(rng, 0.05, 0.8) * np.ones((height, width, 1))
    return colour, ndimage.gaussian_filter(shape, soft)


def draw_look(rng: np.random.Generator, frames: int, height: int, width: int) -> Look:
    """The look of one clip; of the clips 18 % have something in the way."""
    drift = ndimage.gaussian_filter1d(rng.standard_normal(frames + 120), 25)[60:-60] * 5
    blocked = rng.random() < 0.18
    return Look(
        back=room(rng, height, width),
        exposure=rng.normal(0, 0.25) + 0.12 * drift,
        tint=np.exp(rng.normal(0, 0.03, 3)),
        tone=float(rng.uniform(0, 0.6)),
        defocus=float(rng.uniform(0, 1.5) if rng.random() < 0.6 else 0.0),
        noise=float(rng.uniform(0.0, 0.025)),
        quality=int(rng.integers(40, 96)),
        scale=float(rng.uniform(256, 720) / 512) if rng.random() < 0.7 else 1.0,
        blur=int(rng.integers(4, 9)) if rng.random() < 0.35 else 1,
        shutter=float(rng.uniform(0.2, 0.9)),
        occluder=occluder(rng, height, width) if blocked else None,
        halo=float(rng.uniform(3, 8)),
    )  # fmt: skip


def without_occluder(look: Look) -> Look:
    """The same look with nothing in the way."""
    return replace(look, occluder=None)


def photograph(
    look: Look, rng: np.random.Generator, color: NDArray, coverage: NDArray, frame: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """One stored picture.

    Args:
        color: (H,W,3) linear, premultiplied. coverage: (H,W). frame: index into the clip's exposure.

    Returns:
        image (H,W,3) sRGB, visible mask, amodal mask and degraded mask (H,W) 0-255.
    """
    light = color + (1 - coverage[..., None]) * look.back
    visible = coverage
    if look.occluder is not None:
        over, alpha = look.occluder
        light = light * (1 - alpha[..., None]) + over * alpha[..., None]
        visible = coverage * (1 - alpha)
    light = light * np.exp2(look.exposure[frame]) * look.tint
    if look.defocus > 0.1:
        light = ndimage.gaussian_filter(light, (look.defocus, look.defocus, 0))
    if look.noise > 0:
        # Photon noise grows with the root of the light; the rest is read-out noise.
        light = light + look.noise * (0.3 + np.sqrt(np.maximum(light, 0))) * rng.standard_normal(light.shape)
    srgb = linear_to_srgb(light)
    srgb = srgb * (1 - look.tone) + look.tone * (srgb * srgb * (3 - 2 * srgb))
    image = stored(np.round(srgb * 255).astype(np.uint8), look.quality, look.scale)
    return image, _bytes(visible), _bytes(coverage), _bytes(degraded_matte(look, rng, visible))


def stored(image: NDArray[np.uint8], quality: int, scale: float) -> NDArray[np.uint8]:
    """A picture (H,W,3) after resizing by ``scale``, JPEG, and back."""
    height, width = image.shape[:2]
    small = (max(16, round(width * scale)), max(16, round(height * scale)))
    picture = Image.fromarray(image)
    if small != (width, height):
        picture = picture.resize(small, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    picture = Image.open(io.BytesIO(buffer.getvalue()))
    if small != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture.convert("RGB"))


def degraded_matte(look: Look, rng: np.random.Generator, mask: NDArray) -> NDArray[np.float64]:
    """A matte as networks give it: a halo of a few pixels, filled gaps between fingers, wavy edges."""
    height, width = mask.shape
    halo = look.halo * max(height, width) / 512
    filled = ndimage.grey_closing(mask, size=(max(int(halo * 1.5), 1),) * 2)
    wave = ndimage.zoom(rng.standard_normal((12, 12)), (height / 12, width / 12), order=1)[:height, :width]
    wave = np.pad(wave, ((0, height - wave.shape[0]), (0, width - wave.shape[1])), mode="edge")
    soft = ndimage.gaussian_filter(filled, halo / 2)
    edge = 4 * soft * (1 - soft)
    return np.clip((soft - 0.5 + edge * (0.22 * wave + 0.18)) * 2.2 + 0.5, 0, 1)


def _bytes(mask: NDArray) -> NDArray[np.uint8]:
    return np.round(np.clip(mask, 0, 1) * 255).astype(np.uint8)

"""Draws what a synthetic person wears: outfit, colours, patterns, skin tone.

In: a random generator, the split and the sex. Out: an :class:`Outfit` of pack garments, procedural garments
or both. Held-out garments and pattern families only ever reach the test split. Everybody gets a top, a bottom
and shoes; below a skirt there are always shorts or tights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lca_core.data import library
from lca_core.data.painting import HELD_OUT_PATTERNS, TRAIN_PATTERNS, Cloth, luminance
from lca_core.data.procedural import TOPS, Cut
from lca_core.data.render import srgb_to_linear

HELD_OUT_SUITS = ("male_casualsuit05", "female_casualsuit02")
HELD_OUT_CUTS = ("tunic", "bell")
HELD_OUT_FLARE, HELD_OUT_HEM = (1.15, 1.30), (-0.60, -0.50)
"""Skirts inside both ranges (and flares above 1.5) belong to the test split."""
WHOLE_SUITS = ("male_worksuit01",)
"""Suits whose halves cannot be worn apart."""
UNISEX_SUITS = ("male_casualsuit01", "male_casualsuit03", "male_casualsuit06")

_TOP_COLOURS = (
    (176, 40, 44), (32, 84, 168), (30, 104, 72), (214, 168, 58), (108, 56, 128), (202, 106, 54),
    (40, 128, 136), (196, 104, 132), (238, 236, 230), (238, 236, 230), (44, 46, 52), (30, 32, 38),
    (128, 128, 132), (92, 66, 48), (160, 190, 214), (110, 122, 74), (26, 40, 76), (226, 214, 190),
    (120, 30, 46), (178, 160, 196), (240, 200, 190),
)  # fmt: skip
_BOTTOM_COLOURS = (
    (38, 48, 74), (30, 32, 38), (24, 24, 28), (70, 88, 122), (96, 116, 148), (52, 66, 98), (120, 116, 110),
    (78, 80, 84), (178, 160, 128), (196, 182, 154), (98, 84, 62), (84, 92, 64), (120, 44, 48),
    (222, 218, 210),
)  # fmt: skip
_DENIM = ((62, 84, 124), (44, 58, 90), (98, 120, 156), (34, 38, 52), (130, 146, 170))
# Skin albedo from very fair to very dark, sRGB.
_TONES = np.array(
    [
        (220, 174, 152), (212, 164, 140), (202, 152, 125), (189, 136, 106), (166, 114, 84), (140, 92, 66),
        (112, 71, 51), (90, 57, 42), (72, 47, 36),
    ],
    float,
)  # fmt: skip


@dataclass(frozen=True)
class Outfit:
    """What is worn besides shoes and hat.

    Attributes:
        suit: pack suit whose upper and lower garment are worn unless a cut replaces them; "" for none.
        top, bottom: procedural garments; None takes the suit's. A skirt or dress is a bottom.
        under: shorts or leggings below a skirt.
        tucked: the bottom lies over the top.
    """

    suit: str
    top: Cut | None
    bottom: Cut | None
    under: Cut | None
    tucked: bool

    @property
    def kind(self) -> str:
        """A word for the contact sheet and for statistics, e.g. ``tee+jeans``."""
        upper = self.top.kind if self.top else self.suit
        lower = self.bottom.kind if self.bottom else ("" if self.top is None else self.suit)
        return f"{upper}+{lower}" if lower else upper


def held_out_skirt(flare: float, hem: float) -> bool:
    """True for skirts that only the test split may wear."""
    inside = HELD_OUT_FLARE[0] <= flare <= HELD_OUT_FLARE[1] and HELD_OUT_HEM[0] <= hem <= HELD_OUT_HEM[1]
    return inside or flare > 1.5


def _top_cut(rng: np.random.Generator, split: str, female: bool) -> Cut:
    kinds = [k for k in TOPS if k not in HELD_OUT_CUTS]
    weights = np.array(
        [{"tank": 0.8 if female else 0.4, "tee": 2.2, "longsleeve": 1.6}.get(k, 1.0) for k in kinds]
    )
    kind = str(rng.choice(kinds, p=weights / weights.sum()))
    if split == "test" and rng.random() < 0.3:
        kind = "tunic"
    sleeve = {
        "tank": 0.0, "tee": float(rng.uniform(0.2, 0.5)), "vneck": float(rng.choice([0.3, 0.42, 0.98])),
        "tunic": float(rng.choice([0.3, 0.6, 0.98])),
    }.get(kind, float(rng.uniform(0.95, 1.03)))  # fmt: skip
    loose = float(rng.uniform(0.5, 1.0) if kind in ("sweater", "tunic") else rng.beta(1.2, 1.6))
    ease = {"sweater": 0.014, "turtleneck": 0.005, "tank": 0.004}.get(kind, 0.005) + 0.006 * loose
    return Cut(
        kind, ease=ease, looseness=loose, sleeve=sleeve,
        hem=float(rng.uniform(-0.11, -0.07) if kind == "tunic" else rng.uniform(-0.09, 0.03)),
        neck=float(rng.uniform(0.06, 0.11) if kind == "vneck" else rng.uniform(0.02, 0.07)),
    )  # fmt: skip


def _bottom_cut(rng: np.random.Generator, split: str, female: bool) -> Cut:
    kinds = ["leggings", "shorts", "trousers", "trousers", "trousers", "wide"] if female else [
        "shorts", "shorts", "trousers", "trousers", "trousers", "wide",
    ]  # fmt: skip
    kind = "bell" if split == "test" and rng.random() < 0.3 else str(rng.choice(kinds))
    loose, ease, hem, flare = {
        "leggings": (0.0, 0.003, rng.choice([0.62, 0.8, 0.97]), 0.0),
        "shorts": (rng.uniform(0.25, 1.0), 0.008, rng.uniform(0.28, 0.54), 0.0),
        "trousers": (rng.uniform(0.12, 0.32), 0.006, rng.uniform(0.93, 0.99), 0.0),
        "wide": (rng.uniform(0.45, 1.0), 0.008, rng.uniform(0.94, 1.0), 0.0),
        "bell": (0.12, 0.005, 1.0, rng.uniform(0.3, 0.6)),
    }[kind]
    rise = float(rng.uniform(0.07, 0.13))
    return Cut(kind, ease=ease, looseness=float(loose), hem=float(hem), rise=rise, flare=float(flare))


def _skirt_cut(rng: np.random.Generator, split: str, dress: bool) -> Cut:
    for _ in range(100):
        flare = float(rng.uniform(1.0, 1.6) if split == "test" else rng.uniform(0.7, 1.5))
        hem = float(rng.uniform(-0.80, -0.35))
        if held_out_skirt(flare, hem) == (split == "test"):
            break
    folds = int(rng.choice([0, 0, 6, 7, 8]))
    rise = float(rng.uniform(0.085, 0.11))
    return Cut("dress" if dress else "skirt", ease=0.008, hem=hem, rise=rise, flare=flare, folds=folds)


def sample_outfit(rng: np.random.Generator, split: str, female: bool) -> Outfit:
    """One outfit; in the test split at least one garment of it is held out."""
    sex = "female" if female else "male"
    suits = [s for s in library.names("suit") if s.startswith(sex)] + (list(UNISEX_SUITS) if female else [])
    suits = [s for s in suits if split == "test" or s not in HELD_OUT_SUITS]
    halves = [s for s in suits if s not in WHOLE_SUITS]
    way = rng.random()
    skirted = female and rng.random() < 0.36
    if split == "test":
        # Half of the test outfits are pack suits, whole or in part: the held-out ones.
        suits = halves = [s for s in suits if s in HELD_OUT_SUITS]
    if skirted:
        dress = bool(rng.random() < 0.45)
        skirt = _skirt_cut(rng, split, dress)
        top = _top_cut(rng, split, female)
        if dress:
            kind = str(rng.choice(["tank", "tee", "vneck", "longsleeve"]))
            sleeve = {"tank": 0.0, "longsleeve": 0.98}.get(kind, float(rng.choice([0.25, 0.45])))
            top = Cut(kind, 0.005, 0.05, sleeve, skirt.rise - 0.05, neck=float(rng.uniform(0.03, 0.09)))
        else:
            top = Cut(top.kind, min(top.ease, 0.008), min(top.looseness, 0.12), top.sleeve,
                      skirt.rise - 0.05, neck=top.neck)  # fmt: skip
        under = Cut("leggings", ease=0.0025, looseness=0.0, hem=0.97 if rng.random() < 0.4 else 0.3,
                    rise=skirt.rise - 0.02)  # fmt: skip
        return Outfit("", top, skirt, under, True)
    if way < 0.34:
        return Outfit(str(rng.choice(suits)), None, None, None, False)
    if way < 0.48:
        return Outfit(str(rng.choice(halves)), _top_cut(rng, split, female), None, None, False)
    top, bottom = _top_cut(rng, split, female), _bottom_cut(rng, split, female)
    if way < 0.6:
        return Outfit(str(rng.choice(halves)), None, bottom, None, False)
    if split == "test" and not {top.kind, bottom.kind} & set(HELD_OUT_CUTS):
        bottom = Cut("bell", 0.005, 0.12, hem=1.0, rise=bottom.rise, flare=float(rng.uniform(0.3, 0.6)))
    tucked = bool(rng.random() < 0.25) and top.kind not in ("sweater", "tunic")
    if tucked:
        bottom = Cut(bottom.kind, bottom.ease + 0.004, bottom.looseness, hem=bottom.hem,
                     rise=max(bottom.rise, 0.1), flare=bottom.flare)  # fmt: skip
        top = Cut(top.kind, min(top.ease, 0.006), min(top.looseness, 0.1), top.sleeve, bottom.rise - 0.06,
                  neck=top.neck)  # fmt: skip
    return Outfit("", top, bottom, None, tucked)


def sample_cloth(rng: np.random.Generator, split: str, *, lower: bool, denim: bool = False) -> Cloth:
    """Colours and pattern of one garment."""
    colours = _BOTTOM_COLOURS if lower else _TOP_COLOURS
    first = colours[rng.integers(len(colours))]
    second = _TOP_COLOURS[rng.integers(len(_TOP_COLOURS))]
    if float(np.abs(np.subtract(first, second)).sum()) < 90:
        second = (236, 232, 224) if sum(first) < 380 else (34, 36, 44)
    patterns = TRAIN_PATTERNS if split != "test" else TRAIN_PATTERNS + HELD_OUT_PATTERNS * 4
    pattern = str(patterns[rng.integers(len(patterns))])
    if lower and rng.random() < 0.78:
        pattern = "plain"
    if denim and rng.random() < 0.5:
        first, pattern = _DENIM[rng.integers(len(_DENIM))], "denim"
    jitter = rng.integers(-16, 17, 3)
    tint = tuple(int(np.clip(c + j, 12, 244)) for c, j in zip(first, jitter))
    keep = bool(rng.random() < (0.35 if lower else 0.15))
    return Cloth(tint, second, pattern, float(rng.uniform(0.6, 1.8)), keep)  # type: ignore[arg-type]


def tone_colour(place: float) -> NDArray[np.float64]:
    """Skin albedo (3,), linear, at a place 0 (very fair) to 1 (very dark)."""
    at = np.clip(place, 0, 1) * (len(_TONES) - 1)
    srgb = [np.interp(at, np.arange(len(_TONES)), _TONES[:, k]) / 255 for k in range(3)]
    return np.asarray(srgb_to_linear(np.array(srgb)))


def skin_gain(rng: np.random.Generator, place: float, own: float) -> tuple[float, float, float]:
    """Linear RGB gain that takes a skin texture of luminance ``own`` to the tone at ``place``.

    The gain follows the row of natural tones from the texture's own place to the new one, so it never turns
    skin green or grey; a small undertone is added.
    """
    places = np.linspace(0, 1, 65)
    levels = np.array([luminance(tone_colour(p)) for p in places])
    here = float(places[np.abs(levels - own).argmin()])
    # The fairest textures are at the top of the row already: brighter or paler ones would glow.
    gain = tone_colour(max(place, here) if here < 0.3 else place) / tone_colour(here)
    r, g, b = gain * (1 + rng.normal(0, 0.03) * np.array([0.5, -0.1, -0.8])) * rng.uniform(0.92, 1.04)
    return float(r), float(g), float(b)

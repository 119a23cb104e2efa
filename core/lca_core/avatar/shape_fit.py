"""What a refinement changes and one step of it: smooth changes of the Gaussians before photographs.

In: an avatar, its person's photographs, :class:`FitOptions`. Out: a :class:`Change` and where each photograph
really shows the person. ``refine`` says for how long, and how much of the change is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from lca_core.avatar.align import RATES, groups, prior
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.descent import SteadyAdam
from lca_core.avatar.fitting import Change, FittedAvatar, Photo, Placement, placed
from lca_core.body.cage import Cage, mixing, one_per_cell
from lca_core.body.points import farthest_points
from lca_core.splat.harmonics import C0

LEARNING = {"node_means": 0.001, "node_scales": 0.01, "node_logits": 0.04, "node_colors": 0.004,
            "patch_colors": 0.008, "colors": 0.02, "gain": 0.01}  # fmt: skip
"""Step sizes: metres, log metres, logits, sRGB, log exposure."""
COLORS = ("node_colors", "patch_colors", "colors")
FREE_RATE = 4.0
"""Factor of the colours' step sizes when nothing is known of them."""
PRIORS = {
    "node_means": 250.0,
    "node_scales": 0.0002,
    "node_logits": 0.00002,
    "node_colors": 0.01,
    "patch_colors": 0.02,
}
"""Weights of squared differences between linked nodes."""
STAY = {"patch_colors": 0.2, "colors": 0.12, "gain": 0.5, "node_scales": 0.02}
"""Weights of mean squared changes."""
FREE_STAY = 0.02
"""Factor of those of colours when nothing is known of them."""
PATCH = 0.016
"""Metres between the nodes of the second, finer cage, which carries colours only."""
FEW = 20_000
"""Gaussians that stand for all in the first part."""
FINE_RATE = 0.3
"""Factor of the rates of shape and poses in the second part."""
MOST_GROWTH = 1.0
"""Largest log growth of a Gaussian."""
SPILL = 0.5
"""Weight of coverage beside the person against coverage missing: mattes lose rims, hair and blurred hands."""
INNER = 0.006
"""Part of the picture's height by which colours stay off the matte's rim, where background shines in."""


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Choices of a fit.

    Attributes:
        height: pixels of the pictures compared. nodes: nodes of the cage.
        move: also correct poses and focal lengths of the photographs.
        free_colors: nothing is known of the colours: they move fast, and at the end each on its own.
    """

    height: int = 420
    nodes: int = 900
    move: bool = True
    free_colors: bool = False


@dataclass
class _Scene:
    """The avatar before photographs of one size. inside: float32 [H,W] 1 where colours are compared."""

    fitted: FittedAvatar
    cage: Cage
    patches: Cage
    truth: list[Tensor]
    masks: list[Tensor]
    inside: list[Tensor]

    @staticmethod
    def of(fitted: FittedAvatar, cage: Cage, patches: Cage) -> _Scene:
        photos = fitted.photos
        inside = []
        for photo in photos:
            reach = 2 * max(1, round(INNER * photo.mask.shape[0])) + 1
            inside.append(ndimage.minimum_filter((photo.mask > 0.9).astype(np.float32), reach))
        return _Scene(
            fitted,
            cage,
            patches,
            [torch.from_numpy(p.over()) for p in photos],
            [torch.from_numpy(p.mask) for p in photos],
            [torch.from_numpy(i) for i in inside],
        )


class ShapeFit:
    """Parameters and one step of a refinement."""

    def __init__(self, avatar: Avatar, photos: list[Photo], options: FitOptions) -> None:
        self.options = options
        self.points = points = np.asarray(avatar.canonical.means, np.float32)
        cage = Cage(points, farthest_points(points, min(options.nodes, len(points))))
        patches = Cage(points, one_per_cell(points, PATCH))
        fitted = FittedAvatar(avatar, [p.scaled(options.height) for p in photos])
        # Not in smaller pictures: there every Gaussian is blurred wider, and the fit slims the person for it.
        few, index = fitted.thinned(FEW, fitted.photos)
        self.fine = _Scene.of(fitted, cage, patches)
        self.scene = _Scene.of(few, cage.of(index), patches.of(index))
        sizes = {"means": 3, "scales": 1, "logits": 1, "colors": 3}
        self.values = {f"node_{k}": torch.zeros(len(cage.nodes), c) for k, c in sizes.items()}
        self.values["patch_colors"] = torch.zeros(len(patches.nodes), 3)
        self.values |= {"colors": torch.zeros(len(points), 3), "gain": torch.zeros(len(photos), 3)}
        for value in self.values.values():
            value.requires_grad_()
        self.places = [Placement.none() for _ in photos]
        self.descent = SteadyAdam(self.values)
        self.movers = [
            torch.optim.Adam(groups(place), eps=1e-12) if options.move else None for place in self.places
        ]

    def carry_on(self, other: ShapeFit) -> None:
        """Begin with what ``other`` found: another avatar of the same person in the same photographs."""
        with torch.no_grad():
            for name, value in self.values.items():
                if name.startswith(("node_", "patch_")):
                    on = "patches" if name.startswith("patch_") else "cage"
                    there, here = (fit.points[getattr(fit.fine, on).nodes] for fit in (other, self))
                    value.copy_(torch.from_numpy(mixing(there, here) @ other.values[name].detach().numpy()))
            self.values["gain"].copy_(other.values["gain"])
        self.places, self.movers = other.places, other.movers

    @property
    def is_fine(self) -> bool:
        """All Gaussians are fitted."""
        return self.scene is self.fine

    def change(self) -> Change:
        """Current change of the scene's Gaussians."""
        v, scene = self.values, self.scene
        smooth = scene.cage(torch.cat([v[f"node_{k}"] for k in ("means", "scales", "logits", "colors")], 1))
        means, scales, logits, colors = smooth.split((3, 1, 1, 3), 1)
        colors = colors + scene.patches(v["patch_colors"])
        if self.is_fine:
            colors = colors + v["colors"]
        return Change(means, scales.clamp(-MOST_GROWTH, MOST_GROWTH).expand(-1, 3), logits, colors)

    def rates(self, progress: float) -> dict[str, float]:
        """Step sizes at ``progress`` 0..1."""
        falling = 1.0 if progress < 0.5 else 1.0 - 1.7 * (progress - 0.5)
        out = {}
        for name, base in LEARNING.items():
            rate = base * falling
            if name in COLORS and self.options.free_colors:
                rate *= FREE_RATE
            if name in ("node_means", "node_scales", "node_logits") and self.is_fine:
                rate *= FINE_RATE
            # Detail first when shapes and poses fit; single colours only where nothing is known of them.
            late = name == "patch_colors" and not self.options.free_colors and not self.is_fine
            single = name == "colors" and not (self.options.free_colors and self.is_fine)
            out[name] = 0.0 if late or single else rate
        return out

    def step(self, view: int, progress: float) -> None:
        """One step on one photograph; ``progress`` 0..1 lowers the rates."""
        rates, scene, mover = self.rates(progress), self.scene, self.movers[view]
        self.descent.clear()
        if mover is not None:
            mover.zero_grad()
            slow = 0.5 * rates["gain"] / LEARNING["gain"] * (FINE_RATE if self.is_fine else 1.0)
            for group, base in zip(mover.param_groups, RATES.values(), strict=True):
                group["lr"] = base * slow
        place = self.places[view] if mover is not None else None
        image, alpha = scene.fitted.draw(view, self.change(), place, freeze=mover is None)
        # The exposures of all photographs mean nothing together: only their differences are fitted.
        gain = (self.values["gain"][view] - self.values["gain"].mean(0)).exp()
        mask, area = scene.masks[view], scene.masks[view].sum().clamp(min=1.0)
        # Colours as if the person went on to where the avatar ends: silhouettes are the coverage's business.
        away = (image * gain - scene.truth[view] * alpha[..., None]).abs().sum(2) * scene.inside[view]
        covered = (alpha - mask).abs() * (mask + SPILL * (1 - mask))
        loss = away.sum() / (3 * area) + covered.sum() / area + self.penalty()
        if place is not None:
            loss = loss + prior(place)
        loss.backward()
        self.descent.step(rates)
        if mover is not None:
            mover.step()

    def penalty(self) -> Tensor:
        """Priors: neighbours change alike, and not without need."""
        total = torch.zeros(())
        for name, weight in PRIORS.items():
            cage = self.scene.patches if name == "patch_colors" else self.scene.cage
            total = total + weight * cage.roughness(self.values[name])
        for name, weight in STAY.items():
            if name in COLORS and self.options.free_colors:
                weight = weight * FREE_STAY
            total = total + weight * self.values[name].square().sum(1).mean()
        return total

    def result(self, avatar: Avatar, share: float = 1.0) -> Avatar:
        """The avatar with this share of the change applied."""
        scene, self.scene = self.scene, self.fine
        with torch.no_grad():
            full = self.change()
        self.scene = scene
        part = Change(share * full.means, share * full.log_scales, share * full.logits, share * full.colors)
        return apply_change(avatar, part)

    def moved(self, photos: list[Photo]) -> list[Photo]:
        """The photographs with corrected poses and focal lengths."""
        if not self.options.move:
            return list(photos)
        places = [Placement(*(p.detach() for p in place.parameters())) for place in self.places]
        return [placed(photo, places[i], self.fine.fitted, i) for i, photo in enumerate(photos)]


def apply_change(avatar: Avatar, change: Change) -> Avatar:
    """A new avatar whose canonical Gaussians are changed; pictures and proxy texture are left as they are."""
    c = avatar.canonical
    opacity = torch.from_numpy(np.array(c.opacities, np.float32)).clamp(1e-4, 1 - 1e-4)
    sh = np.array(c.sh, np.float32)
    before = sh[:, 0] * C0 + 0.5
    after = (before + change.colors.numpy()).clip(0, 1)
    sh[:, 0] = (after - 0.5) / C0
    canonical = replace(
        c,
        means=(c.means + change.means.numpy()).astype(np.float32),
        scales=(c.scales * np.exp(change.log_scales.numpy())).astype(np.float32),
        opacities=torch.sigmoid(torch.logit(opacity) + change.logits[:, 0]).numpy().astype(np.float32),
        sh=sh,
    )
    ratio = (linear(after) + 1e-3) / (linear(before) + 1e-3)
    relight = replace(
        avatar.relight, albedo=(avatar.relight.albedo * ratio.clip(0.25, 4)).clip(0, 1).astype(np.float32)
    )
    return replace(avatar, canonical=canonical, relight=relight)


def linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB 0-1 to linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)

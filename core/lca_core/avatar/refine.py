"""Refinement: a short fit of an avatar to the person's own photographs, with the correction branch frozen.

In: an avatar and the photographs it was made from, with their poses and cameras. Out: the avatar with
changed canonical colours, offsets, scales and opacities. Smooth changes live on the nodes of a cage, fine
ones on the Gaussians; poses and focal lengths of the photographs are corrected along, and each photograph
has its own exposure, which is thrown away. One photograph is kept back: where the fit makes it worse, the
avatar stays as it was (LCA.md 3.5, the short per-subject fit).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.avatar.align import RATES, align, groups, picture_loss, prior
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.bake import bake
from lca_core.avatar.fitting import Change, FittedAvatar, Photo, Placement, placed
from lca_core.avatar.frame import PoseFrame
from lca_core.avatar.nodes import Cage, farthest, one_per_cell
from lca_core.model.network import LCAModel
from lca_core.splat.harmonics import C0

if TYPE_CHECKING:
    from lca_core.capture import Capture

DEFAULT_SECONDS = 30.0
SHORTEST, LONGEST = 2.0, 900.0
CHECK_SHARE = 0.2
"""Part of the time that judging the kept-back photograph may take."""
FEWEST_PHOTOS = 3
"""With fewer nothing can be kept back without losing a side of the person; the input itself then judges."""


@dataclass(frozen=True)
class RefineOptions:
    """Choices of one refinement.

    Attributes:
        seconds: time for all of it; steps: exactly so many steps instead (reproducible runs).
        height: pixels of the pictures compared. nodes: nodes of the cage.
        move: also correct poses and focal lengths of the photographs.
        keep_back: keep one photograph back and fall back when it gets worse.
        fine_from: part of the time after which colours are copied anew and single Gaussians are fitted.
        color_prior, color_rate: factors of how firmly single colours stay and how fast they move.
        seed: of the order in which photographs are visited.
        clock: what ``seconds`` are measured by.
    """

    seconds: float = DEFAULT_SECONDS
    steps: int | None = None
    height: int = 420
    nodes: int = 900
    move: bool = True
    keep_back: bool = True
    fine_from: float = 0.5
    color_prior: float = 1.0
    color_rate: float = 1.0
    seed: int = 0
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        if not SHORTEST <= self.seconds <= LONGEST:
            raise InvalidInputError(
                f"Refinement takes {SHORTEST:.0f} to {LONGEST:.0f} seconds, not {self.seconds:g}.",
                reason="BAD_PARAMETER",
            )


@dataclass
class Refined:
    """Result: the avatar, the photographs with corrected poses, whether the fit was kept, and why.

    ``check``: dB of the kept-back photograph before and after, when there was one.
    """

    avatar: Avatar
    photos: list[Photo]
    kept: bool
    reason: str
    steps: int
    seconds: float
    check: tuple[float, float] | None = None


LEARNING = {"node_means": 0.003, "node_scales": 0.01, "node_logits": 0.04, "node_colors": 0.004,
            "patch_colors": 0.008, "colors": 0.006, "gain": 0.01}  # fmt: skip
"""Adam step sizes: metres, log metres, logits, sRGB, log exposure."""
PRIORS = {
    "node_means": 100.0,
    "node_scales": 0.0002,
    "node_logits": 0.00002,
    "node_colors": 0.002,
    "patch_colors": 0.02,
}
"""Weights of squared differences between linked nodes."""
STAY = {"patch_colors": 0.2, "colors": 6.0, "gain": 0.5, "node_scales": 0.01}
"""Weights of mean squared changes."""
PATCH = 0.016
"""Metres between the nodes of the second, finer cage, which carries colours only."""
FINE_RATE = 0.3
"""Factor of the other rates from then on."""
MOST_GROWTH = 1.0
"""Largest log growth of a Gaussian."""


class _Fit:
    """Parameters and one step of a refinement."""

    def __init__(self, avatar: Avatar, photos: list[Photo], options: RefineOptions) -> None:
        self.options = options
        self.fitted = FittedAvatar(avatar, [p.scaled(options.height) for p in photos])
        self.truth = [torch.from_numpy(p.over()) for p in self.fitted.photos]
        self.masks = [torch.from_numpy(p.mask) for p in self.fitted.photos]
        points = np.asarray(avatar.canonical.means, np.float32)
        self.cage = Cage(points, farthest(points, min(options.nodes, len(points))))
        self.patches = Cage(points, one_per_cell(points, PATCH))
        n, m = avatar.gaussian_count, len(self.cage.nodes)
        sizes = {"means": 3, "scales": 1, "logits": 1, "colors": 3}
        self.values = {f"node_{k}": torch.zeros(m, c) for k, c in sizes.items()}
        self.values["patch_colors"] = torch.zeros(len(self.patches.nodes), 3)
        self.values |= {"colors": torch.zeros(n, 3), "gain": torch.zeros(len(photos), 3)}
        self.fine = False
        self.places = [Placement.none() for _ in photos]
        self.random = torch.Generator().manual_seed(options.seed)
        self.optimiser = torch.optim.Adam(
            [
                {"params": [v.requires_grad_()], "lr": LEARNING[k], "base": self._base(k)}
                for k, v in self.values.items()
            ],
            eps=1e-12,
        )
        self.movers = [
            torch.optim.Adam(groups(place, 0.5), eps=1e-12) if options.move else None for place in self.places
        ]

    def _base(self, name: str) -> float:
        return LEARNING[name] * (
            self.options.color_rate if name in ("colors", "patch_colors", "node_colors") else 1.0
        )

    def change(self) -> Change:
        """Current change of the Gaussians."""
        v = self.values
        smooth = self.cage(torch.cat([v[f"node_{k}"] for k in ("means", "scales", "logits", "colors")], 1))
        means, scales, logits, colors = smooth.split((3, 1, 1, 3), 1)
        return Change(
            means,
            scales.clamp(-MOST_GROWTH, MOST_GROWTH).expand(-1, 3),
            logits,
            colors + self.patches(v["patch_colors"]) + v["colors"],
        )

    def step(self, view: int, progress: float) -> None:
        """One step on one photograph; ``progress`` 0..1 lowers the rates."""
        rate = 1.0 if progress < 0.4 else 1.0 - 0.9 * (progress - 0.4) / 0.6
        for name, group in zip(self.values, self.optimiser.param_groups, strict=True):
            slow = FINE_RATE if self.fine and name.startswith("node_m") else 1.0
            group["lr"] = group["base"] * rate * slow * (self.fine or name != "colors")
        self.optimiser.zero_grad()
        mover = self.movers[view]
        if mover is not None:
            mover.zero_grad()
            for group, base in zip(mover.param_groups, RATES.values(), strict=True):
                group["lr"] = 0.5 * base * rate
        place = self.places[view] if mover is not None else None
        image, alpha = self.fitted.draw(view, self.change(), place, freeze=mover is None)
        # The exposures of all photographs mean nothing together: only their differences are fitted.
        gain = (self.values["gain"][view] - self.values["gain"].mean(0)).exp()
        # Over changing backgrounds nothing can pass for background but transparency.
        behind, mask = torch.rand(3, generator=self.random), self.masks[view]
        drawn = image * gain + (1 - alpha)[..., None] * behind
        truth = self.truth[view] + (1 - mask)[..., None] * behind
        loss = picture_loss(drawn, alpha, truth, mask) + self.penalty()
        if place is not None:
            loss = loss + prior(place)
        loss.backward()
        self.optimiser.step()
        if mover is not None:
            mover.step()

    def penalty(self) -> Tensor:
        """Priors: neighbours change alike, single Gaussians hardly."""
        total = torch.zeros(())
        for name, weight in PRIORS.items():
            cage = self.patches if name == "patch_colors" else self.cage
            total = total + weight * cage.roughness(self.values[name])
        for name, weight in STAY.items():
            weight = weight * (self.options.color_prior if name == "colors" else 1.0)
            total = total + weight * self.values[name].square().sum(1).mean()
        return total

    def result(self, avatar: Avatar) -> Avatar:
        """The avatar with the change applied."""
        with torch.no_grad():
            change = self.change()
            # Relative to the avatar's own colours, which copying may have replaced.
            own = torch.from_numpy(np.array(avatar.canonical.sh[:, 0], np.float32)) * C0 + 0.5
            return apply_change(avatar, replace(change, colors=change.colors + self.fitted.colors - own))

    def moved(self, photos: list[Photo], used: Sequence[int]) -> list[Photo]:
        """The photographs with corrected poses and focal lengths (``used`` ones)."""
        out = list(photos)
        for i in used if self.options.move else ():
            place = Placement(*(p.detach() for p in self.places[i].parameters()))
            out[i] = placed(photos[i], place, self.fitted, i)
        return out

    def copy_colors(self, avatar: Avatar, photos: list[Photo], model: LCAModel) -> None:
        """Start the fine part: colours copied from the photographs at the Gaussians' new places."""
        from lca_core.avatar.retexture import copied_colors

        now = self.result(avatar)
        colors, trust = copied_colors(now, photos, model)
        soft = (torch.from_numpy(trust) / 0.5).clamp(0, 1)[:, None]
        with torch.no_grad():
            smooth = self.cage(self.values["node_colors"]) + self.patches(self.values["patch_colors"])
            # The nodes' colours go on shading what was copied; what is copied replaces their sum.
            base = self.fitted.colors
            self.fitted.colors = base + soft * (torch.from_numpy(colors) - base - smooth)


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


def masked_psnr(avatar: Avatar, photo: Photo) -> float:
    """dB of the avatar in a photograph, over the person's matte and black."""
    fitted = FittedAvatar(avatar, [photo])
    with torch.no_grad():
        image, _ = fitted.draw(0, fitted.none())
    solid = photo.mask > 0.5
    error = np.square(image.clamp(0, 1).numpy()[solid] - photo.over()[solid]).mean() if solid.any() else 1.0
    return float(-10 * np.log10(max(float(error), 1e-8)))


def kept_back(photos: Sequence[Photo]) -> int:
    """The photograph that the others replace best: its direction of view is nearest to another one's, and
    it is not the one that looks most straight into the face."""
    turns = []
    for photo in photos:
        from lca_core.avatar.animate import local_rotations

        # Where the camera stands, seen from the pelvis.
        rotation = local_rotations(photo.frame)[0].numpy()
        turns.append((photo.viewmat[:3, :3] @ rotation)[2])
    axes = np.stack(turns)
    near = axes @ axes.T - 4 * np.eye(len(axes))
    frontal = int(np.argmin(axes[:, 2]))
    nearest = near.max(1)
    nearest[frontal] = -9
    return int(np.argmax(nearest))


def refine(
    avatar: Avatar,
    photos: Sequence[Photo],
    options: RefineOptions | None = None,
    model: LCAModel | None = None,
    report: Callable[[float, str], None] | None = None,
) -> Refined:
    """Fit an avatar to photographs of its person.

    Args:
        photos: usually the reference frames of the capture it was made from.
        model: the network the avatar was made with; with it colours are copied anew half-way.
        report: called with (fraction, message); may raise to cancel.

    Returns:
        The refined avatar, or the given one where the kept-back photograph would get worse.

    Raises:
        InvalidInputError: no photographs, or a time out of range.
    """
    options = options or RefineOptions()
    photos = list(photos)
    if not photos:
        raise InvalidInputError("Refinement needs at least one photograph of the person.")
    tell = report or (lambda fraction, message: None)
    start = options.clock()
    back = kept_back(photos) if options.keep_back and len(photos) >= FEWEST_PHOTOS else None
    used = [i for i in range(len(photos)) if i != back]
    fit = _Fit(avatar, photos, options)
    order = np.random.default_rng(options.seed)
    budget = options.seconds * (1 - (CHECK_SHARE if back is not None else 0))
    steps, queue = 0, []  # type: int, list[int]
    while True:
        spent = steps / options.steps if options.steps is not None else (options.clock() - start) / budget
        if spent >= 1:
            break
        if not queue:
            queue = order.permutation(used).tolist()
        if spent >= options.fine_from and not fit.fine:
            fit.fine = True
            if model is not None:
                seen = fit.moved(photos, used)
                fit.copy_colors(avatar, [seen[i] for i in used], model)
        fit.step(queue.pop(), spent)
        steps += 1
        if steps % 10 == 0:
            tell(min(spent, 1.0) * (1 - CHECK_SHARE), f"fitting to the photographs, step {steps}")
    made = fit.result(avatar)
    moved = fit.moved(photos, used)
    check = None
    if back is not None:
        tell(1 - CHECK_SHARE, "checking the photograph that was kept back")
        pair = []
        for candidate in (avatar, made):
            there = align(candidate, photos[back], steps=20) if options.move else photos[back]
            pair.append(masked_psnr(candidate, there.scaled(options.height)))
        check = (pair[0], pair[1])
    seconds = options.clock() - start
    if check is not None and check[1] < check[0]:
        reason = (
            f"The photograph that was kept back would get worse ({check[0]:.2f} to {check[1]:.2f} dB): "
            "the avatar stays as it was."
        )
        facts = {"steps": steps, "note": reason, "kept_back_db": [round(v, 3) for v in check]}
        same = replace(avatar, provenance=avatar.provenance | {"refined": facts})
        return Refined(same, photos, False, reason, steps, seconds, check)
    tell(1.0, "refined")
    reason = "refined" if check is None else f"kept-back photograph {check[0]:.2f} to {check[1]:.2f} dB"
    return Refined(finish(made, reason, steps, check), moved, True, reason, steps, seconds, check)


def photos_of(capture: Capture) -> list[Photo]:
    """The reference frames of a capture as photographs, without padding."""
    out = []
    for i in range(len(capture)):
        width, height = (int(v) for v in capture.sizes[i])
        out.append(
            Photo(
                capture.frames[i][:height, :width],
                capture.masks[i][:height, :width],
                capture.Ks[i],
                capture.viewmats[i],
                # The eye joints of a capture already follow the gaze.
                PoseFrame(capture.transl[i], capture.pose[i], capture.expression[i]),
            )
        )
    return out


def finish(avatar: Avatar, reason: str, steps: int, check: tuple[float, float] | None) -> Avatar:
    """Proxy texture, thumbnail and provenance of a refined avatar."""
    from lca_core.avatar.pictures import thumbnail

    c = avatar.canonical
    size = avatar.proxy.texture.shape[0]
    texture = bake(c.texel, c.uv_size, (c.sh[:, 0] * C0 + 0.5).clip(0, 1), size)
    proxy = replace(avatar.proxy, texture=(texture.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    facts: dict[str, object] = {"steps": steps, "note": reason}
    if check is not None:
        facts["kept_back_db"] = [round(v, 3) for v in check]
    out = replace(avatar, proxy=proxy, provenance=avatar.provenance | {"refined": facts})
    out.thumbnail = thumbnail(out)
    return out

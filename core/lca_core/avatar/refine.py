"""Refinement: a short fit of an avatar to the person's own photographs, with the correction branch frozen.

In: an avatar and the photographs it was made from, with their poses and cameras. Out: the avatar with
changed canonical colours, offsets, scales and opacities. First a few Gaussians stand for all, then
all of them are fitted. All changes are smooth: they live on the nodes of two
cages, whose unseen parts follow what is seen. Poses and focal lengths of the photographs are corrected along,
and each photograph has its own exposure, which is thrown away. Some photographs are kept back at first and
say how much of the change helps views that were not fitted: nothing, and the avatar stays as it was
(LCA.md 3.5, the short per-subject fit). They can only judge an avatar that was made without them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca_core.avatar.align import align
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.bake import bake
from lca_core.avatar.fitting import FittedAvatar, Photo
from lca_core.avatar.frame import PoseFrame
from lca_core.avatar.shape_fit import FitOptions, ShapeFit
from lca_core.splat.harmonics import C0

if TYPE_CHECKING:
    from lca_core.capture import Capture

DEFAULT_SECONDS = 30.0
SHORTEST, LONGEST = 2.0, 900.0
FEWEST_PHOTOS = 3
"""With fewer nothing can be kept back without losing a side of the person; the input itself then judges."""
MANY_PHOTOS = 8
"""From so many on two are kept back."""
CHECK_AT, FINE_AT = 0.4, 0.75
"""Parts of the time when the kept-back photographs judge and join, and when all Gaussians come in."""
CHECK_STEPS = 20
TRIED = (0.0, 0.5, 1.0)
"""Shares of the change shown to the kept-back photographs; the best one lies on the parabola through them."""
CAUTION = 0.6
"""Of the best share so much is taken: the photographs kept back are those the others replace best. Chosen
on six people: with 0.9 one of them lost 0.12 dB in views that nothing was fitted to, with 0.6 0.03 dB."""
AGAIN = 0.3
"""Rates fall towards the check and, when the kept-back photographs have joined, anew from here on."""
LEAST_GAIN = 0.01
"""Part of the squared error that must go for a change to be kept."""


@dataclass(frozen=True, kw_only=True)
class RefineOptions(FitOptions):
    """Choices of one refinement.

    Attributes:
        seconds: time of the fit and its checks; steps: exactly so many steps instead (reproducible runs).
        keep_back: keep photographs back to judge by.
        seed: of the order in which photographs are visited.
        clock: what ``seconds`` are measured by.
    """

    seconds: float = DEFAULT_SECONDS
    steps: int | None = None
    keep_back: bool = True
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

    ``check``: mean dB of the kept-back photographs before and after the first part, when there were any;
    ``share``: how much of the change was taken, 0-1.
    """

    avatar: Avatar
    photos: list[Photo]
    kept: bool
    reason: str
    steps: int
    seconds: float
    check: tuple[float, float] | None = None
    share: float = 1.0


def masked_error(avatar: Avatar, photo: Photo) -> float:
    """Mean squared error of the avatar in a photograph, over the person's matte and black."""
    fitted = FittedAvatar(avatar, [photo])
    with torch.no_grad():
        image, _ = fitted.draw(0, fitted.none())
    solid = photo.mask > 0.5
    error = np.square(image.clamp(0, 1).numpy()[solid] - photo.over()[solid]).mean() if solid.any() else 1.0
    return max(float(error), 1e-8)


def masked_psnr(avatar: Avatar, photo: Photo) -> float:
    """:func:`masked_error` in dB."""
    return float(-10 * np.log10(masked_error(avatar, photo)))


def kept_back(photos: Sequence[Photo]) -> list[int]:
    """The photographs that the others replace best: none of less than three, one of less than
    eight, else two.

    Their direction of view is nearest to another one's, and none is the one that looks most straight into
    the face."""
    if len(photos) < FEWEST_PHOTOS:
        return []
    turns = []
    for photo in photos:
        from lca_core.avatar.animate import local_rotations

        # Where the camera stands, seen from the pelvis.
        rotation = local_rotations(photo.frame)[0].numpy()
        turns.append((photo.viewmat[:3, :3] @ rotation)[2])
    axes = np.stack(turns)
    near = axes @ axes.T - 4 * np.eye(len(axes))
    near[int(np.argmin(axes[:, 2]))] = -9
    out: list[int] = []
    for _ in range(1 if len(photos) < MANY_PHOTOS else 2):
        out.append(int(np.argmax(near.max(1))))
        near[out[-1]], near[:, out[-1]] = -9, -9
    return out


def best_share(errors: NDArray[np.floating]) -> float:
    """How much of a change to take, 0-1, from the squared errors (P,3) of P photographs at ``TRIED`` shares.

    The error is nearly a parabola of the share; every photograph counts by how much of its own error goes."""
    none, half, full = (errors / errors[:, :1]).mean(0)
    bend, slope = 2 * (none - 2 * half + full), 4 * half - 3 * none - full
    best = float(np.clip(-slope / (2 * bend), 0, 1)) if bend > 1e-9 else float(full < none)
    gain = -(bend * best + slope) * best
    return CAUTION * best if gain > LEAST_GAIN else 0.0


def refine(
    avatar: Avatar,
    photos: Sequence[Photo],
    options: RefineOptions | None = None,
    report: Callable[[float, str], None] | None = None,
    without: Callable[[list[int]], Avatar] | None = None,
) -> Refined:
    """Fit an avatar to photographs of its person.

    Args:
        photos: usually the reference frames of the capture it was made from.
        without: makes the avatar from all photographs but those with the given numbers (a coarser one will
            do); its time comes on top. It is fitted first, and what it gains in the photographs kept back
            decides. When None, they judge ``avatar`` itself: colours copied from them make it hard to beat.
        report: called with (fraction, message); may raise to cancel.

    Returns:
        The refined avatar, or the given one where the kept-back photographs would get worse.

    Raises:
        InvalidInputError: no photographs, or a time out of range.
    """
    options = options or RefineOptions()
    photos = list(photos)
    if not photos:
        raise InvalidInputError("Refinement needs at least one photograph of the person.")
    tell = report or (lambda fraction, message: None)
    back = kept_back(photos) if options.keep_back else []
    used = [i for i in range(len(photos)) if i not in back]
    judged = avatar
    if back and without is not None:
        tell(0.0, "making the avatar without the photographs that were kept back")
        judged = without(back)
    start = options.clock()
    fit = ShapeFit(judged, photos, options)
    order = np.random.default_rng(options.seed)
    share, check = 1.0, None
    steps, queue = 0, []  # type: int, list[int]
    while True:
        passed = (options.clock() - start) / options.seconds
        spent = passed if options.steps is None else steps / options.steps
        if spent >= 1:
            break
        if back and check is None and spent >= CHECK_AT:
            tell(spent, "checking the photographs that were kept back")
            share, check = _judge(judged, fit, [photos[i] for i in back])
            if not share:
                break
            if judged is not avatar:
                first_part, fit = fit, ShapeFit(avatar, photos, options)
                fit.carry_on(first_part)
            used, queue = list(range(len(photos))), []
            continue
        if spent >= FINE_AT:
            fit.scene = fit.fine
        if not queue:
            queue = order.permutation(used).tolist()
        first = spent / CHECK_AT
        rest = AGAIN + (1 - AGAIN) * (spent - CHECK_AT) / (1 - CHECK_AT)
        fit.step(queue.pop(), spent if not back else first if check is None else rest)
        steps += 1
        if steps % 10 == 0:
            tell(min(spent, 1.0), f"fitting to the photographs, step {steps}")
    seconds = options.clock() - start
    facts: dict[str, object] = {"steps": steps, "share": round(share, 3)}
    if check is not None:
        facts["kept_back_db"] = [round(v, 3) for v in check]
    if check is not None and not share:
        reason = (
            f"Photographs that were kept back would get no better ({check[0]:.2f} to {check[1]:.2f} dB): "
            "the avatar stays as it was."
        )
        same = replace(avatar, provenance=avatar.provenance | {"refined": facts | {"note": reason}})
        return Refined(same, photos, False, reason, steps, seconds, check, share)
    tell(1.0, "refined")
    reason = "refined" if check is None else f"kept-back photographs {check[0]:.2f} to {check[1]:.2f} dB"
    made = finish(fit.result(avatar, share), facts | {"note": reason})
    return Refined(made, fit.moved(photos), True, reason, steps, seconds, check, share)


def _judge(avatar: Avatar, fit: ShapeFit, photos: list[Photo]) -> tuple[float, tuple[float, float]]:
    """The share of the change that photographs which were not fitted want, and their dB without any and with
    all of it; every candidate is aligned alike."""
    errors = np.zeros((len(photos), len(TRIED)))
    for column, tried in enumerate(TRIED):
        candidate = fit.result(avatar, tried)
        for row, photo in enumerate(photos):
            there = align(candidate, photo, CHECK_STEPS) if fit.options.move else photo
            errors[row, column] = masked_error(candidate, there.scaled(fit.options.height))
    decibel = -10 * np.log10(errors).mean(0)
    return best_share(errors), (float(decibel[0]), float(decibel[-1]))


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


def finish(avatar: Avatar, facts: dict[str, object]) -> Avatar:
    """Proxy texture, thumbnail and provenance (``facts``) of a refined avatar."""
    from lca_core.avatar.pictures import thumbnail

    c = avatar.canonical
    size = avatar.proxy.texture.shape[0]
    texture = bake(c.texel, c.uv_size, (c.sh[:, 0] * C0 + 0.5).clip(0, 1), size)
    proxy = replace(avatar.proxy, texture=(texture.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    out = replace(avatar, proxy=proxy, provenance=avatar.provenance | {"refined": facts})
    out.thumbnail = thumbnail(out)
    return out

"""Which copied colours to believe on arms and legs.

There a misfit of a finger's width puts the limb's outline on what stands behind it: a forearm takes the
shirt's colour, a calf the floor's. Garments end in rings around a limb, alike on both sides. So a colour that
hardly occurs around the limb is not believed where a view sees the place beside another surface, or where a
view that sees it well says otherwise; what is common is said by views that see no other surface beside it.
In: what every view reads at every point. Out: a factor of the trust.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lca_core.body.names import JOINT_NAMES
from lca_core.model.surface import BodyPoints
from lca_core.model.view_choice import part_of_joint

RING = 0.015
"""Metres of limb in one ring."""
REACH, FAR = 0.05, 7
"""Standard deviation, metres, over which rings speak for each other, and rings after which they do not."""
BRIGHT, HUE = 0.14, 0.035
"""Differences of brightness and of (r, g) / sum that count as one: shade changes the first more."""
MOST = 500
"""Samples of a ring that are asked."""
RARE = (0.15, 0.45)
"""Shares of the commonest colour's density between which a colour goes from not believed to believed."""
CLEAR = 0.25
"""Trust from which a view may say otherwise."""
LIMBS = (("upper arm", "forearm"), ("leg",))


def rings(points: BodyPoints) -> NDArray[np.int64]:
    """Number of the ring of each point [T] of arms and legs, -1 elsewhere; left and right share rings."""
    rest = points._rest(torch.zeros(50))[0].numpy()
    part = np.array([part_of_joint(name).split(" ", 1)[-1] for name in JOINT_NAMES])
    part = part[points.weights.argmax(1)]
    out = np.full(points.count, -1, np.int64)
    # At rest arms point sideways and legs down.
    for limb, along in enumerate((np.abs(rest[:, 0]), rest[:, 1] - rest[:, 1].min())):
        inside = np.isin(part, LIMBS[limb])
        out[inside] = limb * 10_000 + (along[inside] / RING).astype(np.int64)
    return out


def believed(
    ring: NDArray[np.int64],
    trust: NDArray[np.floating],
    color: NDArray[np.floating],
    beside: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Factor of the trust [N,T].

    Args:
        ring: [T] of :func:`rings`. trust: [N,T]. color: [N,T,3] sRGB 0-1.
        beside: [N,T] 0-1, how near the view sees the point to the outline of another surface.
    """
    common = commonness(ring, color, np.square(trust) * (0.02 + np.square(1 - beside)), trust > 0)
    low, high = RARE
    rare = 1 - np.clip((common - low) / (high - low), 0, 1)
    best = np.where((trust > CLEAR) & (beside < 0.5), common, 0).max(0, keepdims=True)
    contested = np.clip(best / np.maximum(common, 1e-3) / 3 - 1, 0, 1) * (best > high)
    return np.asarray(1 - rare * np.maximum(beside, contested), np.float32)


def commonness(
    ring: NDArray[np.int64],
    color: NDArray[np.floating],
    weight: NDArray[np.floating],
    asked: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """How common each colour [N,T,3] is in its ring, 1 = as the commonest [N,T]; 1 where nothing is known.

    Densities of colours weighted by ``weight`` [N,T]; computed where ``asked`` [N,T].
    """
    out = np.ones(asked.shape, np.float32)
    bright = color.mean(-1, keepdims=True)
    hue = color / (color.sum(-1, keepdims=True) + 0.15)
    looks = np.concatenate([bright / BRIGHT, hue[..., :2] / HUE], -1)
    order = np.argsort(ring, kind="stable")
    numbers, first = np.unique(ring[order], return_index=True)
    members = dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))
    members.pop(-1, None)
    for number, mine in members.items():
        near = [k for k in range(number - FAR, number + FAR + 1) if k in members]
        around = np.concatenate([members[k] for k in near])
        fall = [np.full(len(members[k]), np.exp(-0.5 * ((k - number) * RING / REACH) ** 2)) for k in near]
        says = (weight[:, around] * np.concatenate(fall)).ravel()
        voters = np.nonzero(says > 0.01)[0]
        if len(voters) < 20:
            continue
        voters = voters[:: max(1, len(voters) // MOST)]
        votes, says = looks[:, around].reshape(-1, 3)[voters], says[voters]
        view, which = np.nonzero(asked[:, mine])
        top = _density(votes, votes, says).max()
        out[view, mine[which]] = _density(looks[view, mine[which]], votes, says) / max(float(top), 1e-9)
    return out


def _density(
    at: NDArray[np.floating], votes: NDArray[np.floating], says: NDArray[np.floating]
) -> NDArray[np.float64]:
    square = (at**2).sum(1)[:, None] + (votes**2).sum(1)[None] - 2 * at @ votes.T
    return np.asarray(np.exp(-0.5 * np.maximum(square, 0)) @ says, np.float64)

"""A person's samples laid on a skirt or on shoes: posed with them, coloured through them.

In: the places that :func:`lca_core.model.tube.wrap` found. Out: samples that behave like the body's own, and
clean colours on both sides of a hem.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lca_core.model.density import Samples
from lca_core.model.loose import node_weights
from lca_core.model.references import References
from lca_core.model.skirt import ANKLES, LEGS, Skirt
from lca_core.model.surface import PosedTexels, array
from lca_core.model.tube import Wrapped, wrap

CLOTH_RIM_M, LEG_RIM_M, LEG_RIM = 0.06, 0.13, 0.3
"""Height of the rims above and below a hem where the photographs may show the other side; the lower
one is at most this share of the way to the ankles."""
HEM_NEIGHBOURS, AT_HOME, HEM_CONTRAST = 32, 0.1, (0.06, 0.16)
"""Places beyond the rim that say which colours belong there, the share of them that is enough, and the
distances (sRGB) between which a colour becomes that of another thing."""
MIXED = 0.12
"""Share of the cloth's colour in a leg's from which it is not the leg's own; twice that is surely not."""


class DressedSamples(Samples):
    """Samples whose leg points lie on a skirt and move with its weights, for looking colours up in photos.

    Args:
        skin: (P,55) weights of the wrapped samples. mesh, mesh_skin: the same for the body's vertices.
    """

    def __init__(
        self, samples: Samples, wrapped: Wrapped, skin: NDArray, mesh: Wrapped, mesh_skin: NDArray
    ) -> None:
        self.__dict__.update(copy.copy(samples.__dict__))
        self._under = samples
        self._wrapped, self._skin, self._mesh, self._mesh_skin = wrapped, skin, mesh, mesh_skin

    def posed(
        self, betas: Any, pose: Any, transl: Any, expression: Any, offset: NDArray[np.floating] | None = None
    ) -> list[PosedTexels]:
        """As :meth:`BodyPoints.posed`, with the skirt in place of the legs."""
        out = self._under.posed(betas, pose, transl, expression, offset)
        transforms = self.transforms(betas, pose, transl, expression)
        shifts = array(transl).astype(np.float32)
        for texels, moved, shift in zip(out, transforms, shifts, strict=True):
            blend = np.einsum("pj,jab->pab", self._skin, moved)
            place = np.concatenate([self._wrapped.means, np.ones((len(blend), 1), np.float32)], 1)
            texels.position[self._wrapped.where] = np.einsum("pab,pb->pa", blend, place)[:, :3] + shift
            normal = np.einsum("pab,pb->pa", blend[:, :3, :3], self._wrapped.frames[:, :, 2])
            texels.normal[self._wrapped.where] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
            blend = np.einsum("pj,jab->pab", self._mesh_skin, moved)
            place = np.concatenate([self._mesh.means, np.ones((len(blend), 1), np.float32)], 1)
            texels.vertices[self._mesh.where] = np.einsum("pab,pb->pa", blend, place)[:, :3] + shift
        return out


@dataclass(frozen=True)
class Dressing:
    """A skirt on one person: its points among the samples and among the body's vertices, with skin weights.

    Attributes:
        points, weights (P,55): of the samples. mesh, mesh_weights (Q,55): of the body's vertices.
        samples: the samples, posed with the skirt.
    """

    skirt: Skirt
    points: Wrapped
    weights: NDArray[np.float32]
    mesh: Wrapped
    mesh_weights: NDArray[np.float32]
    samples: Samples

    def kept(self, keep: NDArray[np.bool_]) -> Dressing:
        """The same when only the samples ``keep`` (N,) remain."""
        of = np.cumsum(keep) - 1
        stay = keep[self.points.where]
        points = Wrapped(
            of[self.points.where[stay]],
            self.points.means[stay],
            self.points.frames[stay],
            self.points.wider[stay],
        )
        return replace(self, points=points, weights=self.weights[stay])


def dress(samples: Samples, refs: References, skirt: Skirt, offset: NDArray[np.floating]) -> Dressing:
    """Samples and body vertices of the person of ``refs`` (B = 1) laid on the ``skirt`` that was found.

    ``offset`` [T,3] metres, tangent frame: the clothing above it."""
    betas = refs.betas[0].detach().cpu().float()
    surface, frames, _ = (x.numpy() for x in samples._rest(betas))
    vertices = array(samples.body.rest(betas[None], None)[0]).reshape(-1, 3)
    worn = np.einsum("tij,tj->ti", frames, offset).astype(np.float32)
    lift = samples._vertex_lift(worn, len(vertices))
    points = wrap(skirt, surface, samples.weights, dressed=surface + worn)
    mesh = wrap(skirt, vertices, samples.vertex_weights, samples.faces, vertices + lift)
    skin = [
        node_weights(p.means, w[p.where], skirt.joints, skirt.top_y, skirt.hem_y)
        for p, w in ((points, samples.weights), (mesh, samples.vertex_weights))
    ]
    return Dressing(
        skirt, points, skin[0], mesh, skin[1], DressedSamples(samples, points, skin[0], mesh, skin[1])
    )


def clean_hem(
    on: Dressing, samples: Samples, rest: NDArray[np.floating], color: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Colours [T,3] without skin on the rim of the cloth or cloth on the legs below it.

    The hem swings and the fit is some centimetres off: what the rim shows is compared with the same thing
    further from the hem, and continued from there where it differs.

    Args:
        rest: [T,3] the body's surface at rest, metres. color: [T,3] sRGB 0-1.
    """
    out = color.astype(np.float32).copy()
    legs = samples.weights[:, list(LEGS)].sum(1) > 0.5
    legs[on.points.where] = False
    place = rest.astype(np.float64).copy()
    place[on.points.where] = on.points.means
    above = place[:, 1] - on.skirt.hem_y
    cloth = np.zeros(len(rest), bool)
    cloth[on.points.where] = True
    # Up and down count little: neighbours lie above a place on the cloth, below one on a leg.
    place[:, 1] *= 0.4
    worn = np.flatnonzero(cloth & (above >= CLOTH_RIM_M) & (above < 3 * CLOTH_RIM_M))
    leg_rim = min(LEG_RIM_M, LEG_RIM * (on.skirt.hem_y - on.skirt.joints[list(ANKLES), 1].mean()))
    bare = np.flatnonzero(legs & (above <= -leg_rim) & (above > -3 * leg_rim))
    if min(len(worn), len(bare)) < HEM_NEIGHBOURS:
        return out

    def near(of: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places [R,HEM_NEIGHBOURS] of ``at`` beside those of ``of`` [R]."""
        return np.asarray(at[cKDTree(place[at]).query(place[of], HEM_NEIGHBOURS)[1]])

    least, most = HEM_CONTRAST
    rim = np.flatnonzero(cloth & (above < CLOTH_RIM_M))
    beside = color[near(rim, worn)]
    # Patterns: a colour is at home where some of the places beyond have it.
    away = np.quantile(np.linalg.norm(color[rim][:, None] - beside, axis=2), AT_HOME, axis=1)
    share = np.clip((away - least) / (most - least), 0, 1)[:, None]
    out[rim] += share * (np.median(beside, 1) - out[rim])
    # Socks begin where they like: legs lose only what is a mixture of leg and cloth.
    under = np.flatnonzero(legs & (above <= 0) & (above > -leg_rim))
    usual, other = (np.median(color[near(under, at)], 1) for at in (bare, worn))
    to_cloth, off = other - usual, color[under] - usual
    mixed = (off * to_cloth).sum(1) / np.maximum(np.square(to_cloth).sum(1), 1e-4)
    beside_line = np.linalg.norm(off - mixed[:, None] * to_cloth, axis=1)
    share = np.clip(mixed / MIXED - 1, 0, 1) * np.clip((most - beside_line) / (most - least), 0, 1)
    out[under] += share[:, None] * (usual - out[under])
    return out

"""The inside of the mouth: dark Gaussians on its surface, so that an open mouth shows no skin behind it.

Photographs hardly ever see it. In: the body's mesh, whose mouth is a bag behind the lips, and the colours of
a person's lips. Out: which triangles of the bag an open mouth can show, and colours for them and the tongue:
the hue of the lips, darker with depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csgraph
from scipy.spatial import cKDTree

from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX
from lca_core.model.raster import depth_buffer
from lca_core.model.surface import BodyPoints, array

if TYPE_CHECKING:
    from lca_core.model.density import Samples

YAWS, PITCHES = (-1.0, -0.5, 0.0, 0.5, 1.0), (-0.45, 0.0, 0.45)
"""Directions in radians from which an open mouth is looked into."""
PIXEL, DISTANCE = 0.0008, 1.0
MARGIN = 0.006
"""Metres around what the mean body shows there that other people may show."""
PLACES = np.array([(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]) / 4
"""Barycentrics of the places of a triangle that are looked for."""
LIP_REACH = 0.005
"""Distance from the rim of the mouth up to which skin is lip."""
RED = np.array([1.0, 0.52, 0.47])
"""Hue of the inside, as far as the lips do not say: r, g, b over r."""
PALEST = 1.25
"""Green and blue of the inside over those of ``RED``, at most."""
NEAR, DEEP, FADE = 0.62, 0.11, 0.018
"""Brightness over that of the lips at the rim and far inside, and the depth in metres over which it falls."""
EXTENT, SLACK, SMALLEST = 3.0, 0.0005, 0.0002
"""Standard deviations a Gaussian reaches, metres between the skin and the centres on it, metres."""
TONGUE = 2.2
"""Brightness of the tongue over that of the surface around it."""


def mouth_faces(points: BodyPoints) -> NDArray[np.bool_]:
    """Triangles [F] of the bag behind the lips; none on a body without inner surfaces."""
    faces = points.faces.astype(np.int64)
    cavity = getattr(points.body, "cavity", None)
    if cavity is None:
        return np.zeros(len(faces), bool)
    inner = array(cavity)[faces].all(1)
    count = len(points.vertex_weights)
    a, b = faces[inner].ravel(), np.roll(faces[inner], 1, 1).ravel()
    part = csgraph.connected_components(
        coo_matrix((np.ones(len(a)), (a, b)), (count, count)), directed=False
    )[1]
    chewing = np.unique(faces[inner][points.vertex_weights[faces[inner], JOINT_INDEX["jaw"]].min(1) > 0.5])
    return inner & np.isin(part[faces[:, 0]], np.unique(part[chewing]))


def shown_faces(points: BodyPoints) -> NDArray[np.bool_]:
    """Triangles [F] of the mouth that a wide open one can show."""
    inside = mouth_faces(points)
    if not inside.any():
        return inside
    faces = np.ascontiguousarray(points.faces, np.int32)
    opened = torch.zeros(1, 52)
    opened[0, ARKIT_INDEX["jawOpen"]] = 1
    vertices = array(points.body.rest(torch.zeros(1, 50), opened)[0])[0].astype(np.float64)
    middle = vertices[faces].mean(1)
    centre = vertices[rim(points)].mean(0)
    near = np.ascontiguousarray(faces[np.linalg.norm(middle - centre, axis=1) < 0.14])
    shown = np.zeros(len(faces), bool)
    size = round(0.16 / PIXEL)
    for yaw in YAWS:
        for pitch in PITCHES:
            turn = _look(yaw, pitch)
            seen = (vertices - centre) @ turn.T
            pixels = np.stack(
                [seen[:, 0] / PIXEL + size / 2, seen[:, 1] / PIXEL + size / 2, seen[:, 2] + DISTANCE], 1
            )
            depth = depth_buffer(pixels.astype(np.float32), near, size, size)
            at = np.einsum("pk,fkc->fpc", PLACES, pixels[faces[inside]])
            x, y = (np.clip(np.floor(at[..., k]).astype(int), 0, size - 1) for k in (0, 1))
            shown[inside] |= (at[..., 2] <= depth[y, x] + 0.001).any(1)
    within = np.flatnonzero(inside)
    reach = cKDTree(middle[shown]).query(middle[within])[0] if shown.any() else np.zeros(len(within))
    shown[within[reach < MARGIN]] = True
    return shown


def _look(yaw: float, pitch: float) -> NDArray[np.float64]:
    """World to a camera that looks at the face: x right, y down, z away from the camera."""
    c, s = np.cos(yaw), np.sin(yaw)
    front = np.array([[c, 0, -s], [0, -1, 0], [-s, 0, -c]])
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ front


def rim(points: BodyPoints) -> NDArray[np.int64]:
    """Vertices where the inside of the mouth meets the lips."""
    inside = mouth_faces(points)
    return np.intersect1d(points.faces[inside], points.faces[~inside])


def kept_within(
    means: NDArray[np.floating],
    scales: NDArray[np.floating],
    inside: NDArray[np.bool_],
    skin: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Scales [T,3] m with which nothing ``inside`` [T] the closed mouth reaches through the ``skin`` [T], or
    through teeth.

    Renderers that sort whole Gaussians hide what lies behind; a path tracer cuts through and would show it.
    """
    out = scales.astype(np.float32).copy()
    if inside.any() and skin.any():
        room = cKDTree(means[skin]).query(means[inside])[0] - SLACK
        out[inside] = np.minimum(out[inside], np.maximum(room / EXTENT, SMALLEST)[:, None])
    return out


def paint_mouth(
    points: Samples, color: NDArray[np.floating], trust: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Colours [T,3] with the inside of the mouth and the tongue in the hue of the person's lips.

    Args:
        color: [T,3] sRGB 0-1. trust: [T] how far a colour was seen.
    """
    out = color.astype(np.float32).copy()
    painted = np.flatnonzero(points.inside | (points.part == 1))
    if not len(painted) or not len(rim(points)):
        return out
    fall = DEEP + (NEAR - DEEP) * np.exp(-_depth(points)[painted] / FADE)
    fall *= np.where(points.part[painted] == 1, TONGUE, 1.0)
    out[painted] = np.clip(fall[:, None] * inner_red(points, color, trust), 0, 1)
    return out


def inner_red(
    points: Samples, color: NDArray[np.floating], trust: NDArray[np.floating]
) -> NDArray[np.float64]:
    """sRGB [3] of the inside of the lips in their own light; arguments as for :func:`paint_mouth`."""
    skin = (_depth(points) < LIP_REACH) & ~points.inside & (points.part == 0)
    seen = skin & (trust > 0.3)
    lip = np.median(color[seen if seen.sum() > 20 else skin], 0)
    hue = lip / max(float(lip[0]), 0.05)
    # Pale lips are paler than any gum; the tint of the light stays.
    hue[1:] *= min(1.0, PALEST * RED[1:].mean() / max(float(hue[1:].mean()), 0.05))
    return np.asarray(float(lip[0]) * 0.5 * (RED + hue))


def _depth(points: Samples) -> NDArray[np.float64]:
    """Metres [T] to the rim of the mouth, on the mean body."""
    vertices = array(points.body.rest(torch.zeros(1, 50), None)[0])[0]
    away = cKDTree(vertices[rim(points)]).query(points.on_texels(vertices))[0]
    return np.asarray(away, np.float64)

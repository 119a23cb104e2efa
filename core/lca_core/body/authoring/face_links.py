"""Links the 478 face-mesh landmarks to our mesh: renders heads, runs the run-time network, ray-casts its
points.

Build-time; needs ``ai-edge-litert``. The shipped body goes in, ``assets/face_links.npz`` comes out::

    PYTHONPATH=core:proto python -m lca_core.body.authoring.face_links

Heads are rendered in flat Lambert shading, orthographically, shoulders painted as clothing. Several views and
people are averaged on the template's surface. Points of the inner lips come from faces with an open mouth,
because on closed lips both rims fall on one seam.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lca_core.body.authoring.surface import closest_points
from lca_core.body.landmarks import STANDARD_VERTICES
from lca_core.body.model import BodyModel
from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX
from lca_core.body.raster import rasterize

LINKS_FILE = Path(__file__).parents[1] / "assets" / "face_links.npz"
NETWORK_FILE = Path(__file__).parents[2] / "capture" / "models" / "face_landmarks_detector.tflite"
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
JAW_OPEN = 0.55
DLIB68_OF_MESH = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""The usual correspondence of the 68-point annotation to the face mesh."""

_SKIN, _LIPS, _BROW, _WHITE, _IRIS, _SHIRT, _INSIDE = (
    np.array(c) for c in ([0.80, 0.62, 0.53], [0.66, 0.36, 0.34], [0.25, 0.18, 0.14], [0.93, 0.92, 0.9],
                          [0.2, 0.13, 0.09], [0.25, 0.33, 0.5], [0.16, 0.07, 0.06])
)  # fmt: skip
_HEAD = ("head", "jaw", "neck", "left_eye_smplhf", "right_eye_smplhf")
SUPERSAMPLE = 3
CROP = 256

Network = Callable[[np.ndarray], np.ndarray]


def load_network(path: Path = NETWORK_FILE) -> Network:
    """``(256,256,3)`` float image 0-1 -> landmarks ``(478,3)`` in crop pixels."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    slot = interpreter.get_input_details()[0]["index"]
    outputs = interpreter.get_output_details()
    points = max(outputs, key=lambda o: int(np.prod(o["shape"])))["index"]

    def run(image: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(slot, image[None].astype(np.float32))
        interpreter.invoke()
        return interpreter.get_tensor(points).reshape(478, 3).astype(np.float64)

    return run


def vertex_colours(body: BodyModel) -> np.ndarray:
    """Flat colours ``(V,3)``: skin, lips and brows found through the expressions, eyes, and a shirt below the
    neck.
    """
    template = body.v_template.numpy()
    colours = np.tile(_SKIN, (len(template), 1))
    size = {name: body.expr_dirs[:, :, i].norm(dim=1).numpy() for name, i in ARKIT_INDEX.items()}
    colours[_lips(template, size["jawOpen"], body.cavity.numpy())] = _LIPS
    colours[body.cavity.numpy()] = _INSIDE
    colours[body.part.numpy() == 1] = _LIPS
    for side in ("Left", "Right"):
        brow = size[f"browDown{side}"]
        eye = body.joint_template[JOINT_INDEX[f"{side.lower()}_eye_smplhf"]].numpy()
        height = template[:, 1] - eye[1]
        band = (brow > 0.5 * brow.max()) & (height > 0.016) & (height < 0.026)
        colours[band & (np.abs(template[:, 0]) > 0.010)] = _BROW
        ball = body.part.numpy() == (2 if side == "Left" else 3)
        colours[ball] = _WHITE
        front = template[ball][template[ball][:, 2].argmax()]
        near = ball & (np.linalg.norm(template - front, axis=1) < 0.0062)
        colours[near] = _IRIS
    dominant = body.weights.argmax(dim=1).numpy()
    head = np.isin(dominant, [JOINT_INDEX[n] for n in _HEAD])
    colours[~head] = _SHIRT
    return colours


def _lips(template: np.ndarray, jaw_open: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    """Mask ``(V,)`` of the red of the lips: a lens around the seam, which is where jawOpen starts to move the
    face.
    """
    x, y, z = template.T
    nose = template[STANDARD_VERTICES["nose"]]
    middle = (np.abs(x) < 0.004) & ~cavity & (z > nose[2] - 0.02) & (y < nose[1]) & (y > nose[1] - 0.06)
    seam = y[middle & (jaw_open < 0.15 * jaw_open.max())].min()
    lens = np.clip(1 - (x / 0.026) ** 2, 0, None)
    return (y - seam < 0.008 * lens) & (seam - y < 0.010 * lens) & (z > nose[2] - 0.05)


def rotation(yaw: float, pitch: float) -> np.ndarray:
    """Head rotation ``(3,3)``: yaw about Y, then pitch about X, radians."""
    c, s, d, t = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[1, 0, 0], [0, d, -t], [0, t, d]]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def render(
    vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, centre: np.ndarray, extent: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthographic picture from +Z of a square of ``extent`` metres around ``centre (2,)``.

    Returns:
        image ``(256,256,3)`` 0-1, face number per pixel of the SUPERSAMPLE times finer raster, and vertices
        in crop pixels ``(V,2)``.
    """
    pixels = np.stack(
        [(vertices[:, 0] - centre[0]) / extent + 0.5, 0.5 - (vertices[:, 1] - centre[1]) / extent], axis=1
    )
    pixels *= CROP
    fine = CROP * SUPERSAMPLE
    corners = vertices[faces]
    face, bary = rasterize(pixels[faces] * SUPERSAMPLE, fine, fine, -corners[..., 2])
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(smooth, faces[:, k], normals)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12
    light = np.array([0.25, 0.45, 0.86])
    lit = colours * (0.35 + 0.65 * np.clip(smooth @ light, 0, 1))[:, None]
    image = np.full((fine, fine, 3), 0.6)
    seen = face >= 0
    image[seen] = (lit[faces[face[seen]]] * bary[seen][..., None]).sum(axis=1)
    image = image.reshape(CROP, SUPERSAMPLE, CROP, SUPERSAMPLE, 3).mean(axis=(1, 3))
    return image, face, pixels


def cast(
    points: np.ndarray, face: np.ndarray, pixels: np.ndarray, faces: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where crop points ``(P,2)`` meet the surface: face ``(P,)`` (-1 if nothing is near) and barycentrics
    ``(P,3)``.

    ``allowed (P,F)`` says which faces a point may sit on; a point that hits another one (an inner lip on the
    tongue) moves to the nearest visible allowed pixel within 4 crop pixels.
    """
    hit = np.full(len(points), -1)
    place = points.copy()
    reach = 4 * SUPERSAMPLE
    for p, (x, y) in enumerate((points * SUPERSAMPLE).astype(int)):
        left, top = max(x - reach, 0), max(y - reach, 0)
        window = face[top : y + reach + 1, left : x + reach + 1]
        rows, columns = np.nonzero((window >= 0) & allowed[p][window])
        if not len(rows):
            continue
        squared = (columns + left - x) ** 2 + (rows + top - y) ** 2
        k = int(squared.argmin())
        if squared[k] > reach**2:
            continue
        hit[p] = window[rows[k], columns[k]]
        if squared[k] > 0:
            place[p] = (np.array([columns[k] + left, rows[k] + top]) + 0.5) / SUPERSAMPLE
    a, b, c = (pixels[faces[hit, k]] for k in range(3))
    matrix = np.stack([b - a, c - a], axis=-1)
    uv = np.einsum("pij,pj->pi", np.linalg.pinv(matrix), place - a)
    bary = np.concatenate([1 - uv.sum(axis=1, keepdims=True), uv], axis=1).clip(0)
    return hit, bary / bary.sum(axis=1, keepdims=True)


def look(
    network: Network,
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray,
    allowed: np.ndarray,
    centre: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the landmarks of one head: hit faces ``(478,)``, barycentrics, the picture, crop points
    ``(478,2)``.

    The crop follows the network's own rule: 1.5 times the landmarks' box, found in a first pass.
    """
    extent = 0.26
    for _ in range(2):
        image, face, pixels = render(vertices, faces, colours, centre, extent)
        points = network(image)[:, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        used_extent, shift = extent, (low + high) / 2 / CROP - 0.5
        extent = 1.5 * float((high - low).max()) / CROP * used_extent
        centre = centre + np.array([1.0, -1.0]) * shift * used_extent
    return *cast(points, face, pixels, faces, allowed), image, points


def allowed_faces(body: BodyModel, shown: np.ndarray) -> np.ndarray:
    """Which of the faces ``shown (F,)`` each landmark may sit on, ``(478,F)``: irises on eyeballs, others on
    outer skin.
    """
    faces = body.faces.numpy()[shown]
    ball = (body.part.numpy() >= 2)[faces].all(axis=1)
    outer = (body.part.numpy() == 0)[faces].all(axis=1) & ~body.cavity.numpy()[faces].all(axis=1)
    return np.where((np.arange(478) >= 468)[:, None], ball, outer)


def link(body: BodyModel, network: Network, people: int = 6, seed: int = 7) -> dict[str, np.ndarray]:
    """Average links over views and people; see the module text.

    Returns:
        ``mediapipe_faces (478,)``, ``mediapipe_bary (478,3)``, ``mediapipe_spread_m (478,)`` (standard
        deviation over the views on the template) and the same two tables for the 68-point order.
    """
    template = body.v_template.numpy().astype(np.float64)
    dominant = body.weights.argmax(dim=1).numpy()
    upper = np.isin(dominant, [JOINT_INDEX[n] for n in (*_HEAD, "spine3", "left_collar", "right_collar")])
    shown = np.flatnonzero(upper[body.faces.numpy()].all(axis=1))
    faces = body.faces.numpy()[shown]
    colours = vertex_colours(body)
    allowed = allowed_faces(body, shown)
    generator = torch.Generator().manual_seed(seed)
    views = [(0.0, 0.0), (0.2, 0.0), (-0.2, 0.0), (0.0, 0.14), (0.0, -0.14)]
    found: list[list[np.ndarray]] = [[] for _ in range(478)]
    for person in range(people):
        betas = torch.zeros(1, body.num_betas)
        if person:
            betas = 0.7 * torch.randn(1, body.num_betas, generator=generator)
        for open_mouth in (False, True):
            expression = torch.zeros(1, 52)
            expression[0, ARKIT_INDEX["jawOpen"]] = JAW_OPEN if open_mouth else 0.0
            rest, joints = body.rest(betas, expression)
            head = joints[0, JOINT_INDEX["head"]].numpy()
            for yaw, pitch in views:
                turned = (rest[0].numpy() - head) @ rotation(yaw, pitch).T
                hit, bary, _, _ = look(network, turned, faces, colours, allowed, np.array([0.0, 0.04]))
                place = (template[faces[hit]] * bary[..., None]).sum(axis=1)
                corners = turned[faces[hit]]
                normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
                facing = normal[:, 2] / (np.linalg.norm(normal, axis=1) + 1e-12)
                for p in range(478):
                    # On the outline a turned head shows another piece of skin: only the frontal views count
                    # there.
                    steady = yaw == 0 or facing[p] > 0.5
                    if hit[p] >= 0 and (p in INNER_LIPS) == open_mouth and steady:
                        found[p].append(place[p])
    mean = np.array([np.median(points, axis=0) for points in found])
    spread = np.array([np.linalg.norm(np.std(points, axis=0)) for points in found])
    chosen, weights = np.zeros(478, np.int64), np.zeros((478, 3))
    for rows in (np.arange(468), np.arange(468, 478)):
        candidates = np.flatnonzero(allowed[rows[0]])
        index, bary = closest_points(mean[rows], template[faces[candidates]])
        chosen[rows], weights[rows] = shown[candidates[index]], bary
    dlib = np.array(DLIB68_OF_MESH)
    return {
        "mediapipe_faces": chosen.astype(np.int32),
        "mediapipe_bary": weights.astype(np.float32),
        "mediapipe_spread_m": spread.astype(np.float32),
        "dlib68_faces": chosen[dlib].astype(np.int32),
        "dlib68_bary": weights[dlib].astype(np.float32),
        "num_vertices": np.int64(len(template)),
        "num_faces": np.int64(len(body.faces)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Write the links file and print how consistent the views were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", type=Path, default=NETWORK_FILE)
    parser.add_argument("--out", type=Path, default=LINKS_FILE)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    links = link(BodyModel.load(), load_network(options.network))
    np.savez_compressed(options.out, **links)
    spread = links["mediapipe_spread_m"] * 1000
    print(f"spread over views and people, mm: median {np.median(spread):.2f}, worst {spread.max():.2f}")


if __name__ == "__main__":
    main()

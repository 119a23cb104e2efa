"""Tables that tie the body's surface to image landmarks: 21 standard points and the 478 points of the face
mesh.

Vertices come in, landmark positions go out; :func:`surface_points` is differentiable in torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.body.model import BodyModel

STANDARD_VERTICES: dict[str, int] = {
    "nose": 9120, "reye": 9929, "leye": 9448, "rear": 616, "lear": 6,
    "rthumb": 8079, "rindex": 7669, "rmiddle": 7794, "rring": 7905, "rpinky": 8022,
    "lthumb": 5361, "lindex": 4933, "lmiddle": 5058, "lring": 5169, "lpinky": 5286,
    "LBigToe": 5770, "LSmallToe": 5780, "LHeel": 8846,
    "RBigToe": 8463, "RSmallToe": 8474, "RHeel": 8635,
}  # fmt: skip
"""Vertex numbers of nose, eyes, ears, finger tips, toes and heels. SMPL-X tools expect them under these
numbers, and our vertices are ordered so that they match."""

LINKS_FILE = Path(__file__).parent / "assets" / "face_links.npz"
NUM_FACE_POINTS = 478


@dataclass(frozen=True, eq=False)
class FaceLinks:
    """Where the face-mesh landmarks sit on the body.

    Attributes:
        vertices: ``(478,3)`` int64 vertex numbers of the triangle under each landmark.
        bary: ``(478,3)`` float32 barycentric weights.
        spread: ``(478,)`` float32 metres, how much the place varied over views and people when the table was
            made; use it to weight residuals. The outline of the face is the least certain.
    """

    vertices: np.ndarray
    bary: np.ndarray
    spread: np.ndarray


@lru_cache(maxsize=4)
def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def face_links(body: BodyModel, path: Path = LINKS_FILE) -> FaceLinks:
    """The links of the shipped body.

    Raises:
        InvalidInputError: ``body`` has another mesh than the one the links were made for.
    """
    table = _load(path)
    faces = table["mediapipe_faces"].astype(np.int64)
    if len(body.v_template) != int(table["num_vertices"]) or len(body.faces) != int(table["num_faces"]):
        raise InvalidInputError("The face links belong to the shipped body; another body mesh has none.")
    return FaceLinks(body.faces.cpu().numpy()[faces], table["mediapipe_bary"], table["mediapipe_spread_m"])


def surface_points(vertices: Tensor, links: FaceLinks) -> Tensor:
    """Landmark positions ``[..., 478, 3]`` on posed or rest vertices ``[..., V, 3]``."""
    ids = torch.from_numpy(links.vertices).to(vertices.device)
    bary = torch.from_numpy(links.bary).to(vertices)
    return (vertices[..., ids, :] * bary[..., None]).sum(-2)

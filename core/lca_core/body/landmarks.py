"""Vertex tables that tie the body to image landmarks: the 21 standard surface points and the face-mesh
links.
"""

from __future__ import annotations

STANDARD_VERTICES: dict[str, int] = {
    "nose": 9120, "reye": 9929, "leye": 9448, "rear": 616, "lear": 6,
    "rthumb": 8079, "rindex": 7669, "rmiddle": 7794, "rring": 7905, "rpinky": 8022,
    "lthumb": 5361, "lindex": 4933, "lmiddle": 5058, "lring": 5169, "lpinky": 5286,
    "LBigToe": 5770, "LSmallToe": 5780, "LHeel": 8846,
    "RBigToe": 8463, "RSmallToe": 8474, "RHeel": 8635,
}  # fmt: skip
"""Vertex numbers of nose, eyes, ears, finger tips, toes and heels; our vertices are ordered so that they
match.
"""

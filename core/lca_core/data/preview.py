"""Contact sheet of synthetic people: front, side and back of each, and the face.

``python -m lca_core.data.preview sheet.png --split train --seed 0 --count 6``. Everybody is dressed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lca_core.body.names import JOINT_INDEX
from lca_core.data import motion
from lca_core.data.people import SPLITS, Person, sample_identity, streams
from lca_core.data.render import Light
from lca_core.data.samples import fit_camera

_HEAD_BOX = np.array([[x, y, z] for x in (-0.13, 0.13) for y in (-0.1, 0.22) for z in (-0.1, 0.1)])


def studio_light() -> Light:
    """Soft white light with a key from the upper left front."""
    sh = np.zeros((9, 3), np.float32)
    sh[0], sh[1] = 1.3, 0.1
    direction = np.array([0.4, 0.6, 0.7], np.float32)
    return Light(sh, direction / np.linalg.norm(direction), np.full(3, 0.4, np.float32))


def portrait_row(split: str, number: int, size: int) -> NDArray[np.uint8]:
    """Front, side, back and face of one person, (size, 4*size, 3)."""
    person = Person(sample_identity(split, number))
    scene, light = person.scene(), studio_light()
    (rng,) = streams(split, number, "preview")
    used = np.unique(person.faces)
    tiles = []
    for yaw, kind in ((0.0, "a_pose"), (np.pi / 2, "stand"), (np.pi, None)):
        q = motion.random_pose(rng, kind)
        posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
        scene.pose(posed)
        K, viewmat = fit_camera(posed[used], yaw, 0.05, 3.5, size, size, 0.95, np.zeros(2))
        tiles.append(scene.render(K, viewmat, size, size, light, samples=2).composite(0.25))
    expression = motion.random_expression(rng)
    posed = person.posed(np.zeros((55, 3)), np.zeros(3), expression, np.zeros((2, 2)))
    scene.pose(posed)
    head = person.joints[JOINT_INDEX["head"]] + _HEAD_BOX
    K, viewmat = fit_camera(head, 0.25, 0.05, 1.2, size, size, 0.95, np.zeros(2))
    tiles.append(scene.render(K, viewmat, size, size, light, samples=2).composite(0.25))
    return np.concatenate(tiles, 1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Contact sheet of synthetic people.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=sorted(SPLITS), default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    first = SPLITS[args.split][0] + args.seed
    rows = [portrait_row(args.split, first + i, args.size) for i in range(args.count)]
    Image.fromarray(np.concatenate(rows)).save(args.out)


if __name__ == "__main__":
    main()

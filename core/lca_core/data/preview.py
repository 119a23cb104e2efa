"""Contact sheets of synthetic people: who they are, their expressions, hands, clips and skirts.

In: a seed. Out: one picture (H,W,3) per sheet. ``python -m lca_core.data.preview --seed 7 --people 48 -o
sheet.png``. Everybody is an adult and dressed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lca_core.body.names import ARKIT_INDEX, ARKIT_NAMES, JOINT_INDEX
from lca_core.data import cloth, motion, skinning
from lca_core.data.people import SPLITS, Person, sample_identity, streams
from lca_core.data.performance import perform
from lca_core.data.procedural import SKIRTS
from lca_core.data.render import Light, Scene
from lca_core.data.samples import fit_camera

Picture = NDArray[np.uint8]
_BACKGROUND = 0.3
_HEAD_BOX = np.array([[x, y, z] for x in (-0.13, 0.13) for y in (-0.1, 0.22) for z in (-0.1, 0.1)])
_FACE_BOX = np.array([[x, y, z] for x in (-0.085, 0.085) for y in (-0.085, 0.15) for z in (0.0, 0.1)])
_STILL = (np.zeros(3), np.zeros(52, np.float32), np.zeros((2, 2)))


def studio_light() -> Light:
    """Soft white light with a key from the upper left front."""
    sh = np.zeros((9, 3), np.float32)
    sh[0], sh[1] = 1.3, 0.1
    direction = np.array([0.4, 0.6, 0.7], np.float32)
    return Light(sh, direction / np.linalg.norm(direction), np.full(3, 0.4, np.float32))


def _numbers(seed: int, count: int, split: str) -> list[int]:
    low, high = SPLITS[split]
    return [low + (seed * 1009 + i) % (high - low) for i in range(count)]


def _shot(
    scene: Scene, points: NDArray, yaw: float, width: int, height: int, distance: float, pitch: float = 0.05
) -> Picture:
    K, viewmat = fit_camera(points, yaw, pitch, distance, width, height, 0.97, np.zeros(2))
    return scene.render(K, viewmat, width, height, studio_light(), samples=2).composite(_BACKGROUND)


def _grid(tiles: list[Picture], columns: int) -> Picture:
    blank = np.full_like(tiles[0], 149)
    tiles = tiles + [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def _caption(tile: Picture, text: str) -> Picture:
    image = Image.fromarray(tile)
    ImageDraw.Draw(image).text((3, 2), text, fill=(20, 20, 20))
    return np.asarray(image)


def _skirted(seed: int, count: int) -> list[Person]:
    found: list[Person] = []
    for number in _numbers(seed, 4000, "train"):
        bottom = sample_identity("train", number).outfit.bottom
        if bottom is not None and bottom.kind in SKIRTS:
            found.append(Person(sample_identity("train", number)))
            if len(found) == count:
                break
    return found


def people_sheet(seed: int, people: int = 48, split: str = "train") -> Picture:
    """``people`` dressed adults: whole figure, face and back of each."""
    tiles = []
    for number in _numbers(seed, people, split):
        person = Person(sample_identity(split, number))
        (rng,) = streams(split, number, "preview")
        scene, used = person.scene(), np.unique(person.faces)
        q = motion.random_pose(rng, str(rng.choice(["stand", "stand", "walk", "gesture"])))
        posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
        scene.pose(posed)
        figure = _shot(scene, posed[used], float(rng.uniform(-0.5, 0.5)), 150, 270, 3.5)
        back = _shot(scene, posed[used], float(np.pi + rng.uniform(-0.6, 0.6)), 100, 140, 3.5)
        head = skinning.joint_transforms(skinning.rotation_matrices(q.joints), person.joints)[
            JOINT_INDEX["head"]
        ]
        box = (person.joints[JOINT_INDEX["head"]] + _HEAD_BOX) @ head[:, :3].T + head[:, 3] + q.transl
        forward = head[:, :3] @ np.array([0.0, 0.0, 1.0])
        face = _shot(scene, box, float(np.arctan2(forward[0], forward[2]) + 0.25), 100, 130, 1.2)
        tiles.append(np.concatenate([figure, np.concatenate([face, back])], 1))
    return _grid(tiles, 8)


def expression_sheet(seed: int) -> Picture:
    """The 52 ARKit actions on one face, each at full strength (mouthClose on top of jawOpen)."""
    person = next(
        Person(i)
        for i in (sample_identity("train", n) for n in _numbers(seed, 100, "train"))
        if i.hair is not None and i.hair.startswith("short") and not i.hat
    )
    scene = person.scene()
    box = person.joints[JOINT_INDEX["head"]] + _FACE_BOX
    tiles = []
    for name in ARKIT_NAMES:
        e = np.zeros(len(ARKIT_NAMES), np.float32)
        e[ARKIT_INDEX[name]] = 1.0
        if name == "mouthClose":
            e[ARKIT_INDEX["jawOpen"]] = 1.0
        scene.pose(person.posed(np.zeros((55, 3)), np.zeros(3), e, np.zeros((2, 2))))
        tiles.append(_caption(_shot(scene, box, 0.15, 128, 150, 1.0), name))
    return _grid(tiles, 13)


def hand_sheet(seed: int) -> Picture:
    """Both hands of four people in named and random finger poses."""
    tiles = []
    for number in _numbers(seed, 4, "train"):
        person = Person(sample_identity("train", number))
        (rng,) = streams("train", number, "preview")
        scene = person.scene()
        for name in ("fist", "point", "spread", "pinch", "", "", ""):
            joints = np.zeros((55, 3))
            for side in ("left", "right"):
                motion.named_hand(joints, side, name or "random", rng)
            scene.pose(person.posed(joints, *_STILL))
            for side, sign in (("left", 1.0), ("right", -1.0)):
                wrist = person.joints[JOINT_INDEX[f"{side}_wrist"]]
                reach = [(-0.03, -0.07, -0.07), (0.19, 0.07, 0.07)]
                box = np.array([[x * sign, y, z] for x in (reach[0][0], reach[1][0]) for y in (-0.06, 0.05)
                                for z in (-0.08, 0.08)])  # fmt: skip
                tile = _shot(scene, wrist + box, sign * 0.4, 130, 110, 0.9, 0.9)
                tiles.append(_caption(tile, f"{side} {name or 'random'}"))
    return _grid(tiles, 14)


def clip_sheet(seed: int, frames: int = 12) -> Picture:
    """Film strips of three people: one performance, sampled over 6 s; skirts swing with it."""
    numbers = _numbers(seed, 2, "train")
    cast = [Person(sample_identity("train", n)) for n in numbers] + _skirted(seed, 1)
    tiles = []
    for k, person in enumerate(cast):
        poses = perform(180, 30.0, seed=seed + k)
        vertices = cloth.drape(person, poses)
        used = np.unique(person.faces)
        scene = person.scene()
        box = vertices[::15, used].reshape(-1, 3)
        for t in np.linspace(0, len(poses) - 1, frames).astype(int):
            scene.pose(vertices[t])
            tiles.append(_caption(_shot(scene, box, 0.3, 110, 220, 3.5), f"{t / 30:.1f} s"))
    return _grid(tiles, frames)


def stride_pose() -> NDArray[np.float64]:
    """The stride (55,3) of the skirt test: hips -0.75 and +0.45 rad."""
    joints = np.zeros((55, 3))
    for name, axis, angle in (
        ("left_hip", 0, -0.75), ("right_hip", 0, 0.45), ("right_knee", 0, 0.2), ("left_shoulder", 2, -1.1),
        ("right_shoulder", 2, 1.1),
    ):  # fmt: skip
        joints[JOINT_INDEX[name], axis] = angle
    return joints


def nearest_weights(person: Person) -> NDArray[np.float32]:
    """Skirt weights (N,55) copied from the nearest body vertex: the failure that simulation repairs."""
    from scipy.spatial import cKDTree

    from lca_core.data import library

    assert person.skirt is not None
    ids = np.unique(library.base_mesh("skin")[0])
    near = cKDTree(person.rest[ids]).query(person.skirt.rest)[1]
    return library.extended_body().weights[ids[near]]


def skirt_sheet(seed: int) -> Picture:
    """Six skirts: at rest, a stride with nearest-body weights and simulated, a walk, sitting."""
    tiles = []
    for person in _skirted(seed, 6):
        assert person.skirt is not None
        where, used, scene = person.skirt.where, np.unique(person.faces), person.scene()
        (rng,) = streams("train", person.identity.number, "preview")
        stride = stride_pose()
        moved = skinning.joint_transforms(skinning.rotation_matrices(stride), person.joints)
        lbs = person.posed(stride, *_STILL)
        simulated = lbs.copy()
        lbs[where] = skinning.skin(person.skirt.rest.astype(np.float32), nearest_weights(person), moved)
        shots = [
            ("rest", person.posed(motion.random_pose(rng, "a_pose").joints, *_STILL)),
            ("nearest weights", lbs),
            ("simulated", simulated),
            ("walk", person.posed(motion.random_pose(rng, "walk").joints, *_STILL)),
            ("sit", person.posed(motion.random_pose(rng, "sit").joints, *_STILL)),
        ]
        for name, v in shots:
            scene.pose(v)
            text = name
            if v is lbs or v is simulated:
                text += f" p99 {np.quantile(person.skirt.stretch(v[where]), 0.99):.2f}"
            tiles.append(_caption(_shot(scene, v[used], 0.9, 150, 240, 3.5), text))
    return _grid(tiles, 10)


SHEETS: dict[str, Callable[[int], Picture]] = {
    "expressions": expression_sheet, "hands": hand_sheet, "clips": clip_sheet, "skirts": skirt_sheet,
}  # fmt: skip
"""Sheets besides the people, by name."""


def write_sheet(out: Path, picture: Picture) -> Path:
    """Save a picture under its final name when complete; creates the folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.part{out.suffix or '.png'}")
    Image.fromarray(picture).save(part)
    os.replace(part, out)
    return out


def write_preview(
    out: Path, seed: int, people: int = 48, *, split: str = "train", sheets: tuple[str, ...] = ()
) -> list[Path]:
    """Write the sheet of people to ``out`` and further sheets beside it as ``<name>-<sheet>``; returns all
    paths."""
    paths = [write_sheet(out, people_sheet(seed, people, split))]
    for name in sheets:
        paths.append(write_sheet(out.with_name(f"{out.stem}-{name}{out.suffix}"), SHEETS[name](seed)))
    return paths


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Contact sheets of synthetic people.")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/preview.png"))
    parser.add_argument("--split", choices=sorted(SPLITS), default="train")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--sheets", nargs="*", choices=sorted(SHEETS), default=[])
    args = parser.parse_args()
    paths = write_preview(args.out, args.seed, args.people, split=args.split, sheets=tuple(args.sheets))
    print("\n".join(str(p) for p in paths))


if __name__ == "__main__":
    main()

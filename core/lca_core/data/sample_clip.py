"""Renders the sample clip that ships with the product: a synthetic adult in a plain room, hands, talk, a
full turn.

In: nothing but the asset pack. Out: ``assets/sample_clip.mp4`` (H.264) and ``assets/sample_clip.npz`` with
the exact motion, camera and shape. Run: ``python -m lca_core.data.sample_clip [--out FOLDER]``.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca.errors import NotFoundError
from lca_core.data.library import ASSETS
from lca_core.data.painting import Cloth
from lca_core.data.people import Identity, Person, sample_identity
from lca_core.data.performance import perform
from lca_core.data.render import Light, Scene, Textures
from lca_core.data.samples import fit_camera
from lca_core.data.wardrobe import Outfit

FPS = 25
FRAMES = 166
SIZE = (960, 1440)
FILL = 0.92
"""Share of the frame's height that the person takes at the start: the face must have enough pixels."""
ROOM_PART = 20


def sample_clip_path() -> Path:
    """Where the shipped clip lies.

    Raises:
        NotFoundError: the installation lacks it.
    """
    path = ASSETS / "sample_clip.mp4"
    if not path.exists():
        raise NotFoundError(
            "The sample clip is missing from this installation; render it with "
            "python -m lca_core.data.sample_clip, or reinstall the package."
        )
    return path


def sample_person() -> Identity:
    """The person of the clip: a real draw of the generator in fixed clothes (rust shirt with a print, blue
    jeans)."""
    base = sample_identity("train", 8)
    fields = {f: getattr(base, f) for f in base.__dataclass_fields__}
    fields |= {
        "skin": "skin_young_lightskinned_male3",
        "skin_gain": (1.0, 1.0, 1.0),
        "hair": "short02",
        "hair_colour": "dark brown",
        "brow": "eyebrow001",
        "iris": "brown",
        "hair_size": 1.0,
        "stubble": 0.0,
        "outfit": Outfit("male_casualsuit04", None, None, None, False),
        "upper": Cloth((186, 58, 40), (238, 232, 220), "emblem", 1.0, False),
        "lower": Cloth((60, 80, 120), (60, 80, 120), "plain", 1.0, True),
        "shoes": "shoes02",
        "shoes_tint": None,
        "hat": False,
    }
    return Identity(**fields)


def _room(floor: float) -> tuple[NDArray, NDArray, NDArray, NDArray, list[NDArray[np.uint8]]]:
    """Floor and back wall: vertices (8,3), faces (4,3), corner uvs (4,3,2), texture number per face,
    images."""
    w, back, front, top = 4.0, -1.7, 5.0, 4.0
    v = np.array(
        [
            [-w, floor, front], [w, floor, front], [w, floor, back], [-w, floor, back],
            [-w, floor, back], [w, floor, back], [w, top, back], [-w, top, back],
        ]
    )  # fmt: skip
    quad = np.array([[0, 1, 2], [0, 2, 3]])
    corner = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]])
    rng = np.random.default_rng(5)
    grain = ndimage.gaussian_filter(rng.standard_normal((512, 512)), (14, 1.2))
    grain = grain / grain.std() * 6 + 4 * (np.arange(512)[None, :] % 64 < 2) * -3
    wood = np.array([146, 112, 82]) + grain[..., None]
    plaster = ndimage.gaussian_filter(rng.standard_normal((256, 256)), 10)
    wall = np.array([198, 196, 188]) + (plaster / plaster.std() * 2)[..., None]
    wall[-5:] = (225, 224, 220)
    images = [np.clip(x, 0, 255).astype(np.uint8) for x in (wood, wall)]
    uvs = np.concatenate([corner[quad], corner[quad]])
    return v, np.concatenate([quad, quad + 4]), uvs, np.array([0, 0, 1, 1]), images


def render_clip(out: Path, frames: int = FRAMES, size: tuple[int, int] = SIZE, samples: int = 2) -> Path:
    """Render and encode the clip and write the motion beside it; returns the mp4 path."""
    import av

    person = Person(sample_person())
    motion = perform(frames, FPS, seed=3)
    first = person.posed(motion[0].joints, motion[0].transl, motion[0].expression, motion[0].gaze)
    used = np.unique(person.faces)
    floor = float(first[used, 1].min())
    v, f, uv, tex, images = _room(floor)
    n = len(person.rest)
    scene = Scene(
        np.concatenate([person.faces, f + n]),
        np.concatenate([person.face_uvs, uv]),
        np.concatenate([person.face_texture, tex + len(person.textures)]),
        np.concatenate([person.face_part, np.full(len(f), ROOM_PART)]),
        Textures([*person.textures, *images]),
    )
    sh = np.zeros((9, 3), np.float32)
    sh[0] = np.array([1.02, 1.0, 0.97]) * 0.56 / 0.282095
    sh[1] = 0.12
    sh[2] = 0.12
    direction = np.array([0.45, 0.95, 0.75])
    light = Light(
        sh,
        (direction / np.linalg.norm(direction)).astype(np.float32),
        np.array([0.42, 0.4, 0.37], np.float32),
    )
    K, viewmat = fit_camera(
        np.concatenate([first[used], first[used] * np.array([1.12, 1, 1], np.float32)]),
        0.0,
        0.03,
        3.1,
        *size,
        FILL,
        np.zeros(2),
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "sample_clip.mp4"
    transl = []
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.options = {"crf": "21", "preset": "slow"}
        for q in motion:
            posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
            # The standing foot stays on the floor while the other lifts.
            lift = np.array([0, floor - posed[used, 1].min(), 0], np.float32)
            transl.append(q.transl + lift)
            scene.pose(np.concatenate([posed + lift, v]))
            image = scene.render(K, viewmat, *size, light, samples=samples).composite(0.6)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    np.savez_compressed(
        out / "sample_clip.npz",
        pose=np.stack([q.joints for q in motion]),
        transl=np.stack(transl).astype(np.float32),
        expression=np.stack([q.expression for q in motion]),
        gaze=np.stack([q.gaze for q in motion]),
        betas=person.betas,
        K=K.astype(np.float32),
        viewmat=viewmat.astype(np.float32),
        fps=np.float32(FPS),
    )
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Render the shipped sample clip.")
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--frames", type=int, default=FRAMES)
    args = parser.parse_args()
    path = render_clip(args.out, args.frames)
    print(f"{path} {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

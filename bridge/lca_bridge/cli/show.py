"""Commands that look at one avatar: pictures, movies, other formats; they read the ``.lca`` file."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lca.errors import InvalidInputError
from lca_bridge.cli.avatars import avatar_name
from lca_bridge.cli.output import print_json, progress_bar
from lca_bridge.cli.serve import client_for

if TYPE_CHECKING:
    import numpy as np


@contextlib.contextmanager
def package_file(args: argparse.Namespace) -> Iterator[Path]:
    """The avatar as a file: as given, or fetched from the service for this command."""
    if Path(args.avatar).is_file():
        yield Path(args.avatar)
        return
    with tempfile.TemporaryDirectory(prefix="lca-") as folder:
        with client_for(args) as client:
            path = client.download(avatar_name(args.avatar), Path(folder) / "avatar.lca")
        yield path


def render(args: argparse.Namespace) -> int:
    """Turntable, expressions, hands; with ``--light`` the avatar in another light."""
    if not 1 <= args.views <= 64 or not 32 <= args.size <= 4096:
        raise InvalidInputError("--views is 1 to 64, --size 32 to 4096.", reason="BAD_CAMERA")
    from PIL import Image

    from lca_core.avatar import Avatar, pictures

    out = Path(args.out)
    with package_file(args) as path:
        avatar = Avatar.load(path)
    if args.light:
        from lca_bridge.cli.light import render_lit

        return render_lit(avatar, args, out)
    out.mkdir(parents=True, exist_ok=True)
    sheets = {"turntable.png": lambda: pictures.turntable(avatar, args.views, args.size)}
    if not args.no_sheets:
        sheets["expressions.png"] = lambda: pictures.expressions_sheet(avatar)
        sheets["hands.png"] = lambda: pictures.hands_sheet(avatar)
    with progress_bar(args.json) as advance:
        for i, (name, draw) in enumerate(sheets.items()):
            advance(name, i / len(sheets), None)
            Image.fromarray(draw()).save(out / name)
    files = [str(out / name) for name in sheets]
    print_json({"files": files}) if args.json else print("\n".join(files))
    return 0


def animate(args: argparse.Namespace) -> int:
    """A motion as mp4 or PNG frames."""
    if not 32 <= args.size <= 4096:
        raise InvalidInputError("--size is 32 to 4096.", reason="BAD_CAMERA")
    from lca.motion import read_motion
    from lca_core.avatar import Avatar, Motion
    from lca_core.avatar.animate import Animator
    from lca_core.avatar.pictures import body_view, picture

    clip = read_motion(args.motion, fps=args.fps or None, face_forward=True)
    motion = Motion(clip.fps, clip.translation, clip.poses, clip.arkit, clip.gaze)
    with package_file(args) as path:
        avatar = Avatar.load(path)
    correction = None
    if args.live:
        from lca_core.avatar.live import NetworkCorrection

        correction = NetworkCorrection.of(avatar)
    animator = Animator(avatar, correction)
    count = min(len(motion), args.frames or len(motion))
    height = args.size - args.size % 2
    width = (height * 9) // 16 // 2 * 2

    def pictures_of() -> Iterator[np.ndarray]:
        with progress_bar(args.json) as advance:
            for i in range(count):
                frame = motion[i]
                yield picture(animator.evaluate(frame), body_view(animator, frame, 0.0, height, width))
                advance("animate", (i + 1) / count, None)

    out = Path(args.out)
    if out.suffix.lower() == ".mp4":
        out.parent.mkdir(parents=True, exist_ok=True)
        write_movie(out, pictures_of(), motion.fps, width, height)
    else:
        from PIL import Image

        out.mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(pictures_of()):
            Image.fromarray(pixels).save(out / f"{i:05d}.png")
    print_json({"out": str(out), "frames": count}) if args.json else print(out)
    return 0


def write_movie(path: Path, frames: Iterable[np.ndarray], fps: float, width: int, height: int) -> None:
    """H.264 in MP4; (height, width, 3) uint8 frames."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)

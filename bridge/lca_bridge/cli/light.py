"""`lca render --light`: an avatar in an environment picture, still or with the light going round it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lca.errors import InvalidInputError
from lca_bridge.cli.output import print_json, progress_bar

if TYPE_CHECKING:
    import numpy as np

    from lca_core.avatar import Avatar

FPS = 24.0


def add_light(parser: argparse.ArgumentParser) -> None:
    """The options of light."""
    group = parser.add_argument_group("light", "another light than that of the photographs")
    group.add_argument(
        "--light",
        help=".hdr or .exr equirect picture, or studio, noon, overcast, sunset, window, club; all: a sheet",
    )
    group.add_argument(
        "--rotate", nargs="?", type=float, const=360.0, default=0.0, metavar="DEGREES",
        help="turn the light; without a number, or with --rotate-frames, a movie of the whole turn",
    )  # fmt: skip
    group.add_argument(
        "--rotate-frames", type=int, default=0, metavar="N", help="movie of N steps of the turn"
    )
    group.add_argument(
        "--exposure", type=float, default=0.5, metavar="LEVEL",
        help="mean radiance the light is scaled to (%(default)s); 0 keeps the picture's own",
    )  # fmt: skip


def render_lit(avatar: Avatar, args: argparse.Namespace, out: Path) -> int:
    """Views all round in one light, or a movie of the light going round."""
    from PIL import Image

    from lca_core.avatar.lit_pictures import LitAvatar
    from lca_core.relight.environment import MADE, read_or_made

    whole = args.rotate == 360.0 and not args.rotate_frames
    frames = args.rotate_frames or (96 if whole else 0)
    bad = (
        not 0 <= args.rotate_frames <= 2000 or not math.isfinite(args.rotate) or not 0 <= args.exposure < 1e4
    )
    if bad:
        raise InvalidInputError("--rotate-frames is 1 to 2000, --exposure 0 or more.", reason="BAD_LIGHT")
    if args.light == "all" and frames:
        raise InvalidInputError("A movie has one light: name it with --light.", reason="BAD_LIGHT")
    lights = {name: read_or_made(name) for name in (MADE if args.light == "all" else [args.light])}
    if args.exposure:
        lights = {name: light.exposed(args.exposure) for name, light in lights.items()}
    lit = LitAvatar(avatar)
    out.mkdir(parents=True, exist_ok=True)
    if args.light == "all":
        path = out / "lights.png"
        with progress_bar(args.json) as advance:
            advance("lights", 0.0, None)
            turned = {name: light.turned(args.rotate) for name, light in lights.items()}
            Image.fromarray(lit.contact_sheet(turned, args.size)).save(path)
        return _told(path, args, 0)
    environment = lights[args.light]
    if not frames:
        path = out / "lit.png"
        with progress_bar(args.json) as advance:
            advance("lit", 0.0, None)
            Image.fromarray(lit.turntable(environment.turned(args.rotate), args.views, args.size)).save(path)
    else:
        from lca_bridge.cli.show import write_movie

        path = out / "lit.mp4"
        height = args.size - args.size % 2
        width = (height * 9) // 16 // 2 * 2
        turn = args.rotate or 360.0

        def pictures() -> Iterator[np.ndarray]:
            with progress_bar(args.json) as advance:
                for i in range(frames):
                    yield lit.picture(environment.turned(turn * i / frames), 0.0, height, width)
                    advance("lit", (i + 1) / frames, None)

        write_movie(path, pictures(), FPS, width, height)
    return _told(path, args, frames)


def _told(path: Path, args: argparse.Namespace, frames: int) -> int:
    facts = {"files": [str(path)], "light": args.light, "frames": frames}
    print_json(facts) if args.json else print(path)
    return 0

"""`lca view`: an avatar in the browser. Serves the viewer page on this machine only, or writes one HTML file
that opens anywhere without a network.
"""

from __future__ import annotations

import argparse
import http.server
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from lca.errors import InvalidInputError, NotFoundError
from lca_bridge.cli.output import print_json

if TYPE_CHECKING:
    from lca_core.avatar.frame import Motion

SCENES = (".usdz", ".usdc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lca view``."""
    parser.add_argument(
        "avatar", metavar="FILE", help="a .usdz or .usdc of ours, an .lca file, or an avatar name"
    )
    parser.add_argument("--motion", help=".lca: play this motion instead of the built-in one")
    parser.add_argument("--out", metavar="FILE.html", help="write one page that opens offline, serve nothing")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")


def view(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or write ``--out``."""
    if not 0 <= args.port <= 65535:
        raise InvalidInputError("--port is 0 to 65535.")
    name, asset = Path(args.avatar).stem, _asset(args)
    if args.out:
        out = Path(args.out)
        if out.suffix.lower() not in (".html", ".htm"):
            raise InvalidInputError(f"{out.name} is not a page name; end it in .html.")
        size = write_page(asset, name, out)
        print_json({"out": str(out), "bytes": size}) if args.json else print(f"{out}: {size / 1e6:.1f} MB")
        return 0
    with page_server(asset, name, args.port) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        print_json({"url": url}) if args.json else print(f"{url}\nCtrl-C stops it.", flush=True)
        if not args.no_browser:
            webbrowser.open(url)
        server.serve_forever()
    return 0


def write_page(asset: bytes, title: str, out: Path) -> int:
    """One self-contained HTML file; returns its bytes."""
    from lca_bridge.web import page

    out.parent.mkdir(parents=True, exist_ok=True)
    return out.write_bytes(page(title, asset).encode())


def page_server(asset: bytes, title: str, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server on 127.0.0.1 that knows two things: the page and the asset."""
    from lca_bridge.web import page

    answers = {
        "/": (page(title).encode(), "text/html; charset=utf-8"),
        "/asset.usdz": (asset, "model/vnd.usdz+zip"),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A page from elsewhere may reach us under its own name (DNS rebinding), but not as this host.
            here = self.headers.get("Host", "").rpartition(":")[0] in ("127.0.0.1", "localhost")
            path = self.path.partition("?")[0] if here else ""
            body, kind = answers.get(path, (b"Not found", "text/plain"))
            self.send_response(200 if body != b"Not found" else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the command's output is for people."""

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)


def avatar_asset(package: Path, motion: object | None = None) -> bytes:
    """An ``.lca`` file as the USD package the viewer opens, with a motion."""
    import lca_usd

    with tempfile.TemporaryDirectory(prefix="lca-view-") as folder:
        out = Path(folder) / "view.usdz"
        lca_usd.export_shot(package, motion or showing_off(), out, preset="web")  # type: ignore[arg-type]
        return out.read_bytes()


def _asset(args: argparse.Namespace) -> bytes:
    path = Path(args.avatar)
    if path.suffix.lower() in SCENES:
        if not path.is_file():
            raise NotFoundError(f"There is no file {path}.")
        if args.motion:
            raise InvalidInputError("A USD file brings its own animation; give --motion with an .lca file.")
        return path.read_bytes()
    from lca_bridge.cli.show import package_file

    with package_file(args) as package:
        return avatar_asset(package, args.motion)


def showing_off(seconds: float = 6.0, fps: float = 30.0) -> Motion:
    """A motion that loops: standing, waving, fingers closing one by one, a smile and a blink."""
    import numpy as np

    from lca_core.avatar.frame import Motion, PoseFrame
    from lca_core.avatar.pictures import STANDING
    from lca_core.body.hand_pose import hand_rotations

    def bump(t: float, start: float, end: float) -> float:
        inside = min(1.0, max(0.0, (t - start) / (end - start)))
        return float(np.sin(np.pi * inside) ** 2)

    frames = []
    for t in np.arange(round(seconds * fps)) / round(seconds * fps):
        raised, swing = bump(t, 0.05, 0.95) ** 0.5, float(np.sin(2 * np.pi * 4 * t)) * bump(t, 0.05, 0.55)
        arm, breath = np.array(STANDING["left_shoulder"]), 0.02 * float(np.sin(2 * np.pi * t))
        up = (1 - raised) * arm + raised * np.array([0.0, -0.35, 0.25])
        curls = {
            finger: bump(t, 0.5 + 0.07 * i, 0.72 + 0.07 * i)
            for i, finger in enumerate(("pinky", "ring", "middle", "index"))
        }
        pose = {
            **STANDING,
            "left_shoulder": (float(up[0]), float(up[1]), float(up[2])),
            "left_elbow": (0.0, -0.25 - 0.5 * raised, (0.95 + 0.35 * swing) * raised),
            "spine2": (breath, 0.0, 0.0),
            "head": (0.0, 0.15 * float(np.sin(2 * np.pi * t)), 0.0),
            **hand_rotations("left", curls),
        }
        smile, blink = bump(t, 0.1, 0.6), bump(t, 0.7, 0.74) + bump(t, 0.3, 0.34)
        face = {"mouthSmileLeft": smile, "mouthSmileRight": smile, "jawOpen": 0.25 * bump(t, 0.15, 0.5)}
        frames.append(PoseFrame.posed(pose, {**face, "eyeBlinkLeft": blink, "eyeBlinkRight": blink}))
    return Motion(
        fps,
        np.stack([frame.translation for frame in frames]),
        np.stack([frame.joint_rotations for frame in frames]),
        np.stack([frame.arkit for frame in frames]),
        np.stack([frame.gaze for frame in frames]),
    )

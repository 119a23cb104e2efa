"""Plays a whole motion inside a worker process: frames, PLY files, USD, a movie or pictures into one file.

``worker.py`` calls :func:`play` with a specification; poses were checked when the job was made.
"""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lca.errors import CancelledError, UnimplementedError
from lca.v1 import animation_service_pb2 as animation
from lca.v1 import motion_pb2
from lca.v1 import render_service_pb2 as render
from lca_bridge.server.evaluate import Evaluator, encode_picture
from lca_bridge.server.frames import best_packer, requested_shot
from lca_bridge.server.movie import write_movie
from lca_bridge.wire.encode import FrameEncoder
from lca_bridge.wire.frames import Encoding, make_layout
from lca_bridge.wire.messages import frame_to_protos, layout_to_proto, pose_from_proto
from lca_core.progress import ProgressEvent

Pose = dict[str, np.ndarray]


class _Player:
    """The poses of a motion in turn, with progress; stops when the job is cancelled."""

    def __init__(self, motion: motion_pb2.Motion, progress: Any, cancelled: threading.Event) -> None:
        self._motion, self._progress, self._cancelled = motion, progress, cancelled

    def __iter__(self) -> Iterator[tuple[int, Pose]]:
        count = len(self._motion.frames)
        for index, frame in enumerate(self._motion.frames):
            if self._cancelled.is_set():
                raise CancelledError("The job was cancelled on request.")
            yield index, pose_from_proto(frame)
            self._progress(
                ProgressEvent(
                    stage="frames", stage_index=0, stage_count=1, fraction=(index + 1) / count,
                    message=f"frame {index + 1} of {count}",
                )
            )  # fmt: skip


def play(spec: dict[str, Any], progress: Any, cancelled: threading.Event) -> None:
    """Do the job of ``spec``: kind, package, request (a file) and out."""
    data, out = Path(spec["request"]).read_bytes(), Path(spec["out"])
    package = Path(spec["package"])
    if spec["kind"] == "BAKE_MOTION":
        bake = animation.BakeMotionRequest.FromString(data)
        if bake.format == animation.BAKE_FORMAT_USDZ:
            _usdz(package, bake.motion, out)
            return
        evaluator, live = _evaluator(package, bake.correction)
        player = _Player(bake.motion, progress, cancelled)
        writer = _ply if bake.format == animation.BAKE_FORMAT_PLY_SEQUENCE else _frames
        writer(evaluator, live, player, bake.motion, out)
        return
    movie = render.RenderMotionRequest.FromString(data)
    evaluator, live = _evaluator(package, movie.correction)
    player = _Player(movie.motion, progress, cancelled)
    shot, kind = requested_shot(movie.output)
    if movie.format == render.MOVIE_FORMAT_PICTURES:
        ending = {"PNG": "png", "JPEG": "jpg", "RAW_RGB8": "rgb"}[kind]
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for index, pose in player:
                picture = encode_picture(evaluator.picture(pose, shot, live), kind)
                archive.writestr(f"{index:06d}.{ending}", picture)
        return
    pictures = (evaluator.picture(pose, shot, live) for _, pose in player)
    write_movie(out, pictures, movie.motion.frame_rate, shot.width, shot.height)


def _evaluator(package: Path, correction: int) -> tuple[Evaluator, bool]:
    evaluator = Evaluator(package)
    live = correction == animation.CORRECTION_MODE_LIVE
    if live and not evaluator.load_live():
        raise UnimplementedError("This avatar's network is not here.", reason="LIVE_UNAVAILABLE")
    return evaluator, live


def _frames(evaluator: Evaluator, live: bool, player: _Player, motion: motion_pb2.Motion, out: Path) -> None:
    """The FRAMES zip: layout.pb, motion.pb, 000000.pb, ..."""
    layout = make_layout(Encoding.FLOAT32, evaluator.gaussian_count, evaluator.sh_bands)
    encoder = FrameEncoder(layout, packer=best_packer())
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("layout.pb", layout_to_proto(layout).SerializeToString())
        archive.writestr("motion.pb", motion.SerializeToString())
        for index, pose in player:
            (message,) = frame_to_protos(encoder.encode(evaluator.splats(pose, live), index), 1 << 30)
            archive.writestr(f"{index:06d}.pb", message.SerializeToString())


def _ply(evaluator: Evaluator, live: bool, player: _Player, motion: motion_pb2.Motion, out: Path) -> None:
    """A zip of 3DGS PLY files."""
    try:
        from lca_usd.ply import ply_bytes
    except ImportError:
        raise _no_usd() from None
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for index, pose in player:
            archive.writestr(f"{index:06d}.ply", ply_bytes(evaluator.splats(pose, live)))


def _usdz(package: Path, motion: motion_pb2.Motion, out: Path) -> None:
    """The avatar and the motion on its skeleton."""
    try:
        from lca_usd import export_shot
    except ImportError:
        raise _no_usd() from None
    poses = [pose_from_proto(frame) for frame in motion.frames]
    clip = SimpleNamespace(
        fps=motion.frame_rate,
        translation=np.stack([pose["translation"] for pose in poses]),
        joint_rotations=np.stack([pose["joint_rotations"] for pose in poses]),
        arkit=np.stack([pose["arkit_weights"] for pose in poses]),
        gaze=np.stack([pose["gaze"] for pose in poses]),
    )
    target = out.with_suffix(".usdz")
    export_shot(package, clip, target)
    target.replace(out)


def _no_usd() -> UnimplementedError:
    return UnimplementedError("This service has no USD exporter: install lca-bridge[usd].", reason="NO_USD")

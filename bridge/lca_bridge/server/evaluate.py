"""Posing and picturing stored avatars: core work on threads of its own, away from the event loop.

The core (torch, numba) is imported on first use. Evaluators of the last few avatars stay loaded.
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lca.errors import InvalidInputError, LcaError, UnimplementedError
from lca_bridge.server.blobs import BlobStore
from lca_bridge.wire.corrections import RigDriver, RigFrame
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import PosedSplats

if TYPE_CHECKING:
    from lca_core.splat import GaussianSet

T = TypeVar("T")
log = logging.getLogger("lca.evaluate")
Pose = dict[str, np.ndarray]

KEEP_LOADED = 2
MAX_IMAGE_SIDE = 4096


@dataclass(frozen=True)
class Shot:
    """How a picture is taken: size, ``viewmat`` (4, 4), ``intrinsics`` (fx, fy, cx, cy); or a default
    view.
    """

    width: int
    height: int
    viewmat: np.ndarray | None = None
    intrinsics: np.ndarray | None = None
    background: np.ndarray | None = None


class Evaluator:
    """One avatar, ready to pose. Thread-safe."""

    def __init__(self, path: Path) -> None:
        from lca_core.avatar.animate import Animator
        from lca_core.avatar.avatar import Avatar

        self._path = path
        self._avatar = Avatar.load(path)
        self._animator = Animator(self._avatar)
        self._live: Animator | None = None
        self._live_lock = threading.Lock()
        self.gaussian_count = self._avatar.gaussian_count
        self.sh_bands = int(self._avatar.canonical.sh.shape[1])

    @functools.cached_property
    def _driver(self) -> RigDriver:
        return RigDriver(read_package(self._path, verify=False))

    def rig_frames(self, poses: Sequence[Pose]) -> list[RigFrame]:
        """What a client needs to skin each pose itself."""
        return self._driver.frames(poses)

    def load_live(self) -> bool:
        """Whether the correction network of this avatar is here; loads it on the first call."""
        from lca_core.avatar.animate import Animator

        with self._live_lock:
            if self._live is None:
                try:
                    from lca_core.avatar.live import NetworkCorrection

                    self._live = Animator(self._avatar, NetworkCorrection.of(self._avatar))
                except (LcaError, ImportError) as error:
                    log.info("no live correction: %s", error)
            return self._live is not None

    def _gaussians(self, pose: Pose | None, live: bool = False) -> tuple[GaussianSet, Any]:
        from lca_core.avatar.frame import PoseFrame

        if pose is None:
            from lca_core.avatar.pictures import STANDING

            frame = PoseFrame.posed(STANDING)
        else:
            frame = PoseFrame(
                translation=pose["translation"],
                joint_rotations=pose["joint_rotations"],
                arkit=pose["arkit_weights"],
                gaze=pose["gaze"],
                light=pose.get("light"),
            )
        animator = self._live if live and self._live is not None else self._animator
        return animator.evaluate(frame), frame

    def splats(self, pose: Pose | None, live: bool = False) -> PosedSplats:
        """Posed Gaussians as arrays; ``light`` in the pose recolours them.

        ``live`` uses the correction network (after :meth:`load_live`), otherwise the linear correctives.
        """
        gaussians, _ = self._gaussians(pose, live)
        return PosedSplats(
            means=gaussians.means.cpu().numpy(),
            quats=gaussians.quats.cpu().numpy(),
            scales=gaussians.scales.cpu().numpy(),
            opacities=gaussians.opacities.cpu().numpy(),
            sh=gaussians.sh.cpu().numpy(),
        )

    def picture(self, pose: Pose | None, shot: Shot, live: bool = False) -> np.ndarray:
        """(height, width, 3) uint8 sRGB."""
        import torch

        from lca_core.avatar import pictures
        from lca_core.splat import render_image

        gaussians, frame = self._gaussians(pose, live)
        if shot.viewmat is None:
            view = pictures.body_view(self._animator, frame, 0.0, shot.height, shot.width)
            viewmat, k = view.viewmat, view.K
        else:
            assert shot.intrinsics is not None
            fx, fy, cx, cy = (float(v) for v in shot.intrinsics)
            viewmat = torch.as_tensor(shot.viewmat, dtype=torch.float32)
            k = torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        background = pictures.BACKGROUND if shot.background is None else shot.background.tolist()
        return render_image(gaussians, viewmat, k, shot.width, shot.height, background)


def encode_picture(pixels: np.ndarray, kind: str) -> bytes:
    """PNG, JPEG or raw bytes of (H, W, 3) uint8."""
    if kind == "RAW_RGB8":
        return pixels.tobytes()
    from PIL import Image

    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if kind == "JPEG":
        image.save(out, "JPEG", quality=90)
    else:
        image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def check_shot(
    width: int, height: int, view: list[float], intrinsics: list[float], back: list[float]
) -> Shot:
    """A checked :class:`Shot`; InvalidInputError ``BAD_CAMERA``."""
    width, height = width or 512, height or 512
    if not (0 < width <= MAX_IMAGE_SIDE and 0 < height <= MAX_IMAGE_SIDE):
        raise InvalidInputError(f"A picture has 1 to {MAX_IMAGE_SIDE} pixels a side.", reason="BAD_CAMERA")
    arrays = [np.array(v, np.float64) for v in (view, intrinsics, back)]
    if any(not np.isfinite(a).all() for a in arrays):
        raise InvalidInputError("The camera holds a value that is not finite.", reason="BAD_CAMERA")
    if (arrays[0].size, arrays[1].size) not in ((0, 0), (16, 4)) or arrays[2].size not in (0, 3):
        raise InvalidInputError(
            "A camera needs view_matrix (16) and intrinsics (4); background has 3 values.",
            reason="BAD_CAMERA",
        )
    if arrays[0].size and (arrays[1][0] <= 0 or arrays[1][1] <= 0):
        raise InvalidInputError("The focal lengths of a camera are positive.", reason="BAD_CAMERA")
    return Shot(
        width,
        height,
        arrays[0].reshape(4, 4) if arrays[0].size else None,
        arrays[1] if arrays[1].size else None,
        arrays[2] if arrays[2].size else None,
    )


class Evaluators:
    """Loads evaluators by revision and runs work on them."""

    def __init__(self, blobs: BlobStore, threads: int) -> None:
        self._blobs = blobs
        self._pool = ThreadPoolExecutor(max_workers=max(threads, 1), thread_name_prefix="lca-evaluate")
        self._loaded: OrderedDict[str, Evaluator] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Drop everything; running work ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loaded.clear()

    def warm_soon(self) -> None:
        """Load the core and compile its kernels on an evaluation thread, so that the first call need not."""

        def warm() -> None:
            try:
                from lca_core import splat
                from lca_core.avatar import animate  # noqa: F401

                splat.warmup()
            except Exception as error:  # only a head start; the first real call reports what is wrong
                log.warning("warm-up failed: %s", error)

        self._pool.submit(warm)

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Call ``work(*args)`` on an evaluation thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(work, *args))

    async def get(self, revision: str) -> Evaluator:
        """The evaluator of a package revision; a package that must be fetched holds up nobody else."""
        path = await asyncio.to_thread(self._blobs.fetch, revision)
        return await self.run(self._get, revision, path)

    @property
    def loaded(self) -> set[str]:
        """Revisions in memory."""
        with self._lock:
            return set(self._loaded)

    def _get(self, revision: str, path: Path) -> Evaluator:
        with self._lock:
            if revision in self._loaded:
                self._loaded.move_to_end(revision)
                return self._loaded[revision]
        try:
            evaluator = Evaluator(path)
        except ImportError as error:
            raise UnimplementedError(
                f"This service cannot animate: {error.name} is missing. Install lca-bridge[server].",
                reason="CORE_MISSING",
            ) from None
        with self._lock:
            self._loaded[revision] = evaluator
            while len(self._loaded) > KEEP_LOADED:
                self._loaded.popitem(last=False)
        return evaluator

    def forget(self, revision: str) -> None:
        """Drop an erased avatar from memory."""
        with self._lock:
            self._loaded.pop(revision, None)

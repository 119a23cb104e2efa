"""Live animation on Ray actors, for clusters whose GPUs are elsewhere: ``lca serve --animate ray``.

A stream is pinned to one actor, which holds its avatar; streams of one avatar share it. Poses go there,
encoded frames come back; credit, order and mailbox stay with the service. Each frame pays a hop
(docs/scaling.md), and nothing is shared through memory.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lca.errors import UnavailableError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import gaussian_pb2
from lca_bridge.server.animation_rules import correction_of, is_live
from lca_bridge.server.evaluate import KEEP_LOADED, Evaluator
from lca_bridge.server.executor import error_facts, lost, reported
from lca_bridge.server.frames import Maker, make_frames
from lca_bridge.server.session import Job, Pending
from lca_bridge.wire.frames import Layout
from lca_bridge.wire.messages import layout_from_proto, layout_to_proto

OPEN_SECONDS = 120.0
MAKE_SECONDS = 60.0


class AnimatorActor:
    """What runs on the cluster: one avatar, the frames of its streams."""

    def __init__(self, package: bytes) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lca-")
        path = Path(self._folder.name) / "avatar.lca"
        path.write_bytes(package)
        self._evaluator = Evaluator(path)
        self._evaluator.splats(None)  # compiles what posing needs, while a stream may still wait for it
        self._streams: dict[int, Maker] = {}

    def open(self, stream: int, start: bytes) -> dict[str, Any]:
        """Begin a stream; what was granted, or the error."""
        try:
            wanted = pb.AnimateStart.FromString(start)
            live = is_live(correction_of(self._evaluator, wanted.correction))
            maker = self._streams[stream] = make_frames(None, self._evaluator, wanted, live, share=False)
            layout = layout_to_proto(maker.layout).SerializeToString() if maker.layout else b""
            return {"layout": layout, "batch": maker.batch, "max_credit": maker.max_credit, "live": live}
        except Exception as error:
            return {"error": error_facts(error)}

    def make(self, stream: int, jobs: list[tuple[int, float, dict[str, Any], bool]]) -> dict[str, Any]:
        """The messages of the frames of some poses."""
        try:
            now = time.monotonic()
            poses = [Job(Pending(number, at, pose, now), key) for number, at, pose, key in jobs]
            return {"frames": [made.SerializeToString() for made in self._streams[stream].make_now(poses)]}
        except Exception as error:
            return {"error": error_facts(error)}

    def close(self, stream: int) -> None:
        """Forget a stream."""
        if (maker := self._streams.pop(stream, None)) is not None:
            maker.close()


class PinnedFrames:
    """The frames of one stream; see :class:`~lca_bridge.server.session.FrameMaker`."""

    region: gaussian_pb2.SharedMemoryRegion | None = None

    def __init__(self, actor: Any, stream: int, granted: dict[str, Any]) -> None:
        self._actor, self._stream = actor, stream
        self.batch, self.max_credit = granted["batch"], granted["max_credit"]
        self.layout: Layout | None = None
        if granted["layout"]:
            self.layout = layout_from_proto(gaussian_pb2.GaussianLayout.FromString(granted["layout"]))

    async def make(self, jobs: Sequence[Job]) -> list[pb.AnimateResponse]:
        """Poses there, frames back; UnavailableError ``WORKER_LOST`` or ``WORKER_SILENT``."""
        asked = time.monotonic()
        waited = int((asked - jobs[0].pending.arrived) * 1e6)
        packed = [(j.pending.frame_id, j.pending.time_code, j.pending.pose, j.keyframe) for j in jobs]
        result = await _answer(self._actor.make.remote(self._stream, packed), MAKE_SECONDS)
        made = [pb.AnimateResponse.FromString(data) for data in result["frames"]]
        last = made[-1].frames.frames[-1] if made[-1].HasField("frames") else made[-1].frame
        spent = last.timing.evaluate_microseconds + last.timing.encode_microseconds
        hop = int((time.monotonic() - asked) * 1e6) - spent
        last.timing.queue_microseconds = max(waited + hop, 0)
        return made

    def attached(self, attached: bool) -> None:
        """Nothing was offered."""

    def released(self, slots: Sequence[int]) -> None:
        """Nothing was lent."""

    def close(self) -> None:
        """Let the actor forget the stream."""
        self._actor.close.remote(self._stream)


class RayAnimators:
    """Actors by avatar revision; the last few stay. For a service whose :class:`RayExecutor` has started Ray.

    Args:
        cpus, gpu_share: what one actor takes; the share counts only where the cluster has GPUs.
    """

    def __init__(self, cpus: float = 1.0, gpu_share: float = 0.25) -> None:
        self._cpus, self._gpu_share = cpus, gpu_share
        self._actors: OrderedDict[str, Any] = OrderedDict()
        self._numbers = itertools.count()

    async def open(
        self, revision: str, package: Path, start: pb.AnimateStart
    ) -> tuple[PinnedFrames, pb.CorrectionMode]:
        """Pin a stream to the actor of its avatar; UnavailableError if that one does not start in time."""
        for attempt in range(2):
            actor = await self._actor(revision, package)
            number = next(self._numbers)
            try:
                granted = await _answer(actor.open.remote(number, start.SerializeToString()), OPEN_SECONDS)
            except UnavailableError:
                self._forget(revision)  # it died since the last stream: a fresh one may live
                if attempt:
                    raise
                continue
            mode = pb.CORRECTION_MODE_LIVE if granted["live"] else pb.CORRECTION_MODE_BAKED
            return PinnedFrames(actor, number, granted), mode
        raise lost()

    async def _actor(self, revision: str, package: Path) -> Any:
        if revision not in self._actors:
            import ray

            data = await asyncio.to_thread(package.read_bytes)
            gpus = self._gpu_share if ray.cluster_resources().get("GPU") else 0.0
            remote = ray.remote(num_cpus=self._cpus, num_gpus=gpus, max_restarts=0)(AnimatorActor)
            self._actors[revision] = remote.remote(data)
            while len(self._actors) > KEEP_LOADED:
                self._actors.popitem(last=False)  # Ray ends it with the last stream that holds it
        self._actors.move_to_end(revision)
        return self._actors[revision]

    def _forget(self, revision: str) -> None:
        self._actors.pop(revision, None)

    def forget(self, revision: str) -> None:
        """End the actor of an erased avatar."""
        if (actor := self._actors.pop(revision, None)) is not None:
            import ray

            ray.kill(actor, no_restart=True)


async def _answer(reference: Any, seconds: float) -> dict[str, Any]:
    import ray

    try:
        result = await asyncio.wait_for(asyncio.wrap_future(reference.future()), seconds)
    except TimeoutError:
        raise UnavailableError(
            f"The machine that animates gave no frame for {seconds:.0f} s. Open the stream again.",
            reason="WORKER_SILENT",
        ) from None
    except ray.exceptions.RayError:
        raise lost() from None
    if "error" in result:
        raise reported(result["error"])
    return result

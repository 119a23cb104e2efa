"""The client end of an animate stream: push poses, pull decoded frames, credit handled by itself.

Push and pull may run on different threads (an add-on pulls on a worker thread and hands the newest frame to
its main thread); each side belongs to one thread at a time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lca.errors import InvalidInputError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import avatar_pb2, image_pb2, motion_pb2
from lca_bridge.client.errors import translated_stream
from lca_bridge.wire.frames import FrameDecoder, Layout
from lca_bridge.wire.messages import FrameAssembler, layout_from_proto
from lca_bridge.wire.skin import PosedSplats

IN_FLIGHT_EVERY = 16


@dataclass(frozen=True)
class AnimatedFrame:
    """One frame: ``splats`` or ``image``, and how long the service took (microseconds)."""

    frame_id: int
    time_code: float
    splats: PosedSplats | None
    image: image_pb2.Image | None
    timing: pb.FrameTiming


@dataclass
class StreamCounts:
    """What happened so far: frames taken, poses the service dropped or rejected, and its final word."""

    frames: int = 0
    dropped: int = 0
    warnings: list[pb.AnimateWarning] = field(default_factory=list)
    finished: pb.AnimateFinished | None = None


class AnimateStream:
    """One bidirectional stream. Use as a context manager.

    ``push`` sends a pose and never blocks; iterate :meth:`frames` to take frames: each one taken returns
    one credit. ``finish`` ends the input; :meth:`frames` then ends after the last frame. ``close`` abandons
    the stream.
    """

    def __init__(self, call: Callable[[Iterator[pb.AnimateRequest]], Any], start: pb.AnimateStart) -> None:
        self._requests: queue.SimpleQueue[pb.AnimateRequest | None] = queue.SimpleQueue()
        self._requests.put(pb.AnimateRequest(start=start))
        self._call = call(iter(self._requests.get, None))
        self._responses = translated_stream(iter(self._call))
        self._every = start.delivery.mode == pb.DELIVERY_MODE_EVERY
        self._room = threading.Semaphore(IN_FLIGHT_EVERY)
        self.counts = StreamCounts()
        first = next(self._responses, None)
        if first is None or first.WhichOneof("message") != "started":
            self.close()
            raise InvalidInputError("The service did not start the stream.", reason="MALFORMED_FRAME")
        self.started: pb.AnimateStarted = first.started
        self.layout: Layout | None = None
        if first.started.HasField("layout"):
            self.layout = layout_from_proto(first.started.layout)
            self._decoder, self._assembler = FrameDecoder(self.layout), FrameAssembler(self.layout)

    @property
    def rig(self) -> avatar_pb2.Rig:
        """The rig the poses are for."""
        return self.started.rig

    def __enter__(self) -> AnimateStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def push(self, pose: motion_pb2.PoseFrame) -> None:
        """Send a pose; ``frame_id`` must grow."""
        self._requests.put(pb.AnimateRequest(pose=pose))

    def request_keyframe(self) -> None:
        """Ask for static attributes with the next frame."""
        self._requests.put(pb.AnimateRequest(request_keyframe=pb.RequestKeyframe()))

    def finish(self) -> None:
        """No more poses."""
        self._requests.put(pb.AnimateRequest(finish=pb.AnimateFinish()))

    def close(self) -> None:
        """End the stream now; idempotent."""
        self._requests.put(None)
        self._call.cancel()

    def frames(self) -> Iterator[AnimatedFrame]:
        """Frames as they arrive, until the stream ends; drops and warnings are counted in ``counts``."""
        for response in self._responses:
            match response.WhichOneof("message"):
                case "frame":
                    frame = self._take(response.frame)
                    if frame is not None:
                        self.counts.frames += 1
                        credit = pb.AnimateCredit(frames=1, last_frame_id=frame.frame_id)
                        self._requests.put(pb.AnimateRequest(credit=credit))
                        self._room.release()
                        yield frame
                case "dropped":
                    self.counts.dropped += response.dropped.count
                case "warning":
                    self.counts.warnings.append(response.warning)
                    self._room.release()
                case "finished":
                    self.counts.finished = response.finished
                    self._requests.put(None)

    def _take(self, message: pb.AnimatedFrame) -> AnimatedFrame | None:
        if message.HasField("image"):
            return AnimatedFrame(message.frame_id, message.time_code, None, message.image, message.timing)
        if self.layout is None:
            raise InvalidInputError("The service sent Gaussians without a layout.", reason="MALFORMED_FRAME")
        encoded = self._assembler.add(message.gaussians)
        if encoded is None:
            return None
        splats = self._decoder.decode(encoded)
        return AnimatedFrame(message.frame_id, message.time_code, splats, None, message.timing)

    def play(self, poses: Iterable[motion_pb2.PoseFrame]) -> Iterator[AnimatedFrame]:
        """Frames for ``poses``: feeds them from a thread of its own and finishes. In EVERY mode at most
        :data:`IN_FLIGHT_EVERY` poses are on their way."""
        stop = threading.Event()
        failure: list[BaseException] = []

        def feed() -> None:
            try:
                for pose in poses:
                    while self._every and not self._room.acquire(timeout=0.5):
                        if stop.is_set():
                            return
                    if stop.is_set():
                        return
                    self.push(pose)
            except BaseException as error:
                failure.append(error)
            finally:
                self.finish()

        feeder = threading.Thread(target=feed, name="lca-poses", daemon=True)
        feeder.start()
        try:
            yield from self.frames()
        finally:
            stop.set()
        feeder.join()
        if failure:
            raise failure[0]

"""The client end of an animate stream: push poses, take decoded frames, credit handled by itself.

Push and take may run on different threads (see ``live.py``); each side belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lca.errors import DataLossError, InvalidInputError, PreconditionError, UnavailableError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import avatar_pb2, gaussian_pb2, image_pb2, motion_pb2
from lca_bridge.client.errors import translated_stream
from lca_bridge.wire.corrections import RigFrame, rig_frame_from_proto
from lca_bridge.wire.frames import Codec, Encoding, FrameDecoder, Layout
from lca_bridge.wire.messages import FrameAssembler, layout_from_proto
from lca_bridge.wire.shared import SharedRegion
from lca_bridge.wire.skin import PosedSplats

IN_FLIGHT_EVERY = 16
BATCH = 16

MODES: dict[str, tuple[Encoding, Codec, bool]] = {
    "shm": (Encoding.FLOAT32, Codec.RAW, True),
    "f32": (Encoding.FLOAT32, Codec.RAW, False),
    "q20": (Encoding.Q20, Codec.RAW, False),
    "q20-zstd": (Encoding.Q20, Codec.ZSTD, False),
    "q20-delta": (Encoding.Q20, Codec.DELTA_ZSTD, False),
    "q10": (Encoding.Q10, Codec.RAW, False),
    "q10-zstd": (Encoding.Q10, Codec.ZSTD, False),
    "q10-delta": (Encoding.Q10, Codec.DELTA_ZSTD, False),
}
"""Ways to send Gaussians by name: encoding, compression, shared memory. Beside them: ``"corrections"``."""


@dataclass(frozen=True)
class AnimatedFrame:
    """One frame: ``splats``, ``rig_frame`` or ``image``, and how long the service took (microseconds).

    ``slot`` is the shared memory the arrays of ``splats`` are views of, if any: they are valid until the
    frame is released.
    """

    frame_id: int
    time_code: float
    splats: PosedSplats | None
    image: image_pb2.Image | None
    timing: pb.FrameTiming
    rig_frame: RigFrame | None = None
    slot: int | None = None

    def copied(self) -> AnimatedFrame:
        """The same frame in memory of its own, valid for ever."""
        if self.slot is None or self.splats is None:
            return self
        arrays = {name: np.array(value) for name, value in vars(self.splats).items()}
        return replace(self, splats=PosedSplats(**arrays), slot=None)


@dataclass
class StreamCounts:
    """What happened so far: frames taken, frames lost to damage, poses the service dropped or rejected, and
    its final word."""

    frames: int = 0
    lost: int = 0
    dropped: int = 0
    warnings: list[pb.AnimateWarning] = field(default_factory=list)
    finished: pb.AnimateFinished | None = None


class AnimateStream:
    """One bidirectional stream. Use as a context manager.

    ``push`` sends a pose and never blocks; iterate :meth:`frames`, or :meth:`take` and :meth:`release`: each
    frame released returns one credit. ``finish`` ends the input; frames end after the last one. ``close``
    abandons the stream.
    """

    def __init__(self, call: Callable[[Iterator[pb.AnimateRequest]], Any], start: pb.AnimateStart) -> None:
        self._requests: queue.SimpleQueue[pb.AnimateRequest | None] = queue.SimpleQueue()
        self._requests.put(pb.AnimateRequest(start=start))
        self._call = call(iter(self._requests.get, None))
        self._responses = translated_stream(iter(self._call))
        self._every = start.delivery.mode == pb.DELIVERY_MODE_EVERY
        self._batched = self._every and start.output.WhichOneof("kind") == "corrections"
        self._room = threading.Semaphore(8 * IN_FLIGHT_EVERY if self._batched else IN_FLIGHT_EVERY)
        self._waiting: deque[pb.AnimatedFrame] = deque()
        self._owed, self._releasing = 0, threading.Lock()
        self._memory: SharedRegion | None = None
        self.counts = StreamCounts()
        first = next(self._responses, None)
        if first is None or first.WhichOneof("message") != "started":
            self.close()
            raise InvalidInputError("The service did not start the stream.", reason="MALFORMED_FRAME")
        self.started: pb.AnimateStarted = first.started
        self._credit_step = max(first.started.delivery.initial_credit // 2, 1) if self._batched else 1
        self.layout: Layout | None = None
        if first.started.HasField("layout"):
            self.layout = layout_from_proto(first.started.layout)
            self._decoder, self._assembler = FrameDecoder(self.layout), FrameAssembler(self.layout)
        if first.started.HasField("shared_memory"):
            self._attach(first.started.shared_memory)

    def _attach(self, offer: gaussian_pb2.SharedMemoryRegion) -> None:
        with contextlib.suppress(UnavailableError):  # not the same machine after all: frames come inline
            self._memory = SharedRegion.attach(offer.region_name, offer.slot_count, offer.slot_stride)
        answer = pb.SharedMemoryAttached(attached=self._memory is not None)
        self._requests.put(pb.AnimateRequest(shared_memory=answer))

    @property
    def rig(self) -> avatar_pb2.Rig:
        """The rig the poses are for."""
        return self.started.rig

    @property
    def shares_memory(self) -> bool:
        """Whether frames come through shared memory."""
        return self._memory is not None

    def __enter__(self) -> AnimateStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- input ---------------------------------------------------------------------------------------------

    def push(self, pose: motion_pb2.PoseFrame) -> None:
        """Send a pose; ``frame_id`` must grow."""
        self._requests.put(pb.AnimateRequest(pose=pose))

    def push_many(self, poses: Sequence[motion_pb2.PoseFrame]) -> None:
        """Send up to 64 poses in one message."""
        self._requests.put(pb.AnimateRequest(poses=motion_pb2.PoseBatch(poses=poses)))

    def request_keyframe(self) -> None:
        """Ask for static attributes with the next frame."""
        self._requests.put(pb.AnimateRequest(request_keyframe=pb.RequestKeyframe()))

    def finish(self) -> None:
        """No more poses."""
        self._requests.put(pb.AnimateRequest(finish=pb.AnimateFinish()))

    def close(self) -> None:
        """End the stream now; idempotent. Arrays in shared memory stay readable while they are held."""
        self._requests.put(None)
        self._call.cancel()
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    # -- output --------------------------------------------------------------------------------------------

    def take(self) -> AnimatedFrame | None:
        """The next frame, or None after the last; blocks. Give it back with :meth:`release`: the service
        sends at most as many frames as it has credit for. Drops and warnings are counted in ``counts``."""
        while True:
            while self._waiting:
                frame = self._decode(self._waiting.popleft())
                if frame is not None:
                    self.counts.frames += 1
                    self._room.release()
                    return frame
            response = next(self._responses, None)
            if response is None:
                return None
            match response.WhichOneof("message"):
                case "frame":
                    self._waiting.append(response.frame)
                case "frames":
                    self._waiting.extend(response.frames.frames)
                case "dropped":
                    self.counts.dropped += response.dropped.count
                case "warning":
                    self.counts.warnings.append(response.warning)
                    self._room.release()
                case "finished":
                    self.counts.finished = response.finished
                    self._requests.put(None)

    def release(self, frame: AnimatedFrame) -> None:
        """Return a frame's credit, and its place in shared memory: its arrays are not to be used any more."""
        with self._releasing:  # the side that takes frames, and the one that has shown them
            self._owed += 1
            if self._owed < self._credit_step:
                return
            owed, self._owed = self._owed, 0
        credit = pb.AnimateCredit(frames=owed, last_frame_id=frame.frame_id)
        if frame.slot is not None:
            credit.released_slots.append(frame.slot)
        self._requests.put(pb.AnimateRequest(credit=credit))

    def frames(self) -> Iterator[AnimatedFrame]:
        """Frames as they arrive, until the stream ends. A frame is released when the next one is asked for,
        so a slow reader is never more than its credit behind; if its arrays lie in shared memory they are
        valid until then: keep them with :meth:`AnimatedFrame.copied`."""
        while (frame := self.take()) is not None:
            yield frame
            self.release(frame)

    def _decode(self, message: pb.AnimatedFrame) -> AnimatedFrame | None:
        found = AnimatedFrame(message.frame_id, message.time_code, None, None, message.timing)
        if message.HasField("image"):
            return replace(found, image=message.image)
        if message.HasField("corrections"):
            return replace(found, rig_frame=rig_frame_from_proto(message.corrections))
        if self.layout is None:
            raise InvalidInputError("The service sent Gaussians without a layout.", reason="MALFORMED_FRAME")
        gaussians = message.gaussians
        if gaussians.HasField("slot"):
            return replace(found, splats=self._shared(gaussians), slot=gaussians.slot.slot)
        encoded = self._assembler.add(gaussians, message.frame_id)
        if encoded is None:
            return None
        try:
            return replace(found, splats=self._decoder.decode(encoded))
        except (DataLossError, PreconditionError):  # damaged, or built on a frame that was: start anew
            self.counts.lost += 1
            self._room.release()
            self.request_keyframe()
            self.release(found)
            return None

    def _shared(self, message: gaussian_pb2.GaussianFrame) -> PosedSplats:
        slot = message.slot
        if self._memory is None:
            raise InvalidInputError("The service uses memory we do not share.", reason="MALFORMED_FRAME")
        raw = self._memory.payload(slot.slot, message.decoded_size)
        if self._memory.generation(slot.slot) != slot.generation:
            raise DataLossError("A slot of shared memory was overwritten too early.")
        return self._decoder.read(raw, message.keyframe, tuple(message.box))

    # -- both ----------------------------------------------------------------------------------------------

    def play(self, poses: Iterable[motion_pb2.PoseFrame]) -> Iterator[AnimatedFrame]:
        """Frames for ``poses``: feeds them from a thread of its own and finishes. In EVERY mode at most
        :data:`IN_FLIGHT_EVERY` poses (corrections: eight times as many, in batches) are on their way."""
        stop = threading.Event()
        failure: list[BaseException] = []

        def feed() -> None:
            batch: list[motion_pb2.PoseFrame] = []
            try:
                for pose in poses:
                    while self._every and not self._room.acquire(timeout=0.5):
                        if batch:
                            self.push_many(batch)
                            batch = []
                        if stop.is_set():
                            return
                    if stop.is_set():
                        return
                    if not self._batched:
                        self.push(pose)
                        continue
                    batch.append(pose)
                    if len(batch) >= BATCH:
                        self.push_many(batch)
                        batch = []
            except BaseException as error:
                failure.append(error)
            finally:
                if batch:
                    self.push_many(batch)
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

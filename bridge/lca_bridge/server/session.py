"""One Animate stream, without gRPC: poses and credit in, responses out.

LATEST keeps a one-slot mailbox (drop before evaluation, never after); EVERY keeps an ordered queue and
holds the reader back. No frame leaves without credit, so a slow client sees old frames never pile up.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lca.errors import ExhaustedError, InvalidInputError, LcaError, PreconditionError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import gaussian_pb2, motion_pb2
from lca_bridge.wire.frames import Layout
from lca_bridge.wire.messages import pose_from_proto

DEFAULT_CREDIT = 2
MAX_CREDIT = 8
MAX_BAD_POSES = 100
MAX_BATCH = 64
QUEUE_SOFT, QUEUE_HARD = 8, 512
HEARTBEAT_SECONDS = 2.0


@dataclass(frozen=True)
class Pending:
    """A checked pose that waits for its turn."""

    frame_id: int
    time_code: float
    pose: dict[str, np.ndarray]
    arrived: float


@dataclass(frozen=True)
class Job:
    """What :class:`AnimateSession` asks its frame maker for."""

    pending: Pending
    keyframe: bool


class FrameMaker(Protocol):
    """Turns poses into frames; ``batch`` poses at most at a time, in order, one call after the other."""

    batch: int
    max_credit: int
    region: gaussian_pb2.SharedMemoryRegion | None

    @property
    def layout(self) -> Layout | None:
        """How Gaussians are packed, if frames have any."""
        ...

    async def make(self, jobs: Sequence[Job]) -> list[pb.AnimateResponse]:
        """The messages of the frames of ``jobs``."""
        ...

    def attached(self, attached: bool) -> None:
        """The client has mapped the shared memory, or could not."""
        ...

    def released(self, slots: Sequence[int]) -> None:
        """The client reads these slots of shared memory no longer."""
        ...

    def close(self) -> None:
        """Free what the stream held."""
        ...


class AnimateSession:
    """Feed it with :meth:`read`, drain it with :meth:`responses`; both run at once."""

    def __init__(self, policy: pb.DeliveryPolicy, keyframe_interval: int, maker: FrameMaker) -> None:
        self.policy = check_policy(policy, maker.max_credit)
        self._every = self.policy.mode == pb.DELIVERY_MODE_EVERY
        self._max_age = policy.max_age.seconds + policy.max_age.nanos * 1e-9
        self._interval, self._maker = keyframe_interval, maker
        self._soft = max(QUEUE_SOFT, 2 * maker.batch)
        self._queue: deque[Pending] = deque()
        self._notices: deque[pb.AnimateResponse] = deque()
        self._credit = int(self.policy.initial_credit)
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._finished = self._unlimited = False
        self._keyframe = True
        self._since_keyframe = 0
        self._last_id: int | None = None
        self._bad_in_a_row = 0
        self._received = self._sent = self._dropped = self._rejected = 0

    # -- input ---------------------------------------------------------------------------------------------

    async def read(self, requests: AsyncIterator[pb.AnimateRequest]) -> None:
        """Take requests until the client finishes; raises LcaError for what ends the stream."""
        async for request in requests:
            match request.WhichOneof("message"):
                case "pose" if not self._finished:
                    self._take_pose(request.pose)
                    await self._hold_back()
                case "poses" if not self._finished:
                    if len(request.poses.poses) > MAX_BATCH:
                        raise InvalidInputError(
                            f"A batch has at most {MAX_BATCH} poses.", reason="BAD_SEQUENCE"
                        )
                    for pose in request.poses.poses:
                        self._take_pose(pose)
                    await self._hold_back()
                case "credit":
                    self._credit = min(self._credit + request.credit.frames, self._maker.max_credit)
                    self._maker.released(request.credit.released_slots)
                case "shared_memory":
                    self._maker.attached(request.shared_memory.attached)
                case "request_keyframe":
                    self._keyframe = True
                case "finish":
                    self._finished = True  # credit for the pending frames still comes
                case _:
                    raise InvalidInputError(
                        "After start come poses and credit, then finish.", reason="BAD_SEQUENCE"
                    )
            self._changed.set()
        # Half-closed: no credit can come any more, so what is pending is delivered without.
        self._finished = self._unlimited = True
        self._changed.set()

    async def _hold_back(self) -> None:
        """EVERY: stop reading while the queue is full, unless the missing credit is behind it."""
        while self._every and len(self._queue) >= self._soft:
            if self._credit <= 0:
                if len(self._queue) >= QUEUE_HARD:
                    raise ExhaustedError(
                        f"{QUEUE_HARD} poses wait without credit. Grant credit as frames arrive.",
                        reason="INPUT_QUEUE_FULL",
                    )
                return
            self._changed.set()
            self._drained.clear()
            await self._drained.wait()

    def _take_pose(self, message: motion_pb2.PoseFrame) -> None:
        self._received += 1
        try:
            if self._last_id is not None and message.frame_id <= self._last_id:
                raise InvalidInputError(
                    f"frame_id {message.frame_id} does not follow {self._last_id}.",
                    reason="FRAME_ID_NOT_INCREASING",
                )
            pose = pose_from_proto(message)
        except LcaError as error:
            self._reject(message.frame_id, error)
            return
        self._last_id, self._bad_in_a_row = message.frame_id, 0
        if not self._every and self._queue:
            self._drop(self._queue.popleft(), pb.DROP_REASON_SUPERSEDED)
        self._queue.append(Pending(message.frame_id, message.time_code, pose, time.monotonic()))

    def _reject(self, frame_id: int, error: LcaError) -> None:
        self._rejected += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= MAX_BAD_POSES:
            raise InvalidInputError(
                f"{MAX_BAD_POSES} bad poses in a row; the last: {error.message}", reason="TOO_MANY_BAD_POSES"
            )
        warning = pb.AnimateWarning(reason=error.reason, message=error.message, frame_id=frame_id)
        self._notices.append(pb.AnimateResponse(warning=warning))

    def _drop(self, pending: Pending, reason: pb.DropReason) -> None:
        self._dropped += 1
        last = self._notices[-1] if self._notices else None
        if last is not None and last.WhichOneof("message") == "dropped" and last.dropped.reason == reason:
            last.dropped.last_frame_id = pending.frame_id
            last.dropped.count += 1
            return
        dropped = pb.FramesDropped(
            first_frame_id=pending.frame_id, last_frame_id=pending.frame_id, count=1, reason=reason
        )
        self._notices.append(pb.AnimateResponse(dropped=dropped))

    # -- output --------------------------------------------------------------------------------------------

    async def responses(self, reader: asyncio.Task[None]) -> AsyncIterator[pb.AnimateResponse]:
        """Everything after ``started``, up to ``finished``. Ends with the reader's error if it has one."""
        while True:
            if reader.done() and reader.exception() is not None:
                reader.result()
            while self._notices:
                yield self._notices.popleft()
            if jobs := self._next_jobs():
                self._drained.set()
                for response in await self._frames(jobs):
                    yield response
                continue
            if self._notices:
                continue
            if self._finished and not self._queue:
                break
            if reader.done() and reader.exception() is not None:
                continue  # it failed while a message was on its way out: say so now, not after a heartbeat
            self._changed.clear()
            if not await self._wait_for_change(reader):
                yield pb.AnimateResponse(heartbeat=pb.AnimateHeartbeat())
        if reader.done():
            reader.result()
        yield pb.AnimateResponse(
            finished=pb.AnimateFinished(
                frames_received=self._received,
                frames_sent=self._sent,
                frames_dropped=self._dropped,
                frames_rejected=self._rejected,
            )
        )

    def _next_jobs(self) -> list[Job]:
        """Poses whose turn has come: they have credit, and are not too old."""
        jobs: list[Job] = []
        while self._queue and len(jobs) < self._maker.batch:
            if self._credit <= 0 and not self._unlimited:
                break
            pending = self._queue.popleft()
            if self._max_age and not self._every and time.monotonic() - pending.arrived > self._max_age:
                self._drop(pending, pb.DROP_REASON_TOO_OLD)
                continue
            due = bool(self._interval and self._since_keyframe >= self._interval)
            keyframe = self._keyframe or due
            self._keyframe = False
            self._since_keyframe = 1 if keyframe else self._since_keyframe + 1
            self._credit -= 1
            jobs.append(Job(pending, keyframe))
        return jobs

    async def _frames(self, jobs: list[Job]) -> list[pb.AnimateResponse]:
        responses = await self._maker.make(jobs)
        self._sent += len(jobs)
        return responses

    async def _wait_for_change(self, reader: asyncio.Task[None]) -> bool:
        """True when something happened, False after the heartbeat time."""
        change = asyncio.create_task(self._changed.wait())
        watched: set[asyncio.Task] = {change} if reader.done() else {change, reader}
        try:
            done, _ = await asyncio.wait(
                watched, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            return bool(done)
        finally:
            change.cancel()


def check_policy(policy: pb.DeliveryPolicy, max_credit: int = MAX_CREDIT) -> pb.DeliveryPolicy:
    """The policy granted: defaults filled in, credit capped."""
    mode = policy.mode or pb.DELIVERY_MODE_LATEST
    if mode not in (pb.DELIVERY_MODE_LATEST, pb.DELIVERY_MODE_EVERY):
        raise InvalidInputError("Unknown delivery mode.", reason="BAD_START")
    granted = pb.DeliveryPolicy(
        mode=mode, initial_credit=min(policy.initial_credit or DEFAULT_CREDIT, max_credit)
    )
    if policy.HasField("max_age"):
        if policy.max_age.seconds < 0 or policy.max_age.nanos < 0:
            raise PreconditionError("max_age cannot be negative.", reason="BAD_START")
        granted.max_age.CopyFrom(policy.max_age)
    return granted

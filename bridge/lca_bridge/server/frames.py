"""The frames of one Animate stream: a pose goes in, messages come out, in the form the client chose.

Evaluation and encoding run on the evaluation threads, never on the event loop. There is one maker per kind of
output: :class:`GaussianFrames` (inline or through shared memory), :class:`CorrectionFrames`,
:class:`ImageFrames`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from lca.errors import ExhaustedError, InvalidInputError, UnavailableError, UnimplementedError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import gaussian_pb2, image_pb2
from lca_bridge.server.config import MAX_MESSAGE_BYTES
from lca_bridge.server.evaluate import Evaluator, Evaluators, Pose, Shot, check_shot, encode_picture
from lca_bridge.server.session import MAX_BATCH, MAX_CREDIT, Job, check_policy
from lca_bridge.wire.corrections import rig_frame_to_proto
from lca_bridge.wire.encode import FrameEncoder, Packer, pack
from lca_bridge.wire.frames import Codec, Encoding, Layout, make_layout
from lca_bridge.wire.messages import frame_to_protos
from lca_bridge.wire.shared import SharedRegion

log = logging.getLogger("lca.frames")

CORRECTION_BATCH = 16
MAX_REGION_BYTES = 256 << 20
"""Shared memory one stream may hold."""


def granted(output: pb.GaussianOutput) -> tuple[Encoding, Codec]:
    """Encoding and codec of a request; InvalidInputError ``BAD_START``."""
    try:
        encoding, codec = Encoding(output.encoding or Encoding.Q20), Codec(output.codec or Codec.RAW)
    except ValueError:
        raise InvalidInputError("Unknown encoding or codec.", reason="BAD_START") from None
    if codec is Codec.DELTA_ZSTD and encoding is Encoding.FLOAT32:
        raise InvalidInputError("Differences need a quantised encoding: Q20 or Q10.", reason="BAD_START")
    return encoding, codec


def requested_shot(output: image_pb2.ImageOutput) -> tuple[Shot, str]:
    """How a picture is taken, and PNG, JPEG or RAW_RGB8; InvalidInputError ``BAD_CAMERA``."""
    shot = check_shot(
        output.width,
        output.height,
        list(output.camera.view_matrix),
        list(output.camera.intrinsics),
        list(output.background),
    )
    kinds = {0: "PNG", 1: "PNG", 2: "JPEG", 3: "RAW_RGB8"}
    if output.format not in kinds:
        raise InvalidInputError("Unknown picture format.", reason="BAD_CAMERA")
    return shot, kinds[output.format]


def picture(
    evaluator: Evaluator, pose: Pose | None, shot: Shot, kind: str, live: bool = False
) -> image_pb2.Image:
    """A picture as a message; ExhaustedError ``MESSAGE_TOO_LARGE``."""
    data = encode_picture(evaluator.picture(pose, shot, live), kind)
    formats = {"PNG": 1, "JPEG": 2, "RAW_RGB8": 3}
    if len(data) > MAX_MESSAGE_BYTES - 4096:
        raise ExhaustedError("The picture is too large for one message.", reason="MESSAGE_TOO_LARGE")
    return image_pb2.Image(
        format=formats[kind],  # type: ignore[arg-type]
        data=data,
        width=shot.width,
        height=shot.height,
    )


def best_packer() -> Packer:
    """The compiled one where numba is installed."""
    try:
        from lca_bridge.server.packing import fast_pack
    except ImportError:
        return pack
    return fast_pack


class _Frames:
    """What the makers share: the evaluation threads, and nothing to share memory with.

    Without ``evaluators`` only :meth:`make_now` can be called.
    """

    batch = 1
    max_credit = MAX_CREDIT
    layout: Layout | None = None
    region: gaussian_pb2.SharedMemoryRegion | None = None

    def __init__(self, evaluators: Evaluators | None, evaluator: Evaluator, live: bool) -> None:
        self._evaluators, self._evaluator, self._live = evaluators, evaluator, live

    async def make(self, jobs: Sequence[Job]) -> list[pb.AnimateResponse]:
        """See :class:`~lca_bridge.server.session.FrameMaker`."""
        assert self._evaluators is not None
        return await self._evaluators.run(self.make_now, jobs)

    def make_now(self, jobs: Sequence[Job]) -> list[pb.AnimateResponse]:
        """The same on this thread."""
        raise NotImplementedError

    def attached(self, attached: bool) -> None:
        """Nothing was offered."""

    def released(self, slots: Sequence[int]) -> None:
        """Nothing was lent."""

    def close(self) -> None:
        """Free what the stream held."""


def _facts(job: Job) -> dict[str, Any]:
    return {"frame_id": job.pending.frame_id, "time_code": job.pending.time_code}


class _Timer:
    """Microseconds of the phases of one frame."""

    def __init__(self, arrived: float) -> None:
        self._last = time.monotonic()
        self.timing = pb.FrameTiming(queue_microseconds=max(int((self._last - arrived) * 1e6), 0))

    def lap(self) -> int:
        """Since the last lap."""
        last, self._last = self._last, time.monotonic()
        return int((self._last - last) * 1e6)


class ImageFrames(_Frames):
    """Pictures."""

    def __init__(
        self, evaluators: Evaluators | None, evaluator: Evaluator, live: bool, output: image_pb2.ImageOutput
    ) -> None:
        super().__init__(evaluators, evaluator, live)
        self._shot, self._kind = requested_shot(output)

    def make_now(self, jobs: Sequence[Job]) -> list[pb.AnimateResponse]:
        responses = []
        for job in jobs:
            timer = _Timer(job.pending.arrived)
            image = picture(self._evaluator, job.pending.pose, self._shot, self._kind, self._live)
            timer.timing.evaluate_microseconds = timer.lap()
            frame = pb.AnimatedFrame(**_facts(job), image=image, timing=timer.timing)
            responses.append(pb.AnimateResponse(frame=frame))
        return responses


class CorrectionFrames(_Frames):
    """Joint matrices and coefficients, many frames to a message."""

    max_credit = MAX_BATCH

    def __init__(self, evaluators: Evaluators | None, evaluator: Evaluator, every: bool) -> None:
        super().__init__(evaluators, evaluator, live=False)
        self.batch = CORRECTION_BATCH if every else 1

    def make_now(self, jobs: Sequence[Job]) -> list[pb.AnimateResponse]:
        timer = _Timer(jobs[0].pending.arrived)
        rig_frames = self._evaluator.rig_frames([job.pending.pose for job in jobs])
        timer.timing.evaluate_microseconds = timer.lap()
        frames = [
            pb.AnimatedFrame(**_facts(job), corrections=rig_frame_to_proto(rig_frame))
            for job, rig_frame in zip(jobs, rig_frames)
        ]
        timer.timing.encode_microseconds = timer.lap()
        frames[-1].timing.CopyFrom(timer.timing)
        if len(frames) == 1:
            return [pb.AnimateResponse(frame=frames[0])]
        return [pb.AnimateResponse(frames=pb.AnimatedFrames(frames=frames))]


class GaussianFrames(_Frames):
    """Gaussians, inline or through shared memory.

    Args:
        share: offer shared memory (the peer is on this machine); without it, or where the system gives none,
            frames are inline.
        credit: frames that may be on their way, so also the number of slots.
    """

    def __init__(
        self,
        evaluators: Evaluators | None,
        evaluator: Evaluator,
        live: bool,
        output: pb.GaussianOutput,
        *,
        share: bool,
        credit: int,
    ) -> None:
        super().__init__(evaluators, evaluator, live)
        encoding, codec = granted(output)
        self.layout: Layout = make_layout(encoding, evaluator.gaussian_count, evaluator.sh_bands)
        self._packer = best_packer()
        self._encoder = FrameEncoder(self.layout, codec, packer=self._packer)
        self._memory: SharedRegion | None = None
        self._attached, self._generation, self._free = False, 0, list(range(credit))
        size = self.layout.decoded_size(True)
        wanted = share and output.prefer_shared_memory and codec is Codec.RAW
        if wanted and credit * size <= MAX_REGION_BYTES:
            with contextlib.suppress(UnavailableError):
                self._memory = SharedRegion.create(credit, size)
                self.region = gaussian_pb2.SharedMemoryRegion(
                    region_name=self._memory.name, slot_count=credit, slot_stride=self._memory.stride
                )

    def attached(self, attached: bool) -> None:
        """From now on frames lie in the shared memory; or never."""
        if self._memory is None:
            raise InvalidInputError("This stream has no shared memory.", reason="BAD_SEQUENCE")
        if attached:
            self._memory.unlink()
            self._attached = True
        else:
            self.close()

    def released(self, slots: Sequence[int]) -> None:
        """Slots come back; only those that were lent can."""
        for slot in slots:
            if self._memory is None or not 0 <= slot < self._memory.slots or slot in self._free:
                raise InvalidInputError(f"Slot {slot} was not lent to you.", reason="BAD_SEQUENCE")
            self._free.append(slot)

    def close(self) -> None:
        """Let the shared memory go."""
        memory, self._memory, self._attached = self._memory, None, False
        if memory is not None:
            memory.close()

    def make_now(self, jobs: Sequence[Job]) -> list[pb.AnimateResponse]:
        return [response for job in jobs for response in self._frame(job)]

    def _frame(self, job: Job) -> list[pb.AnimateResponse]:
        timer = _Timer(job.pending.arrived)
        splats = self._evaluator.splats(job.pending.pose, self._live)
        timer.timing.evaluate_microseconds = timer.lap()
        memory = self._memory
        if memory is not None and self._attached and self._free:
            # Every frame in shared memory is whole: what stays the same need not be kept by the reader.
            slot = self._free.pop(0)
            self._generation += 1
            memory.stamp(slot, 0)
            size = self.layout.decoded_size(True)
            _, box = self._packer(self.layout, splats, True, None, memory.payload(slot, size))
            memory.stamp(slot, self._generation)
            pieces = [
                gaussian_pb2.GaussianFrame(
                    keyframe=True,
                    codec=gaussian_pb2.PAYLOAD_CODEC_RAW,
                    decoded_size=size,
                    box=box,
                    slot=gaussian_pb2.SharedMemorySlot(slot=slot, generation=self._generation),
                )
            ]
        else:
            encoded = self._encoder.encode(splats, job.pending.frame_id, job.keyframe)
            pieces = list(frame_to_protos(encoded))
        timer.timing.encode_microseconds = timer.lap()
        return [
            pb.AnimateResponse(
                frame=pb.AnimatedFrame(
                    **_facts(job), gaussians=piece, timing=timer.timing if piece is pieces[-1] else None
                )
            )
            for piece in pieces
        ]


Maker: TypeAlias = "GaussianFrames | CorrectionFrames | ImageFrames"


def make_frames(
    evaluators: Evaluators | None, evaluator: Evaluator, start: pb.AnimateStart, live: bool, share: bool
) -> Maker:
    """What turns the poses of a stream into what its start asks for.

    Args:
        live: with the correction network (loaded).
        share: offer shared memory.
    """
    output, policy = start.output, check_policy(start.delivery)
    match output.WhichOneof("kind"):
        case "image":
            return ImageFrames(evaluators, evaluator, live, output.image)
        case "corrections":
            if live:
                raise UnimplementedError(
                    "Correction frames hold the linear correctives; ask for baked.", reason="LIVE_UNAVAILABLE"
                )
            return CorrectionFrames(evaluators, evaluator, policy.mode == pb.DELIVERY_MODE_EVERY)
    credit = policy.initial_credit
    return GaussianFrames(evaluators, evaluator, live, output.gaussians, share=share, credit=credit)


def is_local(peer: str) -> bool:
    """Whether a gRPC peer address is this machine: a unix socket or loopback."""
    return peer.startswith(("unix:", "ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D"))

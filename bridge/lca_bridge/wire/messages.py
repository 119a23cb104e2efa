"""Between plain data and ``lca.v1`` messages: layouts, frames in chunks, poses.

Both ends of the wire import this, so a message is written and read by the same few lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lca.errors import InvalidInputError
from lca.v1 import gaussian_pb2, motion_pb2
from lca_bridge.wire.frames import (
    MAX_GAUSSIANS,
    Attribute,
    Codec,
    Component,
    EncodedFrame,
    Encoding,
    Kind,
    Layout,
)

MAX_PAYLOAD_BYTES = 2 << 20
"""A larger frame travels as several messages."""

POSE_SHAPES: dict[str, tuple[int, ...]] = {
    "translation": (3,),
    "joint_rotations": (55, 3),
    "arkit_weights": (52,),
    "gaze": (2, 2),
    "light": (9, 3),
}
"""Shape of every array of a pose frame, by proto field."""
POSE_LIMIT = 1e4
READABLE: dict[Component, set[Kind]] = {
    Component.FLOAT32: {Kind.POSITION, Kind.ROTATION, Kind.SCALE, Kind.OPACITY, Kind.SH},
    Component.UINT16: {Kind.POSITION, Kind.LOG_SCALE},
    Component.UINT8: {Kind.OPACITY, Kind.COLOR},
    Component.INT8: {Kind.ROTATION},
}
"""Number types a reader has formulas for."""
_POSE_SIZES = {name: math.prod(shape) for name, shape in POSE_SHAPES.items()}


def _malformed(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"The server sent a frame this client cannot read: {why}.", reason="MALFORMED_FRAME"
    )


def layout_to_proto(layout: Layout) -> gaussian_pb2.GaussianLayout:
    """The message of a layout."""
    return gaussian_pb2.GaussianLayout(
        encoding=int(layout.encoding),  # type: ignore[arg-type]
        gaussian_count=layout.gaussian_count,
        gaussian_major=layout.gaussian_major,
        attributes=[
            gaussian_pb2.GaussianAttribute(
                kind=int(a.kind),  # type: ignore[arg-type]
                component_type=int(a.component),  # type: ignore[arg-type]
                component_count=a.count,
                scale=a.scale,
                offset=a.offset,
                is_static=a.is_static,
            )
            for a in layout.attributes
        ],
    )


def layout_from_proto(message: gaussian_pb2.GaussianLayout) -> Layout:
    """The layout of a message; InvalidInputError ``MALFORMED_FRAME`` if it is not one we know how to read."""
    try:
        attributes = tuple(
            Attribute(
                Kind(a.kind), Component(a.component_type), a.component_count, a.scale, a.offset, a.is_static
            )
            for a in message.attributes
        )
        encoding = Encoding(message.encoding)
    except ValueError:
        raise _malformed("unknown layout") from None
    kinds = [a.kind for a in attributes]
    widths = {
        Kind.POSITION: 3,
        Kind.ROTATION: 4,
        Kind.SCALE: 3,
        Kind.LOG_SCALE: 3,
        Kind.OPACITY: 1,
        Kind.COLOR: 3,
    }
    if len(set(kinds)) != len(kinds) or any(a.count != widths.get(a.kind, a.count) for a in attributes):
        raise _malformed("inconsistent layout")
    if any(a.kind is Kind.SH and a.count not in (3, 12, 27, 48) for a in attributes):
        raise _malformed("inconsistent colour bands")
    complete = {Kind.POSITION, Kind.ROTATION, Kind.OPACITY} <= set(kinds)
    if not complete or len({Kind.SCALE, Kind.LOG_SCALE} & set(kinds)) != 1:
        raise _malformed("incomplete layout")
    if len({Kind.COLOR, Kind.SH} & set(kinds)) != 1 or not 0 < message.gaussian_count <= MAX_GAUSSIANS:
        raise _malformed("incomplete layout")
    if any(a.kind not in READABLE[a.component] for a in attributes):
        raise _malformed("unknown number type")
    if any(not (abs(a.scale) < 1e6 and abs(a.offset) < 1e6) for a in attributes):
        raise _malformed("impossible scale")
    if message.gaussian_major and any(a.component is not Component.FLOAT32 for a in attributes):
        raise _malformed("unknown order")
    return Layout(encoding, message.gaussian_count, attributes, message.gaussian_major)


def frame_to_protos(
    frame: EncodedFrame, max_payload: int = MAX_PAYLOAD_BYTES
) -> Iterator[gaussian_pb2.GaussianFrame]:
    """The messages of one frame, in order; all but the first hold only their offset and bytes."""
    payload = memoryview(frame.payload)
    for offset in range(0, max(len(payload), 1), max_payload):
        message = gaussian_pb2.GaussianFrame(
            payload_size=len(payload),
            payload_offset=offset,
            payload=bytes(payload[offset : offset + max_payload]),
        )
        if offset == 0:
            message.keyframe = frame.keyframe
            message.codec = int(frame.codec)  # type: ignore[assignment]
            message.decoded_size = frame.decoded_size
            message.crc32 = frame.crc32
            message.base_frame_id = frame.base_frame_id
            message.box.extend(frame.box)
        yield message


class FrameAssembler:
    """Puts the messages of split frames together again; memory is bounded by the layout's largest frame."""

    def __init__(self, layout: Layout) -> None:
        # zstd may grow incompressible data slightly
        self._limit = layout.decoded_size(True) + layout.decoded_size(True) // 128 + 1024
        self._head: gaussian_pb2.GaussianFrame | None = None
        self._parts: list[bytes] = []
        self._received = 0

    def add(self, message: gaussian_pb2.GaussianFrame, frame_id: int = 0) -> EncodedFrame | None:
        """The whole frame with its last message, else None; InvalidInputError if the pieces do not fit."""
        if message.payload_offset == 0:
            self._head, self._parts, self._received = message, [], 0
        head = self._head
        if (
            head is None
            or message.payload_offset != self._received
            or message.payload_size != head.payload_size
        ):
            raise _malformed("a piece is missing")
        if head.payload_size > self._limit:
            raise _malformed("it is larger than its layout")
        self._parts.append(message.payload)
        self._received += len(message.payload)
        if self._received > head.payload_size or (not message.payload and head.payload_size):
            raise _malformed("its pieces do not fit")
        if self._received < head.payload_size:
            return None
        payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._head = None
        try:
            codec = Codec(head.codec)
        except ValueError:
            raise _malformed("unknown compression") from None
        return EncodedFrame(
            keyframe=head.keyframe,
            codec=codec,
            decoded_size=head.decoded_size,
            crc32=head.crc32,
            box=tuple(head.box),
            payload=payload,
            frame_id=frame_id,
            base_frame_id=head.base_frame_id,
        )


def pose_to_proto(
    frame_id: int = 0,
    *,
    time_code: float = 0.0,
    translation: np.ndarray | None = None,
    joint_rotations: np.ndarray | None = None,
    arkit: np.ndarray | None = None,
    gaze: np.ndarray | None = None,
    light: np.ndarray | None = None,
) -> motion_pb2.PoseFrame:
    """A pose message; arrays as in docs/avatar-file.md, ``None`` means rest."""
    arrays = {
        "translation": translation,
        "joint_rotations": joint_rotations,
        "arkit_weights": arkit,
        "gaze": gaze,
        "light": light,
    }
    message = motion_pb2.PoseFrame(frame_id=frame_id, time_code=time_code)
    for name, array in arrays.items():
        if array is not None:
            getattr(message, name).extend(np.asarray(array, np.float32).ravel().tolist())
    return message


def pose_from_proto(message: motion_pb2.PoseFrame) -> dict[str, np.ndarray]:
    """Arrays by name (absent ones zero, ``light`` left out when absent), checked.

    Raises:
        InvalidInputError: ``BAD_POSE``; wrong length, not finite, or beyond any human range.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, shape in POSE_SHAPES.items():
        given = getattr(message, name)
        size = _POSE_SIZES[name]
        if not given:
            if name != "light":
                arrays[name] = np.zeros(shape, np.float32)
            continue
        if len(given) != size:
            raise InvalidInputError(f"{name} has {len(given)} values; it needs {size}.", reason="BAD_POSE")
        values = np.array(given, np.float32)
        largest = np.abs(values).max()
        if not largest <= POSE_LIMIT:  # also NaN
            if not np.isfinite(values).all():
                raise InvalidInputError(f"{name} holds a value that is not finite.", reason="BAD_POSE")
            raise InvalidInputError(f"{name} holds a value beyond +-10000.", reason="BAD_POSE")
        arrays[name] = values.reshape(shape)
    return arrays

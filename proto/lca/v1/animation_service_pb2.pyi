from google.protobuf import duration_pb2 as _duration_pb2
from lca.v1 import avatar_pb2 as _avatar_pb2
from lca.v1 import gaussian_pb2 as _gaussian_pb2
from lca.v1 import image_pb2 as _image_pb2
from lca.v1 import job_pb2 as _job_pb2
from lca.v1 import motion_pb2 as _motion_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CorrectionMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CORRECTION_MODE_UNSPECIFIED: _ClassVar[CorrectionMode]
    CORRECTION_MODE_BAKED: _ClassVar[CorrectionMode]
    CORRECTION_MODE_LIVE: _ClassVar[CorrectionMode]

class DeliveryMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_MODE_UNSPECIFIED: _ClassVar[DeliveryMode]
    DELIVERY_MODE_LATEST: _ClassVar[DeliveryMode]
    DELIVERY_MODE_EVERY: _ClassVar[DeliveryMode]

class DropReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DROP_REASON_UNSPECIFIED: _ClassVar[DropReason]
    DROP_REASON_SUPERSEDED: _ClassVar[DropReason]
    DROP_REASON_TOO_OLD: _ClassVar[DropReason]

class BakeFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BAKE_FORMAT_UNSPECIFIED: _ClassVar[BakeFormat]
    BAKE_FORMAT_FRAMES: _ClassVar[BakeFormat]
    BAKE_FORMAT_PLY_SEQUENCE: _ClassVar[BakeFormat]
    BAKE_FORMAT_USDZ: _ClassVar[BakeFormat]
CORRECTION_MODE_UNSPECIFIED: CorrectionMode
CORRECTION_MODE_BAKED: CorrectionMode
CORRECTION_MODE_LIVE: CorrectionMode
DELIVERY_MODE_UNSPECIFIED: DeliveryMode
DELIVERY_MODE_LATEST: DeliveryMode
DELIVERY_MODE_EVERY: DeliveryMode
DROP_REASON_UNSPECIFIED: DropReason
DROP_REASON_SUPERSEDED: DropReason
DROP_REASON_TOO_OLD: DropReason
BAKE_FORMAT_UNSPECIFIED: BakeFormat
BAKE_FORMAT_FRAMES: BakeFormat
BAKE_FORMAT_PLY_SEQUENCE: BakeFormat
BAKE_FORMAT_USDZ: BakeFormat

class AnimateRequest(_message.Message):
    __slots__ = ("start", "pose", "credit", "request_keyframe", "finish", "poses", "shared_memory")
    START_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    POSES_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    start: AnimateStart
    pose: _motion_pb2.PoseFrame
    credit: AnimateCredit
    request_keyframe: RequestKeyframe
    finish: AnimateFinish
    poses: _motion_pb2.PoseBatch
    shared_memory: SharedMemoryAttached
    def __init__(self, start: _Optional[_Union[AnimateStart, _Mapping]] = ..., pose: _Optional[_Union[_motion_pb2.PoseFrame, _Mapping]] = ..., credit: _Optional[_Union[AnimateCredit, _Mapping]] = ..., request_keyframe: _Optional[_Union[RequestKeyframe, _Mapping]] = ..., finish: _Optional[_Union[AnimateFinish, _Mapping]] = ..., poses: _Optional[_Union[_motion_pb2.PoseBatch, _Mapping]] = ..., shared_memory: _Optional[_Union[SharedMemoryAttached, _Mapping]] = ...) -> None: ...

class AnimateStart(_message.Message):
    __slots__ = ("avatar", "revision", "output", "delivery", "correction")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    revision: str
    output: OutputSpec
    delivery: DeliveryPolicy
    correction: CorrectionMode
    def __init__(self, avatar: _Optional[str] = ..., revision: _Optional[str] = ..., output: _Optional[_Union[OutputSpec, _Mapping]] = ..., delivery: _Optional[_Union[DeliveryPolicy, _Mapping]] = ..., correction: _Optional[_Union[CorrectionMode, str]] = ...) -> None: ...

class OutputSpec(_message.Message):
    __slots__ = ("gaussians", "image", "corrections")
    GAUSSIANS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CORRECTIONS_FIELD_NUMBER: _ClassVar[int]
    gaussians: GaussianOutput
    image: _image_pb2.ImageOutput
    corrections: CorrectionOutput
    def __init__(self, gaussians: _Optional[_Union[GaussianOutput, _Mapping]] = ..., image: _Optional[_Union[_image_pb2.ImageOutput, _Mapping]] = ..., corrections: _Optional[_Union[CorrectionOutput, _Mapping]] = ...) -> None: ...

class GaussianOutput(_message.Message):
    __slots__ = ("encoding", "codec", "keyframe_interval", "prefer_shared_memory")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    PREFER_SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    encoding: _gaussian_pb2.GaussianEncoding
    codec: _gaussian_pb2.PayloadCodec
    keyframe_interval: int
    prefer_shared_memory: bool
    def __init__(self, encoding: _Optional[_Union[_gaussian_pb2.GaussianEncoding, str]] = ..., codec: _Optional[_Union[_gaussian_pb2.PayloadCodec, str]] = ..., keyframe_interval: _Optional[int] = ..., prefer_shared_memory: bool = ...) -> None: ...

class CorrectionOutput(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeliveryPolicy(_message.Message):
    __slots__ = ("mode", "initial_credit", "max_age")
    MODE_FIELD_NUMBER: _ClassVar[int]
    INITIAL_CREDIT_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    mode: DeliveryMode
    initial_credit: int
    max_age: _duration_pb2.Duration
    def __init__(self, mode: _Optional[_Union[DeliveryMode, str]] = ..., initial_credit: _Optional[int] = ..., max_age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AnimateCredit(_message.Message):
    __slots__ = ("frames", "last_frame_id", "released_slots")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    RELEASED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    frames: int
    last_frame_id: int
    released_slots: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, frames: _Optional[int] = ..., last_frame_id: _Optional[int] = ..., released_slots: _Optional[_Iterable[int]] = ...) -> None: ...

class SharedMemoryAttached(_message.Message):
    __slots__ = ("attached",)
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    attached: bool
    def __init__(self, attached: bool = ...) -> None: ...

class RequestKeyframe(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AnimateFinish(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AnimateResponse(_message.Message):
    __slots__ = ("started", "frame", "dropped", "warning", "finished", "heartbeat", "frames")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    started: AnimateStarted
    frame: AnimatedFrame
    dropped: FramesDropped
    warning: AnimateWarning
    finished: AnimateFinished
    heartbeat: AnimateHeartbeat
    frames: AnimatedFrames
    def __init__(self, started: _Optional[_Union[AnimateStarted, _Mapping]] = ..., frame: _Optional[_Union[AnimatedFrame, _Mapping]] = ..., dropped: _Optional[_Union[FramesDropped, _Mapping]] = ..., warning: _Optional[_Union[AnimateWarning, _Mapping]] = ..., finished: _Optional[_Union[AnimateFinished, _Mapping]] = ..., heartbeat: _Optional[_Union[AnimateHeartbeat, _Mapping]] = ..., frames: _Optional[_Union[AnimatedFrames, _Mapping]] = ...) -> None: ...

class AnimateStarted(_message.Message):
    __slots__ = ("rig", "layout", "delivery", "revision", "correction", "shared_memory")
    RIG_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    rig: _avatar_pb2.Rig
    layout: _gaussian_pb2.GaussianLayout
    delivery: DeliveryPolicy
    revision: str
    correction: CorrectionMode
    shared_memory: _gaussian_pb2.SharedMemoryRegion
    def __init__(self, rig: _Optional[_Union[_avatar_pb2.Rig, _Mapping]] = ..., layout: _Optional[_Union[_gaussian_pb2.GaussianLayout, _Mapping]] = ..., delivery: _Optional[_Union[DeliveryPolicy, _Mapping]] = ..., revision: _Optional[str] = ..., correction: _Optional[_Union[CorrectionMode, str]] = ..., shared_memory: _Optional[_Union[_gaussian_pb2.SharedMemoryRegion, _Mapping]] = ...) -> None: ...

class AnimatedFrames(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[AnimatedFrame]
    def __init__(self, frames: _Optional[_Iterable[_Union[AnimatedFrame, _Mapping]]] = ...) -> None: ...

class AnimatedFrame(_message.Message):
    __slots__ = ("frame_id", "time_code", "gaussians", "image", "corrections", "timing")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_CODE_FIELD_NUMBER: _ClassVar[int]
    GAUSSIANS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    CORRECTIONS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    time_code: float
    gaussians: _gaussian_pb2.GaussianFrame
    image: _image_pb2.Image
    corrections: _gaussian_pb2.CorrectionFrame
    timing: FrameTiming
    def __init__(self, frame_id: _Optional[int] = ..., time_code: _Optional[float] = ..., gaussians: _Optional[_Union[_gaussian_pb2.GaussianFrame, _Mapping]] = ..., image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., corrections: _Optional[_Union[_gaussian_pb2.CorrectionFrame, _Mapping]] = ..., timing: _Optional[_Union[FrameTiming, _Mapping]] = ...) -> None: ...

class FrameTiming(_message.Message):
    __slots__ = ("queue_microseconds", "evaluate_microseconds", "encode_microseconds")
    QUEUE_MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    EVALUATE_MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    ENCODE_MICROSECONDS_FIELD_NUMBER: _ClassVar[int]
    queue_microseconds: int
    evaluate_microseconds: int
    encode_microseconds: int
    def __init__(self, queue_microseconds: _Optional[int] = ..., evaluate_microseconds: _Optional[int] = ..., encode_microseconds: _Optional[int] = ...) -> None: ...

class FramesDropped(_message.Message):
    __slots__ = ("first_frame_id", "last_frame_id", "count", "reason")
    FIRST_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    first_frame_id: int
    last_frame_id: int
    count: int
    reason: DropReason
    def __init__(self, first_frame_id: _Optional[int] = ..., last_frame_id: _Optional[int] = ..., count: _Optional[int] = ..., reason: _Optional[_Union[DropReason, str]] = ...) -> None: ...

class AnimateWarning(_message.Message):
    __slots__ = ("reason", "message", "frame_id")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    frame_id: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., frame_id: _Optional[int] = ...) -> None: ...

class AnimateFinished(_message.Message):
    __slots__ = ("frames_received", "frames_sent", "frames_dropped", "frames_rejected")
    FRAMES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_SENT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_REJECTED_FIELD_NUMBER: _ClassVar[int]
    frames_received: int
    frames_sent: int
    frames_dropped: int
    frames_rejected: int
    def __init__(self, frames_received: _Optional[int] = ..., frames_sent: _Optional[int] = ..., frames_dropped: _Optional[int] = ..., frames_rejected: _Optional[int] = ...) -> None: ...

class AnimateHeartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EvaluatePoseRequest(_message.Message):
    __slots__ = ("avatar", "revision", "pose", "output", "correction")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    revision: str
    pose: _motion_pb2.PoseFrame
    output: GaussianOutput
    correction: CorrectionMode
    def __init__(self, avatar: _Optional[str] = ..., revision: _Optional[str] = ..., pose: _Optional[_Union[_motion_pb2.PoseFrame, _Mapping]] = ..., output: _Optional[_Union[GaussianOutput, _Mapping]] = ..., correction: _Optional[_Union[CorrectionMode, str]] = ...) -> None: ...

class EvaluatePoseResponse(_message.Message):
    __slots__ = ("layout", "frame", "revision")
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    layout: _gaussian_pb2.GaussianLayout
    frame: _gaussian_pb2.GaussianFrame
    revision: str
    def __init__(self, layout: _Optional[_Union[_gaussian_pb2.GaussianLayout, _Mapping]] = ..., frame: _Optional[_Union[_gaussian_pb2.GaussianFrame, _Mapping]] = ..., revision: _Optional[str] = ...) -> None: ...

class BakeMotionRequest(_message.Message):
    __slots__ = ("avatar", "revision", "motion", "format", "correction", "request_id")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MOTION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    revision: str
    motion: _motion_pb2.Motion
    format: BakeFormat
    correction: CorrectionMode
    request_id: str
    def __init__(self, avatar: _Optional[str] = ..., revision: _Optional[str] = ..., motion: _Optional[_Union[_motion_pb2.Motion, _Mapping]] = ..., format: _Optional[_Union[BakeFormat, str]] = ..., correction: _Optional[_Union[CorrectionMode, str]] = ..., request_id: _Optional[str] = ...) -> None: ...

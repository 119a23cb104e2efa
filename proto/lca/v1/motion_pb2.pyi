from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PoseFrame(_message.Message):
    __slots__ = ("frame_id", "time_code", "translation", "joint_rotations", "arkit_weights", "gaze", "light")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_CODE_FIELD_NUMBER: _ClassVar[int]
    TRANSLATION_FIELD_NUMBER: _ClassVar[int]
    JOINT_ROTATIONS_FIELD_NUMBER: _ClassVar[int]
    ARKIT_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    GAZE_FIELD_NUMBER: _ClassVar[int]
    LIGHT_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    time_code: float
    translation: _containers.RepeatedScalarFieldContainer[float]
    joint_rotations: _containers.RepeatedScalarFieldContainer[float]
    arkit_weights: _containers.RepeatedScalarFieldContainer[float]
    gaze: _containers.RepeatedScalarFieldContainer[float]
    light: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, frame_id: _Optional[int] = ..., time_code: _Optional[float] = ..., translation: _Optional[_Iterable[float]] = ..., joint_rotations: _Optional[_Iterable[float]] = ..., arkit_weights: _Optional[_Iterable[float]] = ..., gaze: _Optional[_Iterable[float]] = ..., light: _Optional[_Iterable[float]] = ...) -> None: ...

class Motion(_message.Message):
    __slots__ = ("frame_rate", "frames")
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frame_rate: float
    frames: _containers.RepeatedCompositeFieldContainer[PoseFrame]
    def __init__(self, frame_rate: _Optional[float] = ..., frames: _Optional[_Iterable[_Union[PoseFrame, _Mapping]]] = ...) -> None: ...

class PoseBatch(_message.Message):
    __slots__ = ("poses",)
    POSES_FIELD_NUMBER: _ClassVar[int]
    poses: _containers.RepeatedCompositeFieldContainer[PoseFrame]
    def __init__(self, poses: _Optional[_Iterable[_Union[PoseFrame, _Mapping]]] = ...) -> None: ...

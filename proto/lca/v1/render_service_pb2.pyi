from lca.v1 import animation_service_pb2 as _animation_service_pb2
from lca.v1 import image_pb2 as _image_pb2
from lca.v1 import job_pb2 as _job_pb2
from lca.v1 import motion_pb2 as _motion_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MovieFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MOVIE_FORMAT_UNSPECIFIED: _ClassVar[MovieFormat]
    MOVIE_FORMAT_MP4: _ClassVar[MovieFormat]
    MOVIE_FORMAT_PICTURES: _ClassVar[MovieFormat]
MOVIE_FORMAT_UNSPECIFIED: MovieFormat
MOVIE_FORMAT_MP4: MovieFormat
MOVIE_FORMAT_PICTURES: MovieFormat

class RenderStillRequest(_message.Message):
    __slots__ = ("avatar", "revision", "pose", "output", "correction")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    revision: str
    pose: _motion_pb2.PoseFrame
    output: _image_pb2.ImageOutput
    correction: _animation_service_pb2.CorrectionMode
    def __init__(self, avatar: _Optional[str] = ..., revision: _Optional[str] = ..., pose: _Optional[_Union[_motion_pb2.PoseFrame, _Mapping]] = ..., output: _Optional[_Union[_image_pb2.ImageOutput, _Mapping]] = ..., correction: _Optional[_Union[_animation_service_pb2.CorrectionMode, str]] = ...) -> None: ...

class RenderStillResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ...) -> None: ...

class RenderMotionRequest(_message.Message):
    __slots__ = ("avatar", "revision", "motion", "output", "format", "correction", "request_id")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MOTION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    revision: str
    motion: _motion_pb2.Motion
    output: _image_pb2.ImageOutput
    format: MovieFormat
    correction: _animation_service_pb2.CorrectionMode
    request_id: str
    def __init__(self, avatar: _Optional[str] = ..., revision: _Optional[str] = ..., motion: _Optional[_Union[_motion_pb2.Motion, _Mapping]] = ..., output: _Optional[_Union[_image_pb2.ImageOutput, _Mapping]] = ..., format: _Optional[_Union[MovieFormat, str]] = ..., correction: _Optional[_Union[_animation_service_pb2.CorrectionMode, str]] = ..., request_id: _Optional[str] = ...) -> None: ...

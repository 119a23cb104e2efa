from lca.v1 import image_pb2 as _image_pb2
from lca.v1 import motion_pb2 as _motion_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RenderStillRequest(_message.Message):
    __slots__ = ("avatar", "revision", "pose", "output")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    avatar: str
    revision: str
    pose: _motion_pb2.PoseFrame
    output: _image_pb2.ImageOutput
    def __init__(self, avatar: _Optional[str] = ..., revision: _Optional[str] = ..., pose: _Optional[_Union[_motion_pb2.PoseFrame, _Mapping]] = ..., output: _Optional[_Union[_image_pb2.ImageOutput, _Mapping]] = ...) -> None: ...

class RenderStillResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ...) -> None: ...

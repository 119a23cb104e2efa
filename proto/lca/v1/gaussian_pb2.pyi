from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttributeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTRIBUTE_KIND_UNSPECIFIED: _ClassVar[AttributeKind]
    ATTRIBUTE_KIND_POSITION: _ClassVar[AttributeKind]
    ATTRIBUTE_KIND_ROTATION: _ClassVar[AttributeKind]
    ATTRIBUTE_KIND_SCALE: _ClassVar[AttributeKind]
    ATTRIBUTE_KIND_LOG_SCALE: _ClassVar[AttributeKind]
    ATTRIBUTE_KIND_OPACITY: _ClassVar[AttributeKind]
    ATTRIBUTE_KIND_COLOR: _ClassVar[AttributeKind]
    ATTRIBUTE_KIND_SH: _ClassVar[AttributeKind]

class ComponentType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPONENT_TYPE_UNSPECIFIED: _ClassVar[ComponentType]
    COMPONENT_TYPE_FLOAT32: _ClassVar[ComponentType]
    COMPONENT_TYPE_UINT16: _ClassVar[ComponentType]
    COMPONENT_TYPE_UINT8: _ClassVar[ComponentType]
    COMPONENT_TYPE_INT8: _ClassVar[ComponentType]

class GaussianEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GAUSSIAN_ENCODING_UNSPECIFIED: _ClassVar[GaussianEncoding]
    GAUSSIAN_ENCODING_FLOAT32: _ClassVar[GaussianEncoding]
    GAUSSIAN_ENCODING_Q20: _ClassVar[GaussianEncoding]
    GAUSSIAN_ENCODING_Q10: _ClassVar[GaussianEncoding]

class PayloadCodec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYLOAD_CODEC_UNSPECIFIED: _ClassVar[PayloadCodec]
    PAYLOAD_CODEC_RAW: _ClassVar[PayloadCodec]
    PAYLOAD_CODEC_ZSTD: _ClassVar[PayloadCodec]
    PAYLOAD_CODEC_DELTA_ZSTD: _ClassVar[PayloadCodec]
ATTRIBUTE_KIND_UNSPECIFIED: AttributeKind
ATTRIBUTE_KIND_POSITION: AttributeKind
ATTRIBUTE_KIND_ROTATION: AttributeKind
ATTRIBUTE_KIND_SCALE: AttributeKind
ATTRIBUTE_KIND_LOG_SCALE: AttributeKind
ATTRIBUTE_KIND_OPACITY: AttributeKind
ATTRIBUTE_KIND_COLOR: AttributeKind
ATTRIBUTE_KIND_SH: AttributeKind
COMPONENT_TYPE_UNSPECIFIED: ComponentType
COMPONENT_TYPE_FLOAT32: ComponentType
COMPONENT_TYPE_UINT16: ComponentType
COMPONENT_TYPE_UINT8: ComponentType
COMPONENT_TYPE_INT8: ComponentType
GAUSSIAN_ENCODING_UNSPECIFIED: GaussianEncoding
GAUSSIAN_ENCODING_FLOAT32: GaussianEncoding
GAUSSIAN_ENCODING_Q20: GaussianEncoding
GAUSSIAN_ENCODING_Q10: GaussianEncoding
PAYLOAD_CODEC_UNSPECIFIED: PayloadCodec
PAYLOAD_CODEC_RAW: PayloadCodec
PAYLOAD_CODEC_ZSTD: PayloadCodec
PAYLOAD_CODEC_DELTA_ZSTD: PayloadCodec

class GaussianLayout(_message.Message):
    __slots__ = ("encoding", "gaussian_count", "attributes", "gaussian_major")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    GAUSSIAN_COUNT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    GAUSSIAN_MAJOR_FIELD_NUMBER: _ClassVar[int]
    encoding: GaussianEncoding
    gaussian_count: int
    attributes: _containers.RepeatedCompositeFieldContainer[GaussianAttribute]
    gaussian_major: bool
    def __init__(self, encoding: _Optional[_Union[GaussianEncoding, str]] = ..., gaussian_count: _Optional[int] = ..., attributes: _Optional[_Iterable[_Union[GaussianAttribute, _Mapping]]] = ..., gaussian_major: bool = ...) -> None: ...

class GaussianAttribute(_message.Message):
    __slots__ = ("kind", "component_type", "component_count", "scale", "offset", "is_static")
    KIND_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    IS_STATIC_FIELD_NUMBER: _ClassVar[int]
    kind: AttributeKind
    component_type: ComponentType
    component_count: int
    scale: float
    offset: float
    is_static: bool
    def __init__(self, kind: _Optional[_Union[AttributeKind, str]] = ..., component_type: _Optional[_Union[ComponentType, str]] = ..., component_count: _Optional[int] = ..., scale: _Optional[float] = ..., offset: _Optional[float] = ..., is_static: bool = ...) -> None: ...

class GaussianFrame(_message.Message):
    __slots__ = ("keyframe", "codec", "decoded_size", "crc32", "box", "payload_size", "payload_offset", "payload", "base_frame_id", "slot")
    KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    DECODED_SIZE_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_OFFSET_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    BASE_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    keyframe: bool
    codec: PayloadCodec
    decoded_size: int
    crc32: int
    box: _containers.RepeatedScalarFieldContainer[float]
    payload_size: int
    payload_offset: int
    payload: bytes
    base_frame_id: int
    slot: SharedMemorySlot
    def __init__(self, keyframe: bool = ..., codec: _Optional[_Union[PayloadCodec, str]] = ..., decoded_size: _Optional[int] = ..., crc32: _Optional[int] = ..., box: _Optional[_Iterable[float]] = ..., payload_size: _Optional[int] = ..., payload_offset: _Optional[int] = ..., payload: _Optional[bytes] = ..., base_frame_id: _Optional[int] = ..., slot: _Optional[_Union[SharedMemorySlot, _Mapping]] = ...) -> None: ...

class SharedMemorySlot(_message.Message):
    __slots__ = ("slot", "generation")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    slot: int
    generation: int
    def __init__(self, slot: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class SharedMemoryRegion(_message.Message):
    __slots__ = ("region_name", "slot_count", "slot_stride")
    REGION_NAME_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SLOT_STRIDE_FIELD_NUMBER: _ClassVar[int]
    region_name: str
    slot_count: int
    slot_stride: int
    def __init__(self, region_name: _Optional[str] = ..., slot_count: _Optional[int] = ..., slot_stride: _Optional[int] = ...) -> None: ...

class CorrectionFrame(_message.Message):
    __slots__ = ("joint_matrices", "pose_coefficients", "arkit_weights")
    JOINT_MATRICES_FIELD_NUMBER: _ClassVar[int]
    POSE_COEFFICIENTS_FIELD_NUMBER: _ClassVar[int]
    ARKIT_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    joint_matrices: bytes
    pose_coefficients: bytes
    arkit_weights: bytes
    def __init__(self, joint_matrices: _Optional[bytes] = ..., pose_coefficients: _Optional[bytes] = ..., arkit_weights: _Optional[bytes] = ...) -> None: ...

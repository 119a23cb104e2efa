from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Avatar(_message.Message):
    __slots__ = ("name", "display_name", "labels", "create_job", "revision", "stats", "etag", "create_time", "update_time", "delete_time", "purge_time")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_JOB_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DELETE_TIME_FIELD_NUMBER: _ClassVar[int]
    PURGE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    labels: _containers.ScalarMap[str, str]
    create_job: str
    revision: str
    stats: AvatarStats
    etag: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    delete_time: _timestamp_pb2.Timestamp
    purge_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., create_job: _Optional[str] = ..., revision: _Optional[str] = ..., stats: _Optional[_Union[AvatarStats, _Mapping]] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., delete_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., purge_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AvatarStats(_message.Message):
    __slots__ = ("gaussian_count", "joint_count", "arkit_count", "package_size_bytes", "height_meters")
    GAUSSIAN_COUNT_FIELD_NUMBER: _ClassVar[int]
    JOINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ARKIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_METERS_FIELD_NUMBER: _ClassVar[int]
    gaussian_count: int
    joint_count: int
    arkit_count: int
    package_size_bytes: int
    height_meters: float
    def __init__(self, gaussian_count: _Optional[int] = ..., joint_count: _Optional[int] = ..., arkit_count: _Optional[int] = ..., package_size_bytes: _Optional[int] = ..., height_meters: _Optional[float] = ...) -> None: ...

class Rig(_message.Message):
    __slots__ = ("name", "joints", "expressions", "description_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    EXPRESSIONS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    joints: _containers.RepeatedCompositeFieldContainer[Joint]
    expressions: _containers.RepeatedCompositeFieldContainer[ExpressionChannel]
    description_json: str
    def __init__(self, name: _Optional[str] = ..., joints: _Optional[_Iterable[_Union[Joint, _Mapping]]] = ..., expressions: _Optional[_Iterable[_Union[ExpressionChannel, _Mapping]]] = ..., description_json: _Optional[str] = ...) -> None: ...

class Joint(_message.Message):
    __slots__ = ("joint_name", "parent_index", "rest_position")
    JOINT_NAME_FIELD_NUMBER: _ClassVar[int]
    PARENT_INDEX_FIELD_NUMBER: _ClassVar[int]
    REST_POSITION_FIELD_NUMBER: _ClassVar[int]
    joint_name: str
    parent_index: int
    rest_position: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, joint_name: _Optional[str] = ..., parent_index: _Optional[int] = ..., rest_position: _Optional[_Iterable[float]] = ...) -> None: ...

class ExpressionChannel(_message.Message):
    __slots__ = ("channel_name", "min_value", "max_value", "default_value")
    CHANNEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MIN_VALUE_FIELD_NUMBER: _ClassVar[int]
    MAX_VALUE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    channel_name: str
    min_value: float
    max_value: float
    default_value: float
    def __init__(self, channel_name: _Optional[str] = ..., min_value: _Optional[float] = ..., max_value: _Optional[float] = ..., default_value: _Optional[float] = ...) -> None: ...

"""Errors on the wire: an :class:`~lca.errors.LcaError` as google.rpc.Status with one ErrorInfo, and back.

The bytes travel in the gRPC trailer ``grpc-status-details-bin``. The tables below are the only place where
our categories meet gRPC's numbers.
"""

from __future__ import annotations

from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from lca.errors import Category, LcaError, error_from
from lca.v1.status_pb2 import ErrorInfo, RpcStatus

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "lca.v1"
_ERROR_INFO_URL = "type.googleapis.com/google.rpc.ErrorInfo"

CODES: dict[Category, int] = {
    Category.CANCELLED: 1,
    Category.INVALID_ARGUMENT: 3,
    Category.NOT_FOUND: 5,
    Category.ALREADY_EXISTS: 6,
    Category.RESOURCE_EXHAUSTED: 8,
    Category.FAILED_PRECONDITION: 9,
    Category.ABORTED: 10,
    Category.OUT_OF_RANGE: 11,
    Category.UNIMPLEMENTED: 12,
    Category.INTERNAL: 13,
    Category.UNAVAILABLE: 14,
    Category.DATA_LOSS: 15,
    Category.UNAUTHENTICATED: 16,
}
"""google.rpc.Code of every category."""

CATEGORIES: dict[int, Category] = {code: category for category, code in CODES.items()}


def pack_status(error: LcaError) -> bytes:
    """The trailer bytes of an error."""
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    detail = any_pb2.Any(type_url=_ERROR_INFO_URL, value=info.SerializeToString())
    status = RpcStatus(code=CODES[error.category], message=error.message, details=[detail])
    return status.SerializeToString()


def unpack_status(trailer: bytes) -> LcaError | None:
    """The error of trailer bytes; ``None`` if they hold no ErrorInfo of ours."""
    try:
        status = RpcStatus.FromString(trailer)
        for detail in status.details:
            if detail.type_url == _ERROR_INFO_URL:
                info = ErrorInfo.FromString(detail.value)
                category = CATEGORIES.get(status.code, Category.INTERNAL)
                return error_from(category, info.reason, status.message, dict(info.metadata))
    except (DecodeError, UnicodeDecodeError):  # pure-Python protobuf raises the second one
        return None
    return None

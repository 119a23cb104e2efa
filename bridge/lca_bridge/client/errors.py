"""gRPC failures as :mod:`lca.errors` exceptions, the same classes the service raised."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import grpc

from lca.errors import Category, LcaError, error_from
from lca_bridge.wire.status import CATEGORIES, DETAILS_KEY, unpack_status

P = ParamSpec("P")
R = TypeVar("R")

_PLAIN = {
    grpc.StatusCode.UNAVAILABLE: "The service cannot be reached. Is it running, and is the address right?",
    grpc.StatusCode.DEADLINE_EXCEEDED: "The service did not answer in time. Try again.",
    grpc.StatusCode.UNIMPLEMENTED: "The service does not know this call. Update the service.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The service refused the call: a limit is reached.",
}


def translate(error: grpc.RpcError) -> LcaError:
    """The LcaError of a failed call."""
    trailers: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailers or ():
        if key == DETAILS_KEY and isinstance(value, bytes) and (found := unpack_status(value)) is not None:
            return found
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    category = CATEGORIES.get(code.value[0], Category.INTERNAL)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        category = Category.UNAVAILABLE
    details = error.details() if hasattr(error, "details") else ""
    return error_from(category, code.name, _PLAIN.get(code) or details or f"The call failed ({code.name}).")


def translated(call: Callable[P, R]) -> Callable[P, R]:
    """Decorator: raise LcaErrors instead of grpc.RpcError."""

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except grpc.RpcError as error:
            raise translate(error) from None

    return wrapper


def translated_stream(stream: Iterator[R]) -> Iterator[R]:
    """The same for a response stream."""
    try:
        yield from stream
    except grpc.RpcError as error:
        raise translate(error) from None

"""What every RPC passes through: authentication, error mapping, and calm about garbage.

An :class:`~lca.errors.LcaError` becomes its gRPC status with ErrorInfo; anything unexpected is logged and
becomes a plain INTERNAL, so that no traceback or path leaves the service. A message that cannot be parsed
is the caller's mistake (INVALID_ARGUMENT), not ours.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from lca.errors import (
    InvalidInputError,
    LcaError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from lca_bridge.server import tracing
from lca_bridge.server.access import SYSTEM, Principal, Tokens, caller
from lca_bridge.server.metrics import Metrics
from lca_bridge.wire.status import DETAILS_KEY, pack_status

log = logging.getLogger("lca.rpc")

_OPEN_SERVICES = ("/grpc.health.v1.Health/",)
_OURS = "/lca.v1."
_MALFORMED = object()


async def abort(context: grpc.aio.ServicerContext, error: LcaError) -> None:
    """End an RPC with an error."""
    code = grpc.StatusCode[error.category.value]
    await context.abort(code, error.message, trailing_metadata=((DETAILS_KEY, pack_status(error)),))


class Guard(grpc.aio.ServerInterceptor):
    """One interceptor for all services.

    Args:
        tokens: who may call. None at all: everybody who reaches us (a private unix socket).
        mutual: whether a client certificate stands for its common name where no token is shown.
        hide: takes out of messages what is nobody's business.
    """

    def __init__(
        self,
        tokens: Tokens,
        mutual: bool = False,
        metrics: Metrics | None = None,
        hide: Callable[[str], str] = str,
    ) -> None:
        self._tokens, self._mutual, self._metrics = tokens, mutual, metrics or Metrics()
        self._hide = hide
        self.draining = False

    def _principal(self, metadata: Any) -> Principal | None:
        """Whom the metadata stand for; ``None``: ask the certificate."""
        if not self._tokens:
            return SYSTEM
        given = next((value for key, value in metadata or () if key == "authorization"), None)
        if given is not None:
            return self._tokens.principal(str(given))
        if self._mutual:
            return None
        raise UnauthenticatedError(
            "This service needs a token: pass the content of its token file.", reason="TOKEN_MISSING"
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Wrap the handler of one call."""
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(_OPEN_SERVICES):
            return handler
        try:
            principal = self._principal(handler_call_details.invocation_metadata)
            if self.draining:
                raise UnavailableError("The service is shutting down. Try again soon.", reason="DRAINING")
        except LcaError as error:
            return _refusing(handler, error)
        if not method.startswith(_OURS):
            return handler
        return _guarded(handler, method, principal, self._metrics, self._hide)


def _deserializer(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def tolerant(data: bytes) -> Any:
        try:
            return parse(data)
        except (DecodeError, UnicodeDecodeError):  # pure-Python protobuf raises the second one
            return _MALFORMED

    return tolerant


def _checked(message: Any) -> Any:
    if message is _MALFORMED:
        raise InvalidInputError("The request is not a valid message.", reason="MALFORMED_MESSAGE")
    return message


async def _checked_stream(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        yield _checked(message)


async def _fail(
    context: grpc.aio.ServicerContext, method: str, error: Exception, hide: Callable[[str], str]
) -> None:
    if isinstance(error, LcaError):
        error.message = hide(error.message)
        await abort(context, error)
    if isinstance(error, NotImplementedError):  # a method of the protocol without a body here
        await abort(context, UnimplementedError("This service does not offer that call."))
    log.exception("%s failed", method, exc_info=error)
    await abort(context, LcaError("The service had an internal error; its log says more."))


def _of_certificate(context: grpc.aio.ServicerContext) -> Principal:
    names = context.auth_context().get("x509_common_name") or [b""]
    name = names[0].decode(errors="replace")
    if not name:
        raise UnauthenticatedError(
            "The client certificate has no common name.", reason="CERTIFICATE_NAMELESS"
        )
    return Principal(f"cn:{name}")


def _guarded(
    handler: grpc.RpcMethodHandler,
    method: str,
    principal: Principal | None,
    metrics: Metrics,
    hide: Callable[[str], str],
) -> grpc.RpcMethodHandler:
    streams_in, streams_out = handler.request_streaming, handler.response_streaming
    inner = (
        (handler.stream_stream if streams_in else handler.unary_stream)
        if streams_out
        else (handler.stream_unary if streams_in else handler.unary_unary)
    )

    def note(context: grpc.aio.ServicerContext, begun: float, span: dict[str, str]) -> None:
        code = context.code()
        name = code.name if isinstance(code, grpc.StatusCode) else "OK"
        seconds = time.monotonic() - begun
        metrics.call_ended(method, name, seconds)
        who = caller.get().name
        facts = {"method": method, "code": name, "ms": round(seconds * 1e3, 1), **span}
        if who:
            facts["principal"] = hashlib.sha256(who.encode()).hexdigest()[:12]
        log.info("rpc", extra={"facts": facts})

    def incoming(request: Any) -> Any:
        return _checked_stream(request) if streams_in else _checked(request)

    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        begun = time.monotonic()
        with tracing.call(method, context.invocation_metadata()) as span:
            try:
                caller.set(principal or _of_certificate(context))
                return await inner(incoming(request), context)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as error:
                await _fail(context, method, error, hide)
            finally:
                note(context, begun, span)

    animates = method.endswith("/Animate")

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        begun = time.monotonic()
        with tracing.call(method, context.invocation_metadata()) as span:
            pass  # marks the start only: a span that stays current across yields would leak into other calls
        try:
            caller.set(principal or _of_certificate(context))
            async with aclosing(inner(incoming(request), context)) as responses:
                async for response in responses:
                    if animates:
                        metrics.animated(response)
                    yield response
        except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
            raise
        except Exception as error:
            await _fail(context, method, error, hide)
        finally:
            note(context, begun, span)

    return _method_handler(streams_in, streams_out)(
        stream if streams_out else answer,
        request_deserializer=_deserializer(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


def _refusing(handler: grpc.RpcMethodHandler, error: LcaError) -> grpc.RpcMethodHandler:
    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        await abort(context, error)

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        await abort(context, error)
        yield  # makes this a generator

    make = _method_handler(handler.request_streaming, handler.response_streaming)
    return make(stream if handler.response_streaming else answer, request_deserializer=lambda data: None)


def _method_handler(streams_in: bool, streams_out: bool) -> Callable[..., grpc.RpcMethodHandler]:
    if streams_out:
        return grpc.stream_stream_rpc_method_handler if streams_in else grpc.unary_stream_rpc_method_handler
    return grpc.stream_unary_rpc_method_handler if streams_in else grpc.unary_unary_rpc_method_handler

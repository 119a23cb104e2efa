"""Opening a channel to a service: limits, retries, keepalive, token and TLS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import grpc

from lca.errors import NotFoundError, PreconditionError, UnavailableError
from lca.v1 import (
    animation_service_pb2,
    avatar_service_pb2,
    job_service_pb2,
    render_service_pb2,
    system_service_pb2,
    upload_service_pb2,
)

MAX_MESSAGE_BYTES = 32 << 20

_SERVICES = (avatar_service_pb2, upload_service_pb2, job_service_pb2, animation_service_pb2,
             render_service_pb2, system_service_pb2)  # fmt: skip


def retry_policy() -> str:
    """gRPC's service config: calls with one request and one answer are repeated while nobody can be reached.

    Never streams: a call that answers with a stream and has a retry policy waits for ever if the service dies
    before its first message (measured with grpcio 1.85: always; see https://github.com/grpc/grpc/issues/25003).
    Where a stream broke off only our own code can know how to go on, too.
    """
    single = [
        {"service": service.full_name, "method": method.name}
        for module in _SERVICES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.client_streaming and not method.server_streaming
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.2s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": single, "retryPolicy": policy}]})


_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", retry_policy()),
    # A frozen service is noticed only with all of these (measured).
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.http2.ping_timeout_ms", 8_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class _Token(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor,
             grpc.StreamUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):  # fmt: skip
    """Adds the bearer token to every call (grpc refuses call credentials on plaintext loopback)."""

    def __init__(self, token: str) -> None:
        self._pair = ("authorization", f"Bearer {token}")

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._pair]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = intercept_unary_stream = _call
    intercept_stream_unary = intercept_stream_stream = _call


def read_token(path: str | os.PathLike[str]) -> str:
    """The token a service wrote to its data folder; NotFoundError if there is none."""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise NotFoundError(
            "There is no token file. Start the service first, or pass its token.", reason="TOKEN_FILE_MISSING"
        ) from None


def open_channel(
    target: str, token: str | None, tls_ca: bytes | None, wait_seconds: float
) -> tuple[grpc.Channel, grpc.Channel]:
    """(channel to call on, channel to close); arguments and errors as :func:`lca_bridge.client.connect`."""
    host = target.rpartition(":")[0].strip("[]")
    local = target.startswith("unix:") or host in ("localhost", "::1") or host.startswith("127.")
    if tls_ca is None and not local:
        raise PreconditionError(
            f"{target} is another machine: connect with TLS (give its CA certificate).", reason="TLS_REQUIRED"
        )
    if tls_ca is None:
        channel = grpc.insecure_channel(target, options=_OPTIONS)
    else:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(tls_ca), options=_OPTIONS)
    if wait_seconds > 0:
        try:
            grpc.channel_ready_future(channel).result(timeout=wait_seconds)
        except grpc.FutureTimeoutError:
            channel.close()
            raise UnavailableError(f"No service answers at {target}. Start it with: lca serve") from None
    return (grpc.intercept_channel(channel, _Token(token)) if token else channel), channel

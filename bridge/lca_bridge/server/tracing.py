"""OpenTelemetry, if it is installed (``lca-bridge[otel]``): one span per RPC, below the caller's traceparent.

Exporters are chosen by OpenTelemetry's own environment variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ...).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

try:
    from opentelemetry import propagate, trace
except ImportError:
    trace = None  # type: ignore[assignment]


def configure() -> bool:
    """Set up an OTLP exporter if the environment asks for one and the packages are there."""
    if trace is None or not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return False
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


@contextmanager
def call(method: str, metadata: Any) -> Iterator[dict[str, str]]:
    """A server span around one RPC; yields ``trace_id`` and ``span_id`` for the log, or nothing."""
    if trace is None:
        yield {}
        return
    carrier = {key: value for key, value in metadata or () if key in ("traceparent", "tracestate")}
    tracer = trace.get_tracer("lca")
    with tracer.start_as_current_span(
        method.lstrip("/"),
        context=propagate.extract(carrier),
        kind=trace.SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.method": method.lstrip("/")},
    ) as span:
        about = span.get_span_context()
        yield (
            {"trace_id": f"{about.trace_id:032x}", "span_id": f"{about.span_id:016x}"}
            if about.is_valid
            else {}
        )

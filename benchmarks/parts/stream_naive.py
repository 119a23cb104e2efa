"""What a newcomer would write: a plain synchronous grpcio server that streams one message per frame.

Two schemas of the same 14 floats per Gaussian: ``repeated float`` fields filled from numpy, and ``bytes``
fields of ``ndarray.tobytes()``. Default options, except that the 4 MB message limit has to be raised to make
it run at all. ``python -m parts.stream_naive GAUSSIANS`` serves; :func:`read` is its client.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SHAPES = {"means": 3, "quats": 4, "scales": 3, "opacities": 1, "colors": 3}
LIMIT = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def message_types() -> tuple[Any, Any]:
    """(FloatFrame, BytesFrame), as protoc would make them."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="naive.proto", package="naive", syntax="proto3")
    for name, kind, label in (
        ("FloatFrame", field.TYPE_FLOAT, field.LABEL_REPEATED),
        ("BytesFrame", field.TYPE_BYTES, field.LABEL_OPTIONAL),
    ):
        message = file.message_type.add(name=name)
        for number, column in enumerate(SHAPES, 1):
            message.field.add(name=column, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    floats, octets = (pool.FindMessageTypeByName(f"naive.{name}") for name in ("FloatFrame", "BytesFrame"))
    return message_factory.GetMessageClass(floats), message_factory.GetMessageClass(octets)


def serve(gaussians: int) -> None:
    """Stream for ever; prints the port."""
    floats, octets = message_types()
    rng = np.random.default_rng(0)
    frames = [
        {name: rng.normal(size=(gaussians, count)).astype(np.float32) for name, count in SHAPES.items()}
        for _ in range(8)
    ]

    def stream(kind: Any, convert: Any) -> Any:
        def handler(request: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
            for frame in itertools.cycle(frames):
                if not context.is_active():
                    return
                yield kind(**{name: convert(values) for name, values in frame.items()})

        return grpc.unary_stream_rpc_method_handler(
            handler, request_deserializer=bytes, response_serializer=kind.SerializeToString
        )

    handlers = {
        "Floats": stream(floats, lambda v: v.ravel().tolist()),
        "Bytes": stream(octets, lambda v: v.tobytes()),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4), options=LIMIT)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("naive.Frames", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def read(port: int, method: str, gaussians: int, seconds: float) -> float:
    """Frames a second, decoded to (N, count) float32 arrays."""
    floats, octets = message_types()
    kind = floats if method == "Floats" else octets
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=LIMIT) as channel:
        call = channel.unary_stream(
            f"/naive.Frames/{method}", request_serializer=bytes, response_deserializer=kind.FromString
        )(b"")
        count, begun = 0, 0.0
        for message in call:
            for name, width in SHAPES.items():
                value = getattr(message, name)
                array = np.frombuffer(value, np.float32) if method == "Bytes" else np.array(value, np.float32)
                assert array.reshape(-1, width).shape == (gaussians, width)
            if not begun:
                begun = time.perf_counter()
                continue
            count += 1
            if time.perf_counter() - begun > seconds:
                break
        elapsed = time.perf_counter() - begun
        call.cancel()
    return count / elapsed


if __name__ == "__main__":
    serve(int(sys.argv[1]))

"""Asks a service for its health, again and again: ``python -m parts.health_probe TARGET SECONDS``.

A process of its own, so that nothing but the service is measured. Prints the latencies in ms as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

INTERVAL = 0.05


def main() -> int:
    target, seconds = sys.argv[1], float(sys.argv[2])
    found: list[float] = []
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="lca.v1.AnimationService")
        stub.Check(request, timeout=20)
        print("ready", flush=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.perf_counter()
            answer = stub.Check(request, timeout=20)
            found.append(1e3 * (time.perf_counter() - begun))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            time.sleep(INTERVAL)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

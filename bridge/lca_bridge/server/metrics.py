"""Prometheus metrics on a loopback port of their own; names of gRPC's and ours, never ids of people or jobs.

Works without prometheus-client, too: then nothing is counted, and asking for a port says what to install.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lca.errors import AlreadyExistsError, LcaError, PreconditionError

if TYPE_CHECKING:
    from lca_bridge.server.core import ServiceCore

_FRAME_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)


class Metrics:
    """Counters of one service. ``observe_stage`` and the ``call`` methods cost microseconds."""

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            self.registry: Any = None
            return
        self.registry = prometheus.CollectorRegistry()
        labels = ("grpc_service", "grpc_method")
        self._handled = prometheus.Counter(
            "grpc_server_handled_total", "RPCs that ended", (*labels, "grpc_code"), registry=self.registry
        )
        self._seconds = prometheus.Histogram(
            "grpc_server_handling_seconds", "Length of RPCs", labels, registry=self.registry, buckets=_SECONDS
        )
        self._frames = prometheus.Counter(
            "lca_animate_frames_total", "Animated poses, by what became of them", ("result",),
            registry=self.registry,
        )  # fmt: skip
        self._age = prometheus.Histogram(
            "lca_animate_frame_age_seconds", "From the arrival of a pose to its frame on the wire",
            registry=self.registry, buckets=_FRAME_SECONDS,
        )  # fmt: skip
        self._encode = prometheus.Histogram(
            "lca_encode_seconds", "Encoding of a frame, or of a batch of frames",
            registry=self.registry, buckets=_FRAME_SECONDS,
        )  # fmt: skip
        self._stages = prometheus.Histogram(
            "lca_job_stage_seconds", "Length of job stages", ("stage",),
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """One RPC, by its full name, e.g. ``/lca.v1.JobService/GetJob``."""
        if self.registry is None:
            return
        _, service, name = method.split("/", 2)
        self._handled.labels(service, name, code).inc()
        self._seconds.labels(service, name).observe(seconds)

    def animated(self, response: Any) -> None:
        """One message of an Animate stream on its way out."""
        if self.registry is None:
            return
        match response.WhichOneof("message"):
            case "frame" if response.frame.HasField("timing"):  # the last piece of a frame has it
                self._sent(1, response.frame.timing)
            case "frames":
                self._sent(len(response.frames.frames), response.frames.frames[-1].timing)
            case "finished":
                self._frames.labels("dropped").inc(response.finished.frames_dropped)
                self._frames.labels("rejected").inc(response.finished.frames_rejected)

    def _sent(self, count: int, timing: Any) -> None:
        self._frames.labels("sent").inc(count)
        micros = timing.queue_microseconds + timing.evaluate_microseconds + timing.encode_microseconds
        self._age.observe(micros * 1e-6)
        self._encode.observe(timing.encode_microseconds * 1e-6)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """A stage of a job has ended."""
        if self.registry is not None:
            self._stages.labels(stage).observe(seconds)

    def serve(self, address: str, core: ServiceCore) -> Callable[[], None]:
        """Answer ``GET /metrics`` on ``HOST:PORT``; returns what ends it.

        Raises:
            PreconditionError: ``METRICS_MISSING``; prometheus-client is not installed.
            AlreadyExistsError: ``ADDRESS_IN_USE``.
        """
        if self.registry is None:
            raise PreconditionError(
                "Metrics need prometheus-client: install lca-bridge[server].", reason="METRICS_MISSING"
            )
        import prometheus_client as prometheus

        self.registry.register(_StateCollector(core))
        host, _, port = address.rpartition(":")
        try:
            server, thread = prometheus.start_http_server(int(port), host.strip("[]"), self.registry)
        except OSError:
            raise AlreadyExistsError(
                f"Cannot serve metrics on {address}. Choose another port.", reason="ADDRESS_IN_USE"
            ) from None

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end


class _StateCollector:
    """What is read from the service's state at each visit."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core

    def collect(self) -> Iterator[Any]:
        """Prometheus' collector protocol."""
        from prometheus_client.core import GaugeMetricFamily

        core = self._core
        try:
            jobs = GaugeMetricFamily("lca_jobs", "Jobs on record", labels=("kind", "state"))
            for (kind, state), count in core.store.job_counts().items():
                jobs.add_metric((kind, state), count)
            yield jobs
            yield GaugeMetricFamily("lca_storage_bytes", "Bytes kept or promised", value=core.used_bytes())
        except LcaError:  # a disk in trouble still has other metrics
            pass
        yield GaugeMetricFamily("lca_storage_free_bytes", "Bytes left", value=core.blobs.free_bytes())
        yield GaugeMetricFamily("lca_queue_depth", "Jobs that wait", value=core.runner.waiting)
        yield GaugeMetricFamily("lca_gpu_memory_bytes", "GPU memory of this process", value=_gpu_bytes())


def _gpu_bytes() -> int:
    import sys

    torch = sys.modules.get("torch")  # never load it for a metric
    if torch is None or not torch.cuda.is_available():
        return 0
    return sum(torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count()))


class StageClock:
    """Turns progress into lengths of stages."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._stage, self._since = metrics, "", time.monotonic()

    def at(self, stage: str) -> None:
        """The job is in ``stage`` now; "" ends it."""
        if stage != self._stage:
            now = time.monotonic()
            if self._stage:
                self._metrics.observe_stage(self._stage, now - self._since)
            self._stage, self._since = stage, now

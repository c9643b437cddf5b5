"""Prometheus metrics of one server, in a registry of its own.

What the server sees it counts here; what the engine knows (steps, rows, cache) is read when Prometheus asks, so the
engine pays nothing for it. Labels are closed sets: a voice, a path or a text never becomes one.
"""

from __future__ import annotations

import platform
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple

from chattts_onnx import __version__
from chattts_onnx.errors import MissingExtraError

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 60)
_RTF = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1, 1.2, 1.5, 2, 3, 5, 10)

# Field of the engine's statistics -> metric, kind, help. Fields an engine does not have are left out.
_ENGINE_FIELDS: Tuple[Tuple[str, str, str, str], ...] = (
    ("running", "engine_sequences_running", "gauge", "Sequences that have a row of the batch"),
    ("waiting", "engine_sequences_waiting", "gauge", "Sequences that wait for a row"),
    ("batch_size", "batch_size", "gauge", "Rows of the last decode step"),
    ("kv_rows_used", "kv_slots_used", "gauge", "Rows of the key/value cache in use"),
    ("kv_bytes", "kv_bytes", "gauge", "Bytes allocated for the key/value cache"),
    ("steps", "engine_steps", "counter", "Steps of the engine"),
    ("step_seconds", "step_seconds", "counter", "Seconds spent in steps"),
    ("prefill_seconds", "prefill_seconds", "counter", "Seconds spent reading prompts"),
    ("prompt_tokens", "engine_prompt_tokens", "counter", "Prompt tokens read"),
    ("tokens", "engine_tokens", "counter", "Tokens drawn"),
    ("finished", "engine_finished", "counter", "Sequences that ended"),
    ("aborted", "engine_aborted", "counter", "Sequences that were cancelled"),
    ("failed", "engine_failed", "counter", "Sequences that failed"),
)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
            from prometheus_client import generate_latest as render
        except ImportError:
            raise MissingExtraError("prometheus-client", "server", "the server's metrics") from None
        self.registry: Any = CollectorRegistry(auto_describe=True)
        self._render = render
        common = {"registry": self.registry, "namespace": "chattts"}
        self.requests: Any = Counter("requests", "Requests by outcome", ["route", "status", "reason"], **common)
        self.running: Any = Gauge("running", "Requests that hold a slot", **common)
        self.waiting: Any = Gauge("waiting", "Requests that wait for a slot", **common)
        self.in_flight: Any = Gauge("in_flight", "Replies not finished, queued ones included", **common)
        self.queue_seconds: Any = Histogram("queue_seconds", "Wait for a slot", buckets=_SECONDS, **common)
        self.first_audio: Any = Histogram(
            "ttfa_seconds", "Arrival of the request to first audio", buckets=_SECONDS, **common
        )
        self.real_time_factor: Any = Histogram("rtf", "Seconds of work for a second of speech", buckets=_RTF, **common)
        self.audio_seconds: Any = Counter("audio_seconds", "Speech made", **common)
        self.tokens: Any = Counter("tokens", "Tokens, by kind", ["kind"], **common)
        self.retries: Any = Counter("truncation_retries", "Segments drawn again because they came out wrong", **common)
        self.underruns: Any = Counter("underruns", "Chunks ready after playback would have run dry", **common)
        self.websockets: Any = Gauge("websockets", "Open WebSocket sessions", **common)
        Info("build", "Versions", **common).info(
            {"version": __version__, "python": platform.python_version(), "onnxruntime": _onnxruntime_version()}
        )
        for kind in ("text", "audio"):
            self.tokens.labels(kind)

    def count(self, route: str, status: int, reason: str) -> None:
        """One request has ended like this."""
        self.requests.labels(route, str(status), reason).inc()

    def bind(self, *, running: Callable[[], int], waiting: Callable[[], int], in_flight: Callable[[], int]) -> None:
        """Read the gauges from whoever knows, at the moment of asking: they cannot drift."""
        self.running.set_function(running)
        self.waiting.set_function(waiting)
        self.in_flight.set_function(in_flight)

    def bind_engine(self, stats: Callable[[], Optional[Mapping[str, Any]]]) -> None:
        """Add the engine's own figures, read when asked."""
        self.registry.register(_EngineCollector(stats))

    def render(self) -> bytes:
        """The exposition text."""
        text: bytes = self._render(self.registry)
        return text


class _EngineCollector:
    def __init__(self, stats: Callable[[], Optional[Mapping[str, Any]]]) -> None:
        self._stats = stats

    def describe(self) -> List[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        values = self._stats() or {}
        for field, name, kind, text in _ENGINE_FIELDS:
            value = values.get(field)
            if isinstance(value, (int, float)):
                family = GaugeMetricFamily if kind == "gauge" else CounterMetricFamily
                yield family(f"chattts_{name}", text, value=value)


def _onnxruntime_version() -> str:
    try:
        from importlib.metadata import PackageNotFoundError, version

        for name in ("onnxruntime", "onnxruntime-gpu"):
            try:
                return version(name)
            except PackageNotFoundError:
                continue
    except ImportError:  # pragma: no cover
        pass
    return "unknown"

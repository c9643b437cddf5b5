"""The same application over engines on other machines: Ray Serve (extra ``ray``, Python 3.10 up).

    serve run deploy/ray/serve_config.yaml

Two deployments. *Ingress* is this server's own application without a model: keys, limits, validation, encoding, and no
state, so it may run on every node. *Engine* holds one model and its batching engine; one call to it is one utterance,
kept whole on one replica, which streams its chunks back. Ray's own batching is not used: ours joins and leaves between
two steps. What fails inside crosses the wire as a name and a message, because an exception with arguments of its own
does not survive pickling. Uploaded voices are not offered here: a replica that was not asked would not know them.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import Any, AsyncIterator, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx import errors
from chattts_onnx.errors import ChatTTSError, EngineOverloadedError, EngineStoppedError, InputError, MissingExtraError
from chattts_onnx.server.app import create_app
from chattts_onnx.server.backend import Backend, load_backend
from chattts_onnx.server.settings import ServerSettings, settings_of

_PIECE_SECONDS = 0.2
"""Ray's streams cost most per item, so an item carries this much sound."""
_UPSCALE_DELAY = 5.0
_DOWNSCALE_DELAY = 300.0
_LOOK_BACK = 10.0
_METRICS_INTERVAL = 2.0
_REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class RemoteChunk:
    """As `chattts_onnx.speech.AudioChunk`, for the wire."""

    samples: npt.NDArray[np.float32]
    sample_rate: int
    segment: int
    text_span: Tuple[int, int]
    start: float


class EngineReplica:
    """One model on one machine; made into a deployment by `build`."""

    def __init__(self, settings: ServerSettings, load: Any = load_backend) -> None:
        self._backend: Backend = load(settings)
        self._dead: Optional[str] = None

    async def speak(self, text: str, options: Dict[str, Any]) -> AsyncIterator[Dict[str, Any]]:
        """Chunks of an utterance; the last item holds its token counts, or what went wrong."""
        speech = self._backend.speak(text, options)
        wanted = 0.0
        try:
            while True:
                chunks = await speech.read(wanted)
                if not chunks:
                    break
                wanted = _PIECE_SECONDS
                yield {"chunks": [_packed(chunk) for chunk in chunks]}
            counts = {"prompt_tokens": speech.prompt_tokens, "tokens": speech.tokens, "retries": speech.retries}
            yield {"counts": counts}
        except ChatTTSError as error:
            if isinstance(error, EngineStoppedError):
                self._dead = str(error)
            yield {"error": type(error).__name__, "message": str(error)}
        finally:
            # Ray closes this generator when the client has left.
            await speech.close()

    async def describe(self) -> Dict[str, Any]:
        """What the ingress shows of the model."""
        names = [str(voice.name) for voice in self._backend.voices.list()]
        return {"manifest": self._backend.manifest, "voices": names}

    async def stats(self) -> Dict[str, Any]:
        """Figures of this replica's engine, and its process."""
        figures = self._backend.stats()
        found = {name: value for name, value in figures.items() if isinstance(value, (int, float))}
        return {**found, "process": os.getpid()}

    def check_health(self) -> None:
        """Ray replaces a replica for which this raises."""
        if self._dead is not None:
            raise RuntimeError(self._dead)

    def __del__(self) -> None:
        backend = getattr(self, "_backend", None)
        if backend is not None:
            backend.close()


class RemoteBackend:
    """A `Backend` whose engines are Ray replicas; made where the ingress runs."""

    def __init__(self, handle: Any) -> None:
        """``handle`` is Ray's handle of the engine deployment."""
        self._handle = handle
        self._figures: Dict[str, Any] = {}
        described = handle.describe.remote().result()
        self.manifest = described["manifest"]
        self.voices = _VoiceNames(described["voices"])

    def speak(self, text: str, options: Mapping[str, Any]) -> RemoteSpeech:
        """As `Backend.speak`."""
        return RemoteSpeech(self._handle, text, dict(options))

    def clone(self, *_: Any) -> Any:
        """Not offered: see the module.

        Raises:
            InputError: always.
        """
        raise InputError("voices are not uploaded to a cluster: put the voice file into every model's voices folder")

    def stats(self) -> Mapping[str, Any]:
        """Figures of whichever replica answers; Ray's own metrics have the sums."""
        self._figures = self._handle.stats.remote().result(timeout_s=_REFRESH_SECONDS)
        return self._figures

    def close(self) -> None:
        """The engines are Ray's to stop."""


class RemoteSpeech:
    """One utterance made elsewhere."""

    def __init__(self, handle: Any, text: str, options: Dict[str, Any]) -> None:
        self._handle = handle
        self._text = text
        self._options = options
        self._stream: Any = None
        self._started = False
        self.prompt_tokens = 0
        self.tokens = 0
        self.retries = 0

    async def read(self, _: float) -> Sequence[RemoteChunk]:
        """The next item of the stream; how much sound it holds is the replica's choice here.

        Raises:
            ChatTTSError: what the replica reported, as the same class.
        """
        if self._stream is None:
            self._open()
        while True:
            item = await self._next()
            if item is None:
                return []
            if "chunks" in item:
                self._started = True
                return [_unpacked(chunk) for chunk in item["chunks"]]
            if "error" in item:
                raise _error(item["error"], item["message"])
            for name, value in item["counts"].items():
                setattr(self, name, value)

    async def close(self) -> None:
        """Cancel the call: Ray cancels the replica's generator, which aborts in the engine."""
        if self._stream is not None:
            self._stream.cancel()

    def _open(self) -> None:
        self._stream = self._handle.options(stream=True).speak.remote(self._text, self._options)

    async def _next(self) -> Optional[Dict[str, Any]]:
        """One item; a replica that dies before its first sound is tried once more elsewhere."""
        for attempt in range(2):
            try:
                item: Dict[str, Any] = await self._stream.__anext__()
            except StopAsyncIteration:
                return None
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - Ray's errors have no common base
                kind = type(error).__name__
                if kind == "BackPressureError":
                    raise EngineOverloadedError(0, 0) from None
                if self._started or attempt:
                    raise errors.RequestAbortedError(f"the engine was lost ({kind}): send the request again") from None
                self._open()
            else:
                return item
        return None


@dataclass(frozen=True)
class _NamedVoice:
    name: str


class _VoiceNames:
    def __init__(self, names: List[str]) -> None:
        self._names = names

    def list(self) -> List[_NamedVoice]:
        return [_NamedVoice(name) for name in self._names]


def build(args: Mapping[str, Any]) -> Any:
    """The Serve application of a configuration file.

    Args:
        args: ``server`` and ``engine`` tables as in TOML; ``replicas`` (``min``, ``max``), ``num_cpus``, ``num_gpus``.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        from ray import serve
    except ImportError:
        raise MissingExtraError("ray", "ray", "serving on a cluster") from None
    settings = settings_of(args.get("server", {}), args.get("engine", {}))
    bounds = args.get("replicas", {})
    low, high = int(bounds.get("min", 1)), int(bounds.get("max", 1))
    slots, queue = settings.slot_count, settings.queue_length
    engine = serve.deployment(
        name="Engine",
        # Ray's default of 5 would never fill a batch; a few more than its rows wait at the replica.
        max_ongoing_requests=slots + 2,
        max_queued_requests=queue * high,
        ray_actor_options={"num_cpus": float(args.get("num_cpus", 1)), "num_gpus": float(args.get("num_gpus", 0))},
        graceful_shutdown_timeout_s=settings.drain_timeout,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=10,
        **_replicas(low, high, slots, args),
    )(EngineReplica)
    handle = engine.bind(settings, args.get("load", load_backend))
    return _ingress(serve, settings, slots * high, queue * high).bind(handle)


def _replicas(low: int, high: int, slots: int, args: Mapping[str, Any]) -> Dict[str, Any]:
    if low == high:
        return {"num_replicas": low}
    return {
        "autoscaling_config": {
            "min_replicas": low,
            "max_replicas": high,
            "target_ongoing_requests": float(args.get("target_ongoing_requests", max(1.0, 0.7 * slots))),
            "upscale_delay_s": float(args.get("upscale_delay_s", _UPSCALE_DELAY)),
            "downscale_delay_s": float(args.get("downscale_delay_s", _DOWNSCALE_DELAY)),
            "look_back_period_s": float(args.get("look_back_period_s", _LOOK_BACK)),
            "metrics_interval_s": float(args.get("metrics_interval_s", _METRICS_INTERVAL)),
        }
    }


def _ingress(serve: Any, settings: ServerSettings, slots: int, queue: int) -> Any:
    """The deployment that speaks HTTP: admission for all replicas together, then our application as it is."""
    wide = replace(settings, slots=slots, queue=queue, warm_up=False)

    def application() -> Any:
        return create_app(wide, _remote)

    class Ingress:
        """Keys, limits, validation, encoding; no model."""

        def __init__(self, _: Any) -> None:
            """The handle is only bound so that Ray deploys the engines too; `_remote` asks for one of its own."""

    options = {
        "name": "Ingress",
        "max_ongoing_requests": slots + queue + 64,
        "ray_actor_options": {"num_cpus": 0.1},
        "graceful_shutdown_timeout_s": settings.drain_timeout,
    }
    return serve.deployment(**options)(serve.ingress(application)(Ingress))


def _remote(_: ServerSettings) -> Backend:
    from ray import serve

    context = serve.get_replica_context()
    return RemoteBackend(serve.get_deployment_handle("Engine", app_name=context.app_name))


def _packed(chunk: Any) -> Tuple[npt.NDArray[np.float32], int, int, Tuple[int, int], float]:
    return np.asarray(chunk.samples, np.float32), chunk.sample_rate, chunk.segment, chunk.text_span, chunk.start


def _unpacked(values: Tuple[Any, ...]) -> RemoteChunk:
    return RemoteChunk(*values)


def _error(name: str, message: str) -> ChatTTSError:
    """The error of that class, with its message; classes whose constructors want more are made without them."""
    kind = getattr(errors, name, errors.SynthesisError)
    if not (isinstance(kind, type) and issubclass(kind, ChatTTSError)):
        kind = errors.SynthesisError
    error = kind.__new__(kind)
    error.args = (message,)
    return error

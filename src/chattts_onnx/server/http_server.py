"""uvicorn, with a drain of our own before its shutdown.

uvicorn closes its listening sockets first and gives running replies a fixed time after; its 0.43 and 0.44 tell them
that the client left. Here the first signal only ends readiness and admission: probes and new requests are still
answered, with 503, while running speech is finished; only then is uvicorn told to stop. A second signal stops at once.
uvicorn also waits for ever for the headers of a request, which lets a few idle clients take every connection there is.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, Iterator, List, Optional, Type

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from chattts_onnx.errors import ChatTTSError
from chattts_onnx.server.app import Loader, create_app
from chattts_onnx.server.backend import load_backend
from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.lifecycle import FAILED
from chattts_onnx.server.settings import ServerSettings

log = logging.getLogger(__name__)

ENGINE_DIED = 70
SPEECH_CUT = 1
_HELPER_THREADS = 16


class DrainingServer(uvicorn.Server):
    """A uvicorn server that finishes its speech before it stops."""

    def __init__(self, config: uvicorn.Config, context: ServerContext) -> None:
        super().__init__(config)
        self._context = context
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._draining: Optional[asyncio.Task[None]] = None
        self._signals = 0
        self.exit_code = 0

    async def startup(self, sockets: Optional[List[Any]] = None) -> None:
        """Start to listen; the banner comes after, with the port that was really taken."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        loop.set_default_executor(ThreadPoolExecutor(_HELPER_THREADS, thread_name_prefix="helper"))
        self._context.lifecycle.on_failure(lambda: loop.call_soon_threadsafe(self._stop_failed))
        await super().startup(sockets=sockets)
        if self.started:
            self._banner()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM without raising them again afterwards: the exit code is ours to choose."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM]
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Optional[FrameType]) -> None:  # noqa: ARG002 - uvicorn's signature
        """The first signal drains, the second stops."""
        self._signals += 1
        if self._signals > 1:
            self.force_exit = True
            self.exit_code = SPEECH_CUT
            self.should_exit = True
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self.drain)
        else:
            self.should_exit = True

    def drain(self) -> None:
        """Finish what runs, then stop; called on the event loop."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        lifecycle = self._context.lifecycle
        limit = self._context.settings.drain_timeout
        log.info("shutting down: finishing %d requests, at most %g s", lifecycle.in_flight, limit)
        if not await lifecycle.drain(limit):
            log.warning("%d requests were not finished in time and are cut", lifecycle.in_flight)
            self.exit_code = SPEECH_CUT
        self.should_exit = True

    def _stop_failed(self) -> None:
        failure = self._context.lifecycle.failure
        loaded = self._context.backend is not None
        self.exit_code = ENGINE_DIED if loaded or not isinstance(failure, ChatTTSError) else failure.exit_code
        self.should_exit = True

    def _banner(self) -> None:
        settings = self._context.settings
        port = settings.port
        for server in getattr(self, "servers", []):
            for listening in server.sockets:
                port = listening.getsockname()[1]
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "127.0.0.1") else settings.host  # noqa: S104
        access = "keys required" if settings.api_keys else "no key"
        lines = [
            f"chattts is listening on {settings.host}:{port}",
            f"  page      http://{host}:{port}/",
            f"  OpenAI    http://{host}:{port}/v1   (POST /v1/audio/speech)",
            f"  slots {settings.slot_count}, queue {settings.queue_length}, {access}; the model is loading",
        ]
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()


def impatient_protocol(seconds: float) -> Type[asyncio.Protocol]:
    """Uvicorn's HTTP protocol, closing connections whose next request has no complete headers after ``seconds``."""

    class ImpatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        _limit: Optional[asyncio.TimerHandle] = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._start()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._start()
            else:
                self._stop()

        def connection_lost(self, exc: Optional[Exception]) -> None:
            self._stop()
            super().connection_lost(exc)

        def _start(self) -> None:
            if self._limit is None:
                self._limit = self.loop.call_later(seconds, self._give_up)

        def _stop(self) -> None:
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None

        def _give_up(self) -> None:
            self._limit = None
            # A WebSocket's connection was handed over to a protocol of its own.
            if self.transport.get_protocol() is self:
                self.transport.close()

    return ImpatientProtocol


def serve(settings: ServerSettings, load: Loader = load_backend) -> int:
    """Serve until told to stop; gives the exit code (see `chattts_onnx.server.run`)."""
    app = create_app(settings, load)
    context: ServerContext = app.state.context
    server = DrainingServer(configuration(app, settings), context)
    try:
        server.run()
    except SystemExit as error:
        # uvicorn leaves like this when the port is taken; it has logged why.
        return int(error.code or 0) if isinstance(error.code, int) else SPEECH_CUT
    if not server.started:
        return SPEECH_CUT
    if context.lifecycle.phase == FAILED and server.exit_code == 0:
        return ENGINE_DIED
    return server.exit_code


def configuration(app: Any, settings: ServerSettings) -> uvicorn.Config:
    """Uvicorn's settings: its own log configuration off, its limits on."""
    return uvicorn.Config(
        app,
        http=impatient_protocol(settings.header_timeout),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=1 << 16,
        ws_max_size=1 << 16,
        lifespan="on",
    )

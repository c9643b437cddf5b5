"""The application: a factory that puts routes behind brakes. No globals, so several may live in one process."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from typing import Any, AsyncIterator, Callable, Dict, List

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from chattts_onnx import __version__
from chattts_onnx.errors import ChatTTSError
from chattts_onnx.server.auth import PROBES, ApiKeys, RequireKey
from chattts_onnx.server.backend import Backend, load_backend
from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import RequestError, error_handler
from chattts_onnx.server.middleware import AccessLog, CheckHost, LimitBody, RequestIds
from chattts_onnx.server.openapi import describe_errors
from chattts_onnx.server.routes import health, memory, models, page, speech, tts, voices, websocket
from chattts_onnx.server.settings import ServerSettings

log = logging.getLogger(__name__)

_WARM_UP_TEXT = "你好。"
Loader = Callable[[ServerSettings], Backend]


def create_app(settings: ServerSettings, load: Loader = load_backend) -> FastAPI:
    """An ASGI application that serves speech.

    Args:
        settings: limits and policies.
        load: opens the model; called in a thread once the server listens, so that probes answer meanwhile.

    The application's ``state.context`` is its `ServerContext`, for whoever runs it.
    """
    context = ServerContext.of(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(_bring_up(context, load))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            context.encoders.shutdown(wait=False)
            if context.backend is not None:
                with suppress(ChatTTSError):
                    await asyncio.get_running_loop().run_in_executor(None, context.backend.close)

    app = FastAPI(
        title="chattts-onnx",
        version=__version__,
        summary="Mandarin and English speech, as OpenAI's clients ask for it",
        lifespan=lifespan,
        middleware=_middleware(settings),
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
    )
    app.state.context = context
    handle = error_handler(context.metrics.count)
    for kind in (RequestError, ChatTTSError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
    for router in (
        speech.router(context), voices.router(context), models.router(context), tts.router(context),
        websocket.router(context), health.router(context), page.router(),
    ):  # fmt: skip
        app.include_router(router)
    if settings.trace_memory:
        app.include_router(memory.router())
    generate = app.openapi

    def openapi() -> Dict[str, Any]:
        return describe_errors(generate())

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _middleware(settings: ServerSettings) -> List[Middleware]:
    """Outermost first."""
    open_paths = PROBES if settings.metrics_auth else PROBES | {"/metrics"}
    stack = [
        Middleware(RequestIds),
        Middleware(AccessLog, quiet_paths=PROBES | {"/metrics"}),
        Middleware(CheckHost, hosts=settings.allowed_hosts, origins=settings.cors_origins, loopback=settings.loopback),
    ]
    if settings.cors_origins:
        # Before the keys: a browser asks without one whether it may ask at all.
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["authorization", "content-type", "x-request-id"],
                expose_headers=["x-request-id", "retry-after"],
            )
        )
    stack += [
        Middleware(RequireKey, keys=ApiKeys(settings.api_keys), open_paths=frozenset(open_paths)),
        Middleware(LimitBody, limit=settings.max_body_bytes, upload_limit=settings.max_upload_bytes),
    ]
    return stack


async def _bring_up(context: ServerContext, load: Loader) -> None:
    """Load, warm up, report ready, then watch the engine for as long as the server lives."""
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    try:
        backend = await loop.run_in_executor(None, load, context.settings)
        context.backend = backend
        if context.settings.warm_up:
            await _warm_up(context, backend)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        context.lifecycle.fail(error)
        log.error("the model could not be loaded: %s", error, exc_info=not isinstance(error, ChatTTSError))  # noqa: TRY400
        return
    context.metrics.bind_engine(backend.stats)
    context.lifecycle.set_ready()
    log.info("ready after %.1f s: %s", time.monotonic() - started, backend.manifest.name)
    await context.lifecycle.watch(backend)


async def _warm_up(context: ServerContext, backend: Backend) -> None:
    """Speak a little, so that the first request does not pay for lazy memory and pages, and the speed is known."""
    speech = backend.speak(_WARM_UP_TEXT, {"seed": 0})
    try:
        await speech.read(0.0)
    finally:
        await speech.close()
    figures = backend.stats()
    if figures.get("steps"):
        alone = figures["step_seconds"] / figures["steps"] * backend.manifest.audio.tokens_per_second
        context.admission.assume(alone)

"""Probes, version and metrics: what machines ask of the server. They never wait for speech."""

from __future__ import annotations

import platform
from typing import Any, Dict

from fastapi import APIRouter
from starlette.responses import Response

from chattts_onnx import __version__
from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import dumps
from chattts_onnx.server.openapi import COMMON_ERRORS, error_responses


def router(context: ServerContext) -> APIRouter:
    """``/livez``, ``/readyz``, ``/health``, ``/version``, ``/metrics``."""
    routes = APIRouter(tags=["operation"])

    @routes.get("/livez", responses=error_responses(503))
    async def livez() -> Response:
        """Restarting would not help."""
        return _state(*context.lifecycle.alive())

    @routes.get("/readyz", responses=error_responses(503))
    async def readyz() -> Response:
        """A request sent now would be served."""
        return _state(*context.lifecycle.ready())

    @routes.get("/health", responses=error_responses(503))
    async def health() -> Response:
        """The same as /readyz, with figures."""
        ready, state = context.lifecycle.ready()
        admission = context.admission
        figures = {"running": admission.running, "waiting": admission.waiting, "slots": admission.slots}
        return _state(ready, state, **figures)

    @routes.get("/version", responses=COMMON_ERRORS)
    async def version() -> Response:
        """Versions of the server and its model."""
        found: Dict[str, Any] = {"version": __version__, "python": platform.python_version()}
        if context.backend is not None:
            manifest = context.backend.manifest
            found.update(model=manifest.name, precision=manifest.precision, licence=manifest.licence)
        return Response(dumps(found), media_type="application/json")

    @routes.get("/metrics", responses=COMMON_ERRORS)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(context.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def _state(good: bool, state: str, **figures: int) -> Response:
    body = {"status": "ok" if good else state, **figures}
    return Response(dumps(body), status_code=200 if good else 503, media_type="application/json")

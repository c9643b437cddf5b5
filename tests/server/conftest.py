"""Servers for the tests: in memory over the ASGI transport, or real ones on a free port of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, AsyncIterator, Optional

import httpx
import pytest

pytest.importorskip("fastapi", reason="the server needs its extra")

from chattts_onnx.server.app import create_app
from chattts_onnx.server.settings import ServerSettings
from server.facade_double import SineFacade, loader


@pytest.fixture
def facade() -> SineFacade:
    return SineFacade()


@contextlib.asynccontextmanager
async def running_app(facade: Any, **settings: Any) -> AsyncIterator[Any]:
    """The application with its lifespan, ready."""
    settings.setdefault("warm_up", False)
    app = create_app(ServerSettings(**settings), loader(facade))
    async with app.router.lifespan_context(app):
        for _ in range(500):
            if app.state.context.lifecycle.phase != "loading":
                break
            await asyncio.sleep(0.01)
        yield app


@contextlib.asynccontextmanager
async def client_of(app: Any, *, headers: Optional[dict] = None) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers) as client:
        yield client

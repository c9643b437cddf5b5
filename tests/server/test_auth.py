"""Keys: asked for on every route there is, compared as bytes, never shown."""

from __future__ import annotations

import base64
import logging

import pytest
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from chattts_onnx.server.auth import ApiKeys, presented_key
from chattts_onnx.server.settings import ServerSettings, hash_key
from server.conftest import client_of, running_app

KEY = "sk-tëst-123"
OPEN = {"/livez", "/readyz", "/health", "/metrics"}


def walk(routes):
    for route in routes:
        if getattr(route, "routes", None):
            yield from walk(route.routes)
        elif hasattr(route, "original_router"):
            yield from walk(route.original_router.routes)
        else:
            yield route


@pytest.mark.asyncio
@pytest.mark.parametrize("metrics_auth", [False, True])
async def test_every_route_but_the_probes_refuses_without_a_key(facade, metrics_auth):
    settings = {"api_keys": (KEY,), "metrics_auth": metrics_auth, "trace_memory": True}
    async with running_app(facade, **settings) as app, client_of(app) as client:
        seen = set()
        for route in walk(app.routes):
            if isinstance(route, WebSocketRoute) or not hasattr(route, "methods"):
                continue
            path = route.path.replace("{name}", "x").replace("{name:path}", "x")
            for method in route.methods:
                reply = await client.request(method, path)
                seen.add(path)
                if path in OPEN and not (path == "/metrics" and metrics_auth):
                    assert reply.status_code != 401, path
                else:
                    assert reply.status_code == 401, path
                    assert reply.headers["www-authenticate"].split()[0] in ("Bearer", "Basic")
        assert {"/", "/tts", "/v1/audio/speech", "/v1/models", "/debug/memory", "/openapi.json"} <= seen
        assert (await client.get("/no/such/path")).status_code == 401
        assert facade.seen == []


@pytest.mark.asyncio
async def test_the_ways_to_present_a_key(facade):
    basic = base64.b64encode(f"anyone:{KEY}".encode()).decode()
    good = [f"Bearer {KEY}".encode(), f"bearer {KEY}".encode(), f"Basic {basic}".encode()]
    bad = [b"Bearer wrong", b"Bearer", b"", b"Basic !!!", "Bearer \xff\xfe".encode("latin-1"), KEY.encode()]
    async with running_app(facade, api_keys=("other", KEY)) as app, client_of(app) as client:
        for value in good:
            assert (await client.get("/v1/models", headers=[(b"authorization", value)])).status_code == 200
        assert (await client.get("/v1/models", headers=[(b"x-api-key", KEY.encode())])).status_code == 200
        for value in bad:
            assert (await client.get("/v1/models", headers=[(b"authorization", value)])).status_code == 401


def test_a_websocket_without_a_key_is_refused(facade):
    from chattts_onnx.server.app import create_app
    from server.facade_double import loader

    app = create_app(ServerSettings(api_keys=(KEY,), warm_up=False), loader(facade))
    with TestClient(app, base_url="http://127.0.0.1") as client, pytest.raises(
        WebSocketDisconnect
    ), client.websocket_connect("/v1/audio/speech/stream"):
        pass


def test_keys_are_kept_as_hashes_and_not_shown():
    settings = ServerSettings(api_keys=(KEY, hash_key("second")))
    assert KEY not in repr(settings)
    assert KEY not in settings.describe()
    assert all(key.startswith("sha256:") for key in settings.api_keys)
    keys = ApiKeys(settings.api_keys)
    assert keys.accept(KEY.encode())
    assert keys.accept(b"second")
    assert not keys.accept(b"")
    assert not keys.accept(settings.api_keys[0].encode())


def test_no_header_is_no_key():
    assert presented_key([(b"host", b"x")]) is None


@pytest.mark.asyncio
async def test_a_key_is_not_logged(facade, caplog):
    caplog.set_level(logging.DEBUG)
    async with running_app(facade, api_keys=(KEY,)) as app, client_of(app) as client:
        for key in (KEY, "sk-wrong-999"):
            headers = [(b"authorization", b"Bearer " + key.encode())]
            await client.post("/v1/audio/speech", json={"input": "a"}, headers=headers)
    assert KEY not in caplog.text
    assert "sk-wrong-999" not in caplog.text

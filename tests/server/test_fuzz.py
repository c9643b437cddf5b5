"""Schemathesis over our own OpenAPI document: whatever is sent, nothing is a 5xx."""

from __future__ import annotations

import socket

import pytest

from server.facade_double import SineFacade
from server.live import live_server

pytestmark = pytest.mark.slow
schemathesis = pytest.importorskip("schemathesis")


def test_no_request_is_a_server_error():
    from hypothesis import HealthCheck, Phase, given, settings

    facade = SineFacade(chunks_per_segment=1)
    with live_server(facade, slots=4, max_custom_voices=2) as server:
        schema = schemathesis.openapi.from_url(server.url + "/openapi.json")
        tried = 0

        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path == "/debug/memory":
                continue

            @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
            @given(case=operation.as_strategy())
            def attempt(case):
                nonlocal tried
                tried += 1
                reply = case.call(base_url=server.url)
                assert reply.status_code < 500 or reply.status_code == 501, (case, reply.text[:300])

            attempt()
        assert tried > 100
        server.wait_idle()


@pytest.mark.parametrize(
    "data",
    [b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /livez HTTP/1.0\r\n\r\n", b"\x00" * 100, b"GET " + b"a" * 70_000,
     b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
     b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
     b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nxxxxx",
     b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
     b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n",
     b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"],
)  # fmt: skip
def test_raw_bytes_never_end_in_a_server_error(data):
    with live_server(SineFacade()) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=3) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            reply = b""
            while True:
                try:
                    part = connection.recv(65536)
                except OSError:
                    break
                if not part:
                    break
                reply += part
        assert not reply.startswith(b"HTTP/1.1 5")
        server.wait_idle()

"""From loading to drained: probes, the watchdog, SIGTERM, failures of the engine and of loading."""

from __future__ import annotations

import signal
import socket
import threading
import time

import httpx
import pytest

from chattts_onnx.errors import EngineStoppedError, ModelNotFoundError
from chattts_onnx.server.http_server import ENGINE_DIED, serve
from chattts_onnx.server.lifecycle import DRAINING, FAILED, LOADING, READY, Lifecycle
from chattts_onnx.server.settings import ServerSettings
from server.facade_double import CHUNK, SineFacade, loader
from server.live import ask, live_server, server_process, wait_until

BODY = {"input": "One. Two.", "response_format": "pcm"}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_stall_ends_readiness_then_life():
    clock = Clock()
    lifecycle = Lifecycle(5, 60, clock)
    assert lifecycle.phase == LOADING
    assert lifecycle.alive()[0]
    assert not lifecycle.ready()[0]
    lifecycle.set_ready()
    clock.now = 1000.0
    assert lifecycle.ready() == (True, READY)
    with lifecycle.synthesis():
        clock.now += 4.9
        assert lifecycle.ready()[0]
        clock.now += 0.2
        assert not lifecycle.ready()[0]
        assert lifecycle.alive()[0]
        lifecycle.progress()
        assert lifecycle.ready()[0]
        clock.now += 61
        assert not lifecycle.alive()[0]
    assert lifecycle.alive()[0]


def test_while_loading_alive_and_not_ready():
    go = threading.Event()

    def slow(settings):
        go.wait(10)
        return loader(SineFacade())(settings)

    settings = ServerSettings(port=0, warm_up=False)
    from chattts_onnx.server.app import create_app
    from chattts_onnx.server.http_server import DrainingServer, configuration

    app = create_app(settings, slow)
    server = DrainingServer(configuration(app, settings), app.state.context)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    assert httpx.get(url + "/livez").status_code == 200
    assert httpx.get(url + "/readyz").json() == {"status": "loading"}
    refused = httpx.post(url + "/v1/audio/speech", json=BODY)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "model_loading"
    assert refused.headers["retry-after"] == "2"
    go.set()
    wait_until(lambda: httpx.get(url + "/readyz").status_code == 200)
    server.should_exit = True
    thread.join(10)


def test_a_wedged_engine_is_noticed():
    facade = SineFacade(step_seconds=0.01, chunks_per_segment=10_000)
    settings = {"slots": 1, "stall_seconds": 1.0, "watchdog_seconds": 6.0}
    with live_server(facade, **settings) as server, server.raw(BODY) as connection:
        lifecycle = server.context.lifecycle
        connection.recv(100)
        wait_until(lambda: lifecycle.ready()[0])
        facade.wedged.set()
        wait_until(lambda: not lifecycle.ready()[0])
        assert lifecycle.alive()[0]
        assert httpx.get(server.url + "/readyz").status_code == 503
        wait_until(lambda: not lifecycle.alive()[0])
        assert httpx.get(server.url + "/livez").status_code == 503
        facade.wedged.clear()
        wait_until(lambda: lifecycle.ready()[0] and lifecycle.alive()[0])
        connection.close()
        server.wait_idle()


def test_a_slow_reader_is_not_taken_for_a_stall():
    facade = SineFacade(chunks_per_segment=500)
    with live_server(facade, slots=1, stall_seconds=0.2, stream_buffer_bytes=1 << 14, write_timeout=5) as server:
        connection = server.raw({"input": "Slow. " * 20, "response_format": "pcm"})
        wait_until(lambda: facade.running == 1)
        time.sleep(0.8)
        assert facade.running == 1
        assert httpx.get(server.url + "/readyz").status_code == 200
        connection.close()
        server.wait_idle()


def read_reply(connection):
    """(whole, body) of a chunked reply."""
    data = b""
    while True:
        try:
            part = connection.recv(1 << 16)
        except OSError:
            break
        data += part
        if not part or data.endswith(b"0\r\n\r\n"):
            break
    head, _, rest = data.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size or b"0", 16)
        body += rest[:count]
        rest = rest[count + 2 :]
    return head.startswith(b"HTTP/1.1 200") and data.endswith(b"0\r\n\r\n"), body


def test_sigterm_finishes_four_running_and_two_queued():
    options = {"slots": 4, "queue": 8, "facade": {"step_seconds": 0.1, "chunks_per_segment": 10}}
    with server_process(**options) as (process, port):
        url = f"http://127.0.0.1:{port}"
        connections = [ask(port, BODY) for _ in range(6)]
        wait_until(lambda: httpx.get(url + "/health").json()["waiting"] == 2)
        with httpx.Client() as client:
            client.get(url + "/livez")
            process.send_signal(signal.SIGTERM)
            begin = time.monotonic()
            wait_until(lambda: client.get(url + "/readyz").status_code == 503)
            assert time.monotonic() - begin < 2
            assert client.get(url + "/livez").status_code == 200
            refused = client.post(url + "/v1/audio/speech", json=BODY)
        assert refused.status_code == 503
        assert refused.headers["connection"] == "close"
        assert int(refused.headers["retry-after"]) >= 1
        replies = [read_reply(connection) for connection in connections]
        for connection in connections:
            connection.close()
        assert [whole for whole, _ in replies] == [True] * 6
        assert {len(sound) for _, sound in replies} == {2 * 10 * CHUNK * 2}
        assert process.wait(30) == 0


def test_a_drain_that_takes_too_long_cuts_and_exits_1():
    options = {"drain_timeout": 0.3, "facade": {"step_seconds": 0.1, "chunks_per_segment": 1000}}
    with server_process(**options) as (process, port), ask(port, BODY) as connection:
        connection.recv(100)
        process.send_signal(signal.SIGTERM)
        whole, _ = read_reply(connection)
        assert not whole
        assert process.wait(30) == 1


def test_a_second_signal_leaves_at_once():
    options = {"drain_timeout": 60, "facade": {"step_seconds": 0.1, "chunks_per_segment": 1000}}
    with server_process(**options) as (process, port), ask(port, BODY) as connection:
        connection.recv(100)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 503)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1


def test_idle_sigterm_is_0():
    with server_process() as (process, port), socket.create_connection(("127.0.0.1", port)):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_dead_engine_ends_the_process():
    facade = SineFacade()
    facade.failure = EngineStoppedError("the engine's thread died: restart")
    with live_server(facade) as server:
        wait_until(lambda: server.context.lifecycle.phase == READY)
        reply = httpx.post(server.url + "/v1/audio/speech", json={"input": "poison.", "response_format": "wav"})
        assert reply.status_code == 503
        assert server.context.lifecycle.phase == FAILED
        assert not server.context.lifecycle.alive()[0]
        wait_until(lambda: server.server.should_exit)
        assert server.server.exit_code == ENGINE_DIED


def test_a_model_that_cannot_be_loaded_gives_its_exit_code(caplog):
    def missing(_):
        raise ModelNotFoundError("no such model: pull it")

    begin = time.monotonic()
    assert serve(ServerSettings(port=0), missing) == 3
    assert time.monotonic() - begin < 15
    assert "no such model: pull it" in caplog.text


@pytest.mark.asyncio
async def test_draining_an_idle_server_is_immediate():
    lifecycle = Lifecycle(5, 60)
    lifecycle.set_ready()
    assert await lifecycle.drain(1.0)
    assert lifecycle.phase == DRAINING

"""A real server on a free port: in a thread for most tests, in a process of its own where signals matter."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

import httpx

from chattts_onnx.server.app import create_app
from chattts_onnx.server.http_server import DrainingServer, configuration
from chattts_onnx.server.settings import ServerSettings
from server.facade_double import SineFacade, loader

GAUGES = ("running", "waiting", "in_flight", "websockets")


class LiveServer:
    """Where a running server is reached."""

    def __init__(self, server: DrainingServer, context: Any, port: int) -> None:
        self.server = server
        self.context = context
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def metrics(self) -> Dict[str, float]:
        lines = httpx.get(self.url + "/metrics").text.splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}

    def wait_idle(self, seconds: float = 20.0) -> None:
        wait_until(lambda: self.context.lifecycle.in_flight == 0 and self.context.admission.running == 0, seconds)

    def raw(self, body: Dict[str, Any]) -> socket.socket:
        """A socket that has sent a request."""
        return ask(self.port, body)


def ask(port: int, body: Dict[str, Any]) -> socket.socket:
    """A socket that has sent a request for speech."""
    connection = socket.create_connection(("127.0.0.1", port))
    data = json.dumps(body).encode()
    head = "POST /v1/audio/speech HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    connection.sendall(head.encode() + f"content-length: {len(data)}\r\n\r\n".encode() + data)
    return connection


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.005)


@contextlib.contextmanager
def live_server(facade: Optional[Any] = None, load: Any = None, **settings: Any) -> Iterator[LiveServer]:
    settings.setdefault("warm_up", False)
    chosen = ServerSettings(port=0, **settings)
    app = create_app(chosen, load or loader(facade or SineFacade()))
    server = DrainingServer(configuration(app, chosen), app.state.context)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    port = server.servers[0].sockets[0].getsockname()[1]
    wait_until(lambda: app.state.context.lifecycle.phase != "loading", 60)
    try:
        live = LiveServer(server, app.state.context, port)
        yield live
        if server.exit_code == 0:
            # Whatever a test does to a server, everything that was under way is over in the end.
            wait_until(lambda: not any(live.metrics()[f"chattts_{name}"] for name in GAUGES))
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from server.facade_double import SineFacade, loader
from chattts_onnx.server.http_server import serve
from chattts_onnx.server.request_log import configure_logging
from chattts_onnx.server.settings import ServerSettings
import json
options = json.loads(sys.argv[2])
configure_logging("info", "text")
facade = SineFacade(**options.pop("facade", {}))
sys.exit(serve(ServerSettings(warm_up=False, **options), loader(facade)))
"""


@contextlib.contextmanager
def server_process(**options: Any) -> Iterator[Any]:
    """(process, port) of a server over the double."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parents[1]), json.dumps({**options, "port": port})]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: _is_ready(port) or process.poll() is not None, 30)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False

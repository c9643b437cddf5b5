"""What stands before every route: request ids, hosts and origins, body limits, the access log.

Pure ASGI classes: Starlette's ``BaseHTTPMiddleware`` runs the application in a task of its own, which hides a client's
disconnect from it. Each is one screen long and knows nothing of speech.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import FrozenSet, Iterable, List, Optional, Tuple
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chattts_onnx.server.error_responses import ErrorBody

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


def header(scope: Scope, name: bytes) -> Optional[str]:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


class RequestIds:
    """Takes the client's ``x-request-id`` if it is harmless, makes one otherwise, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as the ASGI standard has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = header(scope, b"x-request-id") or ""
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers: List[Tuple[bytes, bytes]] = list(message.get("headers") or [])
                headers.append((b"x-request-id", request_id.encode("ascii")))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_id)


class AccessLog:
    """One line a request: method, path, status, time. Bad requests are counted, not listed, beyond a rate."""

    _WARNINGS_PER_SECOND = 5.0

    def __init__(self, app: ASGIApp, quiet_paths: FrozenSet[str]) -> None:
        self._app = app
        self._quiet_paths = quiet_paths
        self._allowance = self._WARNINGS_PER_SECOND
        self._refilled = time.monotonic()
        self._suppressed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as the ASGI standard has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            self._write(scope, status, time.monotonic() - started)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        if scope["path"] in self._quiet_paths and status < 400:
            return
        if status >= 400 and not self._allowed():
            self._suppressed += 1
            return
        if self._suppressed:
            log.warning("%d lines about refused requests were left out", self._suppressed)
            self._suppressed = 0
        client = scope.get("client") or ("?",)
        log.info(
            "%s %s %s %d %.0f ms id=%s",
            client[0],
            scope["method"],
            scope["path"][:200],
            status,
            seconds * 1000,
            scope.get("state", {}).get("request_id", "-"),
        )

    def _allowed(self) -> bool:
        now = time.monotonic()
        refill = (now - self._refilled) * self._WARNINGS_PER_SECOND
        self._allowance = min(2 * self._WARNINGS_PER_SECOND, self._allowance + refill)
        self._refilled = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


class CheckHost:
    """Refuses foreign Host names and foreign origins.

    A page anywhere on the web may send a form to 127.0.0.1, or point a name of its own at it; neither may make this
    server speak, or store a voice.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str], *, loopback: bool) -> None:
        self._app = app
        named = frozenset(host.lower() for host in hosts)
        self._hosts = named or (_LOOPBACK_NAMES if loopback else frozenset())
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as the ASGI standard has it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        host = header(scope, b"host") or ""
        problem = self._problem(scope, host.lower())
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": problem.message[:100]})
        else:
            await problem.response()(scope, receive, send)

    def _problem(self, scope: Scope, host: str) -> Optional[ErrorBody]:
        name = host.rsplit(":", 1)[0] if re.search(r":\d+$", host) else host
        if self._hosts and name not in self._hosts and "*" not in self._hosts:
            return ErrorBody(421, "this server does not answer to that Host name: add it to allowed_hosts")
        origin = header(scope, b"origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if not origin or not changes or origin in self._origins or "*" in self._origins:
            return None
        if urlsplit(origin).netloc.lower() == host:
            return None
        return ErrorBody(403, "pages of another origin may not call this server: add it to cors_origins")


class LimitBody:
    """Refuses bodies that are compressed or too long, without reading the rest of them."""

    def __init__(self, app: ASGIApp, limit: int, upload_limit: int) -> None:
        self._app = app
        self._limit = limit
        self._upload_limit = upload_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as the ASGI standard has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        encoding = (header(scope, b"content-encoding") or "identity").strip().lower()
        if encoding != "identity":
            message = f"bodies encoded as {encoding[:20]!r} are not accepted: send it plain"
            await ErrorBody(415, message, code="unsupported_encoding").response()(scope, receive, send)
            return
        multipart = (header(scope, b"content-type") or "").lower().startswith("multipart/form-data")
        limit = self._upload_limit if multipart else self._limit
        message = f"the body is longer than {limit} bytes: send less"
        too_long = ErrorBody(413, message, code="body_too_large", headers={"connection": "close"})
        declared = header(scope, b"content-length")
        if declared is not None and (not declared.isdigit() or int(declared[:20]) > limit):
            await too_long.response()(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            event = await receive()
            if event["type"] == "http.request":
                received += len(event.get("body", b""))
                if received > limit:
                    # The one exception that FastAPI lets through from the middle of reading a body.
                    raise HTTPException(413, message, headers={"connection": "close"})
            return event

        await self._app(scope, counted, send)

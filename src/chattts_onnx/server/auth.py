"""API keys: several, kept as hashes, compared in constant time, asked for on every route but the probes.

A pure ASGI middleware rather than a dependency of each route, so that a route added later cannot forget it, and so
that WebSockets and unknown paths are covered alike. Browsers cannot add a bearer token to a page they open; for them
the key is also accepted as the password of HTTP Basic.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import FrozenSet, Iterable, List, Optional, Tuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chattts_onnx.server.error_responses import ErrorBody

PROBES = frozenset({"/livez", "/readyz", "/health"})


class ApiKeys:
    """The accepted keys."""

    def __init__(self, hashes: Iterable[str]) -> None:
        """``hashes`` are ``sha256:HEX``."""
        self._digests: List[bytes] = [bytes.fromhex(item.split(":", 1)[1]) for item in hashes]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, key: bytes) -> bool:
        """Whether ``key`` is one of ours; takes the same time whichever it is."""
        digest = hashlib.sha256(key).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found


def presented_key(headers: Iterable[Tuple[bytes, bytes]]) -> Optional[bytes]:
    """The key in ``Authorization: Bearer KEY``, ``Basic`` (as password) or ``x-api-key``; None if there is none."""
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name != b"authorization":
            continue
        scheme, _, rest = value.strip().partition(b" ")
        if scheme.lower() == b"bearer":
            return rest.strip()
        if scheme.lower() == b"basic":
            try:
                decoded = base64.b64decode(rest.strip(), validate=True)
            except (binascii.Error, ValueError):
                return b""
            return decoded.partition(b":")[2]
    return None


class RequireKey:
    """Middleware that answers 401 to whoever has no key."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, open_paths: FrozenSet[str]) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as the ASGI standard has it."""
        if scope["type"] not in ("http", "websocket") or not self._keys or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        key = presented_key(scope["headers"])
        if key is not None and self._keys.accept(key):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _refuse_websocket(receive, send)
        else:
            await self._refuse(key, scope, receive, send)

    async def _refuse(self, key: Optional[bytes], scope: Scope, receive: Receive, send: Send) -> None:
        message = (
            "no API key was given: send it as 'Authorization: Bearer KEY'"
            if key is None
            else "the API key is not known to this server: check it"
        )
        # Only a page that a person opens may make the browser ask; a script's call gets an error it can show.
        page = scope["path"] in ("/", "/docs")
        challenge = 'Basic realm="chattts"' if page else 'Bearer realm="chattts"'
        body = ErrorBody(
            401, message, "authentication_error", "invalid_api_key", headers={"www-authenticate": challenge}
        )
        await body.response()(scope, receive, send)


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    """Close before accepting: the handshake is answered with 403, as the ASGI standard has it."""
    message: Message = await receive()
    if message["type"] == "websocket.connect":
        await send({"type": "websocket.close", "code": 1008, "reason": "an API key is required"})

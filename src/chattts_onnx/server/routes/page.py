"""The page at ``/``: one file, read once and served from memory.

No static-file application: there is no directory to escape from, and nothing for a Range header to multiply.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

_PAGE = Path(__file__).resolve().parent.parent / "web" / "index.html"
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "media-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def router() -> APIRouter:
    """The route."""
    page = _PAGE.read_bytes()
    tag = f'"{hashlib.sha256(page).hexdigest()[:16]}"'
    headers = {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
        "etag": tag,
    }
    routes = APIRouter()

    @routes.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        """The page."""
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    @routes.get("/favicon.ico", include_in_schema=False)
    async def favicon() -> Response:
        """The page brings its own; this only keeps the log quiet."""
        return Response(status_code=204)

    return routes

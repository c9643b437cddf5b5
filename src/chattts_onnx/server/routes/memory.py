"""``GET /debug/memory``, with ``--trace-memory`` only: where the memory that is in use was allocated."""

from __future__ import annotations

import tracemalloc
from typing import Any, Dict

from fastapi import APIRouter

from chattts_onnx.server.openapi import COMMON_ERRORS

_LINES = 25


def router() -> APIRouter:
    """The route; tracing starts when the route is made."""
    if not tracemalloc.is_tracing():
        tracemalloc.start(5)
    routes = APIRouter(tags=["operation"])

    # Not a coroutine: a snapshot of a large heap takes a while, and must not hold the event loop.
    @routes.get("/debug/memory", responses=COMMON_ERRORS)
    def memory() -> Dict[str, Any]:
        """The lines that hold most memory now; what grows from one call to the next is a leak."""
        current, peak = tracemalloc.get_traced_memory()
        found = tracemalloc.take_snapshot().statistics("lineno")[:_LINES]
        lines = [{"where": _short(str(item.traceback)), "bytes": item.size, "blocks": item.count} for item in found]
        return {"traced_bytes": current, "peak_bytes": peak, "top": lines}

    return routes


def _short(where: str) -> str:
    """The last parts of a path: enough to find the line, without the layout of the disk."""
    return "/".join(where.split("/")[-3:])

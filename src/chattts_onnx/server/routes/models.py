"""``GET /v1/models``: the loaded model under each name it answers to, with the licence of its weights."""

from __future__ import annotations

from typing import Any, Dict

from fastapi import APIRouter

from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import invalid
from chattts_onnx.server.openapi import COMMON_ERRORS, error_responses


def router(context: ServerContext) -> APIRouter:
    """The two routes."""
    routes = APIRouter(tags=["models"])

    @routes.get("/v1/models", responses=COMMON_ERRORS)
    async def list_models() -> Dict[str, Any]:
        """Every name that may be given as ``model``."""
        return {"object": "list", "data": [_model(context, name) for name in context.model_names()]}

    @routes.get("/v1/models/{name}", responses={**COMMON_ERRORS, **error_responses(404)})
    async def get_model(name: str) -> Dict[str, Any]:
        """One of them."""
        if name not in context.model_names():
            message = f"the model {name[:128]!r} is not loaded here: see GET /v1/models"
            raise invalid(message, "model", "model_not_found", status=404)
        return _model(context, name)

    return routes


def _model(context: ServerContext, name: str) -> Dict[str, Any]:
    manifest = context.require_backend().manifest
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "chattts-onnx",
        "root": manifest.name,
        "precision": manifest.precision,
        "licence": manifest.licence,
        "source": manifest.source,
        "sample_rate": manifest.audio.sample_rate,
    }

"""``POST /v1/audio/speech``: OpenAI's contract, and the fields its clients ignore."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import invalid
from chattts_onnx.server.openapi import AUDIO_RESPONSES
from chattts_onnx.server.replies import EventReply, SpeechReply
from chattts_onnx.server.schemas import SpeechRequest
from chattts_onnx.server.strict_json import StrictJSONRoute
from chattts_onnx.server.synthesis import job_from

_HEADER_HAS_LENGTH = ("wav", "flac")
"""Formats whose header states a length: streamed, it has to stay open, which some players show as hours."""


def router(context: ServerContext) -> APIRouter:
    """The route."""
    routes = APIRouter(route_class=StrictJSONRoute, tags=["speech"])

    @routes.post("/v1/audio/speech", response_class=Response, responses=AUDIO_RESPONSES)
    async def speech(request: SpeechRequest) -> Response:
        """Speak a text; the reply is the sound, sent as it is made."""
        job = job_from(context, request.input, request)
        if request.stream_format == "sse":
            return EventReply(context, job, route="speech", timestamps=request.timestamps is not None)
        if request.timestamps is not None:
            message = "timestamps need events to carry them: set stream_format to sse, or use the WebSocket"
            raise invalid(message, "timestamps", "invalid_value")
        short = len(request.input) <= context.settings.stream_above_chars
        whole = not request.stream if request.stream is not None else short and job.format in _HEADER_HAS_LENGTH
        return SpeechReply(context, job.with_default("live", not whole), route="speech", whole=whole)

    return routes

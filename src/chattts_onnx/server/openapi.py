"""What the OpenAPI document says of replies that FastAPI cannot see: sound, and errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any, Dict, Union

from chattts_onnx.server.schemas import MEDIA_TYPES

ERROR_SCHEMA: Dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

_MEANINGS = {
    400: "The request must change",
    401: "No key, or an unknown one",
    403: "A page of another origin called",
    404: "No such model, voice or path",
    405: "No such method here",
    409: "There is a voice of that name",
    411: "No length",
    413: "The body is too long",
    415: "The body is compressed",
    421: "Not this server's name",
    422: "The model could not speak this text",
    429: "The server is full; Retry-After says when to come back",
    500: "The server failed",
    501: "Not available in this installation",
    503: "Loading, draining, or waited too long for a slot",
    504: "Ran too long",
}

Responses = Dict[Union[int, str], Dict[str, Any]]


def error_responses(*statuses: int) -> Responses:
    """The documented errors of a route."""
    content = {"application/json": {"schema": ERROR_SCHEMA}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


COMMON_ERRORS = error_responses(400, 401, 403, 413, 415, 421, 500, 503)

AUDIO_RESPONSES: Responses = {
    200: {
        "description": "Sound, or events that carry it",
        "content": {
            **{media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    },
    **COMMON_ERRORS,
    **error_responses(404, 422, 429, 504),
}


def describe_errors(schema: Dict[str, Any]) -> Dict[str, Any]:
    """Replace FastAPI's own description of a failed validation, which is never sent, by what is sent."""
    for path in schema.get("paths", {}).values():
        for operation in path.values():
            answer = operation.get("responses", {}).get("422")
            if answer and "HTTPValidationError" in str(answer):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema.get("components", {}).get("schemas", {}).pop(name, None)
    return schema

"""``/tts``: the original service's route, and the form that wrappers of the reference send.

Text in, one 16 kHz WAV out (``sample_rate`` chooses another rate), by query, form or JSON. The wrappers' own fields
are understood (``prompt``, ``custom_voice``, ``skip_refine``, ``is_stream``, voices such as ``2222.csv``); where one of
them is present, ``speed`` means what it means there, the model's ``[speed_n]``.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import invalid
from chattts_onnx.server.openapi import AUDIO_RESPONSES
from chattts_onnx.server.replies import SpeechReply
from chattts_onnx.server.schemas import Format, SpeechFields
from chattts_onnx.server.strict_json import StrictJSONRoute
from chattts_onnx.server.synthesis import job_from

_WRAPPER_FIELDS = {"prompt", "custom_voice", "skip_refine", "is_stream", "is_split", "text_seed", "wav"}
_PROMPT_TAG = re.compile(r"\[(oral|laugh|break|speed)_(\d)\]")
_NUMBERS = {"speed": float, "temperature": float, "top_p": float}
_INTEGERS = ("seed", "top_k", "oral", "laugh", "break", "speed_tag", "sample_rate", "max_attempts")
_BOOLEANS = ("refine", "normalize")


class TtsRequest(SpeechFields):
    """Body or query of ``/tts``."""

    text: str = Field(min_length=1, max_length=100_000)
    response_format: Format = "wav"


_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {
                "schema": {
                    "type": "object",
                    "required": ["text"],
                    "properties": {
                        "text": {"type": "string", "minLength": 1},
                        "voice": {"type": "string"},
                        "speed": {"type": "number"},
                        "seed": {"type": "integer"},
                        "sample_rate": {"type": "integer"},
                    },
                }
            }
            for kind in ("application/json", "application/x-www-form-urlencoded")
        },
    }
}
_QUERY = {
    "parameters": [{"name": "text", "in": "query", "required": True, "schema": {"type": "string", "minLength": 1}}]
}


def router(context: ServerContext) -> APIRouter:
    """The two routes."""
    routes = APIRouter(route_class=StrictJSONRoute, tags=["speech"])

    @routes.post("/tts", response_class=Response, responses=AUDIO_RESPONSES, openapi_extra=_SCHEMA)
    async def post_tts(request: Request) -> Response:
        """Speak a text given as form or JSON."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = await request.json()
            if not isinstance(body, dict):
                raise invalid('the body is not an object: send {"text": ...}')
            return _reply(context, body)
        if kind not in ("application/x-www-form-urlencoded", "multipart/form-data", ""):
            raise invalid(f"a body of type {kind[:64]!r} is not understood: send a form or JSON", status=415)
        form = await request.form(max_files=0, max_fields=64)
        return _reply(context, _typed({name: value for name, value in form.items() if isinstance(value, str)}))

    @routes.get("/tts", response_class=Response, responses=AUDIO_RESPONSES, openapi_extra=_QUERY)
    async def get_tts(request: Request) -> Response:
        """Speak a text given in the query."""
        return _reply(context, _typed(dict(request.query_params)))

    return routes


def _reply(context: ServerContext, values: Mapping[str, Any]) -> Response:
    try:
        request = TtsRequest.model_validate(_translated(values))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    job = job_from(context, request.text, request)
    job = job.with_default("sample_rate", 16_000).with_default("live", False)
    return SpeechReply(context, job, route="tts", whole=True)


def _translated(values: Mapping[str, Any]) -> Dict[str, Any]:
    """The wrappers' fields as ours."""
    found = dict(values)
    wrapper = bool(_WRAPPER_FIELDS & set(found))
    for name, digit in _PROMPT_TAG.findall(str(found.pop("prompt", ""))):
        found["speed_tag" if name == "speed" else name] = int(digit)
    if wrapper and "speed" in found:
        found.setdefault("speed_tag", _integer("speed", found.pop("speed")))
    custom = str(found.pop("custom_voice", "") or "")
    if custom and custom != "0":
        found["voice"] = custom
    if isinstance(found.get("voice"), (str, int)) and not isinstance(found.get("voice"), bool):
        found["voice"] = re.sub(r"\.(pt|csv)$", "", str(found["voice"]))
    if "skip_refine" in found:
        found.setdefault("refine", str(found.pop("skip_refine")) in ("0", "False", "false"))
    if isinstance(found.get("format"), str):
        found.setdefault("response_format", found["format"])
    return found


def _typed(values: Mapping[str, str]) -> Dict[str, Any]:
    """Form and query values, which are all text, as the types the schema is strict about; empty ones left out."""
    found: Dict[str, Any] = {}
    for name, value in values.items():
        if name == "text":
            found[name] = value
        elif not value:
            continue
        elif name in _NUMBERS:
            found[name] = _number(name, value)
        elif name in _INTEGERS:
            found[name] = _integer(name, value)
        elif name in _BOOLEANS:
            found[name] = value.lower() in ("1", "true", "yes", "on")
        else:
            found[name] = value
    return found


def _integer(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != int(number):
        raise invalid(f"{name} is not a whole number: correct it", name, "invalid_value")
    return int(number)


def _number(name: str, value: Any) -> float:
    try:
        number = float(str(value)[:64])
    except ValueError:
        raise invalid(f"{name} is not a number: correct it", name, "invalid_value") from None
    if not abs(number) < 2.0**63:
        raise invalid(f"{name} is out of range: correct it", name, "invalid_value")
    return number

"""One table from error class to status and OpenAI error body.

OpenAI's clients retry 408, 409, 429 and everything from 500 up, twice. So what would fail again the same way must be
a 4xx, and what may pass carries ``Retry-After``. A poisonous text answered with 500 would arrive three times.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Callable, Coroutine, Dict, List, Mapping, Optional, Tuple, Type

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from chattts_onnx import errors

INVALID = "invalid_request_error"


@dataclass(frozen=True)
class ErrorBody:
    """What a client is told."""

    status: int
    message: str
    type: str = INVALID
    code: Optional[str] = None
    param: Optional[str] = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Dict[str, Any]:
        """OpenAI's shape."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The whole reply."""
        return Response(
            dumps(self.json()), status_code=self.status, headers=dict(self.headers), media_type="application/json"
        )


_ROUTES = {"/v1/audio/speech": "speech", "/tts": "tts", "/v1/audio/voices": "voices"}
"""Path to the ``route`` label of a metric; any other path is one label, so that nobody can make up more."""


class RequestError(Exception):
    """A refusal that belongs to HTTP rather than to speech; carries what the client is told."""

    def __init__(self, body: ErrorBody) -> None:
        super().__init__(body.message)
        self.body = body


class QueueFullError(RequestError):
    """Neither a slot nor a place in the queue is free."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        message = f"the server is full ({waiting} requests waiting): try again in {retry_after} s"
        super().__init__(ErrorBody(429, message, "rate_limit_error", "queue_full", headers=_retry(retry_after)))


class QueueTimeoutError(RequestError):
    """No slot came free in time."""

    def __init__(self, timeout: float, retry_after: int) -> None:
        message = f"no slot came free within {timeout:g} s: try again in {retry_after} s"
        super().__init__(ErrorBody(503, message, "server_error", "queue_timeout", headers=_retry(retry_after)))


class RunTimeoutError(RequestError):
    """Speech took longer than allowed."""

    def __init__(self, timeout: float) -> None:
        message = f"the request ran longer than {timeout:g} s: send a shorter text, or raise request_timeout"
        headers = {"x-should-retry": "false"}
        super().__init__(ErrorBody(504, message, "server_error", "request_timeout", headers=headers))


class UnavailableError(RequestError):
    """The server is loading, draining or broken."""

    def __init__(self, message: str, code: str, retry_after: int, *, close: bool = False) -> None:
        headers = {**_retry(retry_after), **({"connection": "close"} if close else {})}
        super().__init__(ErrorBody(503, message, "server_error", code, headers=headers))


def invalid(message: str, param: Optional[str] = None, code: Optional[str] = None, status: int = 400) -> RequestError:
    """A request that must change before it is sent again."""
    return RequestError(ErrorBody(status, message, INVALID, code, param))


# First match wins: subclasses before their bases.
_TABLE: Tuple[Tuple[Type[BaseException], int, str, Optional[str], Optional[str]], ...] = (
    (errors.EmptyTextError, 400, INVALID, "empty_input", "input"),
    (errors.TextTooLongError, 400, INVALID, "string_above_max_length", "input"),
    (errors.UnknownVoiceError, 400, INVALID, "unknown_voice", "voice"),
    (errors.VoiceFormatError, 400, INVALID, "invalid_voice", "voice"),
    (errors.InputError, 400, INVALID, "invalid_value", None),
    (errors.MissingExtraError, 400, INVALID, "format_unavailable", "response_format"),
    (errors.EngineOverloadedError, 429, "rate_limit_error", "queue_full", None),
    (errors.RequestAbortedError, 503, "server_error", "aborted", None),
    (errors.EngineStoppedError, 503, "server_error", "engine_stopped", None),
    # The same text would fail the same way: not to be retried.
    (errors.SynthesisError, 422, INVALID, "synthesis_failed", "input"),
)


def error_body(error: BaseException) -> ErrorBody:
    """What a client is told about ``error``; what was not foreseen stays in the log."""
    if isinstance(error, RequestError):
        return error.body
    if isinstance(error, RequestValidationError):
        return _validation_body(error.errors())
    if isinstance(error, HTTPException):
        return _http_body(error)
    for kind, status, type_, code, param in _TABLE:
        if isinstance(error, kind):
            headers = _retry(2) if status in (429, 503) else {}
            return ErrorBody(status, str(error), type_, code, param, headers)
    message = "the server failed to make this speech; the request id finds the reason in its log"
    return ErrorBody(500, message, "server_error", "internal_error", headers={"x-should-retry": "false"})


def failure_reason(error: BaseException) -> str:
    """The ``reason`` label of a metric: a code of a small closed set."""
    return error_body(error).code or "invalid"


Handler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]


def error_handler(count: Callable[[str, int, str], None]) -> Handler:
    """Exception handler for every error class this module knows.

    Args:
        count: told the route, status and reason of each refusal.
    """

    async def handle(request: Request, error: Exception) -> Response:
        body = error_body(error)
        count(_ROUTES.get(request.scope["path"], "other"), body.status, failure_reason(error))
        return body.response()

    return handle


def dumps(value: Any) -> bytes:
    """JSON in UTF-8; a lone surrogate that a client sent is escaped instead of breaking the reply."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _validation_body(problems: Any) -> ErrorBody:
    problem: Mapping[str, Any] = problems[0] if problems else {}
    path: List[Any] = [part for part in problem.get("loc", ()) if part not in ("body", "query", "path", "form")]
    # pydantic appends the tried member of a union; clients know only the field.
    names = [str(part) for part in path if isinstance(part, (str, int))]
    param = names[0] if names else None
    kind = str(problem.get("type", ""))
    code = {"string_too_long": "string_above_max_length", "missing": "missing_required_parameter",
            "json_invalid": "invalid_json"}.get(kind, "invalid_value")  # fmt: skip
    message = str(problem.get("msg", "the request cannot be read")).replace("Value error, ", "", 1)
    return ErrorBody(400, f"{param}: {message}" if param else message, INVALID, code, param)


def _http_body(error: HTTPException) -> ErrorBody:
    code = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}.get(error.status_code)
    type_ = INVALID if error.status_code < 500 else "server_error"
    return ErrorBody(error.status_code, str(error.detail), type_, code, headers=dict(error.headers or {}))


def _retry(seconds: float) -> Dict[str, str]:
    return {"retry-after": str(max(1, math.ceil(seconds)))}

"""JSON bodies read strictly: no duplicate keys, no NaN, no bottomless nesting, no endless integers.

Python's parser accepts all four; two components reading one body differently is how checks are walked around, and an
integer of a million digits takes old Pythons seconds.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Coroutine, Dict, List, Tuple

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MAX_DEPTH = 32
_MAX_DIGITS = 400


def loads(data: bytes) -> Any:
    """Parse UTF-8 JSON.

    Raises:
        ValueError: not JSON, or one of the four things above.
    """
    text = data.decode("utf-8")
    _check_depth(text)
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=_refuse_constant,
        parse_int=_integer,
        parse_float=_number,
    )


class StrictJSONRequest(Request):
    """A request whose ``json()`` is `loads`."""

    async def json(self) -> Any:
        """The body, parsed once."""
        if not hasattr(self, "_strict"):
            body = await self.body()
            try:
                self._strict = loads(body)
            except RecursionError:
                raise HTTPException(400, "the body is nested too deeply: flatten it") from None
            except ValueError as error:
                raise HTTPException(400, f"the body is not acceptable JSON ({error}): correct it") from None
        return self._strict


class StrictJSONRoute(APIRoute):
    """A route that reads its body with `StrictJSONRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the request before FastAPI reads it."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictJSONRequest(request.scope, request.receive))

        return strict


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number too large")
    return value

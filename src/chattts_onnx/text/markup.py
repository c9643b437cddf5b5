"""XML without its dangers: no document types, no entities but the five, bounded depth and size.

The parser of the standard library is used event by event; what could make it read a file, a URL or a billion laughs is
refused at its declaration. Errors say the line and the column, because the text was written by somebody.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Union
from xml.parsers import expat

from chattts_onnx.errors import InputError

MAX_DEPTH = 32
MAX_BYTES = 16 << 20

Start = Callable[[str, Dict[str, str]], None]


def parse_xml(
    document: Union[str, bytes],
    *,
    start: Start,
    end: Callable[[str], None],
    data: Callable[[str], None],
    what: str = "SSML",
    max_depth: int = MAX_DEPTH,
    allow_doctype: bool = False,
) -> None:
    """Read ``document`` and call back; element names come without their namespace prefix.

    Args:
        document: text, or bytes with their own encoding declaration.
        start: called with the name and the attributes of an element.
        end: called with the name of an element.
        data: called with character data, perhaps in several pieces.
        what: what the document is, for messages.
        max_depth: deepest nesting accepted.
        allow_doctype: whether a document type without declarations may stand at the top.

    Raises:
        InputError: malformed, nested too deeply, too large, or with declarations.
    """
    encoding = "utf-8" if isinstance(document, str) else None
    raw = document.encode("utf-8", "replace") if isinstance(document, str) else document
    if len(raw) > MAX_BYTES:
        raise InputError(f"the {what} has {len(raw)} bytes and the limit is {MAX_BYTES}: split it")
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    depth = 0

    def where() -> str:
        return f"line {parser.CurrentLineNumber}, column {parser.CurrentColumnNumber + 1}"

    def on_start(name: str, attributes: Dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > max_depth:
            raise InputError(f"{what}, {where()}: nested deeper than {max_depth} elements: flatten it")
        start(local(name), {local(key): value for key, value in attributes.items()})

    def on_end(name: str) -> None:
        nonlocal depth
        depth -= 1
        end(local(name))

    def refuse(*_: Any) -> int:
        raise InputError(f"{what}, {where()}: document types and entity declarations are not accepted: remove them")

    parser.StartElementHandler = on_start
    parser.EndElementHandler = on_end
    parser.CharacterDataHandler = data
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    if not allow_doctype:
        parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(raw, True)
    except InputError as error:
        # Errors of the callbacks get their place in the document.
        if "line " in str(error):
            raise
        raise InputError(f"{what}, {where()}: {error}") from None
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise InputError(
            f"{what}, line {error.lineno}, column {error.offset + 1}: {message}: correct it there"
        ) from None


def local(name: str) -> str:
    """The name without its namespace prefix; ``xml:lang`` becomes ``lang``."""
    return name.rpartition(":")[2]

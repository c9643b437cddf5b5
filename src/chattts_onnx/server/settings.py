"""What an operator may set, and where from: defaults, a TOML file, the environment, flags; the later wins.

The two frozen dataclasses are the only place a default is written (`ServerSettings` here, `EngineConfig` in
``config.py``); flags, environment names, TOML keys and ``--print-config`` are all read off their fields. A key that
means nothing is warned about with its nearest neighbour: a typing error in a brake must not go unnoticed.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import hashlib
import importlib
import logging
import os
import re
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union, get_type_hints

from chattts_onnx.config import EngineConfig
from chattts_onnx.errors import InputError, MissingExtraError

log = logging.getLogger(__name__)

SERVER_PREFIX = "CHATTTS_SERVER_"
ENGINE_PREFIX = "CHATTTS_ENGINE_"
_HASHED_KEY = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class ServerSettings:
    """Limits and policies of one server process."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 opens the server to the network: set a key then."""
    port: int = 8000
    """TCP port; 0 takes a free one, which the banner names."""
    model: Optional[str] = None
    """Name or directory of the model; none: the default model."""
    precision: Optional[str] = None
    """fp32, fp16, int8 or int4; none: what the model directory has."""
    slots: Optional[int] = None
    """Requests synthesised at the same time; none: the engine's max_batch."""
    queue: Optional[int] = None
    """Requests that may wait for a slot; further ones are refused with 429. None: the engine's max_queue."""
    queue_timeout: float = 30.0
    """Seconds a request may wait for a slot (then 503); who would wait longer is refused (429) once that is seen."""
    request_timeout: float = 600.0
    """Seconds a request may run (504 before its first byte, cut after it)."""
    write_timeout: float = 60.0
    """Seconds one write may wait for a slow reader before the stream is cut."""
    header_timeout: float = 10.0
    """Seconds a client has to send the headers of a request before its connection is closed."""
    drain_timeout: float = 30.0
    """Seconds that running requests get to finish after SIGTERM."""
    max_input_chars: int = 4096
    """Characters of one request's text, as in OpenAI's contract."""
    max_body_bytes: int = 1 << 20
    """Bytes of a JSON or form body."""
    max_upload_bytes: int = 10 << 20
    """Bytes of a voice upload."""
    max_upload_seconds: float = 30.0
    """Seconds of sound decoded from a voice upload."""
    max_custom_voices: int = 64
    """Uploaded voices kept at a time."""
    stream_above_chars: int = 120
    """WAV and FLAC of longer texts are streamed; shorter ones are sent whole, with exact lengths."""
    stream_buffer_bytes: int = 1 << 20
    """Encoded bytes held for one slow reader before its synthesis has to wait."""
    max_connections: int = 1024
    """Open connections; further ones get a plain 503."""
    max_websocket_seconds: float = 3600.0
    """Longest life of one WebSocket session."""
    websocket_idle_timeout: float = 60.0
    """Seconds a WebSocket may stay silent."""
    stall_seconds: float = 5.0
    """Not ready once work is waiting and the engine has made no step for this long."""
    watchdog_seconds: float = 60.0
    """Not alive once the engine has made no step for this long: the orchestrator should restart the process."""
    warm_up: bool = True
    """Synthesise once before reporting ready."""
    api_keys: Tuple[str, ...] = field(default=(), repr=False)
    """Accepted keys, or ``sha256:HEX`` of them; kept only as hashes. None: no key is asked for."""
    api_key_file: Optional[str] = None
    """File with one key, or ``sha256:HEX``, a line."""
    metrics_auth: bool = False
    """Ask for a key at /metrics too."""
    cors_origins: Tuple[str, ...] = ()
    """Web origins, besides this server's own, whose pages may call it."""
    allowed_hosts: Tuple[str, ...] = ()
    """Accepted Host names; none: the loopback names when listening on loopback, else any."""
    voice_aliases: Tuple[str, ...] = ()
    """``alias=voice`` pairs; OpenAI's voice names are mapped onto the model's voices unless named here."""
    docs: bool = True
    """Offer /docs and /openapi.json."""
    trace_memory: bool = False
    """Trace allocations and offer /debug/memory."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = "text"
    """text or json."""
    log_text: bool = False
    """Write the texts of requests into the log; otherwise only their length and hash."""
    engine: EngineConfig = field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_keys", tuple(hash_key(key) for key in self.api_keys))
        for name in (
            "queue_timeout", "request_timeout", "write_timeout", "header_timeout", "drain_timeout", "watchdog_seconds",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0 seconds, not {getattr(self, name)}: set a larger value")
        for name in ("slots", "max_input_chars", "max_body_bytes", "max_upload_bytes", "stream_buffer_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}: set a larger value")
        if self.queue is not None and self.queue < 0:
            raise InputError(f"queue must be 0 or more, not {self.queue}: 0 refuses whatever finds no free slot")
        if self.log_format not in ("text", "json"):
            raise InputError(f"log_format {self.log_format!r} is unknown: use text or json")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise InputError(f"log_level {self.log_level!r} is unknown: use debug, info, warning or error")
        for pair in self.voice_aliases:
            if "=" not in pair:
                raise InputError(f"voice alias {pair!r} has no '=': write alias=voice")

    @property
    def slot_count(self) -> int:
        """Requests synthesised at the same time."""
        return self.slots if self.slots is not None else self.engine.max_batch

    @property
    def queue_length(self) -> int:
        """Requests that may wait."""
        return self.queue if self.queue is not None else self.engine.max_queue

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def describe(self) -> str:
        """The effective configuration as TOML, keys left out but counted."""
        lines = ["[server]"]
        for item in fields(self):
            if item.name == "engine":
                continue
            value = getattr(self, item.name)
            if item.name == "api_keys":
                lines.append(f"# api_keys: {len(value)} set, not shown")
            else:
                lines.append(_toml_line(item.name, value))
        lines += ["", "[engine]"]
        lines += [_toml_line(item.name, getattr(self.engine, item.name)) for item in fields(self.engine)]
        return "\n".join(lines)


def hash_key(key: str) -> str:
    """``sha256:HEX`` of a key; what is hashed already stays as it is."""
    if _HASHED_KEY.fullmatch(key):
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag for each field of `ServerSettings` and `EngineConfig`; flags left out leave no trace."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with [server] and [engine] tables")
    groups = (("server", ServerSettings, SERVER_PREFIX), ("engine", EngineConfig, ENGINE_PREFIX))
    for title, kind, prefix in groups:
        group = parser.add_argument_group(title, f"environment: {prefix}NAME")
        hints = get_type_hints(kind)
        default = kind()
        for item in fields(kind):
            if item.name == "engine":
                continue
            _add_flag(group, title, item.name, hints[item.name], getattr(default, item.name))


def load_settings(
    namespace: Optional[argparse.Namespace] = None, environ: Optional[Mapping[str, str]] = None
) -> ServerSettings:
    """Settings from, in rising order: defaults, ``--config``, environment, flags.

    Raises:
        InputError: a value that cannot be read or is out of range.
    """
    environ = os.environ if environ is None else environ
    flags = vars(namespace) if namespace is not None else {}
    path = flags.get("config") or environ.get(SERVER_PREFIX + "CONFIG")
    server: Dict[str, Any] = {}
    engine: Dict[str, Any] = {}
    if path:
        tables = _read_toml(Path(path))
        _warn_unknown(tables, ("server", "engine"), f"in {path}")
        server.update(_known(tables.get("server", {}), ServerSettings, f"in [server] of {path}"))
        engine.update(_known(tables.get("engine", {}), EngineConfig, f"in [engine] of {path}"))
    for prefix, kind, target in ((SERVER_PREFIX, ServerSettings, server), (ENGINE_PREFIX, EngineConfig, engine)):
        given = {name[len(prefix) :].lower(): value for name, value in environ.items() if name.startswith(prefix)}
        given.pop("config", None)
        target.update(_known(given, kind, f"in the environment ({prefix}…)"))
    for title, kind, target in (("server", ServerSettings, server), ("engine", EngineConfig, engine)):
        for item in fields(kind):
            key = f"{title}_{item.name}"
            if key in flags:
                target[item.name] = flags[key]
    return settings_of(server, engine)


def settings_of(server: Mapping[str, Any], engine: Mapping[str, Any]) -> ServerSettings:
    """Settings from two tables of keys and values, text or typed; unknown keys are warned about.

    Raises:
        InputError: a value that cannot be read or is out of range.
    """
    values = _converted(_known(server, ServerSettings, "among the server's"), ServerSettings)
    values["engine"] = EngineConfig(**_converted(_known(engine, EngineConfig, "among the engine's"), EngineConfig))
    settings = ServerSettings(**values)
    if settings.api_key_file:
        settings = replace(settings, api_keys=settings.api_keys + _read_keys(Path(settings.api_key_file)))
    return settings


def _add_flag(group: argparse._ArgumentGroup, title: str, name: str, hint: Any, default: Any) -> None:
    flag = "--" + name.replace("_", "-")
    destination = f"{title}_{name}"
    shown = "" if default is None or default == () else f" (default {default})"
    doc = field_documentation(ServerSettings if title == "server" else EngineConfig).get(name, "")
    text = (doc + shown).replace("%", "%%")
    if hint is bool:
        group.add_argument(flag, dest=destination, action="store_true", default=argparse.SUPPRESS, help=text)
        negative = "--no-" + name.replace("_", "-")
        group.add_argument(
            negative, dest=destination, action="store_false", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    elif hint == Tuple[str, ...]:
        group.add_argument(
            flag, dest=destination, action="append", default=argparse.SUPPRESS, metavar="VALUE", help=text
        )
    else:
        metavar = "N" if _plain(hint) in (int, float) else "VALUE"
        group.add_argument(flag, dest=destination, default=argparse.SUPPRESS, metavar=metavar, help=text)


def field_documentation(kind: type) -> Dict[str, str]:
    """The string literal under each field of a dataclass, so that a setting is described once.

    Empty where the source cannot be read (a frozen executable): help texts are then only names.
    """
    import ast
    import inspect
    import textwrap

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    found: Dict[str, str] = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for before, after in zip(body, body[1:]):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            literal = ast.literal_eval(after.value)
            found[before.target.id] = " ".join(str(literal).split())
    return found


def _plain(hint: Any) -> Any:
    """The type inside Optional."""
    inner = [kind for kind in getattr(hint, "__args__", ()) if kind is not type(None)]
    return inner[0] if getattr(hint, "__origin__", None) is Union and len(inner) == 1 else hint


def _converted(values: Mapping[str, Any], kind: type) -> Dict[str, Any]:
    hints = get_type_hints(kind)
    return {name: _convert(name, value, hints[name]) for name, value in values.items()}


def _convert(name: str, value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(hint) or value is None:
        return value
    plain = _plain(hint)
    try:
        if plain == Tuple[str, ...]:
            parts: List[Any] = value.split(",") if isinstance(value, str) else list(value)
            return tuple(str(part).strip() for part in parts if str(part).strip())
        if plain is bool:
            if isinstance(value, bool):
                return value
            return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False,
                    "off": False}[str(value).strip().lower()]  # fmt: skip
        if plain is int and isinstance(value, float):
            raise ValueError(value)
        if isinstance(value, str) and value.strip().lower() in ("", "none") and plain is not hint:
            return None
        return plain(value)
    except (KeyError, TypeError, ValueError):
        expected = getattr(plain, "__name__", "list of words")
        raise InputError(f"setting {name} = {value!r} is not a {expected}: correct it") from None


def _known(given: Mapping[str, Any], kind: type, where: str) -> Dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InputError(f"what stands {where} is not a table: write key = value lines")
    names = [item.name for item in fields(kind) if item.name != "engine"]
    _warn_unknown(given, names, where)
    return {name: value for name, value in given.items() if name in names}


def _warn_unknown(given: Mapping[str, Any], known: Union[List[str], Tuple[str, ...]], where: str) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            log.warning("unknown setting %r %s is ignored%s", name, where, hint)


def _read_toml(path: Path) -> Dict[str, Any]:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        tomllib = importlib.import_module(name)
    except ImportError:
        raise MissingExtraError("tomli", "server", "reading a TOML file on this Python") from None
    try:
        with path.open("rb") as file:
            return dict(tomllib.load(file))
    except OSError as error:
        raise InputError(f"the configuration file {path} cannot be read ({error.strerror}): check --config") from None
    except ValueError as error:
        raise InputError(f"the configuration file {path} is not TOML ({error}): correct it") from None


def _read_keys(path: Path) -> Tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"the key file {path} cannot be read ({error.strerror}): check api_key_file") from None
    keys = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not keys:
        raise InputError(f"the key file {path} holds no key: write one a line, or drop api_key_file")
    return keys


def _toml_line(name: str, value: Any) -> str:
    if value is None:
        return f"# {name} is not set"
    if isinstance(value, bool):
        return f"{name} = {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"{name} = {value}"
    if isinstance(value, tuple):
        return f"{name} = [{', '.join(_quoted(item) for item in value)}]"
    return f"{name} = {_quoted(str(value))}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

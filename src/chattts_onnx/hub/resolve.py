"""A model's name becomes a directory: what the user pointed at, else what was pulled, else what is shipped.

No network is ever involved, and the answer carries a description, because a program that silently picks a model leaves
its user guessing which voice spoke.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple, Union

from chattts_onnx.config import MANIFEST_NAME, Manifest
from chattts_onnx.errors import InputError, ModelNotFoundError
from chattts_onnx.hub.published import REPOSITORY

PULLED_NAME = "chattts"
SHIPPED_NAME = "mini"
PRECISIONS = ("int8", "int4", "fp16", "fp32", "int8-static")
"""In the order in which they are preferred where nothing was asked for."""
GPU_PRECISIONS = ("fp16", "fp32", "int8", "int4", "int8-static")
"""The same for devices that compute in float16 themselves."""

_PULLED_ALIASES = frozenset({PULLED_NAME, "full", REPOSITORY.lower()})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class ResolvedModel:
    """A model directory, and in words which one it is."""

    path: Path
    description: str
    """Such as ``mini (shipped, int8)``."""

    def __fspath__(self) -> str:
        return str(self.path)


def resolve_model(
    spec: Union[str, Path, None] = None, precision: Optional[str] = None, prefer: Sequence[str] = PRECISIONS
) -> ResolvedModel:
    """Find the model directory that ``spec`` means.

    Args:
        spec: None for the default (the full model if it was pulled, else the shipped ``mini``); ``mini``; ``chattts``,
            ``full`` or ``2Noise/ChatTTS`` for the pulled one; the name of another directory under the cache's
            ``models``; or the path of a model directory. A directory with such a name is given as ``./mini``.
        precision: take the one of this precision; None: the first there is of ``prefer``.
        prefer: precisions in the order that suits the device: `PRECISIONS` or `GPU_PRECISIONS`.

    Raises:
        InputError: no such precision.
        ModelNotFoundError: no such model here; the message says how to get it.
        ModelFormatError: it is damaged.
    """
    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}")
    if spec is None or spec == "":
        return _default(precision, prefer)
    text = str(spec)
    if isinstance(spec, str):
        if text == SHIPPED_NAME:
            return _of_name(SHIPPED_NAME, shipped_models(), precision, "shipped", prefer)
        if text.lower() in _PULLED_ALIASES:
            return _of_name(PULLED_NAME, models_directory(), precision, "pulled", prefer)
    path = Path(text).expanduser()
    if path.is_dir():
        return _of_directory(path, precision)
    if isinstance(spec, str) and _NAME.match(text) and list(_variants(models_directory(), text, prefer)):
        return _of_name(text, models_directory(), precision, "local", prefer)
    if path.exists():
        raise ModelNotFoundError(f"{path} is a file and a model is a directory: give the directory that holds it")
    names = ", ".join(directory.name for directory in model_directories()) or "none"
    raise ModelNotFoundError(
        f"no model {text!r}: it is neither a directory nor a model here ({names}); "
        "`chattts pull` fetches the published one, `chattts convert` makes one"
    )


def cache_directory() -> Path:
    """Where downloads and converted models are kept: ``CHATTTS_HOME``, else the platform's cache directory."""
    home = os.environ.get("CHATTTS_HOME")
    return Path(home).expanduser() if home else _platform_cache()


def models_directory() -> Path:
    """Where pulled and converted models are kept."""
    return cache_directory() / "models"


def shipped_models() -> Path:
    """Where the models inside the package are."""
    return Path(__file__).resolve().parent.parent / "models"


def pulled_directory(precision: str) -> Path:
    """Where the full model of that precision goes when it is pulled."""
    return models_directory() / f"{PULLED_NAME}-{precision}"


def model_directories() -> List[Path]:
    """The model directories on this machine that have a name, those of the cache first."""
    found: List[Path] = []
    for root in (models_directory(), shipped_models()):
        if root.is_dir():
            found += sorted(entry for entry in root.iterdir() if (entry / MANIFEST_NAME).is_file())
    return found


def _default(precision: Optional[str], prefer: Sequence[str]) -> ResolvedModel:
    for name, root, origin in (
        (PULLED_NAME, models_directory(), "pulled"),
        (SHIPPED_NAME, shipped_models(), "shipped"),
    ):
        if any(precision in (None, manifest.precision) for _, manifest in _variants(root, name, prefer)):
            return _of_name(name, root, precision, origin, prefer)
    what = f"no model of precision {precision}" if precision else "no model"
    raise ModelNotFoundError(
        f"{what} here: fetch the published one with `chattts pull`, convert a checkpoint with `chattts convert`, or "
        "give a directory with --model"
    )


def _of_name(name: str, root: Path, precision: Optional[str], origin: str, prefer: Sequence[str]) -> ResolvedModel:
    variants = list(_variants(root, name, prefer))
    for path, manifest in variants:
        if precision in (None, manifest.precision):
            return ResolvedModel(path, _describe(name, origin, manifest))
    if variants:
        there = ", ".join(manifest.precision for _, manifest in variants)
        wanted = f"`chattts pull --precision {precision}`" if name == PULLED_NAME else "`chattts convert`"
        raise ModelNotFoundError(f"the model {name} is here as {there}, not as {precision}: make it with {wanted}")
    if name == PULLED_NAME:
        raise ModelNotFoundError("the published model is not here: fetch and convert it with `chattts pull`")
    raise ModelNotFoundError(
        f"this installation carries no model {name}: install a release of chattts-onnx, or fetch the published model "
        "with `chattts pull`"
    )


def _of_directory(path: Path, precision: Optional[str]) -> ResolvedModel:
    if not (path / MANIFEST_NAME).is_file() and ((path / "asset" / "gpt").is_dir() or (path / "gpt").is_dir()):
        raise ModelNotFoundError(
            f"{path} is a checkpoint, not a model directory: convert it first with `chattts convert {path} -o DIR`"
        )
    manifest = Manifest.load(path)
    if precision not in (None, manifest.precision):
        raise ModelNotFoundError(
            f"{path} is {manifest.precision}, not {precision}: leave --precision out, or convert it again"
        )
    return ResolvedModel(path, _describe(manifest.name, str(path), manifest))


def _variants(root: Path, name: str, prefer: Sequence[str]) -> Iterator[Tuple[Path, Manifest]]:
    """Usable directories ``name`` and ``name-PRECISION`` under ``root``, the preferred precision first."""
    found = []
    for directory in (name, *(f"{name}-{precision}" for precision in PRECISIONS)):
        path = root / directory
        if (path / MANIFEST_NAME).is_file():
            manifest = Manifest.load(path)
            found.append((path, manifest))
    order = {precision: rank for rank, precision in enumerate(prefer)}
    found.sort(key=lambda item: order.get(item[1].precision, len(order)))
    return iter(found)


def _describe(name: str, origin: str, manifest: Manifest) -> str:
    return f"{name} ({origin}, {manifest.precision})"


def _platform_cache() -> Path:
    name = "chattts-onnx"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / name / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / name
    # The specification says to ignore relative paths.
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (configured if configured.is_absolute() else Path.home() / ".cache") / name


__all__ = [
    "GPU_PRECISIONS",
    "PRECISIONS",
    "ResolvedModel",
    "cache_directory",
    "model_directories",
    "models_directory",
    "pulled_directory",
    "resolve_model",
    "shipped_models",
]

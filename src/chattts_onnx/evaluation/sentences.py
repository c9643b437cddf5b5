"""The texts that are spoken and the recordings that are scored, read from plain files.

A list is one sentence a line, so that anyone can bring their own; recordings come with a manifest of the same
simplicity. The two lists of the package are fixed: figures of different days stay comparable.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from chattts_onnx.errors import InputError

_FOLDER = Path(__file__).parent
BUILTIN_LISTS = {"zh": _FOLDER / "sentences_zh.txt", "en": _FOLDER / "sentences_en.txt"}
CALIBRATION_TEXTS = _FOLDER / "calibration_texts.txt"


@dataclass(frozen=True)
class Sentence:
    """One text to speak."""

    text: str
    language: str
    """zh or en."""
    name: str
    """Where it came from, such as ``sentences_zh:12``; also the name of a saved recording."""


@dataclass(frozen=True)
class Recording:
    """One existing audio file and what it should say."""

    path: Path
    sentence: Sentence
    speaker: str = ""


def detect_language(text: str) -> str:
    """``zh`` where ``text`` has a Chinese character, else ``en``."""
    return "zh" if re.search("[\u3400-\u9fff]", text) else "en"


def read_sentences(path: Path, *, language: Optional[str] = None) -> List[Sentence]:
    """One sentence a line; empty lines and lines that start with ``#`` are skipped.

    Args:
        path: UTF-8 text.
        language: of every line; None: `detect_language` of each.

    Raises:
        InputError: the file cannot be read or holds no sentence.
    """
    sentences = []
    for number, line in enumerate(_lines(path), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            sentences.append(Sentence(text, language or detect_language(text), f"{path.stem}:{number}"))
    if not sentences:
        raise InputError(f"{path} holds no sentence: write one sentence a line")
    return sentences


def builtin_sentences(language: str) -> List[Sentence]:
    """The fixed list of the package for ``zh`` or ``en``."""
    return read_sentences(BUILTIN_LISTS[language], language=language)


def read_manifest(path: Path) -> List[Recording]:
    """Recordings to score: tab-separated ``file, text[, language[, speaker]]`` or JSON objects, one a line.

    JSON keys: ``file`` (or ``audio``), ``text``, ``lang`` (or ``language``), ``voice`` (or ``speaker``); others are
    ignored. Relative files lie beside the manifest, or in its folder ``audio``.

    Raises:
        InputError: the file cannot be read, or a line lacks its file or text.
    """
    recordings = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        file, text, language, speaker = _manifest_fields(line, f"{path}:{number}")
        audio = path.parent / file
        if not audio.is_file() and (path.parent / "audio" / file).is_file():
            audio = path.parent / "audio" / file
        sentence = Sentence(text, language or detect_language(text), Path(file).stem)
        recordings.append(Recording(audio, sentence, speaker))
    if not recordings:
        raise InputError(f"{path} holds no recording: write `file<TAB>text<TAB>language` lines")
    return recordings


def _manifest_fields(line: str, place: str) -> List[str]:
    if line.lstrip().startswith("{"):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{place} is not JSON ({error}): write one object a line") from None
        names = (("file", "audio"), ("text",), ("lang", "language"), ("voice", "speaker"))
        fields = [str(next((row[name] for name in options if row.get(name)), "")) for options in names]
    else:
        fields = [field.strip() for field in line.split("\t")][:4]
        fields += [""] * (4 - len(fields))
    if not fields[0] or not fields[1]:
        raise InputError(f"{place} needs a file and a text: write `file<TAB>text<TAB>language`")
    return fields


def _lines(path: Path) -> List[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a UTF-8 text file") from None

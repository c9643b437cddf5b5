"""What ``chattts say`` reads and where each reading goes, decided before any model is loaded."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

from chattts_onnx.audio.formats import FORMATS, format_of, get_format
from chattts_onnx.errors import EmptyTextError, InputError, TextTooLongError

SUFFIXES = {name: entry.extension for name, entry in FORMATS.items()}
DEFAULT_OUTPUT = "speech.wav"
TYPED_LIMIT = 50_000
"""Characters of text that is typed or piped; a book is a file, which is spoken part by part and can be resumed."""

_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Passage:
    """A chapter, or a whole text."""

    title: str
    text: str


@dataclass(frozen=True)
class Reading:
    """One text and the one place where its sound goes."""

    name: str
    passages: Sequence[Passage]
    output: Optional[Path]
    """File, or directory for one file a chapter; None: not kept."""
    format: Optional[str]
    to_stdout: bool = False
    by_chapter: bool = False
    made: Optional[Path] = None
    """Directory that was asked for as such, and may be made."""

    @property
    def characters(self) -> int:
        """Of all passages."""
        return sum(len(passage.text) for passage in self.passages)


def readings(
    text: Sequence[str], files: Sequence[Path], output: Optional[str], format_: Optional[str], *, play: bool
) -> List[Reading]:
    """Pair every text with its output.

    Raises:
        InputError: nothing to read, too many texts for one output, or an unknown format.
    """
    if format_ is not None:
        format_ = get_format(format_).name
    if text and files:
        raise InputError("text and files at once: give the text, or -f FILE")
    if not files:
        return [_place("text", [Passage("", _typed(text))], output, format_, play=play)]
    if len(files) == 1:
        return [_place(files[0].stem, read_passages(files[0]), output, format_, play=play)]
    if output is None or not _is_directory(output):
        raise InputError("several files need a directory to go to: give one with -o DIR/")
    if len({file.stem for file in files}) < len(files):
        raise InputError("two of the files have the same name and would overwrite each other: speak them one by one")
    suffix = SUFFIXES[format_ or "wav"]
    return [
        Reading(
            file.stem, read_passages(file), Path(output) / f"{file.stem}{suffix}", format_ or "wav", made=Path(output)
        )
        for file in files
    ]


def read_passages(path: Path) -> List[Passage]:
    """The chapters of a file.

    Raises:
        InputError: it cannot be read, or nothing speakable is in it.
    """
    from chattts_onnx import read_document

    return [Passage(chapter.title, chapter.text) for chapter in read_document(path)]


def decode_text(data: bytes) -> str:
    """Text of unknown encoding: UTF-8, UTF-16 by its mark, else GB18030, which is what Chinese Windows writes.

    Raises:
        InputError: it is none of these.
    """
    marked = data[:2] in {b"\xff\xfe", b"\xfe\xff"}
    candidates = ["utf-16"] if marked else ["utf-8-sig", "gb18030"]
    for encoding in candidates:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError("standard input is no text that can be read: give UTF-8")


def safe_name(title: str, fallback: str) -> str:
    """A chapter's title as a file name on any system."""
    name = re.sub(r"[\x00-\x1f<>:\"/\\|?*]+", " ", title)
    name = re.sub(r"\s+", " ", name).strip(" .")[:60].strip(" .")
    return name or fallback


def _typed(text: Sequence[str]) -> str:
    if list(text) == ["-"] or (not text and sys.stdin is not None and not sys.stdin.isatty()):
        typed = decode_text(sys.stdin.buffer.read(_MOST_BYTES))
    else:
        typed = " ".join(text)
    if not text and not typed:
        raise EmptyTextError("nothing to say")
    if len(typed) > TYPED_LIMIT:
        raise TextTooLongError(len(typed), TYPED_LIMIT)
    if any("\ud800" <= character <= "\udfff" for character in typed):
        raise InputError("the text has bytes that are no characters (lone surrogates): give UTF-8")
    return typed


def _place(name: str, passages: List[Passage], output: Optional[str], format_: Optional[str], *, play: bool) -> Reading:
    if output == "-":
        if sys.stdout.isatty():
            raise InputError("sound would garble this terminal: redirect standard output, or use --play")
        return Reading(name, passages, None, format_ or "wav", to_stdout=True)
    if output is None:
        if play:
            return Reading(name, passages, None, None)
        output = Path(DEFAULT_OUTPUT).with_suffix(SUFFIXES[format_ or "wav"]).name
    if _is_directory(output):
        if len(passages) > 1:
            return Reading(name, passages, Path(output), format_ or "wav", by_chapter=True)
        path = Path(output) / f"{name}{SUFFIXES[format_ or 'wav']}"
        return Reading(name, passages, path, format_ or "wav", made=Path(output))
    return Reading(name, passages, Path(output), format_ or format_of(output))


def _is_directory(output: str) -> bool:
    return output.endswith(("/", "\\")) or Path(output).is_dir()

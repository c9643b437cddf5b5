"""Text, Markdown, subtitle and EPUB files as chapters to be read aloud.

A file is untrusted: sizes are bounded before anything is unpacked, nothing of an archive is ever written to disk, names
in it are only looked up in it, and XML is read without entities. What is markup is dropped here only where it spans
lines (code blocks, front matter, time stamps); marks inside a line are the normaliser's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Union

from chattts_onnx.errors import EmptyTextError, InputError

MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True)
class Chapter:
    """A part of a document under one title."""

    title: str
    """Empty where the document names none."""
    text: str
    """What is to be read, the title as its first line if the document shows it."""


_TXT_TITLE = re.compile(
    r"^[ \t\u3000]{0,8}(第[零〇一二三四五六七八九十百千两0-9]{1,9}[章回节卷集部篇幕][^\n。]{0,40}|"
    r"(?:Chapter|CHAPTER)[ ](?:[0-9]{1,4}|[IVXLC]{1,8})\b[^\n]{0,60})$",
    re.MULTILINE,
)
_MD_TITLE = re.compile(
    r"^ {0,3}#{1,2}[ \t]{1,8}(\S[^\n]{0,200}?)[ \t#]{0,20}$|^(\S[^\n]{0,200})\n(?:={3,80}|-{3,80})[ \t]*$", re.MULTILINE
)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?:[^\n]{0,2000}\n){0,200}?(?:---|\.\.\.)[ \t]*\n")
_CODE = re.compile(r"^ {0,3}(```|~~~)[^\n]{0,100}\n(?:[^\n]*\n)*?(?: {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE)
_COMMENT = re.compile(r"<!--.{0,20000}?-->", re.DOTALL)
_TIMES = re.compile(r"^\s{0,4}(?:[0-9]{1,3}:)?[0-9]{1,2}:[0-9]{2}[,.][0-9]{1,3}[ \t]{0,4}-->[^\n]{0,100}$")
_CUE_MARK = re.compile(r"<[^<>\n]{0,60}>|\{\\[^{}\n]{0,60}\}")


def read_document(path: Union[str, Path]) -> List[Chapter]:
    """The chapters of a file, by its ending: .txt, .md, .srt, .vtt, .epub; any other is read as text.

    Raises:
        InputError: the file cannot be read, is too large or damaged.
        EmptyTextError: there is no text in it.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {size} bytes and the limit is {MAX_FILE_BYTES}: split it")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the path") from None
    return parse_document(raw, path.suffix, name=str(path))


def parse_document(raw: bytes, suffix: str = ".txt", *, name: str = "the document") -> List[Chapter]:
    """As `read_document`, for bytes already at hand (standard input, an upload)."""
    if raw[:4] == b"PK\x03\x04" or suffix.lower() == ".epub":
        from chattts_onnx.text.epub import read_epub

        chapters = read_epub(raw, name=name)
    else:
        readers: Dict[str, Callable[[str], List[Chapter]]] = {
            ".md": markdown,
            ".markdown": markdown,
            ".srt": subtitles,
            ".vtt": subtitles,
        }
        text = decode(raw, name=name).replace("\r\n", "\n").replace("\r", "\n")
        chapters = readers.get(suffix.lower(), plain)(text)
    chapters = [chapter for chapter in chapters if any(char.isalnum() for char in chapter.text)]
    if not chapters:
        raise EmptyTextError(f"{name} has nothing that can be spoken")
    return chapters


def decode(raw: bytes, *, name: str = "the document") -> str:
    """Text of bytes: by their mark, else UTF-8, else GB 18030 (what Chinese text files are where they are not UTF-8).

    Raises:
        InputError: it is neither.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    if b"\0" in raw[:4096]:
        raise InputError(f"{name} is no text file: give .txt, .md, .srt, .vtt or .epub")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{name} is neither UTF-8 nor GB 18030 text: save it as UTF-8")


def plain(text: str) -> List[Chapter]:
    """Chapters of plain text: a line 第…章 or Chapter … begins one."""
    return _split(text, _TXT_TITLE)


def markdown(text: str) -> List[Chapter]:
    """Chapters of Markdown: a heading of level one or two begins one; code blocks and comments are not read."""
    text = _FRONT_MATTER.sub("", text, count=1)
    text = _COMMENT.sub("", _CODE.sub("", text))
    return _split(text, _MD_TITLE)


def subtitles(text: str) -> List[Chapter]:
    """The spoken lines of SRT or WebVTT as one chapter, a cue to a line."""
    cues: List[str] = []
    for block in re.split(r"\n[ \t]{0,20}\n", text.replace("\ufeff", "")):
        rows = [row.strip() for row in block.split("\n") if row.strip()]
        times = next((index for index, row in enumerate(rows[:3]) if _TIMES.match(row)), None)
        if times is None:
            continue  # a header, a note or a style
        spoken = " ".join(_CUE_MARK.sub("", row) for row in rows[times + 1 :]).strip()
        if spoken:
            cues.append(spoken)
    return [Chapter("", "\n".join(cues))]


def _split(text: str, title: re.Pattern[str]) -> List[Chapter]:
    chapters: List[Chapter] = []
    name, begin = "", 0
    for match in title.finditer(text):
        if text[begin : match.start()].strip():
            chapters.append(Chapter(name, text[begin : match.start()].strip()))
        name = next(group for group in match.groups() if group).strip()
        begin = match.start()
    chapters.append(Chapter(name, text[begin:].strip()))
    return chapters

"""EPUB files as chapters, in the order of the book's spine.

The archive is read in memory, member by member, each with a limit of its own that is enforced while unpacking (the
size in the archive's directory is only a claim). The package document is XML and read without entities; the chapters
are HTML as it is found in books, for which the tolerant parser of the standard library is the right one.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from html.parser import HTMLParser
from typing import Dict, List, Optional, Tuple
from urllib.parse import unquote

from chattts_onnx.errors import InputError
from chattts_onnx.text.documents import Chapter
from chattts_onnx.text.markup import parse_xml

MAX_MEMBERS = 10_000
MAX_MEMBER_BYTES = 16 << 20
MAX_TOTAL_BYTES = 128 << 20

_BLOCKS = frozenset(
    (
        "p",
        "div",
        "br",
        "li",
        "tr",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "section",
        "article",
        "blockquote",
        "hr",
        "dd",
        "dt",
        "figcaption",
        "td",
        "th",
    )
)
_SKIPPED = frozenset(("script", "style", "head", "rt", "rp", "svg", "math", "template", "noscript"))
_HEADINGS = frozenset(("h1", "h2", "h3"))


def read_epub(raw: bytes, *, name: str = "the book") -> List[Chapter]:
    """The chapters of an EPUB.

    Raises:
        InputError: it is damaged, encrypted or too large.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InputError(f"{name} is no readable EPUB ({error}): check the file") from None
    with archive:
        return _Book(archive, name).chapters()


class _Book:
    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name
        self._left = MAX_TOTAL_BYTES
        if len(archive.infolist()) > MAX_MEMBERS:
            raise InputError(f"{name} has more than {MAX_MEMBERS} members: this is no book")

    def chapters(self) -> List[Chapter]:
        package = self._package()
        chapters: List[Chapter] = []
        for member in self._spine(package):
            page = _Page()
            page.feed(self._read(member).decode("utf-8", "replace"))
            page.close()
            text = page.text()
            if text:
                chapters.append(Chapter(page.title(), text))
        return chapters

    def _read(self, member: str) -> bytes:
        """One member, unpacked within the limits."""
        try:
            info = self._archive.getinfo(member)
            if info.flag_bits & 1:
                raise InputError(f"{self._name} is encrypted: only books without copy protection can be read")
            with self._archive.open(info) as file:
                content = file.read(min(MAX_MEMBER_BYTES, self._left) + 1)
        except KeyError:
            raise InputError(f"{self._name} lacks {member!r}: the book is damaged") from None
        except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, OSError) as error:
            raise InputError(f"{self._name}: {member!r} cannot be unpacked ({error}): the book is damaged") from None
        self._left -= len(content)
        if len(content) > MAX_MEMBER_BYTES or self._left < 0:
            raise InputError(f"{self._name} unpacks to more than is allowed: this is no book")
        return content

    def _package(self) -> str:
        found: List[str] = []

        def start(name: str, attributes: Dict[str, str]) -> None:
            if name == "rootfile" and "full-path" in attributes:
                found.append(attributes["full-path"])

        self._xml(self._read("META-INF/container.xml"), start)
        if not found:
            raise InputError(f"{self._name} names no package document: the book is damaged")
        return self._inside("", found[0])

    def _spine(self, package: str) -> List[str]:
        members: Dict[str, Tuple[str, str, str]] = {}
        order: List[str] = []

        def start(name: str, attributes: Dict[str, str]) -> None:
            if name == "item":
                described = (
                    attributes.get("href", ""),
                    attributes.get("media-type", ""),
                    attributes.get("properties", ""),
                )
                members[attributes.get("id", "")] = described
            elif name == "itemref" and attributes.get("linear", "yes") != "no":
                order.append(attributes.get("idref", ""))

        self._xml(self._read(package), start)
        pages: List[str] = []
        for identifier in order:
            href, media_type, properties = members.get(identifier, ("", "", ""))
            if href and "html" in media_type and "nav" not in properties.split():
                pages.append(self._inside(posixpath.dirname(package), href))
        return pages

    def _xml(self, content: bytes, start: object) -> None:
        parse_xml(
            content,
            start=start,  # type: ignore[arg-type]
            end=lambda _: None,
            data=lambda _: None,
            what=self._name,
            allow_doctype=True,
        )

    def _inside(self, folder: str, href: str) -> str:
        path = posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))
        if path.startswith(("..", "/")) or "\\" in path or ":" in path:
            raise InputError(f"{self._name} points outside itself ({href!r}): the book is damaged")
        return path


class _Page(HTMLParser):
    """Text of one page: blocks on lines of their own, ruby readings, scripts and styles left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: List[str] = []
        self._skipping: Optional[str] = None
        self._depth = 0
        self._heading: Optional[str] = None
        self._title: List[str] = []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        del attrs
        if self._skipping is not None:
            self._depth += tag == self._skipping
        elif tag in _SKIPPED:
            self._skipping, self._depth = tag, 1
        elif tag in _BLOCKS:
            self._parts.append("\n")
            if tag in _HEADINGS and not self._title:
                self._heading = tag

    def handle_startendtag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        del attrs
        if tag in _BLOCKS and self._skipping is None:
            self._parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._skipping is not None:
            self._depth -= tag == self._skipping
            if self._depth == 0:
                self._skipping = None
        elif tag in _BLOCKS:
            self._parts.append("\n")
        if tag == self._heading:
            self._heading = None

    def handle_data(self, data: str) -> None:
        if self._skipping is None:
            self._parts.append(data.replace("\n", " "))
            if self._heading is not None:
                self._title.append(data)

    def text(self) -> str:
        rows = (" ".join(row.split()) for row in "".join(self._parts).split("\n"))
        return "\n".join(row for row in rows if row)

    def title(self) -> str:
        return " ".join("".join(self._title).split())

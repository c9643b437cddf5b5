from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Dict, Union

import pytest

from chattts_onnx.errors import EmptyTextError, InputError
from chattts_onnx.text import documents, epub
from chattts_onnx.text.documents import Chapter, parse_document, read_document

CONTAINER = (
    '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
    '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
PACKAGE = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="a" href="text/one.xhtml" media-type="application/xhtml+xml"/>
<item id="b" href="text/two%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="c" href="cover.jpg" media-type="image/jpeg"/>
<item id="n" href="text/note.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="nav"/>
<itemref idref="a"/><itemref idref="c"/><itemref idref="b"/><itemref idref="n" linear="no"/></spine></package>"""
ONE = """<!DOCTYPE html><html><head><title>x</title><style>p{}</style></head><body><h1>第一章</h1>
<p>天<ruby>气<rt>qì</rt></ruby>很&nbsp;好。<script>evil()</script></p><p>走<br/>吧&hellip;</p></body></html>"""


def book(**changes: Union[str, bytes, None]) -> bytes:
    members: Dict[str, Union[str, bytes, None]] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OPS/book.opf": PACKAGE,
        "OPS/nav.xhtml": "<html><body>contents</body></html>",
        "OPS/text/one.xhtml": ONE,
        "OPS/text/two b.xhtml": "<html><body><h2>Two</h2><p>Hello.</p></body></html>",
        "OPS/text/note.xhtml": "<html><body>note</body></html>",
    }
    members.update({key.replace("__", "/"): value for key, value in changes.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)
    return buffer.getvalue()


def test_epub_chapters_in_the_order_of_the_spine() -> None:
    assert parse_document(book(), ".epub") == [
        Chapter("第一章", "第一章\n天气很 好。\n走\n吧…"),
        Chapter("Two", "Two\nHello."),
    ]


def test_an_epub_is_known_by_its_content() -> None:
    assert len(parse_document(book(), ".txt")) == 2


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"PK\x03\x04 damaged", "no readable EPUB"),
        (b"not a zip", "no readable EPUB"),
        (book(**{"META-INF/container.xml": None}), "lacks 'META-INF/container.xml'"),
        (book(**{"META-INF/container.xml": "<container/>"}), "names no package"),
        (book(**{"META-INF/container.xml": CONTAINER.replace("OPS/book.opf", "../../etc/passwd")}), "outside itself"),
        (book(**{"META-INF/container.xml": CONTAINER.replace("OPS/book.opf", "/etc/passwd")}), "outside itself"),
        (book(**{"OPS/book.opf": PACKAGE.replace("text/one.xhtml", "../../one.xhtml")}), "outside itself"),
        (book(**{"OPS/book.opf": PACKAGE.replace("text/one.xhtml", "missing.xhtml")}), "lacks 'OPS/missing.xhtml'"),
        (book(**{"OPS/book.opf": "<package>"}), "line 1"),
        (
            book(**{"OPS/book.opf": '<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><package>&x;</package>'}),
            "entity",
        ),
    ],
)
def test_bad_books(raw: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_document(raw, ".epub")


def test_a_bomb_is_stopped_while_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epub, "MAX_MEMBER_BYTES", 10_000)
    with pytest.raises(InputError, match="more than is allowed"):
        parse_document(book(**{"OPS/text/one.xhtml": b"0" * 20_000}), ".epub")
    monkeypatch.setattr(epub, "MAX_TOTAL_BYTES", 1_000)
    with pytest.raises(InputError, match="more than is allowed"):
        parse_document(book(), ".epub")
    monkeypatch.setattr(epub, "MAX_MEMBERS", 3)
    with pytest.raises(InputError, match="members"):
        parse_document(book(), ".epub")


def test_an_encrypted_book_is_refused() -> None:
    raw = bytearray(book())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(signature)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(signature, at + 1)
    with pytest.raises(InputError, match="encrypted"):
        parse_document(bytes(raw), ".epub")


def test_plain_text_with_chapters() -> None:
    text = "前言\n\n第一章 出发\n天亮了。\n　　第十二回\n走吧。\nChapter 3: Home\nThe end."
    assert [(chapter.title, chapter.text) for chapter in parse_document(text.encode(), ".txt")] == [
        ("", "前言"),
        ("第一章 出发", "第一章 出发\n天亮了。"),
        ("第十二回", "第十二回\n走吧。"),
        ("Chapter 3: Home", "Chapter 3: Home\nThe end."),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings(encoding: str) -> None:
    assert parse_document("你好，世界。".encode(encoding))[0].text == "你好，世界。"


def test_markdown() -> None:
    text = """---
title: x
---
intro

# One #
text
<!-- hidden
comment -->
```python
code()
```
Two
---
more
### Three
end
"""
    chapters = parse_document(text.encode(), ".md")
    assert [chapter.title for chapter in chapters] == ["", "One", "Two"]
    assert "code" not in chapters[1].text
    assert "hidden" not in chapters[1].text
    assert "### Three" in chapters[2].text


def test_subtitles() -> None:
    srt = "1\n00:00:01,000 --> 00:00:02,500\n<i>你好</i>\n{\\an8}世界\n\n2\n00:00:03,000 --> 00:00:04,000\n再见\n"
    srt = srt.replace("\n", "\r\n")
    assert parse_document(srt.encode(), ".srt") == [Chapter("", "你好 世界\n再见")]
    vtt = "WEBVTT\n\nNOTE nothing\n\n00:01.000 --> 00:02.000 align:start\n<v Bob>Hi there</v>\n"
    assert parse_document(vtt.encode(), ".vtt") == [Chapter("", "Hi there")]


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("你好", encoding="utf-8")
    assert read_document(path) == [Chapter("", "你好")]
    with pytest.raises(InputError, match="cannot be read"):
        read_document(tmp_path / "absent.txt")
    monkeypatch.setattr(documents, "MAX_FILE_BYTES", 3)
    with pytest.raises(InputError, match="limit"):
        read_document(path)


@pytest.mark.parametrize("raw", [b"", b" \n", "😀。".encode(), b"---\n"])
def test_nothing_to_read(raw: bytes) -> None:
    with pytest.raises(EmptyTextError, match="nothing that can be spoken"):
        parse_document(raw)


@pytest.mark.parametrize("raw", [b"\x89PNG\0\0\0", b"\xff\xff\xff"])
def test_no_text(raw: bytes) -> None:
    with pytest.raises(InputError, match="text"):
        parse_document(raw)

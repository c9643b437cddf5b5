"""What a text must never be cut inside of.

One alternation reads the text from left to right; every quantifier in it is bounded, so no flood of one symbol makes
it look twice at the same stretch. Closing marks and tags belong to what stands before them and take over its
boundary; white space belongs to what stands before it. An atom is at most `MAX_ATOM` characters: beyond that it is
no word, number or address anybody can hear as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import List

from chattts_onnx.text.tags import scan

MAX_ATOM = 200
_MAX_CHAIN = 8
_LONG_NUMBER = 60


class Boundary(IntEnum):
    """How strongly the text asks for a cut behind an atom."""

    NONE = 0
    CHARACTER = 1
    WORD = 2
    CLAUSE = 3
    SENTENCE = 4
    LINE = 5
    PARAGRAPH = 6
    PAUSE = 7


@dataclass
class Atom:
    """A stretch of the text that stays whole."""

    start: int
    end: int
    seconds: float
    """Estimated speaking time."""
    boundary: Boundary
    pause_ms: int = 0
    tight: bool = True
    """Nothing, not even white space, lies behind it so far."""
    chain: int = 0
    """How many atoms before it it must stay with."""


_TITLE_WORDS = (
    "dr mr mrs ms prof st mt ft gen col sgt capt lt cmdr rev hon sen rep gov pres vs cf fig figs vol pp ch sec eq "
    "approx e.g i.e jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun "
    "dept univ assn ave blvd rd est"
)
_TITLES = frozenset(_TITLE_WORDS.split())
"""Abbreviations whose full stop never ends a sentence."""
_ENDING_WORDS = "etc inc ltd co corp jr sr a.m p.m ph.d b.c a.d al bros"
_MAY_END = frozenset(_ENDING_WORDS.split())
"""Abbreviations whose full stop ends a sentence when a capital follows."""

_ATOM = re.compile(
    r"""
    (?P<line>[ \t\r\f\v\u3000]{0,200}[\n\u2028\u2029\x85][\s]{0,200})
  | (?P<space>[^\S\n\u2028\u2029\x85]{1,200})
  | (?P<url>(?:https?://|ftp://|www\.)[A-Za-z0-9\-._~:/?\#@!$&'()*+,;=%]{0,180}[A-Za-z0-9/])
  | (?P<email>[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9\-]{1,40}(?:\.[A-Za-z0-9\-]{1,30}){1,3})
  | (?P<number>[+\-−±]?(?:[$￥¥€£]|(?:US|HK|NT|A|C)\$|RMB|CNY|USD|EUR)?[ ]?[0-9０-９]
        (?:[0-9０-９]|[.,，．:：/\-–—~～至到](?=[0-9０-９])|[年月日时時分点點号號][ ]?(?=[0-9０-９])){0,60}
        (?:[ ]?(?:[%％‰℃℉]|°[CF]?|[AaPp]\.[Mm](?=\.)|[A-Za-zµμΩ²³]{1,6}(?:/[A-Za-z]{1,4})?(?![A-Za-z])(?!\.[A-Za-z])))?)
  | (?P<hannum>[零〇一二三四五六七八九十百千万亿萬億两兩点點]{2,40})
  | (?P<word>[A-Za-zÀ-ɏ](?:[A-Za-zÀ-ɏ0-9]|['’\-._&](?=[A-Za-z0-9À-ɏ])){0,150})
  | (?P<dots>\.{2,40}|。{2,40}|…{1,40}|⋯{1,40})
  | (?P<stop>[。！？；!?;｡．]{1,40})
  | (?P<dot>\.)
  | (?P<clause>[，、：,:﹐､]|[—–―]{1,20}|-{2,20})
  | (?P<close>[”’」』）)】》〉\]］｝}〕])
  | (?P<open>[“‘「『（(【《〈\[［｛{〔])
  | (?P<quote>["'＂＇`])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_DIGIT_SECONDS = 0.22
_SECONDS = {"space": 0.0, "line": 0.0, "close": 0.0, "open": 0.0, "quote": 0.0}
_HAN = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
_SPOKEN_SYMBOLS = frozenset("%％‰℃℉°+=×÷<>≤≥≈&@#$￥¥€£/")


def speaking_seconds(text: str) -> float:
    """Estimated seconds of speech of ``text``: about 4.7 hanzi or 15 Latin letters a second, digits as words."""
    seconds = 0.0
    word = False
    for char in text:
        latin = char.isalpha() and not _HAN.match(char)
        if latin:
            # A capital is often a letter by itself; a word has a cost of its own, so short words are not free.
            seconds += (0.0 if word else 0.12) + (0.1 if char.isupper() else 0.055)
        elif char.isdigit():
            seconds += _DIGIT_SECONDS
        elif _HAN.match(char):
            seconds += 0.21
        elif char in _SPOKEN_SYMBOLS:
            seconds += 0.3
        word = latin
    return seconds


def atoms(text: str) -> List[Atom]:
    """Cut ``text`` into atoms; they follow one another without a gap. Linear time."""
    done: List[Atom] = []
    for piece in scan(text):
        if piece.kind == "text":
            _read(text, piece.start, piece.end, done)
        elif piece.kind == "pause":
            _pause(done, piece.start, piece.end, piece.pause_ms)
        else:
            _attach(done, piece.start, piece.end, seconds=0.35 if piece.text == "[laugh]" else 0.0)
    return done


def _read(text: str, start: int, end: int, done: List[Atom]) -> None:
    at = start
    while at < end:
        match = _ATOM.match(text, at, end)
        assert match is not None
        kind, found = str(match.lastgroup), match.group()
        at = match.end()
        if kind == "space":
            _blank(done, match.start(), at, Boundary.WORD)
        elif kind == "line":
            _blank(done, match.start(), at, Boundary.PARAGRAPH if _lines(found) > 1 else Boundary.LINE)
        elif kind in ("stop", "dots"):
            _punctuate(done, match.start(), at, Boundary.SENTENCE)
        elif kind == "dot":
            _punctuate(done, match.start(), at, _after_dot(text, match.start(), end, done))
        elif kind == "clause":
            _punctuate(done, match.start(), at, Boundary.CLAUSE)
        elif kind == "close" or (kind == "quote" and _closes(text, match.start(), done)):
            _attach(done, match.start(), at)
        else:
            _append(done, text, match, kind)


def _append(done: List[Atom], text: str, match: re.Match[str], kind: str) -> None:
    found = match.group()
    seconds = _SECONDS.get(kind)
    boundary = Boundary.NONE if kind in ("open", "quote") else Boundary.CHARACTER
    if done and _holds_on(text, done[-1], kind):
        done[-1].boundary = Boundary.NONE
    chain = 0
    if done and _holds_on(text, done[-1], kind):
        done[-1].boundary = Boundary.NONE
        chain = done[-1].chain + 1
    seconds = speaking_seconds(found) if seconds is None else seconds
    done.append(Atom(match.start(), match.end(), seconds, boundary, chain=chain))


def _holds_on(text: str, before: Atom, kind: str) -> bool:
    """Whether an atom of ``kind`` must stay with the atom before it."""
    if before.boundary != Boundary.CHARACTER or before.chain >= _MAX_CHAIN:
        return False
    last = text[before.end - 1]
    if kind == "number":
        return last in "第约-" or (last.isdigit() and before.end - before.start < _LONG_NUMBER)
    # A classifier or unit stays with its number.
    return last.isdigit() or last in "零〇一二三四五六七八九十百千万亿第"


def _blank(done: List[Atom], start: int, end: int, boundary: Boundary) -> None:
    if not done:
        done.append(Atom(start, end, 0.0, Boundary.NONE, tight=False))
        return
    before = done[-1]
    before.end = end
    before.tight = False
    before.boundary = max(before.boundary, boundary)


def _punctuate(done: List[Atom], start: int, end: int, boundary: Boundary) -> None:
    """A mark belongs to what stands before it, white space between them included."""
    if done and done[-1].boundary is Boundary.PAUSE and done[-1].tight:
        done[-1].end = end
        return
    if not done or done[-1].boundary >= Boundary.LINE:
        done.append(Atom(start, end, 0.0, boundary))
        return
    before = done[-1]
    before.end = end
    before.tight = True
    before.boundary = max(before.boundary, boundary) if before.boundary >= Boundary.CLAUSE else boundary


def _attach(done: List[Atom], start: int, end: int, seconds: float = 0.0) -> None:
    """A closing mark or a tag joins the atom it touches and hands on that atom's boundary."""
    if done and done[-1].tight and done[-1].boundary is not Boundary.PAUSE and done[-1].end - done[-1].start < MAX_ATOM:
        before = done[-1]
        before.end = end
        before.seconds += seconds
        before.boundary = max(before.boundary, Boundary.CHARACTER)
        return
    done.append(Atom(start, end, seconds, Boundary.CHARACTER))


def _pause(done: List[Atom], start: int, end: int, pause_ms: int) -> None:
    if done and done[-1].boundary is Boundary.PAUSE:
        done[-1].end = end
        done[-1].pause_ms += pause_ms
    elif done:
        done[-1].end, done[-1].boundary, done[-1].pause_ms, done[-1].tight = end, Boundary.PAUSE, pause_ms, True
    else:
        done.append(Atom(start, end, 0.0, Boundary.PAUSE, pause_ms))


def _lines(blank: str) -> int:
    return len(blank.replace("\r\n", "\n").splitlines(keepends=True)) if blank else 0


def _closes(text: str, at: int, done: List[Atom]) -> bool:
    """Whether a straight quotation mark closes: it touches something before it that is no opening mark."""
    return bool(done) and done[-1].tight and done[-1].end == at and text[at - 1] not in "“‘「『（(【《〈[［｛{〔"


def _after_dot(text: str, at: int, end: int, done: List[Atom]) -> Boundary:
    """What a full stop at ``at`` means: the end of a sentence, or part of an abbreviation."""
    after = text[at + 1 : at + 2] if at + 1 < end else ""
    if after and not after.isspace() and after not in "\"'”’」』）)】》〉]" and not _HAN.match(after):
        return Boundary.CHARACTER
    word, following = _word_before(text, at, done), text[at + 1 : at + 4].lstrip()[:1]
    if word in _TITLES or (word == "no" and following.isdigit()):
        return Boundary.WORD
    if len(word) == 1 and word != "i" and following.isupper():
        return Boundary.WORD
    if (word in _MAY_END or "." in word) and following and not following.isupper():
        return Boundary.WORD
    if "." in word and len(word) > 1 and all(len(part) == 1 for part in word.split(".")) and word not in _MAY_END:
        return Boundary.WORD if following else Boundary.SENTENCE
    return Boundary.SENTENCE


def _word_before(text: str, at: int, done: List[Atom]) -> str:
    if not done or done[-1].end != at or not done[-1].tight:
        return ""
    found = re.search("[A-Za-z.]{1,12}$", text[max(done[-1].start, at - 12) : at])
    return found.group().lower().strip(".") if found else ""

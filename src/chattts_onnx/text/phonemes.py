"""The phoneme front end of small models: text to symbols, symbols to ids.

The published model reads characters through a BERT tokenizer and learnt pronunciation from many
thousand hours of speech. A model trained on a few hours cannot, so this front end spells the
pronunciation out: Mandarin as initial + final with tone, English as the misaki/Kokoro phoneme
letters. Control tags keep their published names, so prompt templates are the same for both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Dict, FrozenSet, List, Mapping, Union

from chattts_onnx.text import english, mandarin

UNKNOWN = "[UNK]"

#: Published special names first, so that ids of tags never move when symbols are added.
SPECIALS = (
    "[PAD] [UNK] [Stts] [Ptts] [Etts] [Sbreak] [Pbreak] [Ebreak] [spk_emb] [empty_spk] [uv_break] [v_break] [lbreak] "
    "[llbreak] [laugh] [undefine] [music] [pure]"
).split()
SPECIALS += [f"[break_{i}]" for i in range(8)] + [f"[laugh_{i}]" for i in range(3)]
SPECIALS += [f"[oral_{i}]" for i in range(10)] + [f"[speed_{i}]" for i in range(10)]

PUNCTUATION = tuple(" ,.?!:;—")
ENGLISH = tuple("AIOQTWYabdefhijklmnopstuvwzæðŋɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔʤʧˈˌːθᵊᵻ")

#: Stress and length: they change the sound of their neighbours and have none of their own.
MARKS = tuple("ˈˌː")


def vocabulary() -> Dict[str, int]:
    """Symbol -> id of a model trained with this front end."""
    names = [*SPECIALS, *PUNCTUATION, *ENGLISH, *mandarin.inventory()]
    return {name: i for i, name in enumerate(names)}


_TAG = re.compile(r"\[[A-Za-z]+(?:_[A-Za-z0-9]+)?\]")
_PUNCTUATION_MAP = {
    "，": ",", "、": ",", "。": ".", "．": ".", "？": "?", "！": "!", "：": ":", "；": ";", "…": ".", "—": "—",
    "–": "—", "～": "—", "~": "—", "·": " ", "\n": ".", "\t": " ", "　": " ", "(": ",", ")": ",", "（": ",", "）": ",",
    "《": "", "》": "", "“": "", "”": "", '"': "", "「": "", "」": "", "『": "", "』": "", "【": ",", "】": ",",
}  # fmt: skip
_PUNCTUATION_MAP.update({c: c for c in PUNCTUATION})
_DIGITS_ZH = dict(zip("0123456789", "零一二三四五六七八九"))
_DIGITS_EN = dict(zip("0123456789", "zero one two three four five six seven eight nine".split()))
_SYMBOL_WORDS = {
    "&": ("和", "and"), "%": ("百分号", "percent"), "+": ("加", "plus"), "=": ("等于", "equals"), "@": ("", "at"),
    "#": ("", "number"), "$": ("美元", "dollars"), "€": ("欧元", "euros"), "£": ("英镑", "pounds"), "¥": ("元", "yuan"),
    "°": ("度", "degrees"), "/": ("", " "), "*": ("", " "), "-": ("", " "), "_": ("", " "), "|": ("", " "),
}  # fmt: skip
_RUN = re.compile(
    "(?P<han>[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ebef〇]+)"
    "|(?P<title>(?:Mr|Mrs|Ms|Dr|St|Prof|vs)(?=[.]))[.]"
    "|(?P<letters>(?:[A-Za-z][.]){2,})"
    "|(?P<latin>[A-Za-z\u00c0-\u024f](?:[A-Za-z\u00c0-\u024f'’\\- ]*[A-Za-z\u00c0-\u024f])?(?:'s?|’s?)?)"
    "|(?P<digits>[0-9]+)|(?P<other>.)",
    re.DOTALL,
)


def _mostly_han(text: str) -> bool:
    """Whether digits and signs should be read in Mandarin."""
    return any(mandarin.is_han(c) for c in text)


def _tidy(symbols: List[str]) -> List[str]:
    """One space between words, none beside punctuation or at the ends, no doubled punctuation."""
    out: List[str] = []
    for symbol in symbols:
        if symbol == " ":
            if out and out[-1] != " " and out[-1] not in PUNCTUATION:
                out.append(symbol)
        elif symbol in PUNCTUATION:
            while out and out[-1] == " ":
                out.pop()
            if out and out[-1] in PUNCTUATION:
                if symbol in "?!" or out[-1] in ",—":
                    out[-1] = symbol
            elif out:
                out.append(symbol)
        else:
            if symbol in ENGLISH and len(out) > 1 and out[-1] in PUNCTUATION and out[-1] != " " and out[-2] in ENGLISH:
                out.append(" ")
            out.append(symbol)
    while out and out[-1] == " ":
        out.pop()
    return out


def _plain(text: str, zh_digits: bool) -> List[str]:
    """Symbols of text without tags."""
    out: List[str] = []
    for match in _RUN.finditer(text):
        kind, run = match.lastgroup, match.group()
        if kind == "digits":
            if zh_digits:
                out += mandarin.phonemize("".join(_DIGITS_ZH[c] for c in run))
            else:
                out += [" ", *english.phonemize(" ".join(_DIGITS_EN[c] for c in run)), " "]
        elif kind == "han":
            if out and out[-1] in ENGLISH:
                out.append(" ")
            out += mandarin.phonemize(run)
        elif kind == "letters":
            out += [" ", *english.letters(run), " "]
        elif kind in ("latin", "title"):
            out += [" ", *english.phonemize(run), " "]
        elif run in _PUNCTUATION_MAP:
            out += list(_PUNCTUATION_MAP[run])
        elif run in _SYMBOL_WORDS:
            zh, en = _SYMBOL_WORDS[run]
            if zh_digits and zh:
                out += mandarin.phonemize(zh)
            elif en.strip() and not zh_digits:
                out += [" ", *english.phonemize(en), " "]
            else:
                out.append(" ")
        elif run.isspace():
            out.append(" ")
        else:
            out.append(UNKNOWN)
    return out


class PhonemeTokenizer:
    """Ids for text that may hold control tags; never fails on any text."""

    def __init__(self, vocab: Mapping[str, int]) -> None:
        self.vocab: Dict[str, int] = dict(vocab)
        if UNKNOWN not in self.vocab:
            raise ValueError(f"the vocabulary has no {UNKNOWN}")

    @property
    def silent_ids(self) -> FrozenSet[int]:
        """Ids without a sound of their own: tags, punctuation, marks of stress and length."""
        return frozenset(self.vocab[name] for name in (*SPECIALS, *PUNCTUATION, *MARKS) if name in self.vocab)

    @classmethod
    def from_file(cls, path: Union[str, Path]) -> PhonemeTokenizer:
        """Read `{"kind": "phonemes", "vocab": {...}}`."""
        content = json.loads(Path(path).read_text("utf-8"))
        if content.get("kind") != "phonemes":
            raise ValueError(f"{path} is not a phoneme vocabulary")
        return cls({str(k): int(v) for k, v in content["vocab"].items()})

    def phonemize(self, text: str) -> List[str]:
        """Symbols, tags included, for display and for `encode`. Unreadable characters are dropped."""
        zh_digits = _mostly_han(_TAG.sub("", text))
        out: List[str] = []
        plain: List[str] = []
        at = 0

        def flush() -> None:
            out.extend(s for s in _tidy(plain) if s != UNKNOWN)
            plain.clear()

        for match in _TAG.finditer(text):
            if match.group() not in self.vocab:
                continue
            plain.extend(_plain(text[at : match.start()], zh_digits))
            flush()
            out.append(match.group())
            at = match.end()
        plain.extend(_plain(text[at:], zh_digits))
        flush()
        return out

    def encode(self, text: str) -> List[int]:
        """Ids of the symbols; symbols this vocabulary lacks become [UNK]."""
        unknown = self.vocab[UNKNOWN]
        return [self.vocab.get(s, unknown) for s in self.phonemize(text)]

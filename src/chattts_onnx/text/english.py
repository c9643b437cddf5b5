"""English words to the misaki/Kokoro phoneme letters: lexicon, suffix rules, letter-to-sound table.

Data (`data/english_*.txt.xz`) comes from misaki's American lexicon (Apache-2.0), see
`data/ENGLISH_DATA.md`; nothing is looked up in the network and every string gets some reading.
"""

from __future__ import annotations

import lzma
import re
import unicodedata
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

_DATA = Path(__file__).resolve().parent / "data"

VOWELS = frozenset("AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻ")
_TAP_AFTER = frozenset("AIOWYiuæɑəɛɪɹʊʌ")
#: (letters to the left, letters to the right) of each refinement level, shortest first.
CONTEXTS: Tuple[Tuple[int, int], ...] = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (4, 4))

_LETTERS = {
    "A": "ˈA", "B": "bˈi", "C": "sˈi", "D": "dˈi", "E": "ˈi", "F": "ˈɛf", "G": "ʤˈi", "H": "ˈAʧ", "I": "ˈI", "J": "ʤˈA",
    "K": "kˈA", "L": "ˈɛl", "M": "ˈɛm", "N": "ˈɛn", "O": "ˈO", "P": "pˈi", "Q": "kjˈu", "R": "ˈɑɹ", "S": "ˈɛs",
    "T": "tˈi", "U": "jˈu", "V": "vˈi", "W": "dˈʌbᵊljˌu", "X": "ˈɛks", "Y": "wˈI", "Z": "zˈi",
}  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*'?")


def pad(word: str) -> str:
    """A word with room for contexts at both ends."""
    return "####" + word + "####"


def context(padded: str, index: int, shape: Tuple[int, int]) -> str:
    """The key of a letter with so many letters at its left and right."""
    at = index + 4
    return padded[at - shape[0] : at] + "|" + padded[at] + "|" + padded[at + 1 : at + 1 + shape[1]]


def look_up(rules: Mapping[str, str], left: str, letter: str, right: str, below: int) -> Optional[str]:
    """The answer of the longest stored context under level `below` that fits."""
    for lefts, rights in reversed(CONTEXTS[:below]):
        key = f"{left[len(left) - lefts :]}|{letter}|{right[:rights]}"
        if key in rules:
            return rules[key]
    return None


class Reader:
    """Words by lexicon, then suffix rules, then letters to sounds."""

    def __init__(self, lexicon: Mapping[str, str], rules: Mapping[str, str]) -> None:
        self.lexicon: Mapping[str, str] = lexicon
        self.rules = rules

    @classmethod
    def load(cls) -> Reader:
        """The shipped tables."""
        tables: List[Dict[str, str]] = []
        for name in ("english_lexicon.txt.xz", "english_rules.txt.xz"):
            text = lzma.decompress((_DATA / name).read_bytes()).decode("utf-8")
            text = text.replace("ɾ", "T").replace("ʔ", "t")  # the letters the acoustic models know
            tables.append(dict(line.split("\t", 1) for line in text.split("\n")))
        return cls(*tables)

    def known(self, word: str) -> Optional[str]:
        """The lexicon's entry; a capital at the start is forgiven either way."""
        found = self.lexicon.get(word)
        if found is None and len(word) > 1:
            found = self.lexicon.get(word.lower()) if word[1:].islower() or word.isupper() else None
            if found is None and word.islower():
                found = self.lexicon.get(word.capitalize())
        return found

    def spell(self, word: str) -> str:
        """Letters to sounds."""
        padded = pad(word.lower())
        out = ""
        for i in range(len(word)):
            left, letter, right = padded[i : i + 4], padded[i + 4], padded[i + 5 : i + 9]
            out += look_up(self.rules, left, letter, right, len(CONTEXTS)) or ""
        return out

    def _stem(self, word: str) -> Optional[str]:
        return self.known(word) if len(word) > 1 else None

    def _plural(self, word: str) -> Optional[str]:
        if len(word) < 3 or not word.endswith("s"):
            return None
        stem = None
        if not word.endswith("ss"):
            stem = self._stem(word[:-1])
        if stem is None and (
            word.endswith("'s") or (len(word) > 4 and word.endswith("es") and not word.endswith("ies"))
        ):
            stem = self._stem(word[:-2])
        if stem is None and len(word) > 4 and word.endswith("ies"):
            stem = self._stem(word[:-3] + "y")
        return plural(stem) if stem else None

    def _past(self, word: str) -> Optional[str]:
        if len(word) < 4 or not word.endswith("d"):
            return None
        stem = None if word.endswith("dd") else self._stem(word[:-1])
        if stem is None and len(word) > 4 and word.endswith("ed") and not word.endswith("eed"):
            stem = self._stem(word[:-2])
            if stem is None and word[-3] == word[-4]:
                stem = self._stem(word[:-3])
            if stem is None and word.endswith("ied"):
                stem = self._stem(word[:-3] + "y")
        return past(stem) if stem else None

    def _present(self, word: str) -> Optional[str]:
        if len(word) < 5 or not word.endswith("ing"):
            return None
        stem = self._stem(word[:-3]) if len(word) > 5 else None
        if stem is None:
            stem = self._stem(word[:-3] + "e")
        if stem is None and len(word) > 5 and (word[-4] == word[-5] or word.endswith("cking")):
            stem = self._stem(word[:-4])
        return present(stem) if stem else None

    def _derived(self, word: str) -> Optional[str]:
        for suffix, sound in (
            ("ly", "li"),
            ("ness", "nəs"),
            ("less", "ləs"),
            ("ment", "mᵊnt"),
            ("er", "əɹ"),
            ("ful", "fᵊl"),
        ):
            if word.endswith(suffix) and len(word) > len(suffix) + 2:
                stem = self._stem(word[: -len(suffix)])
                if stem and not (suffix == "er" and stem[-1] in VOWELS):
                    return (stem[:-1] if suffix == "ly" and stem.endswith("l") else stem) + sound
        return None

    def suffixed(self, word: str) -> Optional[str]:
        """A known stem with a regular ending, or None."""
        for rule in (self._plural, self._past, self._present, self._derived):
            found = rule(word)
            if found:
                return found
        return None

    def word(self, word: str) -> str:
        """Phonemes of one word (letters and apostrophes), never empty for letters."""
        found = self.known(word)
        if found:
            return found
        if len(word) == 1:
            return _LETTERS[word.upper()]
        lower = word.lower()
        if word.isupper() and len(word) <= 5:  # an acronym unless it is a word in capitals
            common = self.known(lower)
            return common if common and len(word) > 3 else letters(word)
        found = self.known(lower) or self.suffixed(lower)
        if found:
            return found
        if "'" in word:
            head, _, tail = lower.partition("'")
            rest = self.word(head) if head else ""
            return plural(rest) if tail == "s" and rest else rest + (self.spell(tail) if tail else "")
        if any(c.isupper() for c in word[1:]) and not word.isupper():  # camelCase
            parts = re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)
            if len(parts) > 1:
                return _stressed("".join(self.word(p) for p in parts))
        if not any(c in "aeiouy" for c in lower) and len(word) <= 5:
            return letters(word)
        for cut in range(len(lower) - 3, 2, -1):  # two words written as one
            left, right = self.lexicon.get(lower[:cut]), self.lexicon.get(lower[cut:])
            if left and right and min(cut, len(lower) - cut) > 2 and len(lower) > 6:
                return left + right.replace("ˈ", "ˌ")
        return _stressed(self.spell(lower)) or letters(word)


def _stressed(phones: str) -> str:
    """At most one main stress, and one for certain."""
    first = phones.find("ˈ")
    if first >= 0:
        return phones[: first + 1] + phones[first + 1 :].replace("ˈ", "ˌ")
    if "ˌ" in phones:
        return phones.replace("ˌ", "ˈ", 1)
    return _stress_first_vowel(phones, "ˈ")


def _stress_first_vowel(phones: str, mark: str) -> str:
    for i, c in enumerate(phones):
        if c in VOWELS:
            return phones[:i] + mark + phones[i:]
    return phones


def letters(word: str) -> str:
    """Letter names, the last one stressed."""
    names = [_LETTERS[c] for c in word.upper() if c in _LETTERS]
    return "".join(n.replace("ˈ", "ˌ") for n in names[:-1]) + (names[-1] if names else "")


def plural(stem: str) -> str:
    """Sound of a stem with -s or apostrophe-s."""
    if stem[-1] in "ptkfθ":
        return stem + "s"
    return stem + ("ᵻz" if stem[-1] in "szʃʒʧʤ" else "z")


def past(stem: str) -> str:
    """Sound of a stem with -ed."""
    if stem[-1] in "pkfθʃsʧ":
        return stem + "t"
    if stem[-1] == "d":
        return stem + "ᵻd"
    if stem[-1] != "t":
        return stem + "d"
    return stem[:-1] + "Tᵻd" if len(stem) > 1 and stem[-2] in _TAP_AFTER else stem + "ᵻd"


def present(stem: str) -> str:
    """Sound of a stem with -ing."""
    if len(stem) > 1 and stem[-1] == "t" and stem[-2] in _TAP_AFTER:
        return stem[:-1] + "Tɪŋ"
    return stem + "ɪŋ"


_READER: List[Reader] = []


def reader() -> Reader:
    """The shipped tables, read once."""
    if not _READER:
        _READER.append(Reader.load())
    return _READER[0]


def _function_word(written: str, following: Optional[str]) -> Optional[str]:
    """The few words whose sound depends on the next one."""
    word = written.lower()
    vowel = following is not None and following.lstrip("ˈˌ")[:1] in VOWELS
    if word == "the":
        return "ði" if vowel else "ðə"
    if word == "to" and following is not None:
        return "tʊ" if vowel else "tə"
    if word == "a" and following is not None:
        return "ɐ"
    if word == "an" and following is not None:
        return "ɐn"
    if word == "i":
        return "ˌI"
    if word == "in" and following is not None:
        return "ɪn"
    if word == "am" and following is not None:
        return "ɐm"
    return None


def phonemize(text: str) -> List[str]:
    """Phoneme letters of a run of Latin text, words separated by a space."""
    folded = unicodedata.normalize("NFKD", text.replace("ß", "ss").replace("ø", "o").replace("æ", "ae"))
    folded = "".join(c for c in folded if not unicodedata.combining(c)).replace("’", "'")
    words = [t.strip("'") or t for t in _TOKEN.findall(folded)]
    out: List[str] = []
    sounds: List[str] = []
    for index in range(len(words) - 1, -1, -1):  # from the end: a word may depend on the next
        word = words[index]
        following = sounds[-1] if sounds else None
        sound = _function_word(word, following) or reader().word(word)
        if (
            word[0].isupper()
            and "ˈ" not in sound
            and "ˌ" not in sound
            and sound not in ("ɐ", "ɐn", "ðə", "ði", "tə", "tʊ")
        ):
            sound = _stress_first_vowel(sound, "ˌ")  # the word that opens a sentence is not swallowed
        sounds.append(sound)
    for sound in reversed(sounds):
        if out:
            out.append(" ")
        out += list(sound)
    return out

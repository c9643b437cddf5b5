"""The user's own readings: a word and what is to be said instead.

Applied before anything else, so that a name, a brand or an abbreviation never meets a rule. All words are looked for
at once, the longest first, in one pass, and what was put in is not searched again: a lexicon cannot loop.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Mapping, Union

from chattts_onnx.errors import InputError

MAX_ENTRIES = 100_000


class Lexicon:
    """Word to reading.

    Args:
        entries: each word and what replaces it. Latin words match whole words, in any case; others match anywhere.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries: Dict[str, str] = {word.lower(): reading for word, reading in entries.items() if word}
        words = sorted(self._entries, key=len, reverse=True)
        parts = [
            (r"(?<![A-Za-z0-9])" if word[0].isascii() and word[0].isalnum() else "")
            + re.escape(word)
            + (r"(?![A-Za-z0-9])" if word[-1].isascii() and word[-1].isalnum() else "")
            for word in words
        ]
        self._pattern = re.compile("|".join(parts), re.IGNORECASE) if parts else None

    def __len__(self) -> int:
        return len(self._entries)

    def apply(self, text: str) -> str:
        """``text`` with every word of the lexicon replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._entries.get(match.group().lower(), match.group()), text)


def load_lexicon(path: Union[str, Path]) -> Lexicon:
    """Read a lexicon file: a line is ``word<TAB>reading`` or ``word = reading``; ``#`` begins a comment line.

    Raises:
        InputError: the file cannot be read, or a line is neither.
    """
    entries: Dict[str, str] = {}
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the lexicon {path} cannot be read ({error}): give a UTF-8 text file") from None
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        word, separator, reading = stripped.partition("\t" if "\t" in stripped else "=")
        if not separator or not word.strip():
            raise InputError(f"{path}, line {number}: write `word<TAB>reading` or `word = reading`")
        entries[word.strip()] = reading.strip()
        if len(entries) > MAX_ENTRIES:
            raise InputError(f"{path} has more than {MAX_ENTRIES} entries: split it")
    return Lexicon(entries)

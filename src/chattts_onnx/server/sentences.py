"""Text that arrives in scraps, as a language model writes it, cut into sentences as soon as each is complete.

Simpler than the segmenter of long text, and for another purpose: here what matters is to begin. What it gives is spoken
one by one; the façade segments each again if it is long.
"""

from __future__ import annotations

import re
from typing import List

_END = re.compile(r"[。！？!?；;…\n]+[\"'”’」』）)\]]*|\.+[\"'”’)\]]*(?=\s)")
_CLAUSE = re.compile(r"[，,、：:]|\s")
_SPEAKABLE = re.compile(r"\w", re.UNICODE)
_LONGEST = 200
"""Characters after which a sentence without an end is cut at its last comma or space."""
_SHORTEST = 4
"""A sentence of fewer characters waits for the next one: single words alone sound chopped."""


class SentenceSplitter:
    """`push` scraps, take whole sentences; `finish` gives the rest."""

    def __init__(self) -> None:
        self._text = ""

    def push(self, scrap: str) -> List[str]:
        """The sentences that ``scrap`` completes."""
        self._text += scrap
        found: List[str] = []
        start = 0
        for match in _END.finditer(self._text):
            position = match.end()
            if len(self._text[start:position].strip()) < _SHORTEST:
                continue
            found.append(self._text[start:position])
            start = position
        self._text = self._text[start:]
        while len(self._text) > _LONGEST:
            cut = max((match.end() for match in _CLAUSE.finditer(self._text, 1, _LONGEST)), default=_LONGEST)
            found.append(self._text[:cut])
            self._text = self._text[cut:]
        return [sentence for sentence in found if _SPEAKABLE.search(sentence)]

    def finish(self) -> List[str]:
        """What is left, if anything of it can be spoken."""
        rest, self._text = self._text, ""
        return [rest] if _SPEAKABLE.search(rest) else []

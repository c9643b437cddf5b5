"""The public WeTextProcessing lines: reading them and comparing what is heard, not how it is written."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import List, NamedTuple, Set, Tuple

DATA = Path(__file__).parent / "data" / "wetextprocessing"


class Line(NamedTuple):
    source: str
    language: str
    written: str
    spoken: str


def lines(language: str) -> List[Line]:
    """All lines of one language, each once."""
    found: List[Line] = []
    seen: Set[Tuple[str, str]] = set()
    for path in sorted((DATA / {"zh": "chinese", "en": "english"}[language]).glob("*.txt")):
        for row in path.read_text(encoding="utf-8").splitlines():
            written, arrow, spoken = row.partition(" =>")
            assert arrow, row
            if (written, spoken) not in seen:
                seen.add((written, spoken))
                found.append(Line(path.stem, language, written, spoken.strip()))
    return found


def departures() -> Set[str]:
    """Written forms that are read otherwise on purpose: `departures.txt`, one to a line, with its reason."""
    rows = (DATA / "departures.txt").read_text(encoding="utf-8").splitlines()
    return {row.split("\t")[0] for row in rows if row and not row.startswith("#")}


def heard(text: str) -> str:
    """What is heard of a text: no marks, no case, spelled letters joined, 幺 as 一."""
    text = unicodedata.normalize("NFKC", text).lower().replace("幺", "一")
    text = re.sub(r"</?oov>", "", text)
    text = re.sub(r"[^\w\s']|_|(?<!\w)'|'(?!\w)", " ", text)
    text = re.sub(r"(?<=[a-z0-9'])(?=[\u4e00-\u9fff])|(?<=[\u4e00-\u9fff])(?=[a-z0-9])", " ", text)
    joined = re.sub(r"(?<![a-z0-9'])([a-z])(?: (?=[a-z](?![a-z0-9'])))", r"\1", " ".join(text.split()))
    return re.sub(r"(?<=[\u4e00-\u9fff]) | (?=[\u4e00-\u9fff])", "", joined)

"""What of a long reading is done: parts as raw float32 beside the output, and a journal that outlives a crash.

Parts are kept as float32 so that the finished file is the same whether or not it was interrupted; the journal is
replaced as a whole after each part, so it never names a part that is not complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from chattts_onnx import __version__
from chattts_onnx.audio.subtitles import Cue
from chattts_onnx.errors import OutputError

_NAME = "journal.json"
_BLOCK = 1 << 16


class Journal:
    """The parts of one reading under one directory."""

    def __init__(self, directory: Path, key: str) -> None:
        self.directory = directory
        self.finished: Dict[str, List[Cue]] = {}
        """Name of a part to its timings, from the part's own beginning."""
        self.seed: Optional[int] = None
        self.rate: Optional[int] = None
        self._key = key

    @classmethod
    def open(cls, directory: Path, key: str) -> Journal:
        """The journal there, if it is of the same text, voice and model; else a new one.

        Raises:
            OutputError: the directory cannot be made.
        """
        journal = cls(directory, key)
        try:
            data = json.loads((directory / _NAME).read_text(encoding="utf-8"))
            if data["key"] == key:
                journal.finished = {
                    name: [Cue(str(cue["text"]), float(cue["start"]), float(cue["end"])) for cue in cues]
                    for name, cues in data["finished"].items()
                }
                journal.seed, journal.rate = data["seed"], data["rate"]
                return journal
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Absent or damaged: whatever it said, speaking again is right.
            journal.finished = {}
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{directory} cannot be made ({error.strerror}): choose another place") from None
        return journal

    def begin(self, seed: Optional[int]) -> None:
        """Note what the reading is drawn from."""
        self.seed = seed
        self._save()

    def write(self, name: str, samples: Iterable[NDArray[np.float32]]) -> None:
        """Keep the samples of a part as they come."""
        part = self.directory / (name + ".part")
        try:
            with part.open("wb") as file:
                for block in samples:
                    file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
            part.replace(self.directory / name)
        except OSError as error:
            raise OutputError(f"{part} cannot be written ({error.strerror or error}): free some space") from None

    def done(self, name: str, rate: int, cues: Sequence[Cue]) -> None:
        """Note that a part is complete."""
        self.rate = rate
        self.finished[name] = list(cues)
        self._save()

    def samples(self, name: str) -> int:
        """Length of a part."""
        return (self.directory / name).stat().st_size // 4

    def read(self, names: Iterable[str]) -> Iterator[NDArray[np.float32]]:
        """The samples of the parts, in blocks."""
        for name in names:
            with (self.directory / name).open("rb") as file:
                for block in iter(lambda: file.read(4 * _BLOCK), b""):
                    yield np.frombuffer(block, dtype="<f4")

    def remove(self) -> None:
        """The reading is complete: leave nothing behind."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _save(self) -> None:
        data = {
            "key": self._key,
            "seed": self.seed,
            "rate": self.rate,
            "finished": {name: [asdict(cue) for cue in cues] for name, cues in self.finished.items()},
        }
        part = self.directory / (_NAME + ".part")
        try:
            with part.open("w", encoding="utf-8") as file:
                json.dump(data, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.directory / _NAME)
        except OSError as error:
            raise OutputError(f"{part} cannot be written ({error.strerror or error}): free some space") from None


def fingerprint(texts: Sequence[str], options: Mapping[str, Any], model: str) -> str:
    """Changes whenever going on would mix two readings."""
    data = json.dumps([__version__, list(texts), sorted((k, repr(v)) for k, v in options.items()), model])
    return hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()


def split_paragraphs(text: str, limit: int) -> List[str]:
    """Pieces of about ``limit`` characters that end with a line; joined, they are the text.

    A single line longer than that stays whole: where it may be cut is for the segmenter to know.
    """
    pieces: List[str] = []
    current = ""
    for line in text.splitlines(keepends=True):
        if current.strip() and len(current) + len(line) > limit:
            pieces.append(current)
            current = ""
        current += line
    if current.strip() or not pieces:
        pieces.append(current)
    else:
        pieces[-1] += current
    return pieces

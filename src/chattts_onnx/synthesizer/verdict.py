"""Does a take say its line? What can be told without listening: its length, its end, whether it got stuck or lost.

The model fails in few ways, and each leaves a mark in the codes: an end drawn too early (words lost), no end at all
(a runaway), the same frame again and again (a held vowel). Silence is told from the sound, and words that were
swallowed or garbled from the hidden states, where the model can (`synthesizer.alignment`). The band is wide on
purpose: a wrong alarm costs a second take, and after the last take the best one is kept and the problem reported, never
hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np
import numpy.typing as npt

SHORTEST = 0.35
"""Of the estimated length: below it words are missing."""
LONGEST = 2.6
"""Of the estimated length, plus `GRACE_SECONDS`: above it something was repeated or made up."""
GRACE_SECONDS = 1.5
STUCK_SECONDS = 1.2
"""The same frame of codes for this long is not speech."""
SILENT_SECONDS = 2.5
"""Longest silence inside a line; the pauses a model makes on its own stay far below."""
DOUBTFUL = 0.8
"""Nats of `Alignment.doubt` above which a take is drawn again: three in five of the takes of `mini`, which have two to
ten times the errors of the others (docs/longform.md). A lower one hardly finds more (training/report.md, "A twelfth
look")."""
SPOILED = 0.03
"""Share of misread symbols above which a take conditions nothing: one of a short line; one of a long line is often a
matter of how the word is pronounced."""
MISREAD = 0.1
"""Share of misread symbols above which a take is reported: lines of which a recogniser gets some 30 % wrong
(`benchmarks/misreading.py`)."""
_QUIET = 10 ** (-50 / 20)
_BLOCKS_A_SECOND = 50


@dataclass(frozen=True)
class Band:
    """Steps that a line may take."""

    shortest: int
    longest: int

    @classmethod
    def of(cls, seconds: float, tokens_per_second: float) -> Band:
        """The band for a line estimated to last ``seconds``."""
        shortest = int(SHORTEST * seconds * tokens_per_second)
        longest = int((LONGEST * seconds + GRACE_SECONDS) * tokens_per_second)
        return cls(shortest, max(longest, shortest + 1))


def judge(
    codes: npt.NDArray[np.int64], band: Band, *, ended: bool, tokens_per_second: float, misread: float = 0.0
) -> Optional[str]:
    """None if the take may be kept, else what is wrong with it in a few words.

    Args:
        codes: [n, codebooks] of the take.
        band: from the length of the line.
        ended: whether the model drew its end code, rather than being stopped.
        tokens_per_second: decode steps in a second of speech.
        misread: share of the line's symbols that were not spoken, as far as that is known.
    """
    if len(codes) == 0:
        return "empty"
    if len(codes) < band.shortest:
        return "too short"
    if not ended:
        return "never ended"
    if longest_run(codes) > STUCK_SECONDS * tokens_per_second:
        return "stuck"
    if misread > MISREAD:
        return "misread"
    return None


def longest_run(codes: npt.NDArray[np.int64]) -> int:
    """Length of the longest run of equal frames in ``codes`` [n, codebooks]."""
    if len(codes) == 0:
        return 0
    changes = np.flatnonzero((codes[1:] != codes[:-1]).any(axis=1)) + 1
    edges = np.concatenate(([0], changes, [len(codes)]))
    return int(np.diff(edges).max())


def is_silent(samples: npt.NDArray[np.float32], sample_rate: int) -> bool:
    """Whether ``samples`` [n] of a line hold no sound, or a hole of more than `SILENT_SECONDS` between sounds."""
    block = sample_rate // _BLOCKS_A_SECOND
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    sounding = np.flatnonzero(np.abs(blocks).max(axis=1) > _QUIET) if len(blocks) else np.zeros(0, np.int64)
    if len(sounding) == 0:
        return True
    return bool(np.diff(sounding).max(initial=0) > SILENT_SECONDS * _BLOCKS_A_SECOND)

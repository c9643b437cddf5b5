"""One attempt at a line, and what it is conditioned on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterable, List, Optional, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.engine.generation import Generation
from chattts_onnx.engine.sequence import FinishReason, StepOutput
from chattts_onnx.synthesizer.alignment import Alignment
from chattts_onnx.synthesizer.script import Line
from chattts_onnx.synthesizer.verdict import DOUBTFUL, SPOILED, Band, judge
from chattts_onnx.voices import Voice

Codes = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Context:
    """What the next line is conditioned on: words already spoken and the codes that spoke them."""

    transcript: str = ""
    codes: Optional[Codes] = None
    seconds: float = 0.0
    alignment: Optional[Alignment] = None
    """Which steps say which symbols of the transcript, where that is known."""

    def ending(self, seconds: float, cuts: Iterable[Tuple[int, int]]) -> Context:
        """As much of its end as lasts no longer than ``seconds``; nothing where no cut leaves so little.

        Args:
            seconds: at most so long.
            cuts: where it may begin later, in order: characters of the transcript, and steps, that then are left out.
        """
        if self.codes is None or self.seconds <= seconds:
            return self
        for characters, steps in cuts:
            left = self.seconds * (1 - steps / len(self.codes))
            if left <= seconds:
                return Context(self.transcript[characters:], self.codes[steps:], left)
        return Context()

    def followed_by(self, transcript: str, codes: Codes, seconds: float) -> Context:
        """This context with another passage behind it."""
        before = [] if self.codes is None else [self.codes]
        return Context(self.transcript + transcript, np.concatenate([*before, codes]), self.seconds + seconds)


@dataclass
class Take:
    """One attempt at a line; codes and hidden states grow while the engine makes them."""

    line: Line
    spoken: str
    band: Band
    context: Context
    voice: Voice
    attempt: int
    generation: Generation
    prompt_tokens: int
    codes: List[Codes] = field(default_factory=list)
    hidden: List[Float32] = field(default_factory=list)
    finish: Optional[FinishReason] = None
    silent: bool = False
    alignment: Optional[Alignment] = None
    """Of the whole take; None while it grows, and where the model has no aligner."""
    redraws: List[Take] = field(default_factory=list)
    """Attempts at the same line that were begun because of what is wrong with this one."""

    def add(self, output: StepOutput) -> None:
        """Take in what the engine made of it."""
        self.finish = output.finish
        if len(output.codes):
            self.codes.append(output.codes)
            self.hidden.append(output.hidden)

    @property
    def misread(self) -> float:
        """Share of the line's symbols that were not spoken, as far as that is known."""
        return self.alignment.share if self.alignment is not None else 0.0

    @property
    def doubt(self) -> float:
        """How unsure the model is that this is the line (`Alignment.doubt`), as far as that is known."""
        return self.alignment.doubt if self.alignment is not None else 0.0

    @property
    def all_codes(self) -> Codes:
        """The codes so far, [n, Q]."""
        if not self.codes:
            return np.zeros((0, 1), np.int64)
        return np.concatenate(self.codes)

    @property
    def tokens(self) -> int:
        """Codes so far."""
        return sum(len(part) for part in self.codes)

    def problem(self, tokens_per_second: float) -> Optional[str]:
        """What is wrong with it as a whole, in a few words; None if it may be kept."""
        if self.silent:
            return "silent"
        ended = self.finish is FinishReason.STOP
        return judge(self.all_codes, self.band, ended=ended, tokens_per_second=tokens_per_second, misread=self.misread)

    def wants_another(self, tokens_per_second: float) -> bool:
        """Whether the line should be drawn again, if there are attempts left."""
        return self.doubt > DOUBTFUL or self.problem(tokens_per_second) is not None

    def is_spoiled(self, tokens_per_second: float) -> bool:
        """Whether what follows would be spoiled by reading on from it."""
        return self.misread > SPOILED or self.problem(tokens_per_second) is not None

    def goodness(self, tokens_per_second: float) -> Tuple[bool, bool, float, int]:
        """Greater is better: one without a problem, one that ended, that is less in doubt, then the longer."""
        longer = min(self.tokens, self.band.longest)
        return self.problem(tokens_per_second) is None, self.finish is FinishReason.STOP, -self.doubt, longer

    def take_over(self, other: Take) -> None:
        """Hold what ``other``, another attempt at the line, holds."""
        self.codes, self.hidden, self.finish, self.alignment = other.codes, other.hidden, other.finish, other.alignment

"""Which symbols of a line were really spoken? Told by the model itself, without listening.

A model whose manifest says ``aligns`` has a text head that was taught to name, from the hidden state of a decode step,
the symbol which that step speaks. The symbols of the line are laid over its steps in their order, each over at least
one (forced alignment by the Viterbi algorithm, as recognisers do it: Rabiner, "A tutorial on hidden Markov models",
Proc. IEEE 1989). A symbol that no step of its stretch takes for what it should be was swallowed, or came out as another
one, and steps that take themselves for something else say what the line does not, such as a word a second time. How
sure the model is of both, in the mean, tells more than a count of what is certainly wrong (as in teaching of
pronunciation: Witt and Young, "Phone-level pronunciation scoring and assessment for interactive language learning",
Speech Communication 2000); `benchmarks/misreading.py` compares it with what a recogniser hears.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Container, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.config import Manifest
from chattts_onnx.session import create_session
from chattts_onnx.text.phonemes import PhonemeTokenizer
from chattts_onnx.text.tokenizer import Tokenizer

Float32 = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_UNSPOKEN = -4.0
"""Natural logarithm of the probability below which a symbol counts as not spoken: 2 %."""


@dataclass(frozen=True)
class Alignment:
    """Where each symbol of a line was spoken, and whether it was."""

    spans: Int
    """[N, 2], the steps of each symbol as begin and end; marks and tags are no symbols."""
    misread: Bool
    """[N], True where no step of the stretch speaks the symbol."""
    doubt: float = 0.0
    """In nats, 0 or more: the mean over symbols of -log p that the best step of the stretch speaks the symbol, and the
    mean over steps of -log p that the step speaks what stands there. The one finds what was left out, the other what
    was put in."""

    @property
    def share(self) -> float:
        """Share of the symbols that were not spoken, 0 to 1."""
        return float(self.misread.mean()) if len(self.misread) else 0.0

    def good_until(self, margin: int) -> int:
        """Steps until ``margin`` symbols before the first one that was not spoken; 0 if all were."""
        first = int(np.flatnonzero(self.misread)[0]) if self.misread.any() else 0
        return int(self.spans[first - margin, 0]) if first > margin else 0


@dataclass(frozen=True)
class Aligner:
    """Lays symbols over the hidden states that spoke them."""

    text_head: Callable[[Float32], Float32]
    """Hidden states [T, H] to logits [T, V]."""
    silent_ids: Container[int]
    """Ids that have no sound of their own (marks, tags): they may take steps, and need none."""

    @classmethod
    def open(cls, directory: Path, manifest: Manifest, tokenizer: Tokenizer) -> Optional[Aligner]:
        """The aligner of a model; None if it has none.

        Raises:
            ModelFormatError: its graph is missing or damaged.
        """
        if not manifest.aligns or not isinstance(tokenizer, PhonemeTokenizer):
            return None
        # A small matrix once a line: worth neither a second thread nor the way to another device.
        session = create_session(manifest.path(directory, "text_head"), threads=1)

        def text_head(hidden: Float32) -> Float32:
            logits: Float32 = session.run(["text_logits"], {"hidden": hidden})[0]
            return logits

        return cls(text_head, tokenizer.silent_ids)

    def align(self, ids: Sequence[int], hidden: Float32) -> Alignment:
        """Lay a line over the steps that should have spoken it.

        Args:
            ids: of the line, in order.
            hidden: float32 [T, H] of the take.
        """
        symbols, pauses = self._states(ids)
        if not symbols:
            return Alignment(np.zeros((0, 2), np.int64), np.zeros(0, np.bool_))
        nothing = Alignment(np.zeros((len(symbols), 2), np.int64), np.ones(len(symbols), np.bool_), float("inf"))
        if not len(hidden):
            return nothing
        logits = self.text_head(hidden)
        top = logits.max(axis=1, keepdims=True)
        logits -= top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        heard = logits[:, symbols]
        between = np.full((len(hidden), len(pauses)), -np.inf, np.float32)
        for at, run in enumerate(pauses):
            if run:
                between[:, at] = logits[:, run].max(axis=1)
        way = forced_alignment(heard, between)
        if way is None:
            return nothing
        spans, probability = way
        best = np.array([heard[begin:end, at].max() for at, (begin, end) in enumerate(spans)])
        return Alignment(spans, best < _UNSPOKEN, float(-best.mean()) - probability / len(hidden))

    def cuts(
        self, text: str, alignment: Alignment, encode: Callable[[str], Sequence[int]]
    ) -> Iterator[Tuple[int, int]]:
        """Where a line may be cut in two: characters before the cut, and the step at which what follows begins.

        Only before what sounds by itself as it does in the line: between words, where no tone depends on the last one.
        """
        whole = [one for one in encode(text) if one not in self.silent_ids]
        for at in range(1, len(text)):
            if text[at - 1].isascii() and text[at - 1].isalnum() and text[at].isalnum():
                continue
            rest = [one for one in encode(text[at:]) if one not in self.silent_ids]
            if 0 < len(rest) < len(whole) and whole[-len(rest) :] == rest:
                yield at, int(alignment.spans[len(whole) - len(rest), 0])

    def _states(self, ids: Sequence[int]) -> Tuple[List[int], List[List[int]]]:
        """Symbols that must be heard, and before each and behind the last what may be heard instead of silence."""
        symbols: List[int] = []
        pauses: List[List[int]] = [[]]
        for one in ids:
            if one in self.silent_ids:
                pauses[-1].append(one)
            else:
                symbols.append(one)
                pauses.append([])
        return symbols, pauses


def forced_alignment(heard: Float32, between: Float32) -> Optional[Tuple[Int, float]]:
    """The most probable way through N symbols in T steps.

    Args:
        heard: [T, N], log probability that a step speaks the symbol.
        between: [T, N + 1], that it is in the pause before symbol n, or behind the last; -inf where there is none.

    Returns:
        [N, 2], the steps of each symbol as begin and end, and the log probability of the way; None if there are fewer
        steps than symbols.
    """
    steps, count = heard.shape
    if steps < count:
        return None
    nowhere = np.full(1, -np.inf, np.float32)
    symbol = np.concatenate((heard[0, :1], np.full(count - 1, -np.inf, np.float32)))
    pause = np.concatenate((between[0, :1], np.full(count, -np.inf, np.float32)))
    symbol_from = np.zeros((steps, count), np.int8)  # 0: stayed, 1: out of the pause before, 2: symbol to symbol
    pause_from = np.zeros((steps, count + 1), np.int8)  # 0: stayed, 1: out of the symbol before
    for step in range(1, steps):
        ways = np.stack((symbol, pause[:-1], np.concatenate((nowhere, symbol[:-1]))))
        came = np.concatenate((nowhere, symbol))
        symbol_from[step] = ways.argmax(axis=0)
        pause_from[step] = came > pause
        symbol = ways.max(axis=0) + heard[step]
        pause = np.maximum(pause, came) + between[step]

    spans = np.zeros((count, 2), np.int64)
    at, in_pause = count, True
    probability = float(max(symbol[-1], pause[-1]))
    if symbol[-1] >= pause[-1]:
        at, in_pause = count - 1, False
        spans[at, 1] = steps
    for step in range(steps - 1, 0, -1):
        if in_pause:
            if pause_from[step, at]:
                at, in_pause = at - 1, False
                spans[at, 1] = step
        elif symbol_from[step, at]:
            spans[at, 0] = step
            if symbol_from[step, at] == 1:
                in_pause = True
            else:
                at -= 1
                spans[at, 1] = step
    return spans, probability

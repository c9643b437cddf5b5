"""What a request is (`Prompt`, `SamplingParams`), what comes back (`StepOutput`) and its state in between (`Sequence`).

Mutable per-request state lives in `Sequence` and nowhere else; lengths are properties with names, so that no other
file does arithmetic on them. Each sequence draws from a counter-based generator of its own, keyed by its seed: the
noise of step n does not depend on who else is in the batch, nor on the row the sequence happens to sit in.
"""

from __future__ import annotations

import enum
import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Hashable, Optional, Tuple

import numpy as np

from chattts_onnx.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Literal

    from chattts_onnx.config import GPTConfig
    from chattts_onnx.errors import ChatTTSError

    Array = np.ndarray[Any, Any]
    Head = Literal["code", "text"]

MIN_TEMPERATURE = 1e-5
"""Below it sampling is greedy: dividing by less overflows float32, and the draw is certain long before."""


class FinishReason(enum.Enum):
    """Why a sequence ended."""

    STOP = "stop"
    """The end code (or end id) was drawn."""
    LENGTH = "length"
    """``max_new_token`` steps, or the model's positions, are used up."""
    ABORT = "abort"
    """The request was cancelled."""
    ERROR = "error"
    """Generation failed for this request; `StepOutput.error` says why."""


@dataclass(frozen=True)
class SamplingParams:
    """How the next code is drawn; names, meaning and defaults are those of the reference implementation.

    The order of the steps is fixed and stated in `engine.sampler`. ``temperature`` 0 (below `MIN_TEMPERATURE`) means
    greedy, which the reference does not handle.

    Raises:
        InputError: a value out of range, named.
    """

    temperature: float = 0.3
    top_P: Optional[float] = 0.7  # noqa: N815
    """Smallest probability mass kept, never fewer than 3 candidates; None or 1: all."""
    top_K: Optional[int] = 20  # noqa: N815
    """Candidates kept, never fewer than 3; None: all."""
    repetition_penalty: float = 1.05
    """Applied once per occurrence of a code among the last 16 of the same codebook."""
    max_new_token: int = 2048
    min_new_token: int = 0
    """Steps before which the end is not drawn."""
    seed: Optional[int] = None
    """Same seed, prompt and options: the same speech, in any company. None: a fresh one per request."""
    stream: int = 0
    """Which of the seed's independent noise streams: the segments of one text share a seed and are numbered."""
    greedy: bool = False
    """Take the most probable code after the penalty instead of drawing."""

    def __post_init__(self) -> None:
        _check_real("temperature", self.temperature, 0.0, 100.0)
        if self.top_P is not None:
            _check_real("top_P", self.top_P, 0.0, 1.0)
            if self.top_P == 0:
                raise InputError("top_P must be above 0: use greedy=True for the most probable code")
        if self.top_K is not None:
            _check_int("top_K", self.top_K, 1, 1 << 31)
        _check_real("repetition_penalty", self.repetition_penalty, 0.1, 10.0)
        _check_int("max_new_token", self.max_new_token, 1, 1 << 31)
        _check_int("min_new_token", self.min_new_token, 0, 1 << 31)
        if self.min_new_token > self.max_new_token:
            raise InputError(
                f"min_new_token ({self.min_new_token}) is above max_new_token ({self.max_new_token}): lower it"
            )
        if self.seed is not None:
            _check_int("seed", self.seed, 0, (1 << 64) - 1)
        _check_int("stream", self.stream, 0, (1 << 64) - 1)

    @property
    def is_greedy(self) -> bool:
        """True when no noise is drawn."""
        return self.greedy or self.temperature < MIN_TEMPERATURE

    @classmethod
    def for_text(cls, **overrides: Any) -> SamplingParams:
        """The reference's defaults for refining text."""
        values = {"temperature": 0.7, "repetition_penalty": 1.0, "max_new_token": 384, **overrides}
        return cls(**values)


@dataclass(frozen=True)
class Prompt:
    """One request's input, as the GPT graph reads it."""

    ids: Array
    """int64 [T, Q]; a text id is repeated in all Q columns."""
    text_mask: Array
    """bool [T]: True where the position is text, False where it is codes (a voice prompt)."""
    speaker_embedding: Optional[Array] = None
    """float32 [H], placed where the text id is ``[spk_emb]``; the graph normalises it."""
    head: Head = "code"
    """``code`` speaks; ``text`` refines: drawn ids are text and are fed back as text."""
    end_ids: Tuple[int, ...] = ()
    """Ids that end the sequence; empty: the end code of the model (``code`` head only)."""
    min_new_token: int = 0
    """Steps before which the end is banned whatever the sampling parameters say: what the text needs at least."""
    max_new_token: Optional[int] = None
    """Bound that follows from the text's length; the smaller of this and the sampling parameters' holds."""

    @property
    def length(self) -> int:
        """Tokens T of the prompt."""
        return int(self.ids.shape[0])

    def check(self, gpt: GPTConfig) -> None:
        """Compare with the model's dimensions, so that no request can make the graph fail.

        Raises:
            InputError: a wrong shape, dtype or id, named.
        """
        ids, mask = self.ids, self.text_mask
        if ids.ndim != 2 or ids.shape[1] != gpt.num_codebooks or ids.dtype != np.int64:
            raise InputError(f"prompt ids must be int64 [T, {gpt.num_codebooks}], not {ids.dtype} {list(ids.shape)}")
        if mask.shape != ids.shape[:1] or mask.dtype != np.bool_:
            raise InputError(f"the text mask must be bool [{len(ids)}], not {mask.dtype} {list(mask.shape)}")
        if not 0 < len(ids) < gpt.max_positions:
            raise InputError(
                f"the prompt has {len(ids)} tokens and the model takes 1 to {gpt.max_positions - 1}: split the text"
            )
        sizes = np.where(mask, gpt.text_vocab_size, gpt.code_vocab_size)[:, None]
        if bool(((ids < 0) | (ids >= sizes)).any()):
            raise InputError("the prompt has an id outside the model's vocabulary: use the tokenizer of this model")
        if self.head not in ("code", "text"):
            raise InputError(f"unknown head {self.head!r}: use 'code' or 'text'")
        if len(self.end_ids) > 2:  # sampling keeps at least three candidates, so one remains when the end is banned
            raise InputError(f"a prompt has at most 2 end ids, not {len(self.end_ids)}")
        vocab = gpt.code_vocab_size if self.head == "code" else gpt.text_vocab_size
        if (self.head == "text" and not self.end_ids) or any(not 0 <= end < vocab for end in self.end_ids):
            raise InputError(f"end ids {list(self.end_ids)} do not fit the {self.head} head: give ids below {vocab}")
        speaker = self.speaker_embedding
        if speaker is not None and speaker.shape != (gpt.hidden_size,):
            raise InputError(
                f"the speaker embedding has shape {list(speaker.shape)} and the model needs [{gpt.hidden_size}]: "
                f"use a voice made for this model"
            )
        if self.min_new_token < 0 or (self.max_new_token is not None and self.max_new_token < 1):
            raise InputError("a prompt's min_new_token is at least 0 and its max_new_token at least 1")


@dataclass(frozen=True)
class StepOutput:
    """What a sequence gained since the last output; usually one step, more when the reader was slower."""

    request_id: int
    codes: Array
    """int64 [n, Q]; for the text head [n, 1] text ids. The end itself is not included."""
    hidden: Array
    """float32 [n, H]: row i is the hidden state that predicted ``codes[i]``, the acoustic decoder's input."""
    finish: Optional[FinishReason] = None
    """Set on the last output of a sequence, whose n may be 0."""
    error: Optional[ChatTTSError] = None
    """Set when ``finish`` is `FinishReason.ERROR`."""

    @property
    def length(self) -> int:
        """Steps n."""
        return int(self.codes.shape[0])


@dataclass
class Sequence:
    """A request on its way through the engine."""

    request_id: int
    prompt: Prompt
    params: SamplingParams
    end_ids: Tuple[int, ...]
    """One or two ids that end it."""
    max_new: int
    """Steps it may make: the smallest of the parameters', the prompt's and the model's limits."""
    min_new: int
    group: Optional[Hashable] = None
    row: Optional[int] = None
    """Its row of the batch and of the cache, once prefill has begun."""
    prefilled: int = 0
    """Prompt tokens in the cache."""
    generated: int = 0
    """Steps drawn, the end not included."""
    _noise: np.random.Philox = field(init=False, repr=False)

    def __post_init__(self) -> None:
        seed = secrets.randbits(64) if self.params.seed is None else self.params.seed
        self._noise = np.random.Philox(key=seed | self.params.stream << 64)

    @classmethod
    def create(
        cls,
        request_id: int,
        prompt: Prompt,
        params: SamplingParams,
        *,
        gpt: GPTConfig,
        group: Optional[Hashable] = None,
    ) -> Sequence:
        """A new sequence with its limits resolved."""
        limits = [params.max_new_token, gpt.max_positions - prompt.length]
        if prompt.max_new_token is not None:
            limits.append(prompt.max_new_token)
        max_new = min(limits)
        min_new = min(max(params.min_new_token, prompt.min_new_token), max_new)
        return cls(request_id, prompt, params, prompt.end_ids or (gpt.end_code,), max_new, min_new, group)

    @property
    def max_tokens(self) -> int:
        """Cache slots it needs at most."""
        return self.prompt.length + self.max_new

    @property
    def cached_tokens(self) -> int:
        """Cache slots in use: the prompt and every drawn step but the last, which is fed next."""
        return self.prefilled + max(0, self.generated - 1)

    def uniforms(self, steps: int, count: int) -> Array:
        """float64 [steps, count]: the noise of the next steps, multiples of 2**-52 in [0, 1)."""
        raw = self._noise.random_raw(steps * count).reshape(steps, count)
        noise: Array = (raw >> np.uint64(12)) * 2.0**-52
        return noise


def _check_real(name: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} must be a number, not {value!r}: use one from {low:g} to {high:g}")
    if not low <= value <= high:
        raise InputError(f"{name} is {value!r}: use a number from {low:g} to {high:g}")


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}: use a whole number from {low} to {high}")

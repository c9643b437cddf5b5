"""What a caller asks for (``SpeechOptions``) and what comes back (``Audio``, ``AudioChunk``, ``SegmentReport``).

Values only, so that the command line, the server and a notebook share one vocabulary and one set of defaults. Options
of the reference implementation keep their names (``top_P``, ``skip_refine_text``, …) and are accepted as keywords.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.engine.sequence import SamplingParams
from chattts_onnx.errors import InputError
from chattts_onnx.voices import Voice

Float32 = NDArray[np.float32]

CONTINUITIES = ("carry", "anchor", "none")
SAMPLE_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class SpeechOptions:
    """How a text is to be spoken. Every default is what `ChatTTS.synthesize` does when nothing is asked for."""

    voice: Union[str, int, Voice, None] = None
    """A name, a seed, a string of the reference's formats, a mix such as ``a:0.7+b:0.3``; None: the model's first."""
    seed: Optional[int] = None
    """Same seed, text and voice: the same speech. None draws one, which the result reports."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    refine: Optional[bool] = None
    """Let the model add its own pauses and laughs first (the reference's ``skip_refine_text=False``). None: as the
    model was made: on for the published model, off for one that was never taught to."""
    oral: Optional[int] = None
    """0 to 9: how colloquial, when refining."""
    laugh: Optional[int] = None
    """0 to 2: how much laughter, when refining."""
    break_: Optional[int] = None
    """0 to 7: how many pauses, when refining."""
    speed_tag: int = 5
    """0 to 9: the pace asked of the model, ``[speed_n]``."""
    speed: float = 1.0
    """0.25 to 4: exact time-stretching of the finished sound; the pitch stays."""
    continuity: Optional[str] = None
    """How a segment continues from the one before: ``carry`` (conditioned on the previous segment), ``anchor`` (all on
    the first, decoded in parallel) or ``none``. None: what the model does best, as its manifest says."""
    normalize: bool = True
    """Read numbers, dates, units and symbols as words."""
    language: Optional[str] = None
    """``zh`` or ``en`` for numbers and symbols; None: by the script of each segment."""
    lexicon: Optional[Mapping[str, str]] = None
    """Word to reading or replacement, applied before everything else."""
    ssml: bool = False
    """The text is SSML (the subset in docs/text.md)."""
    sample_rate: Optional[int] = None
    """Of the result, in Hz; None: the model's own."""
    lookahead_tokens: Optional[int] = 14
    """Decode steps of future context that a streamed chunk waits for; None: full context, exact."""
    max_attempts: int = 3
    """Draws of a segment that comes out too short, too long, stuck or with words lost, before the best one is kept."""

    def __post_init__(self) -> None:
        _within("oral", self.oral, 0, 9)
        _within("laugh", self.laugh, 0, 2)
        _within("break_", self.break_, 0, 7)
        _within("speed_tag", self.speed_tag, 0, 9)
        _within("speed", self.speed, 0.25, 4.0)
        _within("max_attempts", self.max_attempts, 1, 10)
        _within("lookahead_tokens", self.lookahead_tokens, 0, 1024)
        _within("seed", self.seed, 0, 2**63 - 1)
        if self.continuity is not None and self.continuity not in CONTINUITIES:
            raise InputError(f"continuity {self.continuity!r} is not one of {', '.join(CONTINUITIES)}: use one of them")
        if self.language not in (None, "zh", "en"):
            raise InputError(f"language {self.language!r} is not supported: use zh, en or leave it out")
        if self.sample_rate is not None and self.sample_rate not in SAMPLE_RATES:
            rates = ", ".join(map(str, SAMPLE_RATES))
            raise InputError(f"sample_rate {self.sample_rate} is not supported: use one of {rates}")

    @classmethod
    def of(cls, options: Optional[SpeechOptions] = None, **changes: Any) -> SpeechOptions:
        """Options with some changed by name; sampling parameters and the reference's names are understood too.

        Raises:
            InputError: a name that means nothing here, or a value out of range.
        """
        base = options if options is not None else cls()
        own = {f.name for f in fields(cls)}
        sampling_names = {f.name for f in fields(SamplingParams)} - {"seed"}
        speech: Dict[str, Any] = {}
        sampling: Dict[str, Any] = {}
        for name, value in changes.items():
            if name == "skip_refine_text":
                speech["refine"] = not value
            elif name in own:
                speech[name] = value
            elif name in sampling_names:
                sampling[name] = value
            else:
                known = ", ".join(sorted(own | sampling_names))
                raise InputError(f"unknown option {name!r}: use one of {known}")
        if sampling:
            speech["sampling"] = replace(speech.get("sampling", base.sampling), **sampling)
        return replace(base, **speech)

    @property
    def code_tags(self) -> str:
        """The control tags of the speech prompt."""
        return f"[speed_{self.speed_tag}]"

    @property
    def refine_tags(self) -> str:
        """The control tags of the refinement prompt; empty leaves the choice to the model."""
        pairs = (("oral", self.oral), ("laugh", self.laugh), ("break", self.break_))
        return "".join(f"[{name}_{value}]" for name, value in pairs if value is not None)


@dataclass(frozen=True)
class AudioChunk:
    """A piece of the stream, ready to be played after the one before."""

    samples: Float32
    sample_rate: int
    segment: int
    """Index of the segment the chunk belongs to."""
    text_span: Tuple[int, int]
    """Where the segment's text lies in the text that was given."""
    start: float
    """Seconds from the beginning of the stream."""

    @property
    def end(self) -> float:
        """Seconds from the beginning of the stream to the end of this chunk."""
        return self.start + len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class SegmentReport:
    """How one segment came out."""

    index: int
    text: str
    """As given."""
    spoken: str
    """As read: numbers in words, refined if that was asked."""
    text_span: Tuple[int, int]
    start: float
    """Seconds."""
    end: float
    """Seconds, the pause after it not counted."""
    tokens: int
    """Decode steps of the attempt that was kept."""
    prompt_tokens: int
    attempts: int
    problem: Optional[str] = None
    """What was wrong with the attempt that was kept, after all attempts: too short, never ended, stuck,
    misread, silent."""
    misread: Optional[float] = None
    """Share of the text's symbols that the model knows it did not speak, 0 to 1; None: it cannot tell."""
    doubt: Optional[float] = None
    """How unsure the model is of what it said, in nats, 0 or more: of the attempts the one least in doubt was kept;
    None: it cannot tell."""


@dataclass(frozen=True)
class Audio:
    """A finished utterance."""

    samples: Float32
    sample_rate: int
    segments: List[SegmentReport]
    seed: int
    first_audio_seconds: float
    """Wall-clock seconds until the first chunk."""
    wall_seconds: float
    """Wall-clock seconds for everything."""

    @property
    def duration(self) -> float:
        """Seconds of sound."""
        return len(self.samples) / self.sample_rate

    @property
    def real_time_factor(self) -> float:
        """Wall-clock seconds for one second of sound: below 1 is faster than real time."""
        return self.wall_seconds / self.duration if self.duration else 0.0

    @property
    def problems(self) -> List[SegmentReport]:
        """The segments that did not come out right."""
        return [segment for segment in self.segments if segment.problem]

    def save(self, path: Union[str, Path], format: Optional[str] = None) -> Path:  # noqa: A002 - what users call it
        """Write a sound file; the format follows the suffix unless given.

        Raises:
            InputError: no encoder for that suffix.
            OutputError: it cannot be written there; nothing is left under that name.
        """
        from chattts_onnx.audio.formats import write_file

        return write_file(Path(path), [self.samples], self.sample_rate, format=format)


def _within(name: str, value: Union[int, float, None], low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{name} must be from {low:g} to {high:g}, not {value!r}")

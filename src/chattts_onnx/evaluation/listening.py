"""Audio in, error rates out: the ear and the scorer together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import InputError, MissingExtraError
from chattts_onnx.evaluation import asr
from chattts_onnx.evaluation.scoring import Errors, Rate, rate, score
from chattts_onnx.evaluation.sentences import Recording, Sentence, detect_language

Transcribe = Callable[[NDArray[np.float32], int, str], str]


@dataclass(frozen=True)
class Heard:
    """One scored recording."""

    sentence: Sentence
    speaker: str
    transcript: str
    errors: Dict[str, Errors]
    seconds: float
    """Length of the audio."""

    def as_json(self) -> Dict[str, Any]:
        """For a report: plain values only."""
        return {
            "name": self.sentence.name,
            "language": self.sentence.language,
            "speaker": self.speaker,
            "text": self.sentence.text,
            "heard": self.transcript,
            "seconds": round(self.seconds, 3),
            "errors": {name: [error.edits, error.length] for name, error in self.errors.items()},
        }


@dataclass(frozen=True)
class Check:
    """What an ear makes of one utterance."""

    transcript: str
    language: str
    rates: Dict[str, float]
    """``cer`` and ``pinyin``, or ``wer``: fractions, at most 1."""

    @property
    def error_rate(self) -> float:
        """The rate to judge by: toneless pinyin in Mandarin, words in English."""
        return self.rates["pinyin" if self.language == "zh" else "wer"]


def listen(
    samples: NDArray[np.float32],
    sample_rate: int,
    sentence: Sentence,
    *,
    speaker: str = "",
    transcribe: Transcribe = asr.transcribe,
) -> Heard:
    """Transcribe ``samples`` (float32 [n]) and score them against ``sentence``."""
    transcript = transcribe(samples, sample_rate, sentence.language)
    errors = score(sentence.text, transcript, sentence.language)
    return Heard(sentence, speaker, transcript, errors, len(samples) / sample_rate)


def check(audio: Any, text: str, language: Optional[str] = None, *, transcribe: Transcribe = asr.transcribe) -> Check:
    """Whether ``audio`` says ``text``: what `chattts say --check` prints.

    Args:
        audio: anything with ``samples`` (float32 [n]) and ``sample_rate``, such as a result of ``synthesize``.
        text: what it should say; control tags are ignored.
        language: ``zh`` or ``en``; None: by the characters of ``text``.
        transcribe: another ear.

    Raises:
        InputError: the text has nothing to score.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    sentence = Sentence(text, language or detect_language(text), "check")
    heard = listen(np.asarray(audio.samples, dtype=np.float32), audio.sample_rate, sentence, transcribe=transcribe)
    rates = {name: error.edits / error.length for name, error in heard.errors.items()}
    return Check(heard.transcript, sentence.language, rates)


def listen_to(
    recording: Recording, *, transcribe: Transcribe = asr.transcribe
) -> Tuple[Heard, NDArray[np.float32], int]:
    """`listen` to a file of any format FFmpeg knows; also its samples and their rate.

    Raises:
        InputError: the file is missing or is not audio.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    try:
        from faster_whisper.audio import decode_audio
    except ImportError:
        raise MissingExtraError("faster-whisper", "eval", "reading recordings") from None
    try:
        # At its own rate: FFmpeg's resampler costs a recording 0.8 of Distill-MOS that speech made here does not lose.
        own_rate = _own_rate(recording.path)
        samples = decode_audio(str(recording.path), sampling_rate=own_rate)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{recording.path} cannot be read as audio ({error}): check the manifest") from None
    heard = listen(samples, own_rate, recording.sentence, speaker=recording.speaker, transcribe=transcribe)
    return heard, samples, own_rate


def _own_rate(path: Path) -> int:
    import av  # faster-whisper's own reader

    with av.open(str(path)) as file:
        return int(file.streams.audio[0].rate)


def rates_of(heard: Sequence[Heard], *, seed: int = 0) -> Dict[str, Rate]:
    """Corpus rates by measure over the recordings that have it."""
    return {name: rate(errors, seed=seed) for name, errors in errors_by_measure(heard).items()}


def errors_by_measure(heard: Sequence[Heard]) -> Dict[str, List[Errors]]:
    """Per measure (``cer``, ``pinyin``, ``wer``) the errors of every recording that has it, in order."""
    columns: Dict[str, List[Errors]] = {}
    for one in heard:
        for name, error in one.errors.items():
            columns.setdefault(name, []).append(error)
    return columns

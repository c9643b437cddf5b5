"""One request's speech, under the brakes: a slot, a time limit, an encoder, and the figures kept of it.

Two generators, one inside the other: `speak` yields chunks of samples, `encoded` turns them into bytes of a format.
Whoever consumes them must close them; closing is what aborts the work in the engine and frees the slot, and a
generator that was never started holds neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any, AsyncIterator, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from chattts_onnx.audio.formats import create_encoder
from chattts_onnx.errors import EngineStoppedError, SynthesisError
from chattts_onnx.server.backend import Chunk
from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import RunTimeoutError, invalid
from chattts_onnx.server.schemas import SpeechFields
from chattts_onnx.server.time_limit import TimeLimit, TimeLimitExceededError

log = logging.getLogger(__name__)

# Slow, clear speech; only for the date in Retry-After.
_CHARS_PER_SECOND_HAN = 4.0
_CHARS_PER_SECOND_LATIN = 14.0
_PIECE_GROWTH = 0.04
_LARGEST_PIECE = 0.2
"""Seconds of sound that are encoded and sent together, once playback has something to live on."""


@dataclass
class Measured:
    """What happened while a request was served; filled in as it happens."""

    arrived: float = field(default_factory=time.monotonic)
    queued_seconds: float = 0.0
    first_audio_seconds: Optional[float] = None
    work_seconds: float = 0.0
    """Spent waiting for the engine; a slow reader does not count."""
    audio_seconds: float = 0.0
    playback_started: float = 0.0
    """Work seconds at which a player could begin."""
    underruns: int = 0
    """Chunks that came after a player, who plays from the first one on, had run dry."""
    prompt_tokens: int = 0
    tokens: int = 0

    @property
    def real_time_factor(self) -> Optional[float]:
        """Seconds of work for a second of speech."""
        return self.work_seconds / self.audio_seconds if self.audio_seconds else None


@dataclass(frozen=True)
class SpeechJob:
    """A checked request, ready to be spoken."""

    text: str
    options: Mapping[str, Any]
    format: str
    measured: Measured = field(default_factory=Measured)

    def with_default(self, name: str, value: Any) -> SpeechJob:
        """The job with an option set unless it is already."""
        return replace(self, options={name: value, **self.options})


@dataclass(frozen=True)
class Piece:
    """Encoded bytes, and the chunks of speech they follow from (none for what ends the file)."""

    data: bytes
    chunks: Sequence[Chunk]
    patches: Sequence[Tuple[int, bytes]] = ()
    """With the last piece: (offset, bytes) to write over what went before, where that was not sent yet."""


def job_from(context: ServerContext, text: str, fields: SpeechFields) -> SpeechJob:
    """Check what only the server knows: readiness, model, voice, length.

    Raises:
        RequestError: not ready, or the request must change.
    """
    context.require_backend()
    context.check_model(fields.model)
    limit = context.settings.max_input_chars
    if len(text) > limit:
        message = f"the text has {len(text)} characters and the limit is {limit}: split it"
        raise invalid(message, "input", "string_above_max_length")
    if not text.strip():
        raise invalid("the text is empty: give at least one word", "input", "empty_input")
    options = fields.options()
    voice = context.resolve_voice(fields.voice if isinstance(fields.voice, str) else None)
    if voice is not None:
        options["voice"] = int(voice) if voice.isdigit() else voice
    return SpeechJob(speakable(text), options, fields.response_format)


def speakable(text: str) -> str:
    """``text`` without lone surrogates, which JSON can carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def expected_seconds(text: str) -> float:
    """A guess of how long ``text`` will sound."""
    han = sum("\u3400" <= character <= "\u9fff" for character in text)
    return han / _CHARS_PER_SECOND_HAN + (len(text) - han) / _CHARS_PER_SECOND_LATIN


async def speak(context: ServerContext, job: SpeechJob) -> AsyncIterator[Sequence[Chunk]]:
    """``job``'s speech, a few chunks at a time.

    Raises:
        RequestError: full, waited too long, ran too long.
        ChatTTSError: the speech could not be made.
    """
    backend = context.require_backend()
    measured, metrics = job.measured, context.metrics
    limit = context.settings.request_timeout
    # The first sound goes out at once; after it, fewer and larger pieces cost less and are heard the same.
    wanted = 0.0
    expected = expected_seconds(job.text)
    async with context.admission.slot(expected):
        measured.queued_seconds = time.monotonic() - measured.arrived
        metrics.queue_seconds.observe(measured.queued_seconds)
        speech = backend.speak(job.text, job.options)
        try:
            while True:
                before = time.monotonic()
                try:
                    with context.lifecycle.synthesis(), TimeLimit(limit - measured.work_seconds):
                        chunks = await speech.read(wanted)
                except TimeLimitExceededError:
                    raise RunTimeoutError(limit) from None
                finally:
                    measured.work_seconds += time.monotonic() - before
                if not chunks:
                    break
                context.lifecycle.progress()
                _note(context, measured, chunks)
                wanted = min(_LARGEST_PIECE, wanted + _PIECE_GROWTH)
                yield chunks
            measured.prompt_tokens, measured.tokens = speech.prompt_tokens, speech.tokens
            metrics.retries.inc(speech.retries)
        except EngineStoppedError as error:
            context.lifecycle.fail(error)
            raise
        finally:
            await speech.close()
    if measured.first_audio_seconds is None:
        raise SynthesisError("the model made no sound for this text: word it differently")
    metrics.tokens.labels("text").inc(measured.prompt_tokens)
    metrics.tokens.labels("audio").inc(measured.tokens)
    if measured.real_time_factor is not None:
        metrics.real_time_factor.observe(measured.real_time_factor)
        context.admission.observe(expected, measured.work_seconds)


def _note(context: ServerContext, measured: Measured, chunks: Sequence[Chunk]) -> None:
    seconds = sum(len(chunk.samples) / chunk.sample_rate for chunk in chunks)
    if measured.first_audio_seconds is None:
        measured.first_audio_seconds = time.monotonic() - measured.arrived
        measured.playback_started = measured.work_seconds
        context.metrics.first_audio.observe(measured.first_audio_seconds)
    elif measured.work_seconds - measured.playback_started > measured.audio_seconds:
        measured.underruns += 1
        context.metrics.underruns.inc()
    measured.audio_seconds += seconds
    context.metrics.audio_seconds.inc(seconds)


async def encoded(context: ServerContext, job: SpeechJob) -> AsyncIterator[Piece]:
    """The speech of ``job`` as bytes of its format."""
    loop = asyncio.get_running_loop()
    encoder = None
    groups = speak(context, job)
    try:
        async for chunks in groups:
            if encoder is None:
                encoder = create_encoder(job.format, chunks[0].sample_rate)
            samples = np.concatenate([chunk.samples for chunk in chunks])
            yield Piece(await loop.run_in_executor(context.encoders, encoder.encode, samples), chunks)
        if encoder is not None:
            data = await loop.run_in_executor(context.encoders, encoder.flush)
            yield Piece(data, (), encoder.patches())
    finally:
        await groups.aclose()  # type: ignore[attr-defined]


def usage(job: SpeechJob) -> Dict[str, int]:
    """Tokens in and out, as OpenAI's clients read them: what the model read, and the decode steps of the speech."""
    read, made = job.measured.prompt_tokens, job.measured.tokens
    return {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}


def fingerprint(text: str) -> str:
    """What the log says of a text: its length and a hash, enough to recognise a repeated one."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
    return f"chars={len(text)} sha256={digest}"

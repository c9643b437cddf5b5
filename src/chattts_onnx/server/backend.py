"""What the server asks of whoever makes the speech, and the bridge from a façade in this process to the event loop.

A protocol, because there are two: engines elsewhere (`ray_app`) and `LocalBackend` over `chattts_onnx.ChatTTS`. The
tests put a façade under the bridge that makes sines, so the bridge is always the real one. Speech is read in amounts,
not in chunks: the engine gives a chunk each decode step, and crossing to the event loop that often, for every stream,
would cost more than the encoding.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, Protocol, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.server.freed_memory import FreedMemory
from chattts_onnx.server.settings import ServerSettings


class Chunk(Protocol):
    """As `chattts_onnx.speech.AudioChunk`."""

    @property
    def samples(self) -> npt.NDArray[np.float32]:
        """Mono sound."""
        ...

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        ...

    @property
    def segment(self) -> int:
        """Index of the segment it belongs to."""
        ...

    @property
    def text_span(self) -> Tuple[int, int]:
        """Where that segment stands in the text."""
        ...

    @property
    def start(self) -> float:
        """Seconds from the beginning of the speech."""
        ...


class Speech(Protocol):
    """One utterance in the making."""

    @property
    def prompt_tokens(self) -> int:
        """Text and context tokens read so far."""
        ...

    @property
    def tokens(self) -> int:
        """Audio tokens of the segments that are complete."""
        ...

    @property
    def retries(self) -> int:
        """Segments drawn again because they came out wrong."""
        ...

    async def read(self, seconds: float) -> Sequence[Chunk]:
        """The next chunks, together at least so long unless the speech ends; empty after the end."""
        ...

    async def close(self) -> None:
        """Abort what is left."""
        ...


class Backend(Protocol):
    """A model that speaks."""

    @property
    def manifest(self) -> Any:
        """A `chattts_onnx.config.Manifest`."""
        ...

    @property
    def voices(self) -> Any:
        """A `chattts_onnx.voices.VoiceLibrary`."""
        ...

    def speak(self, text: str, options: Mapping[str, Any]) -> Speech:
        """Prepare to speak; nothing is generated before the first `Speech.read`."""
        ...

    def clone(self, name: str, waveform: npt.NDArray[np.float32], sample_rate: int, transcript: str) -> Any:
        """A voice from a recording; blocks."""
        ...

    def stats(self) -> Mapping[str, Any]:
        """Figures of the engine; may block while the engine is wedged."""
        ...

    def close(self) -> None:
        """Stop the engine."""
        ...


class LocalBackend:
    """A façade in this process; each running utterance takes a thread, which mostly sleeps."""

    def __init__(self, tts: Any, slots: int) -> None:
        """``tts`` is a `chattts_onnx.ChatTTS`, or what has its methods."""
        self._tts = tts
        self._threads = ThreadPoolExecutor(slots + 2, thread_name_prefix="speech")
        self._freed = FreedMemory()

    @property
    def manifest(self) -> Any:
        """What the model is."""
        return self._tts.manifest

    @property
    def voices(self) -> Any:
        """Who can speak."""
        return self._tts.voices

    def speak(self, text: str, options: Mapping[str, Any]) -> Speech:
        """As `Backend.speak`."""
        return _LocalSpeech(self._tts, self._threads, self._freed, text, options)

    def clone(self, name: str, waveform: npt.NDArray[np.float32], sample_rate: int, transcript: str) -> Any:
        """As `Backend.clone`."""
        return self._tts.clone(name, waveform, sample_rate, transcript, licence="as uploaded")

    def stats(self) -> Mapping[str, Any]:
        """The engine's figures."""
        return figures(self._tts.stats())

    def close(self) -> None:
        """Stop the engine; running speech is aborted."""
        self._tts.close()
        self._threads.shutdown(wait=False)
        self._freed.stop()


class _LocalSpeech:
    def __init__(
        self, tts: Any, threads: ThreadPoolExecutor, freed: FreedMemory, text: str, options: Mapping[str, Any]
    ) -> None:
        self._tts = tts
        self._threads = threads
        self._freed = freed
        self._text = text
        self._options = options
        self._stream: Any = None
        self._closed = False

    @property
    def prompt_tokens(self) -> int:
        return int(self._stream.prompt_tokens) if self._stream is not None else 0

    @property
    def tokens(self) -> int:
        return int(self._stream.tokens) if self._stream is not None else 0

    @property
    def retries(self) -> int:
        reports = self._stream.segments if self._stream is not None else ()
        return sum(report.attempts - 1 for report in reports)

    async def read(self, seconds: float) -> Sequence[Chunk]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, seconds)

    async def close(self) -> None:
        # Only marks what runs as aborted: the thread that waits for it is woken by that, not by us.
        self._closed = True
        if self._stream is not None:
            self._stream.close()
        self._freed.soon()

    def _read(self, seconds: float) -> Sequence[Chunk]:
        if self._stream is None:
            stream = self._tts.stream(self._text, **self._options)
            self._stream = stream
            if self._closed:
                # The client left while the text was being prepared.
                stream.close()
                return []
        chunks: List[Chunk] = []
        length = 0.0
        for chunk in self._stream:
            chunks.append(chunk)
            length += len(chunk.samples) / chunk.sample_rate
            if length >= seconds:
                break
        return chunks


def load_backend(settings: ServerSettings) -> Backend:
    """Open the model that ``settings`` name (seconds; called beside the event loop).

    Raises:
        ModelError: no such model, or it is damaged.
    """
    from chattts_onnx.synthesizer import ChatTTS

    tts = ChatTTS.from_pretrained(settings.model, precision=settings.precision, config=settings.engine)
    return LocalBackend(tts, settings.slot_count)


def figures(stats: Any) -> Dict[str, Any]:
    """The fields of an engine's statistics, whether it gives a mapping or a value object."""
    if isinstance(stats, Mapping):
        return dict(stats)
    return {name: getattr(stats, name) for name in dir(stats) if not name.startswith("_")}


def voice_names(backend: Backend) -> List[str]:
    """Names of every voice that can be asked for: the model's own choice first, then in the library's order."""
    names = [voice if isinstance(voice, str) else str(voice.name) for voice in backend.voices.list()]
    first = getattr(backend.manifest, "default_voice", None)
    return sorted(names, key=lambda name: name != first)

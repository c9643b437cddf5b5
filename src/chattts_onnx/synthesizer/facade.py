"""`ChatTTS`: a model that is loaded once and speaks for everybody.

One ONNX Runtime session per graph for the life of the object, one engine that batches every caller's segments, no
state between calls: any thread may call any method at any time.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, AsyncIterator, Iterator, List, Optional, Type, Union

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.prompt_encoder import PromptEncoder
from chattts_onnx.audio.vocoder import Vocoder
from chattts_onnx.config import EngineConfig, Manifest
from chattts_onnx.engine.engine import Engine
from chattts_onnx.engine.stats import EngineStats
from chattts_onnx.engine.worker import EngineWorker
from chattts_onnx.errors import InputError, RequestAbortedError
from chattts_onnx.hub import GPU_PRECISIONS, PRECISIONS, resolve_model
from chattts_onnx.session import computes_half
from chattts_onnx.speech import Audio, AudioChunk, SegmentReport, SpeechOptions
from chattts_onnx.synthesizer.alignment import Aligner
from chattts_onnx.synthesizer.narration import Narration
from chattts_onnx.synthesizer.parts import Parts
from chattts_onnx.synthesizer.script import write_script
from chattts_onnx.text.tokenizer import load_tokenizer
from chattts_onnx.voices import Voice, VoiceLibrary


class SpeechStream:
    """An utterance in the making: iterate it for `AudioChunk`s, `close` it to stop, from any thread."""

    def __init__(self, narration: Narration, seed: int) -> None:
        self._narration = narration
        self._chunks = narration.chunks()
        self._closed = False
        self.seed = seed
        """The seed in use, given or drawn."""

    def __iter__(self) -> Iterator[AudioChunk]:
        return self

    def __next__(self) -> AudioChunk:
        if self._closed:
            raise StopIteration
        try:
            return next(self._chunks)
        except RequestAbortedError:
            if self._closed:
                raise StopIteration from None
            raise

    @property
    def segments(self) -> List[SegmentReport]:
        """Reports of the segments that are complete."""
        return self._narration.reports

    @property
    def prompt_tokens(self) -> int:
        """Text and context tokens read so far."""
        return self._narration.prompt_tokens

    @property
    def tokens(self) -> int:
        """Audio tokens of the segments that are complete."""
        return self._narration.tokens

    def close(self) -> None:
        """Abort what is still running; what was given out stays valid."""
        self._closed = True
        self._narration.cancel()


class ChatTTS:
    """Text to speech. Make one with `from_pretrained`; close it or use it as a context manager."""

    def __init__(self, parts: Parts, directory: Path, description: str, config: EngineConfig) -> None:
        self._parts = parts
        self._config = config
        self._encoder: Optional[PromptEncoder] = None
        self._executor: Optional[ThreadPoolExecutor] = None
        self.directory = directory
        """The model directory."""
        self.description = description
        """Which model this is, in words."""

    @classmethod
    def from_pretrained(
        cls,
        model: Union[str, Path, None] = None,
        *,
        precision: Optional[str] = None,
        device: Optional[str] = None,
        threads: Optional[int] = None,
        config: Optional[EngineConfig] = None,
    ) -> ChatTTS:
        """Load a model.

        Args:
            model: a model directory or a name; None: the full model if it was pulled, else the shipped ``mini``.
            precision: which one of a pulled model; None: fp16 on GPUs, int8 elsewhere, else what there is.
            device: ``cpu``, ``cuda``, ``tensorrt``, ``directml``, ``coreml``, ``openvino`` or ``auto``.
            threads: of each graph; None: the physical cores, at most 8.
            config: limits of the engine; ``device`` and ``threads`` given here go before it.

        Raises:
            ModelError: no such model, or it is damaged; the message says how to get it.
            InputError: an unknown device or precision.
        """
        config = config or EngineConfig()
        config = replace(
            config,
            device=config.device if device is None else device,
            threads=config.threads if threads is None else threads,
        )
        prefer = GPU_PRECISIONS if computes_half(config.device) else PRECISIONS
        resolved = resolve_model(model, precision, prefer)
        directory = resolved.path
        manifest = Manifest.load(directory)
        manifest.verify(directory, hashes=False)
        tokenizer = load_tokenizer(directory, manifest.front_end)
        voices = VoiceLibrary.of_model(directory, manifest)
        vocoder = Vocoder.open(directory, manifest, device=config.device, threads=config.threads)
        aligner = Aligner.open(directory, manifest, tokenizer)
        worker = EngineWorker(Engine.open(directory, manifest, config))
        parts = Parts(manifest, tokenizer, worker, vocoder, voices, aligner)
        return cls(parts, directory, resolved.description, config)

    @property
    def manifest(self) -> Manifest:
        """What the model is."""
        return self._parts.manifest

    @property
    def voices(self) -> VoiceLibrary:
        """The model's and the user's voices."""
        return self._parts.voices

    @property
    def sample_rate(self) -> int:
        """The model's own, in Hz."""
        return self.manifest.audio.sample_rate

    def stats(self) -> EngineStats:
        """What the engine is doing."""
        return self._parts.worker.stats()

    @property
    def worker(self) -> EngineWorker:
        """The engine's thread: its health is the health of the process."""
        return self._parts.worker

    def stream(
        self, text: str, options: Optional[SpeechOptions] = None, *, live: bool = True, **changes: Any
    ) -> SpeechStream:
        """Speak while generating.

        Args:
            text: what to say, of any length; tags such as ``[laugh]`` and ``[pause 0.5s]`` are understood.
            options: how to say it.
            live: sound as early as possible. False: segment by segment, each judged and repeated if need be before
                it is given out, which is what a file wants.
            changes: single options by name, e.g. ``voice="…"``, ``seed=7``, ``temperature=0.5``.

        Raises:
            InputError: the text or an option cannot be used; nothing has been generated.
            EngineOverloadedError: too many requests are waiting.
        """
        chosen = SpeechOptions.of(options, **changes)
        if not isinstance(text, str):
            raise InputError(f"the text must be a string, not {type(text).__name__}: decode bytes first")
        seed = chosen.seed if chosen.seed is not None else secrets.randbits(32)
        voice = self._voice(chosen.voice)
        script = write_script(
            text, chosen, max_seconds=self.manifest.segment_seconds, clause_slack=self.manifest.clause_slack
        )
        first = next(script)  # input that cannot be spoken fails here, not in the middle of a stream
        narration = Narration(self._parts, _chain(first, script), voice, chosen, seed=seed, live=live)
        return SpeechStream(narration, seed)

    def synthesize(self, text: str, options: Optional[SpeechOptions] = None, **changes: Any) -> Audio:
        """Speak ``text`` and wait for the whole of it; arguments and errors as `stream`.

        Raises:
            SynthesisError: a segment gave no sound at all.
        """
        begin = time.perf_counter()
        stream = self.stream(text, options, live=False, **changes)
        first: Optional[float] = None
        parts: List[npt.NDArray[np.float32]] = []
        rate = self.sample_rate
        for chunk in stream:
            if first is None:
                first = time.perf_counter() - begin
            parts.append(chunk.samples)
            rate = chunk.sample_rate
        wall = time.perf_counter() - begin
        samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        return Audio(samples, rate, stream.segments, stream.seed, first if first is not None else wall, wall)

    async def astream(
        self, text: str, options: Optional[SpeechOptions] = None, *, live: bool = True, **changes: Any
    ) -> AsyncIterator[AudioChunk]:
        """`stream` for an event loop; leaving the iterator early aborts the rest."""
        loop = asyncio.get_running_loop()
        executor = self._threads()
        stream = await loop.run_in_executor(executor, lambda: self.stream(text, options, live=live, **changes))
        try:
            while True:
                chunk = await loop.run_in_executor(executor, next, stream, None)
                if chunk is None:
                    return
                yield chunk
        finally:
            stream.close()

    def clone(
        self, name: str, waveform: npt.ArrayLike, sample_rate: int, transcript: str, *, licence: str = "", **more: Any
    ) -> Voice:
        """A voice from a recording: its codes and what it says become the prompt.

        Args:
            name: of the new voice; it is not saved (`voices.add` does).
            waveform: [n] or [n, channels], 0.5 to 30 s of clear speech.
            sample_rate: of the recording, in Hz.
            transcript: exactly what is said.
            licence: under which the voice may be used.
            more: other fields of `Voice`.

        Raises:
            InputError: a recording or transcript that cannot be used.
        """
        if not transcript.strip():
            raise InputError("cloning needs the exact words of the recording: give them as the transcript")
        if self._encoder is None:
            self._encoder = PromptEncoder.open(
                self.directory, self.manifest, device=self._config.device, threads=self._config.threads
            )
        codes = self._encoder.encode(waveform, sample_rate)
        return Voice(
            name=name, embedding=None, prompt_codes=codes, prompt_text=transcript.strip(), licence=licence, **more
        )

    def close(self, *, drain: bool = False, timeout: Optional[float] = None) -> None:
        """Stop the engine: running speech is aborted, or finished first if ``drain``."""
        self._parts.worker.close(drain=drain, timeout=timeout)
        if self._executor is not None:
            self._executor.shutdown(wait=False)

    def __enter__(self) -> ChatTTS:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def _voice(self, spec: Union[str, int, Voice, None]) -> Voice:
        return spec if isinstance(spec, Voice) else self._parts.voices.get(spec)

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            # Each waiting listener holds a thread, asleep: as many as the engine lets in.
            limit = self._config.max_batch + self._config.max_queue + 4
            self._executor = ThreadPoolExecutor(limit, thread_name_prefix="chattts-stream")
        return self._executor


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest

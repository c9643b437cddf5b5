"""A façade that makes sines: the shape of `chattts_onnx.ChatTTS`, without a model behind it.

Deterministic in text, voice and seed, so that what two requests got can be compared byte for byte; its speed, its rows
and its failures are chosen by the test. It runs under the server's real bridge, brakes and encoders.
"""

from __future__ import annotations

import re
import threading
import time
import zlib
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from chattts_onnx.errors import EmptyTextError, EngineStoppedError, RequestAbortedError, UnknownVoiceError
from chattts_onnx.server.backend import LocalBackend
from chattts_onnx.speech import AudioChunk, SpeechOptions

RATE = 24_000
CHUNK = 2_400


@dataclass
class SineVoices:
    names: list = field(default_factory=lambda: ["amy", "bo", "chen"])

    def list(self):
        return [SimpleNamespace(name=name) for name in self.names]

    def get(self, spec):
        for part in str(spec).split("+"):
            name = part.split(":")[0]
            if name not in self.names and not name.isdigit() and spec is not None:
                raise UnknownVoiceError(str(spec), self.names)
        return spec

    def add(self, voice, *, save=True):
        self.names.append(voice.name)

    def remove(self, name):
        self.names.remove(name)


class SineStream:
    def __init__(self, facade, text, options):
        self._facade = facade
        self._chunks = self._make(text, options)
        self._cancelled = threading.Event()
        self._inside = False
        self.prompt_tokens = len(text)
        self.tokens = 0
        self.segments = []

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._chunks)
        except RequestAbortedError:
            raise StopIteration from None

    def close(self):
        """As the façade's: what the engine still holds of it is given up at once, whoever is reading."""
        self._cancelled.set()
        self._leave(aborted=True)

    def _leave(self, *, aborted):
        if self._inside:
            self._inside = False
            self._facade.end(aborted=aborted)

    def _make(self, text, options):
        facade = self._facade
        facade.begin()
        self._inside = True
        try:
            rate = options.sample_rate or RATE
            key = f"{options.voice}|{options.seed}|{options.temperature_tag}"
            position = 0
            spans = [m.span() for m in re.finditer(r"[^。.!?！？]+[。.!?！？]*", text)]
            for index, span in enumerate(spans):
                pitch = 200 + zlib.crc32((key + text[slice(*span)]).encode()) % 400
                for step in range(facade.chunks_per_segment):
                    facade.wait(self._cancelled)
                    if "poison" in text and step == 1:
                        raise facade.failure
                    self.tokens += 5
                    count = CHUNK * rate // RATE
                    t = (np.arange(count) + step * count) / rate
                    samples = (0.3 * np.sin(2 * np.pi * pitch * t)).astype(np.float32)
                    yield AudioChunk(samples, rate, index, span, position / rate)
                    position += count
                self.segments.append(SimpleNamespace(attempts=1))
        finally:
            self._leave(aborted=self._cancelled.is_set())


class SineFacade:
    """What the tests turn: ``step_seconds``, ``chunks_per_segment``, ``wedged``, ``failure``."""

    def __init__(self, *, step_seconds=0.0, chunks_per_segment=5):
        self.step_seconds = step_seconds
        self.chunks_per_segment = chunks_per_segment
        self.failure: Exception = RuntimeError("a bug")
        self.wedged = threading.Event()
        self.held = threading.Event()
        self.voices = SineVoices()
        self.closed = False
        self.running = 0
        self.most_running = 0
        self.aborted = 0
        self.steps = 0
        self.seen = []
        self._lock = threading.Lock()
        self.manifest = SimpleNamespace(
            name="sine",
            precision="fp32",
            licence="CC0-1.0",
            source="tests",
            audio=SimpleNamespace(sample_rate=RATE, tokens_per_second=RATE / 512),
        )

    def stream(self, text, *, live=True, **options):
        if not re.search(r"\w", text):
            raise EmptyTextError
        chosen = SpeechOptions.of(None, **options)
        self.voices.get(chosen.voice)
        self.seen.append((text, live, options))
        chosen = SimpleNamespace(
            voice=chosen.voice,
            seed=chosen.seed,
            sample_rate=chosen.sample_rate,
            temperature_tag=chosen.sampling.temperature,
        )
        return SineStream(self, text, chosen)

    def clone(self, name, waveform, sample_rate, transcript, *, licence=""):
        return SimpleNamespace(name=name, samples=len(waveform), rate=sample_rate, transcript=transcript)

    def stats(self):
        return SimpleNamespace(
            running=self.running, waiting=0, batch_size=self.running, steps=self.steps, step_seconds=0.0
        )

    def close(self):
        self.closed = True

    def begin(self):
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)

    def end(self, *, aborted):
        with self._lock:
            self.running -= 1
            self.aborted += aborted

    def wait(self, cancelled):
        until = time.monotonic() + self.step_seconds
        while time.monotonic() < until or self.wedged.is_set() or self.held.is_set():
            if self.closed:
                raise EngineStoppedError("closed")
            if cancelled.is_set() and not self.wedged.is_set():
                break
            time.sleep(0.002)
        if cancelled.is_set():
            raise RequestAbortedError("aborted")
        self.steps += 1


def loader(facade, slots=2):
    """For `create_app`: the double under the real bridge."""
    return lambda settings: LocalBackend(facade, settings.slot_count)

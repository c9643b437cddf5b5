"""The measured side of a benchmark: one process per model and precision, told what to do line by line.

A process of its own, because peak memory belongs to a process and because several configurations are measured in
turns: whatever else the machine is doing then falls on all of them alike. Requests and answers are JSON lines.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from chattts_onnx.config import EngineConfig

TEXT = "今天早上，新的地铁线路正式通车，沿线的居民都很高兴。"


class Clock:
    """Seconds that pass for the measured work.

    On a machine that others use too, wall time measures the others. The clock ``cpu`` counts what this process
    computed, and waiting passes in no time: with one thread that is what an idle machine would show.
    """

    def __init__(self, kind: str = "wall") -> None:
        self._read = time.process_time if kind == "cpu" else time.perf_counter
        self._skipped = 0.0
        self._skips = kind == "cpu"

    def now(self) -> float:
        """Seconds since some moment."""
        return self._read() + self._skipped

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        if self._skips:
            self._skipped += max(0.0, seconds)
        else:
            time.sleep(max(0.0, seconds))


class Subject:
    """One model, opened for the engine alone or for the whole chain, never both at once."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._directory = Path()
        self._config = EngineConfig()
        self._engine: Any = None
        self._speaker: Any = None
        self._manifest: Any = None

    def open(
        self, model: str, threads: Optional[int], device: str, max_batch: int, clock: str = "wall"
    ) -> Dict[str, Any]:
        """Load the whole chain once, timed; the imports are timed apart."""
        self._clock = Clock(clock)
        started = self._clock.now()
        from chattts_onnx import ChatTTS

        imported = self._clock.now()
        self._config = EngineConfig(
            max_batch=max_batch, max_queue=4096, kv_budget_bytes=8 << 30, threads=threads, device=device
        )
        self._speaker = ChatTTS.from_pretrained(model, config=self._config)
        loaded = self._clock.now()
        self._directory, self._manifest = self._speaker.directory, self._speaker.manifest
        disk = sum(path.stat().st_size for path in self._directory.rglob("*") if path.is_file())
        return {
            "import_seconds": imported - started,
            "load_seconds": loaded - imported,
            "disk_bytes": disk,
            "precision": self._manifest.precision,
            "name": self._manifest.name,
            "tokens_per_second": self._manifest.audio.tokens_per_second,
        }

    def limits(self, threads: int, context: int) -> Dict[str, Any]:
        """`limits.measure_limits` and `limits.step_cost` of this model."""
        from chattts_onnx.evaluation.limits import measure_limits, step_cost

        cost = step_cost(self._directory, self._manifest, context=context)
        return {**asdict(measure_limits(threads, now=self._clock.now)), **asdict(cost)}

    def decode(self, batch: int, context: int, steps: int) -> Dict[str, Any]:
        """Time of ``steps`` decode steps of ``batch`` rows, all with ``context`` tokens before them.

        Also how fast memory is read just then: on a machine that others use too, that changes from minute to minute.
        """
        from chattts_onnx.evaluation.limits import read_bandwidth
        from chattts_onnx.session import default_threads

        engine = self._open_engine()
        for row in range(batch):
            engine.add(self._prompt(context, row), _fixed(steps + 2 + batch, row))
        started = self._clock.now()
        _run_until_all_decode(engine, batch)
        begin = self._clock.now()
        for _ in range(steps):
            engine.step()
        seconds = self._clock.now() - begin
        _empty(engine)
        return {
            "seconds": seconds,
            "steps": steps,
            "prefill_seconds": begin - started,
            "read_bytes_per_second": read_bandwidth(self._config.threads or default_threads(), now=self._clock.now),
        }

    def request(self, batch: int, input_tokens: int, steps: int) -> Dict[str, Any]:
        """Latency of ``batch`` equal requests that arrive at once: prompt, ``steps`` steps, and their sound."""
        from chattts_onnx.audio.vocoder import Vocoder

        engine = self._open_engine()
        vocoder = Vocoder.open(
            self._directory, self._manifest, device=self._config.device, threads=self._config.threads
        )
        begin = self._clock.now()
        ids = [engine.add(self._prompt(input_tokens, row), _fixed(steps, row)) for row in range(batch)]
        hidden: Dict[int, List[Any]] = {request: [] for request in ids}
        finished: Dict[int, float] = {}
        first = None
        while len(finished) < batch:
            for output in engine.step():
                hidden[output.request_id].append(output.hidden)
                if first is None and output.length:
                    first = self._clock.now() - begin
                if output.finish is not None:
                    vocoder.decode(np.concatenate(hidden[output.request_id]))
                    finished[output.request_id] = self._clock.now() - begin
        return {"seconds": max(finished.values()), "latencies": list(finished.values()), "first_step_seconds": first}

    def speak(self, batch: int, tokens: int) -> Dict[str, Any]:
        """``batch`` callers stream the same text at once through the public interface."""
        speaker = self._open_speaker()

        def one(seed: int) -> Tuple[float, float, float, int]:
            begin = self._clock.now()
            stream = speaker.stream(
                TEXT, seed=seed, max_attempts=1, refine=False, min_new_token=tokens, max_new_token=tokens
            )
            first, samples, rate = None, 0, 1
            for chunk in stream:
                first = first if first is not None else self._clock.now() - begin
                samples, rate = samples + len(chunk.samples), chunk.sample_rate
            return first or 0.0, self._clock.now() - begin, samples / rate, stream.tokens

        begin = self._clock.now()
        with ThreadPoolExecutor(batch) as pool:
            results = list(pool.map(one, range(batch)))
        wall = self._clock.now() - begin
        return {
            "wall_seconds": wall,
            "audio_seconds": sum(result[2] for result in results),
            "first_audio_seconds": [result[0] for result in results],
            "tokens": sum(result[3] for result in results),
        }

    def arrivals(
        self,
        batching: str,
        batch: int,
        times: Sequence[float],
        lengths: Sequence[int],
        contexts: Sequence[int],
        window: float,
    ) -> Dict[str, Any]:
        """Latency of requests that arrive at ``times`` (seconds) and speak ``lengths`` tokens each.

        Args:
            batching: ``padded``, a dynamic batcher: collect up to ``batch`` requests for ``window`` seconds, pad
                prompts and speech to the longest, answer all when that ends and only then look at the next.
                ``static``: likewise without padding, each row leaves when it ends. ``continuous``: each joins at once.
            batch: rows.
            times: of arrival, ascending.
            lengths: decode steps of each request.
            contexts: prompt tokens of each.
            window: seconds a static batch waits for company.
        """
        engine = self._open_engine()
        continuous, padded = batching == "continuous", batching == "padded"
        latencies = [0.0] * len(times)
        running: Dict[int, int] = {}
        answered: List[int] = []
        upcoming = 0
        begin = self._clock.now()

        def arrived() -> int:
            now = self._clock.now() - begin
            count = upcoming
            while count < len(times) and times[count] <= now:
                count += 1
            return count

        while upcoming < len(times) or running:
            admit = 0
            if continuous or not running:
                admit = arrived() - upcoming
                if not continuous and admit:
                    deadline = times[upcoming] + window
                    while arrived() - upcoming < batch and self._clock.now() - begin < deadline:
                        self._clock.sleep(0.001)
                    admit = min(batch, arrived() - upcoming)
            chosen = range(upcoming, upcoming + admit)
            for position in chosen:
                alike = chosen if padded else (position,)
                prompt = self._prompt(max(contexts[one] for one in alike), position)
                request = engine.add(prompt, _fixed(max(lengths[one] for one in alike), position))
                running[request] = position
            upcoming += admit
            if not running:
                self._clock.sleep(times[upcoming] - (self._clock.now() - begin))
                continue
            answered += [running.pop(one.request_id) for one in engine.step() if one.finish is not None]
            if not (padded and running):
                for position in answered:
                    latencies[position] = self._clock.now() - begin - times[position]
                answered.clear()
        return {"latencies": latencies, "wall_seconds": self._clock.now() - begin}

    def parts(self, tokens: int, context: int) -> Dict[str, Any]:
        """Seconds that each part takes for one utterance of ``tokens`` decode steps at batch 1."""
        from chattts_onnx.audio.postprocess import postprocess
        from chattts_onnx.audio.vocoder import Vocoder
        from chattts_onnx.session import create_session

        before = self._open_engine().stats()
        decoded = self.decode(1, context, tokens)
        after = self._open_engine().stats()
        sampling = after.sampling_seconds - before.sampling_seconds
        decoding = after.decode_seconds - before.decode_seconds
        times: Dict[str, float] = {
            "prefill": decoded["prefill_seconds"],
            "steps": decoded["seconds"],
            "of which sampling": decoded["seconds"] * sampling / (sampling + decoding),
        }
        gpt, audio = self._manifest.gpt, self._manifest.audio
        generator = np.random.default_rng(0)
        hidden = generator.standard_normal((tokens, gpt.hidden_size)).astype(np.float32)
        mel = generator.standard_normal((1, audio.n_mels, tokens * audio.frames_per_token)).astype(np.float32)
        for role, feed in (("decoder", {"hidden": hidden[None]}), ("vocos", {"mel": mel})):
            path = self._manifest.path(self._directory, role)
            session = create_session(path, device=self._config.device, threads=self._config.threads)
            session.run(None, feed)
            begin = self._clock.now()
            session.run(None, feed)
            times[role] = self._clock.now() - begin
        vocoder = Vocoder.open(
            self._directory, self._manifest, device=self._config.device, threads=self._config.threads
        )
        vocoder.decode(hidden)
        begin = self._clock.now()
        waveform = vocoder.decode(hidden)
        times["inverse STFT and windows"] = max(0.0, self._clock.now() - begin - times["decoder"] - times["vocos"])
        begin = self._clock.now()
        postprocess(waveform, audio.sample_rate, 16000)
        times["post-processing"] = self._clock.now() - begin
        return {"seconds": times, "audio_seconds": tokens / audio.tokens_per_second}

    def operators(self, batch: int, context: int, steps: int) -> Dict[str, Any]:
        """`operators.operator_seconds` of this model."""
        from chattts_onnx.evaluation.operators import operator_seconds

        self._drop()
        threads = self._config.threads
        seconds = operator_seconds(
            self._directory, self._manifest, batch=batch, context=context, steps=steps, threads=threads
        )
        return {"seconds": seconds}

    def peak(self) -> Dict[str, Any]:
        """Most memory this process ever held."""
        from chattts_onnx.evaluation.limits import peak_memory_bytes

        return {"bytes": peak_memory_bytes()}

    def close(self) -> Dict[str, Any]:
        """Let go of everything."""
        self._drop()
        return {}

    def _drop(self) -> None:
        if self._speaker is not None:
            self._speaker.close()
        self._speaker = self._engine = None

    def _open_engine(self) -> Any:
        if self._engine is None:
            self._drop()
            from chattts_onnx.engine.engine import Engine

            self._engine = Engine.open(self._directory, self._manifest, self._config)
        return self._engine

    def _open_speaker(self) -> Any:
        if self._speaker is None:
            self._drop()
            from chattts_onnx import ChatTTS

            self._speaker = ChatTTS.from_pretrained(str(self._directory), config=self._config)
        return self._speaker

    def _prompt(self, tokens: int, seed: int) -> Any:
        from chattts_onnx.engine.sequence import Prompt

        gpt = self._manifest.gpt
        # Below 1000 are characters in every vocabulary; control tags sit at the end.
        ids = np.random.default_rng(seed).integers(1, min(1000, gpt.text_vocab_size // 2), tokens)
        columns = np.repeat(ids[:, None], gpt.num_codebooks, axis=1).astype(np.int64)
        return Prompt(ids=columns, text_mask=np.ones(tokens, bool))


def _fixed(tokens: int, seed: int) -> Any:
    from chattts_onnx.engine.sequence import SamplingParams

    return SamplingParams(min_new_token=tokens, max_new_token=tokens, seed=seed)


def _run_until_all_decode(engine: Any, batch: int) -> None:
    """Steps until every row has drawn once."""
    seen: Set[int] = set()
    while len(seen) < batch:
        seen.update(output.request_id for output in engine.step() if output.length)


def _empty(engine: Any) -> None:
    while engine.has_work:
        engine.step()


def serve(subject: Any, lines: Any, answer: Any) -> None:
    """Answer each line ``{"do": name, ...arguments}`` with its result, or ``{"error": message}``."""
    for line in lines:
        request: Dict[str, Any] = json.loads(line)
        try:
            result = getattr(subject, request.pop("do"))(**request)
        except Exception as error:  # noqa: BLE001 - whatever went wrong belongs to the parent
            result = {"error": f"{type(error).__name__}: {error}"}
        answer.write(json.dumps(result) + "\n")
        answer.flush()


if __name__ == "__main__":
    # Native libraries print to standard output; the answers keep it for themselves.
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(Subject(), sys.stdin, _answers)

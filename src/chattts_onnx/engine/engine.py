"""The engine: requests in, codes and hidden states out, one step at a time, without a thread.

`Engine.step` is the whole of continuous batching on one screen: the scheduler plans, the runner reads prompts and
decodes every row, the sampler draws for all rows at once, ended sequences leave and the rows close up. It knows ids
and arrays only, no text and no sound; `engine.worker` gives it a thread.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, Hashable, Iterable, List, Optional, Tuple

import numpy as np

from chattts_onnx.engine.device_cache import DeviceKVCache
from chattts_onnx.engine.kv_cache import KVCache, capacity_bucket
from chattts_onnx.engine.model_runner import ModelRunner
from chattts_onnx.engine.row_table import NOISE_STEPS, RowTable
from chattts_onnx.engine.sampler import sample
from chattts_onnx.engine.scheduler import Scheduler, SchedulerLimits
from chattts_onnx.engine.sequence import FinishReason, Prompt, SamplingParams, Sequence, StepOutput
from chattts_onnx.engine.stats import EngineStats
from chattts_onnx.errors import InputError, SynthesisError
from chattts_onnx.session import create_session, require_runtime, warn_if_slow

if TYPE_CHECKING:
    from pathlib import Path

    from chattts_onnx.config import EngineConfig, GPTConfig, Manifest
    from chattts_onnx.engine.scheduler import PrefillChunk
    from chattts_onnx.session import Recorder

    Array = np.ndarray[Any, Any]

_FLOAT16 = "tensor(float16)"


class Engine:
    """Continuous batching over one model. Not thread-safe; see `EngineWorker`.

    Args:
        runner: The GPT graph and its cache.
        gpt: Dims.
        limits: What the scheduler may hand out.
        recorder: Told the whole of every finished sequence, for calibration.
    """

    def __init__(
        self, runner: ModelRunner, gpt: GPTConfig, limits: SchedulerLimits, recorder: Optional[Recorder] = None
    ) -> None:
        self._runner = runner
        self._gpt = gpt
        self._recorder = recorder
        self.limits = limits
        self._scheduler = Scheduler(limits, capacity_bucket)
        self._sequences: Dict[int, Sequence] = {}
        self._table = RowTable(
            limits.max_batch, gpt.num_codebooks, code_vocab=gpt.code_vocab_size, text_vocab=gpt.text_vocab_size
        )
        self._ids = itertools.count()
        self._stats = EngineStats()
        self._history: Dict[int, List[Array]] = {}

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, config: EngineConfig, *, recorder: Optional[Recorder] = None
    ) -> Engine:
        """Load the GPT of a model directory.

        Raises:
            ModelFormatError: a graph is missing, damaged, or needs a newer ONNX Runtime.
            InputError: the device is not available, or the limits are not usable.
        """
        _check_config(config)
        require_runtime(manifest.min_onnxruntime)
        warn_if_slow(manifest.precision, config.device)
        gpt = manifest.gpt
        session = create_session(
            manifest.path(directory, "gpt"), device=config.device, threads=config.threads, arena=True, spinning=True
        )
        half = any(node.name == "past_key_0" and node.type == _FLOAT16 for node in session.get_inputs())
        slot_bytes = gpt.kv_bytes_per_token // (2 if half else 1)
        rows = max(config.max_batch, 2)  # the probe, and models that never run a batch of one, need two
        cache = _open_cache(
            session.get_providers()[0],
            config.device,
            layers=gpt.num_layers,
            heads=gpt.num_kv_heads,
            head_size=gpt.head_size,
            max_rows=rows,
            max_tokens=config.kv_budget_bytes // slot_bytes,
            dtype=np.float16 if half else np.float32,
        )
        runner = ModelRunner(
            session,
            lambda: create_session(manifest.path(directory, "text_head"), device=config.device, threads=config.threads),
            gpt,
            cache,
            rows,
        )
        runner.probe()
        limits = SchedulerLimits(
            max_batch=config.max_batch,
            max_queue=config.max_queue,
            kv_tokens=config.kv_budget_bytes // slot_bytes,
            prefill_chunk=config.prefill_chunk,
            chunked=runner.chunked,
            min_rows=runner.min_rows,
            batch_wait=config.batch_wait_ms / 1000,
        )
        return cls(runner, gpt, limits, recorder)

    @property
    def has_work(self) -> bool:
        """True while any request is unfinished."""
        return self._scheduler.has_work

    def check(self, prompt: Prompt, params: Optional[SamplingParams] = None) -> None:
        """Raise `InputError` if the request can never run; changes nothing, may be called from any thread."""
        prompt.check(self._gpt)
        sequence = Sequence.create(-1, prompt, params or _defaults(prompt), gpt=self._gpt)
        self._scheduler.check(sequence.max_tokens)

    def add(
        self,
        prompt: Prompt,
        params: Optional[SamplingParams] = None,
        *,
        group: Optional[Hashable] = None,
        now: Optional[float] = None,
    ) -> int:
        """Queue a request.

        Args:
            prompt: Its ids.
            params: How to sample; None: the defaults of the prompt's head.
            group: Requests of one group (the segments of one text) share the rows fairly with other groups.
            now: Time of arrival, `time.monotonic` by default.

        Returns:
            The request's id, under which its `StepOutput` come.

        Raises:
            InputError: the prompt does not fit the model, or the request can never fit the cache.
            EngineOverloadedError: the queue is full.
        """
        prompt.check(self._gpt)
        request_id = next(self._ids)
        sequence = Sequence.create(request_id, prompt, params or _defaults(prompt), gpt=self._gpt, group=group)
        self._scheduler.add(
            request_id,
            prompt_tokens=prompt.length,
            max_tokens=sequence.max_tokens,
            group=group,
            now=time.monotonic() if now is None else now,
        )
        self._sequences[request_id] = sequence
        return request_id

    def abort(self, request_id: int) -> bool:
        """Drop a request, wherever it is; its row is free at once. False if it is not (or no longer) here."""
        if not self._scheduler.abort(request_id):
            return False
        self._stats.aborted += 1
        self._leave((request_id,))
        return True

    def drain(self) -> None:
        """Take no new requests; those here run to their end."""
        self._scheduler.drain()

    def wait_until(self, now: float) -> Optional[float]:
        """When there is something to do, if there is nothing before (a lone request waits for company)."""
        return self._scheduler.company_until(now)

    def step(self, now: Optional[float] = None) -> List[StepOutput]:
        """Advance every running sequence by one step and read some prompt tokens.

        Returns:
            What each sequence gained; empty when there was nothing to do.
        """
        started = time.perf_counter()
        plan = self._scheduler.plan(time.monotonic() if now is None else now)
        if plan.is_empty:
            return []
        ready = self._stats.batch_size = len(plan.decode)
        if ready:
            self._runner.decode(ready)
        decoded = time.perf_counter()
        broken: Dict[int, Exception] = {}
        for chunk in plan.prefill:
            error = self._prefill(chunk)
            if error is not None:
                broken[chunk.request_id] = error
            # Only the last piece may end within its prompt, so the rows that draw are a prefix.
            ready += chunk.last or error is not None
        prefilled = time.perf_counter()
        batch = [self._sequences[request_id] for request_id in self._scheduler.running[:ready]]
        outputs = self._draw(batch, broken) if batch else []
        finished = [output.request_id for output in outputs if output.finish is not None]
        self._scheduler.commit(plan, finished)
        self._leave(finished)
        ended = time.perf_counter()
        counters = self._stats
        counters.steps += 1
        counters.decode_seconds += decoded - started
        counters.prefill_seconds += prefilled - decoded
        counters.sampling_seconds += ended - prefilled
        counters.step_seconds += ended - started
        counters.last_step_seconds = ended - started
        return outputs

    def stats(self) -> EngineStats:
        """A snapshot."""
        cache = self._runner.cache
        return replace(
            self._stats,
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            kv_rows=cache.allocated_rows,
            kv_rows_used=cache.rows,
            kv_tokens_used=sum(cache.lengths),
            kv_bytes=cache.nbytes,
        )

    def check_conservation(self) -> None:
        """Every row of the cache belongs to one running sequence and holds exactly its tokens.

        Raises:
            AssertionError: it does not.
        """
        running = [self._sequences[request_id] for request_id in self._scheduler.running]
        assert [sequence.row for sequence in running] == list(range(len(running)))
        self._runner.cache.check([sequence.cached_tokens for sequence in running])
        assert set(self._sequences) == {*self._scheduler.running, *self._scheduler.waiting}

    def _prefill(self, chunk: PrefillChunk) -> Optional[Exception]:
        """Read one piece of a prompt; what goes wrong there is that request's own failure."""
        sequence = self._sequences[chunk.request_id]
        if sequence.row is None:
            sequence.row = self._runner.cache.append_row()
            self._table.set_row(sequence.row, sequence)
        prompt, part = sequence.prompt, slice(chunk.start, chunk.stop)
        try:
            self._runner.prefill(sequence.row, prompt.ids[part], prompt.text_mask[part], prompt.speaker_embedding)
        except Exception as error:  # noqa: BLE001 - out of memory, or ONNX Runtime's own classes
            return error
        sequence.prefilled = chunk.stop
        self._stats.prompt_tokens += chunk.stop - chunk.start
        return None

    def _draw(self, batch: List[Sequence], broken: Dict[int, Exception]) -> List[StepOutput]:
        """Draw for rows ``[0, len(batch))`` and write what they feed next."""
        table, runner, count = self._table, self._runner, len(batch)
        codebooks = self._gpt.num_codebooks
        is_text = table.is_text[:count]
        if not is_text.any():
            ids, finite = self._draw_head(np.arange(count), runner.code_logits[:count], prefix=True)
        else:
            ids, finite = np.zeros((count, codebooks), np.int64), np.zeros(count, np.bool_)
            code_rows, text_rows = np.flatnonzero(~is_text), np.flatnonzero(is_text)
            if len(code_rows):
                drawn, finite[code_rows] = self._draw_head(code_rows, runner.code_logits[code_rows])
                ids[code_rows] = drawn
            drawn, finite[text_rows] = self._draw_head(text_rows, runner.text_logits(text_rows)[:, None])
            ids[text_rows] = drawn  # one text id, repeated in all columns
        ended = table.is_end(count, ids)
        runner.step_ids[:count, 0] = ids
        runner.step_is_text[:count, 0] = is_text
        outputs = []
        for row, sequence in enumerate(batch):
            error: Optional[SynthesisError] = None
            finish: Optional[FinishReason] = None
            if sequence.request_id in broken or not finite[row]:
                finish, error = FinishReason.ERROR, _failure(broken.get(sequence.request_id))
            elif ended[row]:
                finish = FinishReason.STOP
            else:
                sequence.generated += 1
                if sequence.generated % NOISE_STEPS == 0:
                    table.refill_noise(row, sequence)
                if sequence.generated >= sequence.max_new:
                    finish = FinishReason.LENGTH
            kept = 0 if error is not None or finish is FinishReason.STOP else 1
            width = 1 if is_text[row] else codebooks
            codes = ids[row : row + kept, :width].copy()
            outputs.append(StepOutput(sequence.request_id, codes, runner.hidden[row, :kept].copy(), finish, error))
            self._count(sequence, codes, finish)
        return outputs

    def _draw_head(self, rows: Array, logits: Array, *, prefix: bool = False) -> Tuple[Array, Array]:
        """Ids int64 [k, q] and whether finite bool [k], of logits float32 [k, q, V]; ``prefix``: rows are [0, k)."""
        count, width, vocab = logits.shape
        table = self._table
        ids, finite = sample(
            logits.reshape(count * width, vocab),
            table.prefix(count) if prefix else table.rows(rows, width),
            table.noise(rows, width),
            banned_ids=table.prefix_banned_ids(count) if prefix else table.banned_ids(rows, width),
        )
        ids = ids.reshape(count, width)
        table.push(rows, ids)
        return ids, np.asarray(finite.reshape(count, width).all(axis=1))

    def _count(self, sequence: Sequence, codes: Array, finish: Optional[FinishReason]) -> None:
        counters = self._stats
        counters.tokens += len(codes)
        counters.failed += finish is FinishReason.ERROR
        counters.finished += finish in (FinishReason.STOP, FinishReason.LENGTH)
        if self._recorder is not None and sequence.prompt.head == "code":
            history = self._history.setdefault(sequence.request_id, [])
            history.append(codes)
            if finish is not None:
                self._record(self._recorder, sequence.prompt, np.concatenate(history))
                del self._history[sequence.request_id]

    def _record(self, recorder: Recorder, prompt: Prompt, codes: Array) -> None:
        speaker = prompt.speaker_embedding
        recorder.record(
            "gpt",
            {
                "input_ids": np.concatenate([prompt.ids, codes])[None],
                "text_mask": np.concatenate([prompt.text_mask, np.zeros(len(codes), np.bool_)])[None],
                "speaker_embedding": np.zeros((1, self._gpt.hidden_size), np.float32)
                if speaker is None
                else np.asarray(speaker, np.float32)[None],
            },
        )

    def _leave(self, request_ids: Iterable[int]) -> None:
        """Forget sequences that the scheduler has let go, and close up the rows as it did."""
        for request_id in request_ids:
            del self._sequences[request_id]
            self._history.pop(request_id, None)
        order = []
        for row, request_id in enumerate(self._scheduler.running):
            sequence = self._sequences[request_id]
            assert sequence.row is not None
            order.append(sequence.row)
            sequence.row = row
        runner = self._runner
        if len(order) < runner.cache.rows:
            runner.cache.compact(order)
            self._table.compact(order)
            for row, old in enumerate(order):
                runner.step_ids[row], runner.step_is_text[row] = runner.step_ids[old], runner.step_is_text[old]
        if not self._sequences:
            runner.cache.shrink()


def _open_cache(provider: str, device: str, **dims: Any) -> KVCache:
    """Where the graph runs; providers other than CUDA's take no address of theirs, and copy on every step."""
    if provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        index = int(device.split(":", maxsplit=1)[1]) if ":" in device else 0
        return DeviceKVCache(device="cuda", index=index, provider="CUDAExecutionProvider", **dims)
    return KVCache(**dims)


def _defaults(prompt: Prompt) -> SamplingParams:
    return SamplingParams.for_text() if prompt.head == "text" else SamplingParams()


def _failure(cause: Optional[Exception]) -> SynthesisError:
    if cause is None:
        return SynthesisError("the model's output is not finite: try another voice or text, or the fp32 precision")
    error = SynthesisError(f"the prompt could not be read ({cause}): try a shorter text, or free some memory")
    error.__cause__ = cause
    return error


def _check_config(config: EngineConfig) -> None:
    if config.max_batch < 1 or config.max_queue < 0 or config.prefill_chunk < 1 or config.batch_wait_ms < 0:
        raise InputError(
            f"engine limits cannot be used (max_batch {config.max_batch}, max_queue {config.max_queue}, "
            f"prefill_chunk {config.prefill_chunk}, batch_wait_ms {config.batch_wait_ms}): give positive numbers"
        )

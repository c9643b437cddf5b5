"""The only caller of the GPT graph: reads prompts, takes decode steps, and owns the buffers both use.

A step allocates nothing: inputs and outputs are NumPy buffers made once, bound once per batch size, and rewritten in
place; row i of every buffer is row i of the cache. What a runtime can do is asked of it when the model is opened
(`probe`), not guessed from its version: whether a prompt may be read in pieces, and whether a batch of one computes
the same bits as a larger one (MatMulNBits with 4 bits does not; such a model never runs with fewer than two rows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Tuple

import numpy as np

if TYPE_CHECKING:
    import onnxruntime

    from chattts_onnx.config import GPTConfig
    from chattts_onnx.engine.kv_cache import KVCache

    Array = np.ndarray[Any, Any]

_PROBE_TOKENS = 5
_SILENT = 4  # ONNX Runtime's severity above errors: a probe that fails is an answer


class ModelRunner:
    """GPT sessions, their buffers and the cache.

    Args:
        session: The ``gpt`` graph.
        open_text_head: Opens the ``text_head`` graph; called when the first text is refined.
        gpt: Dims.
        cache: Keys and values, with memory where the session runs.
        max_rows: Rows of the buffers.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        open_text_head: Callable[[], onnxruntime.InferenceSession],
        gpt: GPTConfig,
        cache: KVCache,
        max_rows: int,
    ) -> None:
        self._session = session
        self._open_text_head = open_text_head
        self._text_head: Optional[onnxruntime.InferenceSession] = None
        self._gpt = gpt
        self.cache = cache
        self.min_rows = 1
        """Fewest rows a decode step runs with; rows beyond those in use are scratch."""
        self.chunked = True
        """Whether a prompt may be read in pieces."""
        codebooks, hidden_size = gpt.num_codebooks, gpt.hidden_size
        self.step_ids = np.zeros((max_rows, 1, codebooks), np.int64)
        """Written before `decode`: what each row feeds."""
        self.step_is_text = np.zeros((max_rows, 1), np.bool_)
        self.hidden = np.zeros((max_rows, 1, hidden_size), np.float32)
        """Hidden state of each row's last position."""
        self.code_logits = np.zeros((max_rows, codebooks, gpt.code_vocab_size), np.float32)
        """Logits of each row's last position."""
        self._seqlens = np.zeros(max_rows, np.int32)
        self._total = np.zeros((), np.int32)
        self._no_speaker = np.zeros((max_rows, hidden_size), np.float32)
        self._prompt_hidden = np.zeros((1, 0, hidden_size), np.float32)
        self._bindings: Dict[int, onnxruntime.IOBinding] = {}
        self._bound_generation = -1

    def prefill(self, row: int, ids: Array, text_mask: Array, speaker: Optional[Array]) -> None:
        """Read tokens into ``row``, behind what it holds; fills the row of `hidden` and `code_logits`.

        Args:
            row: Row of the cache.
            ids: int64 [T, Q].
            text_mask: bool [T].
            speaker: float32 [H] or None.
        """
        length = len(ids)
        past = self.cache.lengths[row]
        self.cache.reserve(past + length, rows=max(row + 1, self.min_rows))
        if self._prompt_hidden.shape[1] < length:
            self._prompt_hidden = np.zeros((1, length, self._gpt.hidden_size), np.float32)
        hidden = self._prompt_hidden[:, :length]
        self._seqlens[row] = past + length - 1
        self._total[...] = past + length
        speakers = self._no_speaker[:1] if speaker is None else np.ascontiguousarray(speaker, np.float32)[None]
        # Named, because a binding knows addresses only and would outlive a temporary.
        ids, text_mask = np.ascontiguousarray(ids[None]), np.ascontiguousarray(text_mask[None])
        binding = self._bind(row, row + 1, ids, text_mask, speakers, hidden)
        self._session.run_with_iobinding(binding)
        self.cache.extend(row, length)
        self.hidden[row, 0] = hidden[0, -1]

    def decode(self, rows: int) -> None:
        """One step of rows ``[0, rows)``, fed from `step_ids` and `step_is_text`; fills `hidden` and `code_logits`."""
        lengths = self.cache.lengths
        self._run_step(rows, lengths[:rows])
        for row in range(rows):
            self.cache.extend(row, 1)

    def text_logits(self, rows: Array) -> Array:
        """Logits of the text head, float32 [k, text_vocab], from the hidden states of ``rows`` (int64 [k])."""
        if self._text_head is None:
            self._text_head = self._open_text_head()
        hidden = self.hidden[rows, 0]
        if len(rows) < self.min_rows:
            hidden = np.concatenate([hidden, np.zeros((self.min_rows - len(rows), hidden.shape[1]), np.float32)])
        logits: Array = self._text_head.run(["text_logits"], {"hidden": hidden})[0]
        return logits[: len(rows)]

    def probe(self) -> None:
        """Find out what the runtime can do, which also warms it up; sets `chunked` and `min_rows`."""
        count = np.arange(_PROBE_TOKENS)[:, None] + 7 * np.arange(self._gpt.num_codebooks)
        ids = (count % self._gpt.code_vocab_size).astype(np.int64)
        mask = np.zeros(len(ids), np.bool_)
        self.cache.reserve(len(ids) + 1, rows=2)
        whole, pieces = self.cache.append_row(), self.cache.append_row()
        self.prefill(whole, ids, mask, None)
        self.chunked = self._reads_pieces(pieces, ids, mask, self.hidden[whole])
        self.min_rows = 1 if self._alone_equals_together(ids) else 2
        self.cache.compact(())
        self.cache.shrink()

    def _reads_pieces(self, row: int, ids: Array, mask: Array, expected: Array) -> bool:
        self.prefill(row, ids[:2], mask[:2], None)
        try:
            self.prefill(row, ids[2:], mask[2:], None)
        except Exception:  # noqa: BLE001 - ONNX Runtime has no class for "this kernel cannot"
            return False
        return bool(np.allclose(self.hidden[row], expected, rtol=0.05, atol=0.05))

    def _alone_equals_together(self, ids: Array) -> bool:
        lengths = (len(ids), 0)
        for step in ids:
            self.step_ids[:2] = step
            self.step_is_text[:2] = False
            self._run_step(2, lengths)
            together = self.hidden[0].copy(), self.code_logits[0].copy()
            self._run_step(1, lengths[:1])
            if not all(np.array_equal(a, b) for a, b in zip(together, (self.hidden[0], self.code_logits[0]))):
                return False
        return True

    def _run_step(self, rows: int, lengths: Tuple[int, ...]) -> None:
        batch = max(rows, self.min_rows)
        # A scratch row may hold the beginning of a prompt: it writes behind that, where the next piece will stand.
        held = self.cache.lengths[rows:batch]
        lengths = (*lengths, *held, *(0,) * (batch - rows - len(held)))
        longest = max(lengths)
        self.cache.reserve(longest + 1, rows=batch)
        if self._bound_generation != self.cache.generation:
            self._bindings.clear()
            self._bound_generation = self.cache.generation
        if batch not in self._bindings:
            ids, is_text = self.step_ids[:batch], self.step_is_text[:batch]
            self._bindings[batch] = self._bind(0, batch, ids, is_text, self._no_speaker[:batch], self.hidden[:batch])
        self._seqlens[:batch] = lengths
        self._total[...] = longest + 1
        self._session.run_with_iobinding(self._bindings[batch])

    def _bind(
        self, start: int, stop: int, ids: Array, text_mask: Array, speakers: Array, hidden: Array
    ) -> onnxruntime.IOBinding:
        """Bind rows ``[start, stop)``: inputs and outputs by name, one buffer as past and present."""
        binding = self._session.io_binding()
        inputs = {
            "input_ids": ids,
            "text_mask": text_mask,
            "speaker_embedding": speakers,
            "seqlens_k": self._seqlens[start:stop],
            "total_sequence_length": self._total,
        }
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
        for name, array in (("hidden", hidden), ("code_logits", self.code_logits[start:stop])):
            binding.bind_output(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
        device, index, dtype = self.cache.device, self.cache.device_index, self.cache.dtype.type
        for number, (address, shape) in enumerate(self.cache.blocks(start, stop)):
            name = f"{'value' if number % 2 else 'key'}_{number // 2}"
            binding.bind_input(f"past_{name}", device, index, dtype, shape, address)
            binding.bind_output(f"present_{name}", device, index, dtype, shape, address)
        return binding

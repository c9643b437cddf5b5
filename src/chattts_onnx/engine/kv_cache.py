"""The key/value cache: one preallocated buffer per layer, rows ``[0, n)`` of it are the batch.

GroupQueryAttention reads and writes one buffer in place, so the cache is bound once as past and present and nothing
is ever concatenated. A batch of n is the view ``[0:n]``, a prompt is read through ``[r:r+1]``: no copy either way. The
price is that active rows must be a prefix, so a row that ends is filled by the last one (one copy of its used part),
and that a buffer too small is replaced by the next bucket (one copy of what is used). Buckets, not exact sizes, because
shapes that repeat keep memory flat and bindings valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Sequence, Tuple

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_CAPACITIES = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)


def capacity_bucket(tokens: int) -> int:
    """The row capacity that holds ``tokens``: growth by about 1.4 bounds both the waste and the copying."""
    for capacity in _CAPACITIES:
        if tokens <= capacity:
            return capacity
    return -(-tokens // 4096) * 4096


class KVCache:
    """Keys and values of all running sequences, in NumPy's memory.

    Args:
        layers: Layers of the model.
        heads: Key/value heads.
        head_size: Width of a head.
        max_rows: Rows it may grow to.
        max_tokens: Slots in all (rows times capacity) it may grow to.
        dtype: float32, or float16 for a float16 graph.
    """

    def __init__(
        self,
        *,
        layers: int,
        heads: int,
        head_size: int,
        max_rows: int,
        max_tokens: int,
        dtype: Any = np.float32,
    ) -> None:
        self._shape = (heads, head_size)
        self._max_rows = max_rows
        self._max_tokens = max_tokens
        self._dtype = np.dtype(dtype)
        self._allocated = (0, 0)
        self._buffers: List[Any] = [self._make(self._zeros()) for _ in range(2 * layers)]
        self._lengths: List[int] = []
        self.device = "cpu"
        """Where the memory lies, as ONNX Runtime names it."""
        self.device_index = 0
        self.generation = 0
        """Changes whenever the buffers move: bindings made before are stale."""

    @property
    def rows(self) -> int:
        """Rows in use."""
        return len(self._lengths)

    @property
    def lengths(self) -> Tuple[int, ...]:
        """Tokens cached in each row in use."""
        return tuple(self._lengths)

    @property
    def allocated_rows(self) -> int:
        """Rows there is memory for."""
        return self._allocated[0]

    @property
    def capacity(self) -> int:
        """Tokens a row has memory for."""
        return self._allocated[1]

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return len(self._buffers) * self.allocated_rows * self._row_bytes

    @property
    def dtype(self) -> Any:
        """Of the keys and values."""
        return self._dtype

    def blocks(self, start: int, stop: int) -> List[Tuple[int, List[int]]]:
        """Rows ``[start, stop)`` as (address, shape [rows, heads, capacity, size]), to be bound without a copy.

        Key and value of layer 0, of layer 1, and so on. Rows past those in use may be included (scratch).
        """
        shape = [stop - start, self._shape[0], self.capacity, self._shape[1]]
        return [(self._address(buffer) + start * self._row_bytes, shape) for buffer in self._buffers]

    def append_row(self) -> int:
        """Take the next row, empty; returns its index."""
        assert self.rows < self._max_rows
        self._lengths.append(0)
        return self.rows - 1

    def reserve(self, tokens: int, *, rows: int = 0) -> None:
        """Have memory for ``tokens`` in each of the rows in use, and for at least ``rows`` rows; grows only.

        Raises:
            MemoryError: the machine has no more.
        """
        needed_capacity = capacity_bucket(max([tokens, *self._lengths]))
        needed_rows = max(self.rows, rows, 1)
        capacity = max(self.capacity, needed_capacity)
        if needed_rows * capacity > self._max_tokens:
            capacity = needed_capacity  # those that made the rows this long have ended
        allocated = self.allocated_rows
        if needed_rows > allocated:
            allocated = min(2 * allocated, self._max_rows)
        # Spare rows are kept within the budget only: the scheduler admits by exact rows.
        allocated = max(needed_rows, min(allocated, self._max_tokens // capacity))
        if (allocated, capacity) != (self.allocated_rows, self.capacity):
            self._reallocate(allocated, capacity)

    def extend(self, row: int, tokens: int) -> None:
        """Take note that ``tokens`` more were written to ``row``."""
        assert self._lengths[row] + tokens <= self.capacity
        self._lengths[row] += tokens

    def compact(self, order: Sequence[int]) -> None:
        """Keep the rows ``order`` and free the others: new row i is old row ``order[i]``, which is never below i."""
        assert len(set(order)) == len(order)
        for new, old in enumerate(order):
            assert new <= old < self.rows
            if new != old:
                self._copy_row(old, new)
                self._lengths[new] = self._lengths[old]
        del self._lengths[len(order) :]

    def shrink(self) -> None:
        """Give the memory back, when no row is in use and more than the smallest size is held."""
        if self.rows == 0 and self.allocated_rows * self.capacity > _CAPACITIES[0]:
            self._reallocate(0, 0)

    def check(self, lengths: Sequence[int]) -> None:
        """Compare with the lengths that the sequences claim, in the order of their rows.

        Raises:
            AssertionError: a row was lost, or a token counted twice.
        """
        if list(lengths) != self._lengths:
            raise AssertionError(f"the cache holds rows of {self._lengths} tokens and the sequences have {lengths}")

    @property
    def _row_bytes(self) -> int:
        return self._shape[0] * self.capacity * self._shape[1] * int(self._dtype.itemsize)

    def _reallocate(self, rows: int, capacity: int) -> None:
        """Move to new buffers, one at a time: the peak is the new size plus one old buffer."""
        kept = self._lengths[: min(rows, self.allocated_rows)]
        self._allocated = (rows, capacity)
        for index, old in enumerate(self._buffers):
            new = self._zeros()
            if kept:
                values = self._values(old)
                for row, used in enumerate(kept):
                    new[row, :, :used] = values[row, :, :used]
            self._buffers[index] = self._make(new)
        self.generation += 1

    def _zeros(self) -> Array:
        rows, capacity = self._allocated
        # A slot never written must hold no NaN; the system hands out zero pages anyway.
        return np.zeros((rows, self._shape[0], capacity, self._shape[1]), self._dtype)

    # What depends on where the memory lies: see `DeviceKVCache`.

    def _make(self, values: Array) -> Any:
        """A buffer that holds ``values``."""
        return values

    def _values(self, buffer: Any) -> Array:
        """What a buffer holds, as an array."""
        values: Array = buffer
        return values

    def _address(self, buffer: Any) -> int:
        return int(buffer.ctypes.data)

    def _copy_row(self, source: int, target: int) -> None:
        used = self._lengths[source]
        for buffer in self._buffers:
            buffer[target, :, :used] = buffer[source, :, :used]

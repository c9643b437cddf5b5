"""What a convolutional graph remembers of the frames before its window.

A stream decodes an utterance in windows. Instead of decoding the frames before each window again, a graph takes the
left context of each of its convolutions from the run before (``past``) and gives that of the next (``present``), as the
streaming convolutions of WeNet do. The right context is not remembered, because it was not known: the frames that a
run saw with too little of the future are given again at the head of the next window. ``settled`` says how many were
not, and there the remembered context ends. A run without ``past`` begins an utterance: zeros before its first frame are
what zero padding is.
"""

from __future__ import annotations

from typing import List

import numpy as np

from chattts_onnx.convert.graph import GraphBuilder


class History:
    """The left context of all convolutions of one graph, as one vector a batch row."""

    def __init__(self, g: GraphBuilder, batch: str) -> None:
        """Add ``past`` and ``settled`` to ``g``; ``batch`` is a value of shape [1], the rows of a batch."""
        self._g = g
        self._past = g.op.Expand("past", g.op.Concat(batch, g.ints(1), axis=0))  # [B, size]
        self._size = 0
        self._present: List[str] = []

    def extend(self, x: str, channels: int, frames: int) -> str:
        """Columns ``x`` [B, channels, L] behind the ``frames`` before them: [B, channels, frames + L]."""
        g, start = self._g, self._size
        self._size += channels * frames
        before = g.op.Slice(self._past, g.ints(start), g.ints(self._size), g.ints(1))
        joined = g.op.Concat(g.op.Reshape(before, g.ints(-1, channels, frames)), x, axis=2)
        after = g.op.Slice(joined, "settled", g.op.Add("settled", g.ints(frames)), g.ints(2))
        self._present.append(g.op.Reshape(after, g.ints(-1, channels * frames)))
        return joined

    def finish(self) -> None:
        """Declare ``past``, ``settled`` and ``present`` now that the size is known."""
        g = self._g
        g.optional_input("past", np.zeros((1, self._size), np.float32), ["B", self._size])
        g.optional_input("settled", np.zeros(1, np.int64), [1])
        g.output(g.op.Concat(*self._present, axis=1), "present", np.float32, ["B", self._size])

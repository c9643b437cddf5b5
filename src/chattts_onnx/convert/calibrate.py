"""Recorded feeds to the activation ranges that static quantisation needs.

The file is the contract: the run time records what its fp32 graphs were fed (``session.Recorder``), and this module,
which never runs the engine, feeds it again to graphs that hand out the input of every matrix. What is measured can be
kept (`save_ranges`): a few numbers per matrix instead of the feeds.

Arrays in a file of ranges are named ``range/<matrix>`` and hold the largest magnitude and the 99.99th and 99.9th
percentile of the magnitudes that the matrix was multiplied with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Set

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.config import GPTConfig, Manifest
from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.quantize import Quantizer, find_recipe
from chattts_onnx.errors import InputError
from chattts_onnx.session import Recorder, create_session

Array = NDArray[Any]
Feeds = Mapping[str, List[Dict[str, Array]]]
"""Graph role to the inputs of each run."""

_PREFIX = "range/"
_OBSERVED = "observed/"
_PERCENTILES = (99.99, 99.9)
_BINS_PER_OCTAVE = 64
_OCTAVES = 24


class ObservingQuantizer(Quantizer):
    """fp32, with the input of every matrix as one more output of the graph."""

    def __init__(self) -> None:
        super().__init__(find_recipe("fp32"))

    def matmul(self, g: GraphBuilder, x: str, weight: NDArray[np.float32], name: str) -> str:
        """As `Quantizer.matmul`; ``x`` can be read as ``observed/<matrix>``."""
        g.output(x, f"{_OBSERVED}{g.name}/{g.path(name)}", np.float32, None)
        return super().matmul(g, x, weight, name)


def read_ranges(path: Path) -> Optional[Dict[str, Array]]:
    """Ranges from a file that `save_ranges` wrote; None if the file holds feeds instead.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with np.load(str(path), allow_pickle=False) as archive:
            names = [name for name in archive.files if name.startswith(_PREFIX)]
            return {name[len(_PREFIX) :]: archive[name] for name in names} or None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no calibration ({error}): make it with `chattts calibrate`") from None


def save_ranges(path: Path, ranges: Mapping[str, Array]) -> None:
    """Write ranges to a ``.npz`` file."""
    with path.open("wb") as file:
        np.savez_compressed(file, **{_PREFIX + name: values for name, values in ranges.items()})  # type: ignore[arg-type, unused-ignore]


def measure_ranges(directory: Path, feeds: Feeds) -> Dict[str, Array]:
    """Feed a model built with `ObservingQuantizer` again with what was recorded.

    Args:
        directory: the model directory.
        feeds: from ``session.Recorder``. The language model needs ``input_ids``, ``text_mask`` and
            ``speaker_embedding`` of whole sequences without padding; the cache starts empty.

    Returns:
        Matrix name to [maximum, 99.99th percentile, 99.9th percentile].

    Raises:
        InputError: nothing was recorded of the language model, or it is not finite.
    """
    if not feeds.get("gpt"):
        raise InputError("the calibration holds no run of the language model: make it again with `chattts calibrate`")
    manifest = Manifest.load(directory)
    histograms: Dict[str, _Histogram] = {}
    for role in manifest.graphs:
        if not feeds.get(role):
            continue
        session = create_session(manifest.path(directory, role), arena=role == "gpt")
        names = [output.name for output in session.get_outputs() if output.name.startswith(_OBSERVED)]
        wanted = {value.name for value in session.get_inputs()}
        optional = {value.name for value in session.get_overridable_initializers()}
        for recorded in feeds[role]:
            inputs = _whole_sequence(recorded, manifest.gpt) if role == "gpt" else dict(recorded)
            _check_inputs(role, wanted, set(inputs) - optional)
            for name, values in zip(names, session.run(names, inputs)):
                histograms.setdefault(name[len(_OBSERVED) :], _Histogram()).add(values)
    return {name: histogram.summary() for name, histogram in histograms.items()}


def static_ranges(ranges: Mapping[str, Array]) -> Dict[str, float]:
    """The magnitude each matrix' input is clipped at: see docs/convert.md for the choice."""
    return {name: float(values[1]) or 1.0 for name, values in ranges.items()}


class _Histogram:
    """Magnitudes in bins of equal ratio, about 1 % wide; memory does not grow with what is added."""

    def __init__(self) -> None:
        self.largest = 0.0
        self.counts = np.zeros(2 * _OCTAVES * _BINS_PER_OCTAVE, np.int64)

    def add(self, values: Array) -> None:
        magnitudes = np.abs(values).ravel()
        largest = float(np.max(magnitudes, initial=0.0))
        if not np.isfinite(largest):
            raise InputError("the calibration makes the fp32 model overflow: make it again with `chattts calibrate`")
        self.largest = max(self.largest, largest)
        octaves = np.log2(np.maximum(magnitudes, 2.0**-_OCTAVES))
        bins = ((octaves + _OCTAVES) * _BINS_PER_OCTAVE).astype(np.int64)
        self.counts += np.bincount(np.minimum(bins, len(self.counts) - 1), minlength=len(self.counts))

    def summary(self) -> Array:
        shares = np.cumsum(self.counts) / max(1, self.counts.sum())
        percentiles = [
            2.0 ** ((int(np.searchsorted(shares, percentile / 100)) + 1) / _BINS_PER_OCTAVE - _OCTAVES)
            for percentile in _PERCENTILES
        ]
        return np.array([self.largest, *(min(self.largest, value) for value in percentiles)], np.float32)


def _whole_sequence(recorded: Mapping[str, Array], config: GPTConfig) -> Dict[str, Array]:
    """Inputs of one run over a whole sequence, with an empty cache just large enough."""
    inputs = {name: value for name, value in recorded.items() if not name.startswith("past_")}
    if "input_ids" not in inputs:
        raise InputError("the calibration holds no input_ids: make it again with `chattts calibrate`")
    batch, length, _ = inputs["input_ids"].shape
    inputs["seqlens_k"] = np.full(batch, length - 1, np.int32)
    inputs["total_sequence_length"] = np.array(length, np.int32)
    shape = (batch, config.num_kv_heads, length, config.head_size)
    for i in range(config.num_layers):
        for kind in ("key", "value"):
            inputs[f"past_{kind}_{i}"] = np.zeros(shape, np.float32)
    return inputs


def _check_inputs(role: str, wanted: Set[str], inputs: Set[str]) -> None:
    if wanted != inputs:
        raise InputError(
            f"the calibration feeds {role} with {sorted(inputs)} where it reads {sorted(wanted)}: "
            "make it again with `chattts calibrate`"
        )


__all__ = [
    "Feeds",
    "ObservingQuantizer",
    "Recorder",
    "measure_ranges",
    "read_ranges",
    "save_ranges",
    "static_ranges",
]

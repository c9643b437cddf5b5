"""What this machine can do at best, measured in the same run as what the model does.

A decode step reads every weight once and does two operations with it, so it cannot be faster than memory is read or
than numbers are multiplied. Both limits are measured here, by plain probes, because a data sheet's figure says nothing
about a shared or virtual machine.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from chattts_onnx.config import Manifest
from chattts_onnx.evaluation.report import available_cores

READ_BYTES = 256 << 20
"""Well beyond any cache."""
_GEMM = (256, 1024, 1024)


Now = Callable[[], float]


@dataclass(frozen=True)
class MachineLimits:
    """Best rates seen over a few repeats."""

    threads: int
    float_operations_per_second: float
    """float32 matrix products; a multiplication and an addition are two."""
    int8_operations_per_second: Optional[float]
    """uint8 x int8 matrix products in ONNX Runtime; None without the package onnx, which writes the probe."""


def measure_limits(threads: int, *, repeats: int = 5, now: Now = time.perf_counter) -> MachineLimits:
    """Probe arithmetic with ``threads`` threads, timed by ``now``; memory is probed beside each measurement."""
    return MachineLimits(
        threads=threads,
        float_operations_per_second=_float_rate(threads, repeats, now),
        int8_operations_per_second=_graph_rate("int8", threads, repeats, now),
    )


def read_bandwidth(threads: int, *, size: int = READ_BYTES, repeats: int = 5, now: Now = time.perf_counter) -> float:
    """Bytes per second that ``threads`` threads read of memory no cache holds."""
    block = np.ones(size // 4 // threads * threads, dtype=np.float32)
    parts = np.split(block, threads)

    def read(part: Any) -> float:
        # max is one pass of wide loads and releases the interpreter's lock.
        return float(part.max())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, parts))
        best = _best(lambda: list(pool.map(read, parts)), repeats, now)
    if threads >= available_cores():
        # A matrix-vector product reads faster than max on some processors; it always takes all cores.
        rows, vector = block[: len(block) // 4096 * 4096].reshape(-1, 4096), np.ones(4096, np.float32)
        best = min(best, _best(lambda: rows @ vector, repeats, now) * block.size / rows.size)
    return block.nbytes / best


@dataclass(frozen=True)
class StepCost:
    """What one decode step of one batch has to do, by the model's dims and files."""

    weight_bytes: int
    """Read once per step, whatever the batch."""
    cache_bytes_per_row: int
    """Keys and values of the context."""
    multiplications_per_row: int
    """Multiply-accumulates of projections and code heads, attention over the context left out."""


def step_cost(directory: Path, manifest: Manifest, *, context: int) -> StepCost:
    """The cost of a step with ``context`` cached tokens.

    Weight bytes are the files of the ``gpt`` graph without the embedding tables, of which a step reads a few rows.
    """
    gpt = manifest.gpt
    graph = manifest.graphs["gpt"]
    stored = sum(path.stat().st_size for path in directory.glob(f"{Path(graph).stem}.onnx*"))
    exact = _exact_weight_bytes(directory / graph)
    tables = 4 * gpt.hidden_size * (gpt.text_vocab_size + gpt.num_codebooks * gpt.code_vocab_size)
    width, inner = gpt.hidden_size, gpt.intermediate_size
    attention = width * gpt.head_size * (2 * gpt.num_heads + 2 * gpt.num_kv_heads)
    per_row = gpt.num_layers * (attention + 3 * width * inner) + gpt.num_codebooks * gpt.code_vocab_size * width
    return StepCost(
        weight_bytes=exact if exact is not None else max(0, stored - tables),
        cache_bytes_per_row=context * gpt.kv_bytes_per_token,
        multiplications_per_row=per_row,
    )


def peak_memory_bytes() -> Optional[int]:
    """Most memory this process ever held, or None where the system does not tell."""
    # getrusage would count the parent's memory too: a forked child inherits its high-water mark.
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        import resource
        import sys
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _exact_weight_bytes(graph: Path) -> Optional[int]:
    """Bytes of initializers that something other than a row lookup reads; None without the package onnx."""
    try:
        import onnx
    except ImportError:
        return None
    model = onnx.load(str(graph), load_external_data=False).graph
    looked_up = {node.input[0] for node in model.node if node.op_type in ("Gather", "GatherBlockQuantized")}
    used = {
        name for node in model.node if node.op_type not in ("Gather", "GatherBlockQuantized") for name in node.input
    }
    total = 0
    for tensor in model.initializer:
        if tensor.name in used or tensor.name not in looked_up:
            bits = _BITS.get(onnx.TensorProto.DataType.Name(tensor.data_type), 32)
            total += int(np.prod(tensor.dims, dtype=np.int64)) * bits // 8
    return total


_BITS: Dict[str, int] = {
    "DOUBLE": 64,
    "INT64": 64,
    "FLOAT16": 16,
    "BFLOAT16": 16,
    "INT16": 16,
    "UINT16": 16,
    "INT8": 8,
    "UINT8": 8,
    "BOOL": 8,
    "INT4": 4,
    "UINT4": 4,
}


def _float_rate(threads: int, repeats: int, now: Now) -> float:
    rate = _graph_rate("float32", threads, repeats, now)
    if rate is not None:
        return rate
    rows, inner, columns = _GEMM
    left, right = np.ones((rows, inner), np.float32), np.ones((inner, columns), np.float32)
    return 2.0 * rows * inner * columns / _best(lambda: left @ right, repeats * 4, now)


def _graph_rate(kind: str, threads: int, repeats: int, now: Now) -> Optional[float]:
    """Operations per second of one matrix product in ONNX Runtime; None without the package onnx."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    import onnxruntime

    rows, inner, columns = _GEMM
    generator = np.random.default_rng(0)
    if kind == "int8":
        weight: Any = generator.integers(-63, 64, (inner, columns)).astype(np.int8)
        feed: Any = generator.integers(0, 256, (rows, inner)).astype(np.uint8)
        operator, kinds = "MatMulInteger", (TensorProto.UINT8, TensorProto.INT32)
    else:
        weight = generator.standard_normal((inner, columns)).astype(np.float32)
        feed = generator.standard_normal((rows, inner)).astype(np.float32)
        operator, kinds = "MatMul", (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", kinds[0], feed.shape)],
        [helper.make_tensor_value_info("y", kinds[1], (rows, columns))],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": feed})
    return 2.0 * rows * inner * columns / _best(lambda: session.run(None, {"x": feed}), repeats * 4, now)


def _best(work: Callable[[], object], repeats: int, now: Now) -> float:
    times: List[float] = []
    for _ in range(repeats):
        started = now()
        work()
        times.append(now() - started)
    return min(times)

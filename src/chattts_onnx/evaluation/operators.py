"""Where a decode step's time goes inside the graph, by kind of operator, from ONNX Runtime's own profiler.

The profiler adds a little to every node, so the shares are to be believed and the sum is not.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from chattts_onnx.config import Manifest
from chattts_onnx.session import create_session


def operator_seconds(
    directory: Path, manifest: Manifest, *, batch: int, context: int, steps: int, threads: Optional[int] = None
) -> Dict[str, float]:
    """Seconds of one decode step of ``batch`` rows on the CPU, by operator, the largest first."""
    import onnxruntime

    gpt = manifest.gpt
    with tempfile.TemporaryDirectory() as folder:
        session = create_session(
            manifest.path(directory, "gpt"), threads=threads, profile=Path(folder) / "step", arena=True, spinning=True
        )
        half = any(node.type == "tensor(float16)" for node in session.get_inputs() if node.name.startswith("past"))
        shape = (batch, gpt.num_kv_heads, context + 1, gpt.head_size)
        binding = session.io_binding()
        caches: List[Any] = []  # ONNX Runtime 1.19 binds the memory and keeps no reference to what owns it
        for layer in range(gpt.num_layers):
            for kind in ("key", "value"):
                empty = np.zeros(shape, np.float16 if half else np.float32)
                cache = onnxruntime.OrtValue.ortvalue_from_numpy(empty)
                caches.append(cache)
                binding.bind_ortvalue_input(f"past_{kind}_{layer}", cache)
                binding.bind_ortvalue_output(f"present_{kind}_{layer}", cache)
        feeds: Dict[str, Any] = {
            "input_ids": np.ones((batch, 1, gpt.num_codebooks), np.int64),
            "text_mask": np.zeros((batch, 1), np.bool_),
            "speaker_embedding": np.zeros((batch, gpt.hidden_size), np.float32),
            "seqlens_k": np.full(batch, context, np.int32),
            "total_sequence_length": np.array(context + 1, np.int32),
        }
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        binding.bind_output("hidden")
        binding.bind_output("code_logits")
        for _ in range(steps + 2):
            session.run_with_iobinding(binding)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _by_operator(events, steps)


def _by_operator(events: Any, steps: int) -> Dict[str, float]:
    """Microsecond events of all runs to seconds per run; the first two runs allocate and are left out.

    Each node counts with its median over the runs: a node that was interrupted says nothing about its operator.
    """
    nodes = [event for event in events if event.get("cat") == "Node" and "op_name" in event.get("args", {})]
    per_run = len(nodes) // (steps + 2)
    durations = np.array([event["dur"] for event in nodes[2 * per_run :]], np.float64).reshape(steps, per_run)
    totals: Dict[str, float] = {}
    for event, duration in zip(nodes[:per_run], np.median(durations, axis=0)):
        name = event["args"]["op_name"]
        totals[name] = totals.get(name, 0.0) + float(duration) / 1e6
    return dict(sorted(totals.items(), key=lambda item: -item[1]))

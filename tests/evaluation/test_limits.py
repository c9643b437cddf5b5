from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from chattts_onnx.config import Manifest
from chattts_onnx.evaluation.limits import measure_limits, peak_memory_bytes, read_bandwidth, step_cost


def test_probes_give_rates_of_this_century():
    assert 1e8 < read_bandwidth(1, size=8 << 20, repeats=2) < 1e13
    pytest.importorskip("onnx", reason="the int8 probe needs the convert extra")
    limits = measure_limits(1, repeats=1)
    assert 1e8 < limits.float_operations_per_second < 1e15
    assert limits.int8_operations_per_second is not None


def test_a_step_reads_the_projections_and_heads_but_not_the_tables(tiny_model):
    manifest = Manifest.load(tiny_model)
    gpt = manifest.gpt
    cost = step_cost(tiny_model, manifest, context=10)
    assert cost.cache_bytes_per_row == 10 * 2 * 4 * gpt.num_layers * gpt.num_kv_heads * gpt.head_size
    matrices = 4 * cost.multiplications_per_row
    # What is read beyond the matrices: norms, rotary tables, scalars.
    assert matrices <= cost.weight_bytes <= matrices + 4 * gpt.max_positions * gpt.head_size + 100_000


def test_int8_weights_are_about_a_quarter(tiny_model, tiny_model_int8):
    whole = step_cost(tiny_model, Manifest.load(tiny_model), context=0)
    small = step_cost(tiny_model_int8, Manifest.load(tiny_model_int8), context=0)
    assert small.multiplications_per_row == whole.multiplications_per_row
    assert small.weight_bytes < whole.weight_bytes


@pytest.mark.skipif(peak_memory_bytes() is None, reason="this system does not tell")
def test_the_peak_is_this_process_own_and_not_its_parent_s():
    ballast = np.ones(200 << 20, np.uint8)
    code = "from chattts_onnx.evaluation.limits import peak_memory_bytes; print(peak_memory_bytes())"
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert 10 << 20 < child < 200 << 20
    assert peak_memory_bytes() > ballast.nbytes

from __future__ import annotations

import os

import numpy as np
import pytest

from chattts_onnx.errors import MissingExtraError
from chattts_onnx.evaluation.quality import distill_mos

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for another interpreter is a shell script")


def interpreter(tmp_path, script):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_scores_come_from_the_interpreter_that_was_named(tmp_path):
    # Answers with the size of the file it was told of: the samples did arrive.
    python = interpreter(tmp_path, 'echo ready; while read -r name; do wc -c < "$name"; done')
    with distill_mos(python) as predict:
        sizes = [predict(np.zeros(count, np.float32))["distill_mos"] for count in (0, 16000)]
    assert sizes[1] - sizes[0] == 4 * 16000


def test_an_interpreter_without_the_predictor_is_told(tmp_path):
    python = interpreter(tmp_path, "echo 'error: No module named torch'")
    with pytest.raises(MissingExtraError, match="--quality-python"), distill_mos(python):
        pass

"""Lines by how unsure the model is of them: each in one class, and the tie-aware rank correlation."""

from __future__ import annotations

import numpy as np
import pytest

from chattts_onnx.evaluation.listening import Heard
from chattts_onnx.evaluation.scoring import Errors
from chattts_onnx.evaluation.sentences import Sentence


@pytest.fixture(scope="module")
def misreading(load_benchmark):
    return load_benchmark("misreading")


def line(doubt, edits, attempts=1):
    errors = {"wer": Errors(edits=edits, length=10, clipped=False)}
    return Heard(Sentence("text", "en", "0"), "voice", "heard", errors, 1.0), doubt, attempts


def test_every_line_is_in_one_class(misreading):
    found = ((0.0, 0), (0.8, 1), (0.81, 2), (1.2, 3), (1.5, 4), (float("inf"), 5))
    once = [line(doubt, edits) for doubt, edits in found]
    rows = [row.split("|") for row in misreading.render(once, [line(0.0, 0, attempts=3)], "en").splitlines()[2:]]
    assert [int(row[2]) for row in rows] == [2, 2, 1, 1, 6, 1]
    assert [row[3].split()[0] for row in rows] == ["5.0", "25.0", "40.0", "50.0", "25.0", "0.0"]
    assert [row[4].strip() for row in rows[-2:]] == ["1.00", "3.00"]


def test_ranks_share_their_ties(misreading):
    assert misreading._correlation([0, 0, 1, 2], [0, 0, 5, 9]) == pytest.approx(1)
    assert misreading._correlation([0, 1, 2, 3], [9, 5, 2, 0]) == pytest.approx(-1)
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert misreading._correlation(first, second) == pytest.approx(0)

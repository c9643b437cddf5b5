from __future__ import annotations

import pytest
from engine_requests import open_engine

from chattts_onnx.engine import Engine


@pytest.fixture(scope="module")
def engine(tiny_model) -> Engine:
    return open_engine(tiny_model)

"""English rules (first set: plain numbers)."""

from __future__ import annotations

from typing import Tuple

from chattts_onnx.text import numbers_en as en
from chattts_onnx.text.rule import NUMBER, Rule, pattern

RULES: Tuple[Rule, ...] = (
    pattern("percent", rf"({NUMBER})%", lambda m: en.decimal(m.group(1)) + " percent"),
    pattern("number", NUMBER, lambda m: en.decimal(m.group())),
)

"""Mandarin rules (first set: plain numbers)."""

from __future__ import annotations

from typing import Tuple

from chattts_onnx.text import numbers_zh as zh
from chattts_onnx.text.rule import NUMBER, Rule, pattern

RULES: Tuple[Rule, ...] = (
    pattern("percent", rf"({NUMBER})%", lambda m: "百分之" + zh.decimal(m.group(1))),
    pattern("number", NUMBER, lambda m: zh.decimal(m.group())),
)

"""How matrices are stored and multiplied: a recipe is data, and the networks ask it by name."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.errors import InputError


@dataclass(frozen=True)
class QuantRecipe:
    """Ordered (name pattern, scheme) pairs; the first that matches a matrix wins, none means fp32."""

    name: str
    rules: Tuple[Tuple[str, str], ...] = ()

    min_onnxruntime: str = "1.19.2"

    def scheme(self, name: str) -> str:
        """The scheme of matrix ``name`` (graph/scope/matrix)."""
        return next((scheme for pattern, scheme in self.rules if fnmatchcase(name, pattern)), "fp32")

    def to_json(self) -> Dict[str, Any]:
        """As the manifest stores it."""
        return {"name": self.name, "rules": [list(rule) for rule in self.rules]}


RECIPES: Mapping[str, QuantRecipe] = {"fp32": QuantRecipe("fp32")}


def open_recipe(precision: str, calibration: Optional[Path] = None) -> QuantRecipe:
    """The recipe of a precision.

    Raises:
        InputError: there is none of that name.
    """
    if precision not in RECIPES:
        raise InputError(f"unknown precision {precision!r}: use one of {', '.join(RECIPES)}")
    return RECIPES[precision]


class Quantizer:
    """Emits the matrix products of one graph as its recipe says."""

    def __init__(self, recipe: QuantRecipe) -> None:
        self.recipe = recipe
        self.activation_dtype: Any = np.dtype(np.float32)

    def activations(self, array: NDArray[np.float32]) -> NDArray[Any]:
        """A weight that meets activations element by element, in their type."""
        return array.astype(self.activation_dtype)

    def from_float32(self, g: GraphBuilder, x: str) -> str:
        """A float32 value as activations are stored."""
        return x if self.activation_dtype == np.float32 else g.op.Cast(x, to=g.dtype(self.activation_dtype))

    def to_float32(self, g: GraphBuilder, x: str) -> str:
        """Activations as float32."""
        return x if self.activation_dtype == np.float32 else g.op.Cast(x, to=g.dtype(np.float32))

    def lookup(self, g: GraphBuilder, table: NDArray[np.float32], ids: str, name: str) -> str:
        """Rows of an embedding table, as float32."""
        return g.op.Gather(g.weight(name, table), ids, axis=0)

    def matmul(self, g: GraphBuilder, x: str, weight: NDArray[np.float32], name: str) -> str:
        """``x @ weight`` for rows ``x`` [R, in] and ``weight`` [in, out]."""
        return g.op.MatMul(x, g.weight(name + ".weight", weight))

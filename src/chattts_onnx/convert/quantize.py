"""Quantisation recipes: which matrix is stored how, as data.

A recipe is an ordered list of (name pattern, scheme); the first pattern that matches a matrix wins and no match means
fp32. The networks know no precision: they hand each matrix to a ``Quantizer`` under its name (``gpt/layers.3/o_proj``).
The recipe is stored in the manifest. The figures behind the choices are in docs/convert.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.schemes import SCHEMES
from chattts_onnx.errors import InputError


@dataclass(frozen=True)
class QuantRecipe:
    """How one precision stores a model."""

    name: str
    rules: Tuple[Tuple[str, str], ...] = ()
    """Ordered (pattern, scheme of `SCHEMES`)."""
    activations: str = "float32"
    """Type of the language model's activations, keys and values."""
    storage: str = "float32"
    """Type that embedding tables and convolutions are stored in; they are computed with in float32."""
    calibrated: bool = False
    """Whether it needs activation ranges."""
    min_onnxruntime: str = "1.19.2"

    def scheme(self, name: str) -> str:
        """The scheme of matrix ``name``."""
        return next((scheme for pattern, scheme in self.rules if fnmatchcase(name, pattern)), "fp32")

    def to_json(self) -> Dict[str, Any]:
        """As the manifest stores it."""
        return {
            "name": self.name,
            "rules": [list(rule) for rule in self.rules],
            "activations": self.activations,
            "storage": self.storage,
        }


_ACOUSTIC: Tuple[Tuple[str, str], ...] = (
    # Codes are rounded from what the encoder computes, and it runs once per cloned voice: only its size matters.
    ("dvae_encoder/*", "fp16-weights"),
    # A chunk of a stream is decoded from another window than the one shot, and equal but for rounding. 8-bit
    # activations turn a difference in the last bit into a step, which the layers behind it spread: 60 dB instead of
    # 120. And phases run to many turns, so 8 bits there cost 9 dB of the waveform.
    ("decoder/*", "fp16-weights"),
    ("vocos/*", "fp16-weights"),
    ("*", "int8-row"),
)

_FP16: Tuple[Tuple[str, str], ...] = (
    ("gpt/*", "fp16"),
    ("text_head/*", "fp16"),
    # Phases run to many turns and spectra over many decades: the acoustic half computes in float32.
    ("*", "fp16-weights"),
)

_INT4: Tuple[Tuple[str, str], ...] = (
    # Attention keeps 8 bits: a quarter of the weights makes half of the error. So do the code heads, which decide
    # between neighbours and are 1 % of the weights.
    ("gpt/layers.*/gate_up_proj", "int4-block"),
    ("gpt/layers.*/down_proj", "int4-block"),
    *_ACOUSTIC,
)

RECIPES: Mapping[str, QuantRecipe] = {
    recipe.name: recipe
    for recipe in (
        QuantRecipe("fp32"),
        QuantRecipe("fp16", _FP16, activations="float16", storage="float16"),
        QuantRecipe("int8", _ACOUSTIC, storage="float16"),
        QuantRecipe("int4", _INT4, storage="float16"),
        QuantRecipe("int8-static", (*_ACOUSTIC[:-1], ("*", "int8-static")), storage="float16", calibrated=True),
    )
}
"""By the name that ``--precision`` takes."""


def find_recipe(precision: str) -> QuantRecipe:
    """The recipe of a precision.

    Raises:
        InputError: there is none of that name.
    """
    if precision not in RECIPES:
        raise InputError(f"unknown precision {precision!r}: use one of {', '.join(RECIPES)}")
    return RECIPES[precision]


class Quantizer:
    """Emits matrix products and lookups as a recipe says."""

    def __init__(self, recipe: QuantRecipe, scales: Optional[Mapping[str, float]] = None) -> None:
        """Wrap ``recipe``; ``scales`` are the largest activations of each matrix's input, for the static scheme."""
        self.recipe = recipe
        self.activation_dtype: Any = np.dtype(recipe.activations)
        self._scales = scales or {}

    def matmul(self, g: GraphBuilder, x: str, weight: NDArray[np.float32], name: str) -> str:
        """``x @ weight`` for rows ``x`` [..., in] and ``weight`` [in, out]."""
        full = f"{g.name}/{g.path(name)}"
        with g.scope(name):
            return SCHEMES[self.recipe.scheme(full)](g, x, weight, "matmul", self._scales.get(full))

    def lookup(self, g: GraphBuilder, table: NDArray[np.float32], ids: str, name: str) -> str:
        """Rows of an embedding table, as float32."""
        rows = g.op.Gather(g.weight(name, table.astype(self.recipe.storage)), ids, axis=0)
        return rows if self.recipe.storage == "float32" else g.op.Cast(rows, to=g.dtype(np.float32))

    def stored(self, g: GraphBuilder, weight: NDArray[np.float32], name: str) -> str:
        """A float32 weight of a convolution; ONNX Runtime converts what is stored narrower as it loads it."""
        value = g.weight(name, weight.astype(self.recipe.storage))
        return value if self.recipe.storage == "float32" else g.op.Cast(value, to=g.dtype(np.float32))

    def activations(self, array: NDArray[np.float32]) -> NDArray[Any]:
        """A weight that meets activations element by element, in their type."""
        return array.astype(self.activation_dtype)

    def from_float32(self, g: GraphBuilder, x: str) -> str:
        """A float32 value as activations are stored."""
        return x if self.activation_dtype == np.float32 else g.op.Cast(x, to=g.dtype(self.activation_dtype))

    def to_float32(self, g: GraphBuilder, x: str) -> str:
        """Activations as float32."""
        return x if self.activation_dtype == np.float32 else g.op.Cast(x, to=g.dtype(np.float32))

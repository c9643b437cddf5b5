"""A small builder that writes ONNX graphs op by op.

Building instead of tracing is what lets the graphs use ONNX Runtime's fused operators, and needs no PyTorch. Values are
plain strings, an operator is an attribute (``g.op.MatMul(a, b)``), and large weights go to a file beside the graph so
that ONNX Runtime can map them. This file and ``quantize.py`` are the only users of the onnx package.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import MissingExtraError

IR_VERSION = 10
OPSET = 21
"""The newest that ONNX Runtime 1.19.2 (the last for CPython 3.8) loads."""

MICROSOFT_OPS = frozenset(
    {
        "BiasGelu",
        "GroupQueryAttention",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QuickGelu",
        "SkipSimplifiedLayerNormalization",
    }
)
EXTERNAL_FROM_BYTES = 4 << 20
"""A graph with more weights than this keeps them in a file beside it."""
_INLINE_BELOW = 1024
_ALIGNMENT = 4096
"""Page size: ONNX Runtime maps a tensor only where it starts on a page."""

Array = NDArray[Any]
Dim = Union[int, str]


class Ops:
    """Operators by attribute: ``ops.Add(a, b)`` adds a node and returns the name of its output."""

    def __init__(self, graph: GraphBuilder) -> None:
        self._graph = graph

    def __getattr__(self, op_type: str) -> Callable[..., str]:
        def emit(*inputs: Optional[str], name: Optional[str] = None, **attributes: Any) -> str:
            return self._graph.node(op_type, *inputs, names=[name] if name else None, **attributes)[0]

        return emit


class GraphBuilder:
    """One ONNX graph in the making."""

    def __init__(self, name: str) -> None:
        try:
            import onnx
        except ImportError:
            raise MissingExtraError("onnx", "convert", "building a model") from None
        self._onnx: Any = onnx
        self.name = name
        self.op = Ops(self)
        self.weights: Dict[str, Array] = {}
        self.memo: Dict[Tuple[Any, ...], str] = {}
        """Values that several layers share (a constant, a count of rows), by a key of the layer's choice."""
        self._nodes: List[Any] = []
        self._inputs: List[Any] = []
        self._outputs: List[Any] = []
        self._scopes: List[str] = []
        self._counts: Dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names of what is made inside."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def path(self, name: str) -> str:
        """``name`` inside the current scopes."""
        return "/".join([*self._scopes, name])

    def node(
        self,
        op_type: str,
        *inputs: Optional[str],
        outputs: int = 1,
        names: Optional[List[str]] = None,
        **attributes: Any,
    ) -> List[str]:
        """Add a node; None among the inputs, and an empty string among the names, is an optional one left out."""
        label = self._unique(self.path(op_type))
        if names is None:
            names = [label if i == 0 else f"{label}:{i}" for i in range(outputs)]
        domain = "com.microsoft" if op_type in MICROSOFT_OPS else ""
        given = ["" if value is None else value for value in inputs]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self._nodes.append(self._onnx.helper.make_node(op_type, given, names, name=label, domain=domain, **attributes))
        return names

    def input(self, name: str, dtype: Any, shape: Sequence[Dim]) -> str:
        """Declare a graph input; a string dim is symbolic."""
        self._inputs.append(self._value_info(name, dtype, shape))
        return name

    def optional_input(self, name: str, default: Array, shape: Sequence[Dim]) -> str:
        """Declare a graph input that may be left out: an initializer of the same name is its value then."""
        self.input(name, default.dtype, shape)
        self.weights[name] = np.ascontiguousarray(default)
        return name

    def output(self, value: str, name: str, dtype: Any, shape: Optional[Sequence[Dim]]) -> None:
        """Declare ``value`` as graph output ``name``; None is a shape not worth declaring."""
        if value != name:
            self.node("Identity", value, names=[name])
        self._outputs.append(self._value_info(name, dtype, shape))

    def weight(self, name: str, array: Array) -> str:
        """Add an initializer under the current scope and return its name."""
        full = self.path(name)
        if full in self.weights:
            raise AssertionError(f"two weights are named {full}")
        self.weights[full] = np.ascontiguousarray(array)
        return full

    def constant(self, value: Any, dtype: Any) -> str:
        """A small constant, made once per value."""
        array = np.asarray(value, dtype=dtype)
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self.memo:
            name = f"constant/{len(self.memo)}"
            self.weights[name] = array
            self.memo[key] = name
        return self.memo[key]

    def ints(self, *values: int) -> str:
        """A constant int64 vector: axes, shapes."""
        return self.constant(values, np.int64)

    def scalar(self, value: float) -> str:
        """A constant float32 scalar."""
        return self.constant(value, np.float32)

    def dtype(self, dtype: Any) -> int:
        """ONNX's number for a NumPy dtype: the attribute of a Cast."""
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def save(self, path: Path) -> List[Path]:
        """Write the graph, and its weights beside it where they are many; returns the files written."""
        helper = self._onnx.helper
        external = sum(array.nbytes for array in self.weights.values()) >= EXTERNAL_FROM_BYTES
        data_path = path.with_name(path.name + ".data")
        tensors = []
        offset = 0
        for name, array in self.weights.items():
            tensor = self._onnx.TensorProto()
            tensor.name = name
            tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor.dims.extend(array.shape)
            if external and array.nbytes >= _INLINE_BELOW:
                tensor.data_location = self._onnx.TensorProto.EXTERNAL
                for key, value in (("location", data_path.name), ("offset", offset), ("length", array.nbytes)):
                    tensor.external_data.add(key=key, value=str(value))
                offset += math.ceil(array.nbytes / _ALIGNMENT) * _ALIGNMENT
            else:
                tensor.raw_data = array.tobytes()
            tensors.append(tensor)
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, initializer=tensors)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="chattts-onnx")
        assert model.ir_version == IR_VERSION  # newer onnx packages write a version that ONNX Runtime 1.19.2 refuses
        path.write_bytes(model.SerializeToString())
        if not external:
            return [path]
        with data_path.open("wb") as file:
            for array in self.weights.values():
                if array.nbytes >= _INLINE_BELOW:
                    file.write(array.reshape(-1).view(np.uint8).data)
                    file.write(bytes(-file.tell() % _ALIGNMENT))
        return [path, data_path]

    def _value_info(self, name: str, dtype: Any, shape: Optional[Sequence[Dim]]) -> Any:
        dims = None if shape is None else list(shape)
        return self._onnx.helper.make_tensor_value_info(name, self.dtype(dtype), dims)

    def _unique(self, name: str) -> str:
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        return f"{name}_{count}" if count else name

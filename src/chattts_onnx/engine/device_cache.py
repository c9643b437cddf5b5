"""The key/value cache in a GPU's memory, so that a decode step moves no more than ids and logits.

It differs from `KVCache` in four small ways: memory belongs to ONNX Runtime and is known by its address, a row is
moved by the device itself, and growth, which is rare, goes through the host. ONNX Runtime offers no copy within a
device on all the versions supported here, but a graph of one Identity node between two bound addresses is one; the
graph is written by hand because the run time does not depend on the onnx package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chattts_onnx.engine.kv_cache import KVCache
from chattts_onnx.session import session_options

if TYPE_CHECKING:
    import onnxruntime

    Array = np.ndarray[Any, Any]

_VARINT, _BYTES = 0, 2
_FLOAT = 1  # TensorProto.FLOAT


class DeviceKVCache(KVCache):
    """Keys and values in device memory.

    Args:
        device: ONNX Runtime's name of the memory, ``cuda``.
        index: Which of the devices.
        provider: Execution provider that copies within it.
        dims: As for `KVCache`.
    """

    def __init__(self, *, device: str, index: int, provider: str, **dims: Any) -> None:
        import onnxruntime

        self._device, self._device_index = device, index
        self._copier = onnxruntime.InferenceSession(
            copy_model(), session_options(threads=1), providers=[(provider, {"device_id": str(index)})]
        )
        super().__init__(**dims)
        self.device, self.device_index = device, index

    def _make(self, values: Array) -> Any:
        import onnxruntime

        # Nothing to allocate: some allocators refuse zero bytes.
        return (
            onnxruntime.OrtValue.ortvalue_from_numpy(values, self._device, self._device_index) if values.size else None
        )

    def _values(self, buffer: Any) -> Array:
        values: Array = buffer.numpy()
        return values

    def _address(self, buffer: Any) -> int:
        return int(buffer.data_ptr()) if buffer is not None else 0

    def _copy_row(self, source: int, target: int) -> None:
        size = self._row_bytes
        for buffer in self._buffers:
            address = self._address(buffer)
            binding: onnxruntime.IOBinding = self._copier.io_binding()
            place = (self._device, self._device_index, np.float32, [size // 4])
            binding.bind_input("x", *place, address + source * size)
            binding.bind_output("y", *place, address + target * size)
            self._copier.run_with_iobinding(binding)


def copy_model() -> bytes:
    """An ONNX model ``y = Identity(x)`` over float32 [n], as protobuf bytes."""
    dim = _field(2, b"n")  # TensorShapeProto.Dimension.dim_param
    tensor = _field(1, _FLOAT) + _field(2, _field(1, dim))  # TypeProto.Tensor: elem_type, shape
    kind = _field(2, _field(1, tensor))  # ValueInfoProto.type
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Identity")
    graph = (
        _field(1, node) + _field(2, b"copy") + _field(11, _field(1, b"x") + kind) + _field(12, _field(1, b"y") + kind)
    )
    opset = _field(1, b"") + _field(2, 13)
    return _field(1, 8) + _field(7, graph) + _field(8, opset)  # ModelProto: ir_version, graph, opset_import


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + bytes(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

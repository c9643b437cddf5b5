"""safetensors files in, NumPy arrays out, with every tensor accounted for.

A tensor that nobody takes is as much an error as one that is missing: both mean that the file is of another layout than
the one the graphs are built for, and a model built from half a checkpoint speaks noise without a word of warning. So a
file is opened as a ``Checkpoint`` whose tensors must each be taken exactly once, or ignored by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Type

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import CheckpointError, MissingExtraError

FloatArray = NDArray[np.float32]
Shape = Sequence[Optional[int]]
"""An expected shape; None is a dim that the file itself tells."""


class Checkpoint:
    """One safetensors file. Use as a context manager: leaving it without an error checks that nothing is left over."""

    def __init__(self, path: Path) -> None:
        """Open ``path`` and read its header.

        Raises:
            CheckpointError: the file is missing, truncated or not safetensors.
            MissingExtraError: the package ``safetensors`` is not installed.
        """
        try:
            from safetensors import SafetensorError, safe_open
        except ImportError:
            raise MissingExtraError("safetensors", "convert", "reading a checkpoint") from None
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing: give a directory in the published layout (asset/…) or pull it again"
            )
        try:
            self._file: Any = safe_open(str(path), framework="np").__enter__()  # type: ignore[no-untyped-call, unused-ignore]
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged or truncated ({error}): download it again") from None
        self._error = SafetensorError
        self.path = path
        self._left: Set[str] = set(self._file.keys())

    def __enter__(self) -> Checkpoint:  # noqa: PYI034 - Self is younger than Python 3.8
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._file.__exit__(None, None, None)
        if kind is None:
            self.check_all_used()

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def names(self) -> List[str]:
        """The tensors not taken yet, sorted."""
        return sorted(self._left)

    def shape(self, name: str) -> Tuple[int, ...]:
        """Shape of a tensor that is still to be taken.

        Raises:
            CheckpointError: there is none of that name.
        """
        self._require(name)
        return tuple(self._file.get_slice(name).get_shape())

    def take(self, name: str, shape: Shape) -> FloatArray:
        """Read one tensor as float32 and mark it used.

        Args:
            name: the tensor.
            shape: what its shape must be; None for a dim that is free.

        Raises:
            CheckpointError: it is missing or taken already, its shape differs, or it is not floating point.
        """
        found = self.shape(name)
        if len(found) != len(shape) or any(want not in {None, have} for want, have in zip(shape, found)):
            wanted = "[" + ", ".join("any" if dim is None else str(dim) for dim in shape) + "]"
            raise CheckpointError(
                f"{self.path}: tensor {name!r} has shape {list(found)} where {wanted} belongs: "
                "the file is of another model than its neighbours, or of another layout"
            )
        kind = self._file.get_slice(name).get_dtype()
        if kind not in {"F32", "F16", "F64"}:
            raise CheckpointError(
                f"{self.path}: tensor {name!r} is {kind} where F32 belongs: convert the file to float32"
            )
        try:
            array: NDArray[Any] = self._file.get_tensor(name)
        except self._error as error:
            raise CheckpointError(f"{self.path}: tensor {name!r} cannot be read ({error}): download it again") from None
        self._left.discard(name)
        return np.ascontiguousarray(array, dtype=np.float32)

    def take_weight_norm(self, name: str, shape: Shape) -> FloatArray:
        """Read a weight stored as direction and length (PyTorch's ``parametrizations``, dim 0) and fold the two.

        Row r of the weight is ``g[r] * v[r] / ||v[r]||``.
        """
        prefix = f"{name}.parametrizations.weight.original"
        direction = self.take(prefix + "1", shape)
        length = self.take(prefix + "0", (direction.shape[0], 1))
        norm = np.sqrt(np.sum(direction.astype(np.float64) ** 2, axis=1, keepdims=True))
        return np.asarray(direction * (length / norm), dtype=np.float32)

    def ignore(self, name: str) -> None:
        """Mark a tensor as known and not needed; it may be absent."""
        self._left.discard(name)

    def check_all_used(self) -> None:
        """Raise CheckpointError if a tensor was neither taken nor ignored."""
        if self._left:
            names = self.names()
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise CheckpointError(
                f"{self.path}: {len(names)} tensors have no place in the model: {', '.join(names[:5])}{more}: "
                "the file is of another layout than the published one"
            )

    def _require(self, name: str) -> None:
        if name not in self._left:
            raise CheckpointError(
                f"{self.path}: tensor {name!r} is missing: the file is of another layout than the published one, "
                "or fewer layers are stored than the configuration says"
            )


def count_layers(checkpoint: Checkpoint, prefix: str) -> int:
    """How many blocks ``prefix + index + "."`` a file holds.

    Raises:
        CheckpointError: none, or their numbers have a hole.
    """
    numbers = {name[len(prefix) :].split(".")[0] for name in checkpoint.names() if name.startswith(prefix)}
    if not numbers or numbers != {str(i) for i in range(len(numbers))}:
        raise CheckpointError(
            f"{checkpoint.path}: blocks {prefix}* are numbered {sorted(numbers)} where 0, 1, 2 … belongs: "
            "the file is of another layout, or incomplete"
        )
    return len(numbers)


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object from a checkpoint.

    Raises:
        CheckpointError: missing, damaged, or not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing: give a directory in the published layout, or pull it again"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): download it again") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds no JSON object: download it again")
    values: Dict[str, Any] = data
    return values

"""Speaker files of PyTorch (``.pt``) without PyTorch and without pickle.

Such a file is a ZIP archive with a pickle that says how to build tensors from raw numbers beside it. `pickle` with a
white list of names would still run its own machine with every opcode, call what it is given and grow as it is told;
`pickletools.genops` only lists opcodes, so their meaning would be written here anyway, and it accepts every opcode ever
made. This is a machine for the few dozen opcodes that ``torch.save`` writes for tensors, strings and plain
containers. Names are looked up nowhere: they are compared with five constants, and anything else refuses the file.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple, Union

import numpy as np
import numpy.typing as npt

from chattts_onnx.errors import VoiceFormatError

FloatArray = npt.NDArray[np.float32]

MAX_FILE_BYTES = 8 * 1024 * 1024
_MAX_PICKLE_BYTES = 256 * 1024
_MAX_NUMBERS = 65536
_MAX_ENTRIES = 64
_MAX_STEPS = 100_000
_MAX_VISITS = 1000
_ITEM_BYTES = {"FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "DoubleStorage": 8}
_REBUILD = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_ORDERED_DICT = "collections.OrderedDict"

Content = Union[FloatArray, str]


class _Mark:
    """Where a tuple, list or dict begins on the stack."""


@dataclass(frozen=True)
class _Name:
    """A name in the pickle: compared, never looked up."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """Raw numbers of the archive."""

    kind: str
    key: str
    count: int


def read_torch_file(data: bytes) -> Content:
    """The one float tensor, or the one string, in a ``.pt`` file.

    Args:
        data: The bytes of the file.

    Returns:
        float32 of the tensor's shape, or the string (files of "converted" voices hold a voice string).

    Raises:
        VoiceFormatError: the file is damaged, holds anything else, or tries to make anything but tensors.
    """
    if len(data) > MAX_FILE_BYTES:
        raise VoiceFormatError(
            f"the .pt file is larger than {MAX_FILE_BYTES >> 20} MiB: it is not a speaker but a model"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _content(archive)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        struct.error,
        zlib.error,
    ) as error:
        raise VoiceFormatError(
            f"the .pt file cannot be read ({error}): save it again with a current PyTorch, or export it as .csv"
        ) from None


def _content(archive: zipfile.ZipFile) -> Content:
    names = archive.namelist()
    pickles = [name for name in names if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(names) > _MAX_ENTRIES or len(pickles) != 1:
        raise VoiceFormatError("the .pt file is not one that torch.save wrote for a speaker: export it as .csv")
    prefix = pickles[0][: -len("data.pkl")]
    byteorder = _member(archive, prefix + "byteorder", 16) if prefix + "byteorder" in names else b"little"
    if byteorder.strip() != b"little":
        raise VoiceFormatError("the .pt file is of a big-endian machine: export it as .csv")

    def numbers(storage: _Storage) -> npt.NDArray[Any]:
        size = _ITEM_BYTES[storage.kind] * storage.count
        name = f"{prefix}data/{storage.key}"
        if name not in names:
            raise VoiceFormatError("the .pt file lacks the numbers of a tensor: it is damaged")
        raw = _member(archive, name, size)
        if len(raw) != size:
            raise VoiceFormatError("the .pt file has fewer or more numbers than it states: it is damaged")
        return _floats(storage.kind, raw)

    found: List[Content] = []
    _collect(_Machine(_member(archive, pickles[0], _MAX_PICKLE_BYTES), numbers).run(), found, [0], 0)
    if len(found) != 1:
        raise VoiceFormatError(
            f"the .pt file holds {len(found)} tensors or strings instead of one speaker: it is no voice"
        )
    return found[0]


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise VoiceFormatError(f"{name[-32:]!r} in the .pt file is larger than a speaker needs: it is no voice")
    return data


def _floats(kind: str, raw: bytes) -> npt.NDArray[Any]:
    if kind == "BFloat16Storage":
        # The upper half of a float32.
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    code = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8"}[kind]
    return np.frombuffer(raw, code).astype(np.float32)


def _collect(value: Any, found: List[Content], visits: List[int], depth: int) -> None:
    # Shared references make a short file a huge tree: both its depth and its nodes are counted.
    visits[0] += 1
    if depth > 8 or visits[0] > _MAX_VISITS:
        raise VoiceFormatError("the .pt file is nested too deeply: it is no voice")
    if isinstance(value, np.ndarray) or (isinstance(value, str) and depth == 0):
        found.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found, visits, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, found, visits, depth + 1)


class _Machine:
    """The stack machine for the opcodes of protocols 2 to 4 that tensors need."""

    def __init__(self, code: bytes, numbers: Any) -> None:
        self._code = code
        self._at = 0
        self._numbers = numbers
        self._stack: List[Any] = []
        self._memo: Dict[int, Any] = {}
        self._bytes_used = 0

    def run(self) -> Any:
        try:
            for _ in range(_MAX_STEPS):
                opcode = self._read(1)
                if opcode == b".":
                    return self._stack.pop()
                self._step(opcode)
        except VoiceFormatError:
            raise
        except (IndexError, KeyError, TypeError, ValueError, ArithmeticError):
            raise VoiceFormatError("the .pt file is damaged: download or export it again") from None
        raise VoiceFormatError("the .pt file goes on for ever: it is no voice")

    def _step(self, opcode: bytes) -> None:
        stack = self._stack
        if opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            stack.append(_EMPTY[opcode]())
        elif opcode in _NUMBERS:
            layout = _NUMBERS[opcode]
            stack.append(struct.unpack(layout, self._read(struct.calcsize(layout)))[0])
        elif opcode in _TEXTS:
            layout = _TEXTS[opcode]
            length = struct.unpack(layout, self._read(struct.calcsize(layout)))[0]
            stack.append(self._read(length).decode("utf-8"))
        elif opcode == b"\x8a":  # LONG1
            stack.append(int.from_bytes(self._read(self._read(1)[0]), "little", signed=True))
        elif opcode == b"\x80":  # PROTO
            if self._read(1)[0] > 5:
                raise ValueError
        elif opcode == b"\x95":  # FRAME: its length says nothing that the bytes do not
            self._read(8)
        elif opcode == b"c":  # GLOBAL
            stack.append(_Name(f"{self._line()}.{self._line()}"))
        elif opcode == b"\x93":  # STACK_GLOBAL
            name, module = stack.pop(), stack.pop()
            stack.append(_Name(f"{_as(module, str)}.{_as(name, str)}"))
        elif opcode in (b"q", b"r"):  # BINPUT, LONG_BINPUT
            self._memo[self._index(opcode == b"r")] = stack[-1]
        elif opcode == b"\x94":  # MEMOIZE
            self._memo[len(self._memo)] = stack[-1]
        elif opcode in (b"h", b"j"):  # BINGET, LONG_BINGET
            stack.append(self._memo[self._index(opcode == b"j")])
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            stack[-count:] = [tuple(stack[-count:])] if len(stack) >= count else self._damaged()
        elif opcode == b"t":
            stack.append(tuple(self._marked()))
        elif opcode == b"l":
            stack.append(self._marked())
        elif opcode == b"d":
            stack.append(_pairs(self._marked()))
        elif opcode in (b"s", b"u"):  # SETITEM, SETITEMS
            items = [stack.pop(-2), stack.pop()] if opcode == b"s" else self._marked()
            _as(stack[-1], dict).update(_pairs(items))
        elif opcode in (b"a", b"e"):  # APPEND, APPENDS
            items = [stack.pop()] if opcode == b"a" else self._marked()
            _as(stack[-1], list).extend(items)
        elif opcode == b"Q":  # BINPERSID
            stack.append(self._storage(stack.pop()))
        elif opcode == b"R":  # REDUCE
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._build(function, arguments))
        else:
            raise VoiceFormatError(f"the .pt file uses the pickle opcode {opcode!r}, which no speaker needs: refused")

    def _build(self, function: Any, arguments: Any) -> Any:
        name = _as(function, _Name).text
        if name == _ORDERED_DICT and arguments == ():
            return {}
        if name == _PARAMETER:
            return arguments[0]
        if name != _REBUILD:
            raise VoiceFormatError(f"the .pt file wants to call {name[:80]!r}, which is no speaker: refused")
        storage, offset, shape, strides = arguments[:4]
        return self._tensor(_as(storage, _Storage), offset, shape, strides)

    def _tensor(self, storage: _Storage, offset: Any, shape: Any, strides: Any) -> FloatArray:
        whole = all(type(value) is int and value >= 0 for value in (offset, *shape, *strides))
        if not whole or len(shape) != len(strides) or len(shape) > 4:
            raise ValueError
        count = int(np.prod(shape, dtype=object)) if shape else 1
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
        self._bytes_used += count
        if not 0 < count <= _MAX_NUMBERS or last >= storage.count or self._bytes_used > 4 * _MAX_NUMBERS:
            raise VoiceFormatError(f"the .pt file has a tensor of shape {shape!r}: that is no speaker")
        flat = self._numbers(storage)
        index = np.full(shape, offset)
        for axis, (size, stride) in enumerate(zip(shape, strides)):
            steps = np.arange(size) * stride
            index = index + steps.reshape([-1 if other == axis else 1 for other in range(len(shape))])
        tensor: FloatArray = flat[index]
        return tensor

    def _storage(self, identity: Any) -> _Storage:
        tag, kind, key, _, count = _as(identity, tuple)
        name = _as(kind, _Name).text
        module, _, short = name.rpartition(".")
        if tag != "storage" or module != "torch" or short not in _ITEM_BYTES:
            raise VoiceFormatError(f"the .pt file holds {name[:80]!r}: only floating-point tensors are read, refused")
        if type(count) is not int or not 0 < count <= _MAX_NUMBERS or not _as(key, str).isdigit():
            raise VoiceFormatError("the .pt file holds a tensor that is too large for a speaker: it is no voice")
        return _Storage(short, key, count)

    def _marked(self) -> List[Any]:
        for start in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[start], _Mark):
                items = self._stack[start + 1 :]
                del self._stack[start:]
                return items
        raise ValueError

    def _damaged(self) -> List[Any]:
        raise ValueError

    def _index(self, long: bool) -> int:
        return int(struct.unpack("<I", self._read(4))[0]) if long else self._read(1)[0]

    def _line(self) -> str:
        end = self._code.index(b"\n", self._at)
        return self._read(end + 1 - self._at)[:-1].decode("utf-8")

    def _read(self, count: int) -> bytes:
        piece = self._code[self._at : self._at + count]
        if len(piece) != count:
            raise ValueError
        self._at += count
        return piece


def _pairs(items: List[Any]) -> Dict[Any, Any]:
    keys = items[0::2]
    # Hashing a tuple walks it, and a nest of tuples is endless or deeper than the stack.
    if len(items) % 2 or any(type(key) not in (str, int) for key in keys):
        raise ValueError
    return dict(zip(keys, items[1::2]))


def _as(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise ValueError
    return value


_CONSTANTS: Dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_EMPTY: Dict[bytes, Any] = {b"}": dict, b"]": list, b"(": _Mark}
_NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d"}
_TEXTS = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q"}
_TUPLES: Dict[bytes, int] = {b"\x85": 1, b"\x86": 2, b"\x87": 3}

__all__: Tuple[str, ...] = ("MAX_FILE_BYTES", "read_torch_file")

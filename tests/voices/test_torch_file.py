"""``.pt`` files made by hand, good and hostile, without PyTorch."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.errors import VoiceFormatError
from chattts_onnx.voices.torch_file import MAX_FILE_BYTES, read_torch_file

VALUES = np.random.default_rng(0).standard_normal(768).astype(np.float32)
DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8"}


class Global:
    """Pickles as a name, like the classes of a module that is not installed here."""

    def __init__(self, name: str) -> None:
        self.name = name


class Reduced:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class Stored:
    """Pickles as a persistent id, like a storage."""

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.identity = ("storage", Global(f"torch {kind}"), key, "cpu", count)


class Pickler(pickle._Pickler):  # type: ignore[name-defined]  # the Python one: it can write any name
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, Stored) else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            module, name = value.name.split(" ")
            if self.proto >= 4:
                super().save(module)
                super().save(name)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        elif isinstance(value, Reduced):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def pickled(value: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


def tensor(
    kind: str = "FloatStorage", shape: tuple = (768,), strides: Optional[tuple] = None, **change: Any
) -> Reduced:
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    count = change.get("count", 768)
    return Reduced(
        Global(change.get("function", "torch._utils _rebuild_tensor_v2")),
        Stored(kind, change.get("key", "0"), count),
        change.get("offset", 0),
        shape,
        strides,
        False,
        Reduced(Global("collections OrderedDict")),
    )


def archive(
    value: Any = None, data: Optional[bytes] = None, *, code: Optional[bytes] = None, protocol: int = 2, **extra: bytes
) -> bytes:
    buffer = io.BytesIO()
    members: Dict[str, bytes] = {
        "archive/data.pkl": pickled(value, protocol) if code is None else code,
        "archive/byteorder": b"little",
        "archive/data/0": VALUES.tobytes() if data is None else data,
        "archive/version": b"3\n",
    }
    members.update({name.replace("__", "/"): content for name, content in extra.items()})
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", DTYPES)
def test_float_tensors_are_read(kind: str, protocol: int) -> None:
    stored = VALUES.astype(DTYPES[kind])
    got = read_torch_file(archive(tensor(kind), stored.tobytes(), protocol=protocol))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, stored.astype(np.float32))


def test_bfloat16_is_the_upper_half_of_a_float() -> None:
    upper = (VALUES.view(np.uint32) >> 16).astype("<u2")
    got = read_torch_file(archive(tensor("BFloat16Storage"), upper.tobytes()))
    np.testing.assert_array_equal(got, (upper.astype(np.uint32) << 16).view(np.float32))


def test_shapes_strides_and_offsets() -> None:
    assert read_torch_file(archive(tensor(shape=(1, 768)))).shape == (1, 768)
    np.testing.assert_array_equal(
        read_torch_file(archive(tensor(shape=(3, 4), strides=(1, 3), offset=5))), VALUES[5:17].reshape(4, 3).T
    )


def test_containers_around_one_tensor_are_opened() -> None:
    for value in ({"spk_emb": tensor(), "epoch": 3, "note": "x"}, [tensor()], ("a", [1.5, {"b": tensor()}])):
        np.testing.assert_array_equal(read_torch_file(archive(value)), VALUES)
    parameter = Reduced(
        Global("torch._utils _rebuild_parameter"), tensor(), True, Reduced(Global("collections OrderedDict"))
    )
    np.testing.assert_array_equal(read_torch_file(archive(parameter)), VALUES)


def test_a_converted_voice_is_a_string() -> None:
    assert read_torch_file(archive("蘁淰敩欀")) == "蘁淰敩欀"


def test_what_pytorch_itself_writes() -> None:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(VALUES.copy())[None], buffer)
    np.testing.assert_array_equal(read_torch_file(buffer.getvalue()), VALUES[None])


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_code_is_not_run(tmp_path: Path, protocol: int) -> None:
    flag = tmp_path / "owned"
    code = pickle.dumps(Exploit(flag), protocol)
    with pytest.raises(VoiceFormatError, match=r"refused|damaged"):
        read_torch_file(archive(code=code))
    assert not flag.exists()
    pickle.loads(code)
    assert flag.exists(), "the test's own exploit must work, or it proves nothing"


@pytest.mark.parametrize(
    "name",
    ["os system", "builtins eval", "builtins getattr", "torch load", "torch.storage _load_from_bytes", "numpy load",
     "torch._utils _rebuild_sparse_tensor", "collections OrderedDict.fromkeys"],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [2, 4])
def test_other_names_are_refused_by_name(name: str, protocol: int) -> None:
    value = Reduced(Global(name), "x")
    with pytest.raises(VoiceFormatError, match="refused") as caught:
        read_torch_file(archive(value, protocol=protocol))
    assert name.split(" ")[1] in str(caught.value)


@pytest.mark.parametrize("opcode", [b"b", b"i", b"o", b"\x81", b"\x92", b"\x82", b"P", b"\x96", b"\x97", b"I", b"V"])
def test_opcodes_that_no_tensor_needs_are_refused(opcode: bytes) -> None:
    assert opcode.decode("latin-1") in pickletools.code2op
    with pytest.raises(VoiceFormatError, match="opcode"):
        read_torch_file(archive(code=b"\x80\x02}" + opcode + b"os\nsystem\n."))


@pytest.mark.parametrize("kind", ["LongStorage", "ByteStorage", "UntypedStorage", "os"])
def test_other_storages_are_refused(kind: str) -> None:
    with pytest.raises(VoiceFormatError, match="floating-point"):
        read_torch_file(archive(tensor(kind)))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (10**9,)}, {"shape": (769,)}, {"shape": (2, 768)}, {"offset": 1}, {"offset": -1}, {"shape": (0,)},
        {"shape": (-5,)}, {"shape": (768,), "strides": (2,)}, {"shape": (768,), "strides": (0, 0)},
        {"shape": (2.5,), "strides": (1,)}, {"shape": (True,), "strides": (1,)}, {"count": 10**12}, {"count": -1},
        {"count": 700}, {"count": 5000}, {"key": "../../etc/passwd"}, {"key": "1"}, {"shape": (2,) * 9},
        {"shape": "768", "strides": "1"}, {"function": "collections OrderedDict"},
    ],
)  # fmt: skip
def test_impossible_tensors_are_refused(change: Dict[str, Any]) -> None:
    if isinstance(change.get("shape"), str):
        value: Any = tensor()
        value.arguments = (value.arguments[0], 0, "768", "1")
    else:
        value = tensor(**change)
    with pytest.raises(VoiceFormatError):
        read_torch_file(archive(value))


def test_two_tensors_are_no_speaker() -> None:
    with pytest.raises(VoiceFormatError, match="holds 2"):
        read_torch_file(archive({"a": tensor(), "b": tensor()}))
    with pytest.raises(VoiceFormatError, match="holds 0"):
        read_torch_file(archive({"lora": 3}))


def test_a_tensor_used_again_and_again_is_no_bomb() -> None:
    value: Any = tensor()
    for _ in range(60):
        value = [value, value]
    with pytest.raises(VoiceFormatError):
        read_torch_file(archive(value))
    # The same by memo: exponential when walked.
    code = pickled("x")[:-1] + b"q\x00" + b"".join(b"]q%c(h%ch%ce" % (i, i - 1, i - 1) for i in range(1, 60)) + b"."
    with pytest.raises(VoiceFormatError):
        read_torch_file(archive(code=code))


def test_a_list_inside_itself_ends() -> None:
    with pytest.raises(VoiceFormatError, match="nested"):
        read_torch_file(archive(code=b"\x80\x02]q\x00h\x00a."))


@pytest.mark.parametrize(
    "code",
    [b"", b".", b"\x80\x02", b"\x80\x09N.", b"\x80\x02h\x05.", b"\x80\x02t.", b"\x80\x02X\xff\xff\xff\x7fabc.",
     b"\x80\x02\x85.", b"\x80\x02NR.", b"\x80\x02NQ.", b"\x80\x02NNs.", b"\x80\x02cos", b"\x80\x02(]]]u.", b"\x80\x02N",
     b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffx.", b"\x80\x02\x8a\xff.", b"\x80\x02]NNe.", b"\x80\x02}]Ns."],
)  # fmt: skip
def test_damaged_pickles_are_refused(code: bytes) -> None:
    with pytest.raises(VoiceFormatError):
        read_torch_file(archive(code=code))


@given(position=st.integers(0, 400), byte=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_is_harmless(position: int, byte: int) -> None:
    code = bytearray(pickled({"spk": tensor()}))
    code[position % len(code)] = byte
    try:
        got = read_torch_file(archive(code=bytes(code)))
    except VoiceFormatError:
        return
    assert isinstance(got, (np.ndarray, str))


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_code_is_harmless(code: bytes) -> None:
    with contextlib.suppress(VoiceFormatError):
        read_torch_file(archive(code=b"\x80\x02" + code + b"."))


def test_archives_that_are_none() -> None:
    good = archive(tensor())
    for data in (b"", b"PK\x03\x04", good[:200], good[:-30], good[: len(good) // 2]):
        with pytest.raises(VoiceFormatError, match="cannot be read"):
            read_torch_file(data)
    with pytest.raises(VoiceFormatError, match="MiB"):
        read_torch_file(bytes(MAX_FILE_BYTES + 1))
    with pytest.raises(VoiceFormatError, match="not one that torch"):
        read_torch_file(archive(tensor(), **{f"f{index}": b"" for index in range(100)}))
    with pytest.raises(VoiceFormatError, match="not one that torch"):
        read_torch_file(archive(tensor(), **{"other__data.pkl": b""}))
    with pytest.raises(VoiceFormatError, match="big-endian"):
        read_torch_file(archive(tensor(), archive__byteorder=b"big"))


def test_zip_bombs_are_not_inflated() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", bytes(100_000_000))
    assert len(buffer.getvalue()) < 200_000
    with pytest.raises(VoiceFormatError, match="larger than a speaker needs"):
        read_torch_file(buffer.getvalue())
    with pytest.raises(VoiceFormatError, match="larger than a speaker needs"):
        read_torch_file(archive(tensor(), bytes(10_000)))


def test_nests_of_tuples_are_neither_hashed_nor_shown() -> None:
    # {((((...)))): None}: hashing a key like this overflows the C stack, and with shared parts takes for ever.
    deep = b"\x80\x02})" + b"\x85" * 50_000 + b"Ns."
    shared = b"\x80\x02})q\x00" + b"h\x00h\x00\x86q\x00" * 80 + b"Ns."
    named = b"\x80\x04)" + b"\x85" * 50_000 + b"\x8c\x01x\x93."
    for code in (deep, shared, named):
        with pytest.raises(VoiceFormatError, match="damaged"):
            read_torch_file(archive(code=code))


def test_the_stand_in_pickler_writes_what_pytorch_writes() -> None:
    # The opcodes of a real file of one tensor, as PyTorch 2 writes them with protocol 2.
    names = [opcode.name for opcode, _, _ in pickletools.genops(pickled(tensor()))]
    for name in ("GLOBAL", "BINPERSID", "BININT1", "TUPLE1", "NEWFALSE", "REDUCE", "STOP"):
        assert name in names, name
    assert struct.calcsize("<I") == 4

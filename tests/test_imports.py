"""Who may import whom (docs/design.md), read from the syntax trees: an import in the wrong direction fails here."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, List, Tuple

import pytest

PACKAGE = "chattts_onnx"
ROOT = Path(__file__).resolve().parents[1] / "src" / PACKAGE

L0 = frozenset({"errors", "config"})
L1 = frozenset({"session", "hub"})
L2 = frozenset({"text", "engine", "audio", "voices"})
L3 = frozenset({"speech", "synthesizer", "root"})
WRITES_SOUND = frozenset({"audio.formats", "audio.subtitles", "audio.player", "audio.sinks"})

ALLOWED: Dict[str, FrozenSet[str]] = {
    "errors": L0,
    "config": L0,
    "session": L0,
    "hub": L0,
    **dict.fromkeys(L2, L0 | L1),
    "speech": L0 | L1 | L2 | L3,
    "synthesizer": L0 | L1 | L2 | L3,
    # The package's own __init__ gives the public names.
    "root": L0 | L1 | L2 | L3,
    "server": L0 | L1 | L3 | WRITES_SOUND | {"voices"},
    "commands": L0 | L1 | L3 | WRITES_SOUND | {"voices"},
    "cli": L0 | L1 | L3 | {"commands", "doctor"},
    "doctor": L0 | L1 | L3 | WRITES_SOUND,
    "convert": L0 | L1,
    "evaluation": L0 | L1 | L2 | L3,
}
"""What each room may import besides itself."""

LAZILY: Dict[str, FrozenSet[str]] = {
    "commands": frozenset({"convert", "evaluation", "cli"}),
    "cli": frozenset({"server", "evaluation"}),
    # A checkpoint of its own to measure.
    "evaluation": frozenset({"convert"}),
}
"""What only a function's body may import: a sub-command's business."""

THIRD_PARTY: Dict[str, FrozenSet[str]] = {
    "onnxruntime": frozenset({"session", "engine", "audio", "evaluation", "convert"}),
    "onnx": frozenset({"convert", "evaluation"}),
    "fastapi": frozenset({"server"}),
    "uvicorn": frozenset({"server"}),
    "torch": frozenset({"evaluation"}),
    "ray": frozenset({"server"}),
    "pydantic": frozenset({"server"}),
}
"""Packages that only these rooms know; torch only to score recordings, never to speak."""

OPTIONAL = frozenset(
    {
        "soundfile",
        "soxr",
        "av",
        "lameenc",
        "sounddevice",
        "wetext",
        "torch",
        "faster_whisper",
        "ray",
        "wyoming",
        "matplotlib",
    }
)
"""Packages of extras: imported inside the function that needs them."""


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    room: str
    module: str
    """Absolute, such as ``chattts_onnx.audio.formats`` or ``numpy``."""
    lazy: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.room} imports {self.module}{' (in a function)' if self.lazy else ''}"


def room_of(module: str) -> Tuple[str, str]:
    """The room and the room with its first sub-module."""
    parts = module.split(".")[1:]
    if not parts or parts[0] == "__version__":
        return "root", "root"
    room = "cli" if parts[0] == "__main__" else parts[0]
    return room, ".".join(parts[:2])


def imports_of(path: Path) -> Iterator[Import]:
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    room, _ = room_of(f"{PACKAGE}.{name}" if name != "__init__" else PACKAGE)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checking = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        modules: List[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                modules = ["." * node.level]
            elif node.module == PACKAGE:
                # `from chattts_onnx import x` is a module of the package or one of its public names.
                for alias in node.names:
                    known = (ROOT / alias.name).is_dir() or (ROOT / f"{alias.name}.py").is_file()
                    modules.append(f"{PACKAGE}.{alias.name}" if known else PACKAGE)
                    if alias.name == "__version__":
                        modules.pop()
            elif room_of(node.module)[1].count(".") == 0 and node.module.startswith(PACKAGE):
                folder = ROOT / node.module.split(".")[1]
                for alias in node.names:
                    known = (folder / f"{alias.name}.py").is_file() or (folder / alias.name).is_dir()
                    modules.append(f"{node.module}.{alias.name}" if known else node.module)
            else:
                modules = [node.module]
        for module in modules:
            inside = id(node) in lazy or id(node) in checking
            yield Import(path.relative_to(ROOT).as_posix(), node.lineno, room, module, inside)


ALL = [found for path in sorted(ROOT.rglob("*.py")) for found in imports_of(path)]


def test_rooms_import_downwards_only() -> None:
    wrong = []
    for found in ALL:
        if found.module.split(".")[0] != PACKAGE:
            continue
        room, part = room_of(found.module)
        allowed = ALLOWED[found.room] | {found.room}
        if found.lazy:
            allowed |= LAZILY.get(found.room, frozenset())
        if room not in allowed and part not in allowed:
            wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


def test_imports_are_absolute() -> None:
    assert not [str(found) for found in ALL if found.module.startswith(".")]


def test_every_room_has_a_rule() -> None:
    rooms = {found.room for found in ALL}
    assert rooms <= set(ALLOWED), rooms - set(ALLOWED)


def test_large_packages_stay_in_their_rooms() -> None:
    wrong = [
        str(found)
        for found in ALL
        if found.room not in THIRD_PARTY.get(found.module.split(".")[0], frozenset({found.room}))
    ]
    assert not wrong, "\n".join(wrong)


def test_optional_packages_are_imported_where_they_are_needed() -> None:
    wrong = [str(found) for found in ALL if not found.lazy and found.module.split(".")[0] in OPTIONAL]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("statement", ["import chattts_onnx", "import chattts_onnx.cli, chattts_onnx.commands.say"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    """No NumPy for a version or a help text, and no torch ever."""
    code = (
        f"import sys; {statement}; print([m for m in ('numpy', 'onnxruntime', 'torch', 'fastapi') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_speaking_never_loads_torch() -> None:
    code = "import sys; from chattts_onnx import ChatTTS; print('torch' in sys.modules, 'transformers' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_the_rule_catches_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test can fail: an engine that knows text is found."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "engine").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "engine" / "bad.py").write_text("from chattts_onnx.text import tokenizer\nimport fastapi\n")
    found = list(imports_of(tmp_path / "engine" / "bad.py"))
    monkeypatch.setitem(globals(), "ALL", found)
    with pytest.raises(AssertionError, match=r"engine imports chattts_onnx\.text"):
        test_rooms_import_downwards_only()
    with pytest.raises(AssertionError, match="fastapi"):
        test_large_packages_stay_in_their_rooms()

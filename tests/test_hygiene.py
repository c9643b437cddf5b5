"""What must not be in this tree, checked on the syntax rather than by memory."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))

MOST_LINES = 450
MOST_BYTES = 26_000_000
"""Of one file; the shipped model is the largest."""

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "imp",
}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "torch.load",
    "tempfile.mktemp",
    "logging.basicConfig",
    "subprocess.getoutput",
}
ALLOWED_CALLS = {
    ("cli.py", "logging.basicConfig"),
    ("wyoming.py", "logging.basicConfig"),
    ("speakers.py", "torch.load"),
}
"""Commands are applications: they may set up logging; a library may not. The weights of a measure used in development
come from an installed package, are older than PyTorch's archives, and are read as tensors only."""


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def offences(source: str) -> Iterator[Tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in FORBIDDEN_MODULES:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call):
            if dotted(node.func) in FORBIDDEN_CALLS:
                yield node.lineno, dotted(node.func)
            for keyword in node.keywords:
                on = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                if keyword.arg in {"shell", "allow_pickle", "trust_remote_code"} and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    yield node.lineno, f"{keyword.arg}={'True' if on else '…'}"


def test_nothing_dangerous_is_called() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {what}"
        for path in SOURCES
        for line, what in offences(path.read_text(encoding="utf-8"))
        if (path.name, what) not in ALLOWED_CALLS
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from yaml import load",
        "eval('1')",
        "import os; os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "torch.load(path)",
    ],
)
def test_the_check_sees_each_danger(line: str) -> None:
    assert list(offences(line))


def test_nothing_dangerous_is_not_reported() -> None:
    assert not list(offences("np.load(path, allow_pickle=False)\nsubprocess.run(['ls'], shell=False)\nmodel.eval()"))


def test_files_can_be_read_in_one_sitting() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = [f"{path.relative_to(REPOSITORY)}: {lines} lines" for path, lines in lengths.items() if lines > MOST_LINES]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("name", ["utils", "helpers", "manager", "service", "misc", "common"])
def test_no_file_has_a_name_that_says_nothing(name: str) -> None:
    assert [str(path) for path in SOURCES if path.stem == name] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_the_oldest_python_can_read_it(path: Path) -> None:
    """Grammar of 3.8, and the annotations that 3.8 must not evaluate."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    text = [node for node in tree.body if not isinstance(node, ast.Expr)]
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    functions = any(isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AnnAssign)) for node in ast.walk(tree))
    assert future or not functions or not text, "lacks `from __future__ import annotations`"
    methods = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not methods & {"removeprefix", "removesuffix", "pairwise"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == "zip":
            assert not any(keyword.arg == "strict" for keyword in node.keywords), f"line {node.lineno}: zip(strict=)"


def tracked() -> List[Path]:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    return [REPOSITORY / name for name in listing.decode("utf-8").split("\0") if name]


def test_no_tracked_file_is_large() -> None:
    large = [path for path in tracked() if path.is_file() and path.stat().st_size > MOST_BYTES]
    assert not large, large


def test_no_tracked_file_names_the_machine_it_was_made_on() -> None:
    places = ["/" + "root/", "/" + "work/main", "/" + "work/shared", "/" + "opt/pypi"]
    found = []
    for path in tracked():
        if not path.is_file() or path.suffix in {".onnx", ".npz", ".data", ".png", ".safetensors", ".opus", ".wav"}:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(REPOSITORY)}: {place}" for place in places if place in text]
    assert not found, "\n".join(found)

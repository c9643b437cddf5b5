"""The READMEs do what they say: commands parse, Python runs, links lead somewhere, and both languages agree."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Callable, List

import pytest

from chattts_onnx.cli import COMMANDS, parse
from chattts_onnx.errors import MissingExtraError

REPOSITORY = Path(__file__).resolve().parents[1]
READMES = ("README.md", "README.zh.md")


def blocks(name: str, language: str) -> List[str]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def command_lines(name: str) -> List[str]:
    lines = [line for block in blocks(name, "bash") for line in block.splitlines()]
    # shlex drops the comments, which are in each language's own words.
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if line.strip()]


def chattts_commands() -> List[List[str]]:
    found = []
    for name in READMES:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        inline = re.findall(r"`(chattts [a-z][^`…]*)`", text)
        for line in [*command_lines(name), *inline]:
            words = shlex.split(line)
            pieces: List[List[str]] = [[]]
            for word in words:
                if word == "|":
                    pieces.append([])
                else:
                    pieces[-1].append(word)
            found += [piece[1:] for piece in pieces if piece and piece[0].split("/")[-1] == "chattts"]
    return found


def test_there_is_something_to_check() -> None:
    assert len(chattts_commands()) > 20
    assert {command[0] for command in chattts_commands()} <= set(COMMANDS)


@pytest.mark.parametrize("command", chattts_commands(), ids=shlex.join)
def test_every_command_line_is_understood(command: List[str]) -> None:
    try:
        parse(command)
    except MissingExtraError as error:
        pytest.skip(str(error))


def test_both_languages_name_the_same_commands() -> None:
    english, chinese = (command_lines(name) for name in READMES)
    assert english == chinese


def test_both_languages_show_the_same_python() -> None:
    english, chinese = (blocks(name, "python") for name in READMES)
    assert english == chinese


def test_both_languages_have_the_same_shape() -> None:
    """As many headings, tables and rows: nobody is told less."""
    english, chinese = ((REPOSITORY / name).read_text(encoding="utf-8").splitlines() for name in READMES)
    for mark in ("## ", "| ", "- "):
        assert sum(line.startswith(mark) for line in english) == sum(line.startswith(mark) for line in chinese), mark


@pytest.mark.parametrize("name", [*READMES, "CONTRIBUTING.md", "docs/design.md"])
def test_links_lead_somewhere(name: str) -> None:
    path = REPOSITORY / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("name", READMES)
def test_it_is_said_near_the_top(name: str) -> None:
    top = "\n".join((REPOSITORY / name).read_text(encoding="utf-8").splitlines()[:20])
    for words in ("PyTorch", "scripts/speak", "scripts/test", "ONNX Runtime"):
        assert words in top


@pytest.mark.parametrize("name", READMES)
def test_the_licence_of_the_weights_is_said(name: str) -> None:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert "CC BY-NC 4.0" in text
    assert "Apache-2.0" in text


@pytest.mark.parametrize("script", ["scripts/speak", "scripts/test", "scripts/check", ".ci/run"])
def test_scripts_can_be_run(script: str) -> None:
    if os.name == "nt":
        pytest.skip("no bash")
    path = REPOSITORY / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)


def _with(brief: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    """The method with other defaults: a random model never ends by itself."""

    def called(self: Any, text: str, options: Any = None, **more: Any) -> Any:
        return method(self, text, options or brief, **more)

    return called


def test_the_python_example_runs(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from chattts_onnx import SpeechOptions
    from chattts_onnx.synthesizer import ChatTTS

    # The model that has been pulled is the one that speaks by default.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "chattts-fp32").symlink_to(tiny_model, target_is_directory=True)
    monkeypatch.setenv("CHATTTS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    brief = SpeechOptions.of(max_new_token=12, max_attempts=1)
    for method in ("synthesize", "stream"):
        monkeypatch.setattr(ChatTTS, method, _with(brief, getattr(ChatTTS, method)))
    played = []
    example = next(block for block in blocks("README.md", "python") if "from_pretrained" in block)
    exec(compile(example, "README.md", "exec"), {"play": lambda samples, rate: played.append(len(samples))})
    assert (tmp_path / "hello.wav").stat().st_size > 44
    assert "24000" in capsys.readouterr().out
    assert sum(played) > 0


@pytest.mark.parametrize("name", READMES)
def test_every_python_block_compiles(name: str) -> None:
    for block in blocks(name, "python"):
        compile(block, name, "exec")

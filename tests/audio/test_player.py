"""Playing, with programs made by the tests in the place of real players."""

from __future__ import annotations

import os
import stat
import sys
import types
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from chattts_onnx.audio.player import Player, can_play, play, player_command
from chattts_onnx.errors import MissingExtraError, OutputError

RATE = 24000

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in players are shell scripts")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put programs on an otherwise empty PATH."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


def sound() -> np.ndarray:
    return np.linspace(-0.5, 0.5, RATE, dtype=np.float32)


def test_samples_reach_a_piped_player(tmp_path: Path, programs: Callable[[str, str], None]) -> None:
    programs("aplay", f'/bin/cat > "{tmp_path}/heard"; echo "$@" > "{tmp_path}/arguments"')
    play([sound()[:100], sound()[100:]], RATE)
    heard = np.frombuffer((tmp_path / "heard").read_bytes(), "<i2")
    np.testing.assert_allclose(heard / 32767, sound(), atol=1e-4)
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments == [
        "-q",
        "-t",
        "raw",
        "-f",
        "S16_LE",
        "-c",
        "1",
        "-r",
        "24000",
        "-",
    ]


def test_a_player_of_files_gets_a_file(tmp_path: Path, programs: Callable[[str, str], None]) -> None:
    programs("afplay", f'/bin/cat "$1" > "{tmp_path}/heard"')
    play([sound()], RATE)
    heard = (tmp_path / "heard").read_bytes()
    assert heard[:4] == b"RIFF"
    assert len(heard) == 44 + 2 * RATE


def test_a_player_that_fails_is_reported(programs: Callable[[str, str], None]) -> None:
    programs("aplay", "/bin/cat > /dev/null; echo 'audio open error: No such device' >&2; exit 1")
    with pytest.raises(OutputError, match=r"aplay cannot play the sound \(audio open error"):
        play([sound()], RATE)
    programs("aplay", "echo gone >&2; exit 3")
    with pytest.raises(OutputError, match="aplay cannot play"):
        play([sound()] * 200, RATE)


def test_stopping_does_not_wait(programs: Callable[[str, str], None]) -> None:
    programs("aplay", "exec /bin/cat > /dev/null")
    with pytest.raises(KeyboardInterrupt), Player(RATE) as player:  # noqa: PT012
        player.write(sound())
        raise KeyboardInterrupt
    assert player._device._process.returncode is not None  # type: ignore[attr-defined]


def test_without_a_player_the_extra_is_named(programs: Callable[[str, str], None]) -> None:
    assert player_command(RATE) is None
    assert not can_play()
    with pytest.raises(MissingExtraError, match=r"chattts-onnx\[play\]"):
        play([sound()], RATE)


def test_windows_needs_nothing(programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    played = []

    def play_sound(path: str, flags: int) -> None:
        played.append((Path(path).read_bytes()[:4], flags))
        if len(played) > 1:
            raise RuntimeError("Failed to play sound")

    stand_in = types.ModuleType("winsound")
    stand_in.PlaySound, stand_in.SND_FILENAME = play_sound, 131072  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "winsound", stand_in)
    monkeypatch.setattr(sys, "platform", "win32")
    # Where this is not Windows, looking for a program as on Windows fails since Python 3.12.
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert can_play()
    play([sound()], RATE)
    assert played == [(b"RIFF", 131072)]
    with pytest.raises(OutputError, match="Windows cannot play"):
        play([sound()], RATE)


def test_the_first_player_found_is_taken(programs: Callable[[str, str], None]) -> None:
    programs("ffplay", "")
    command = player_command(16000)
    assert command is not None
    assert Path(command[0][0]).name == "ffplay"
    programs("paplay", "")
    command = player_command(16000)
    assert command is not None
    assert Path(command[0][0]).name == "paplay"
    assert "--rate=16000" in command[0]
    assert can_play()

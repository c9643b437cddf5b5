"""Play sound through the loudspeaker as it is made.

``sounddevice`` (the extra ``play``) where it is installed, else a player that is already on the machine, fed through a
pipe (``paplay``, ``aplay``, ``ffplay``) or, where the system itself only plays files (``afplay`` on macOS, ``winsound``
on Windows), a temporary file. Commands are run by their full path with fixed arguments, never through a shell.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Iterable, List, Optional, Protocol, Tuple, Type

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.encoders import PcmEncoder, wav_header
from chattts_onnx.errors import MissingExtraError, OutputError

FloatArray = npt.NDArray[np.float32]


class _Device(Protocol):
    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Player:
    """The loudspeaker: `write` blocks while enough is buffered, `close` returns when all has been heard."""

    def __init__(self, sample_rate: int) -> None:
        """Open the loudspeaker.

        Raises:
            MissingExtraError: neither ``sounddevice`` nor a known player is there.
            OutputError: there is no sound device.
        """
        self._encoder = PcmEncoder(sample_rate)
        self._device = _open_device(sample_rate)

    def write(self, samples: FloatArray) -> None:
        """Play samples after those before.

        Raises:
            OutputError: the player has stopped.
        """
        data = self._encoder.encode(samples)
        if data:
            self._device.write(data)

    def close(self) -> None:
        """Wait until everything has been played."""
        self._device.close()

    def abort(self) -> None:
        """Stop at once."""
        self._device.abort()

    def __enter__(self) -> Player:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def play(chunks: Iterable[FloatArray], sample_rate: int) -> None:
    """Play chunks as they come and wait for the end."""
    with Player(sample_rate) as player:
        for chunk in chunks:
            player.write(chunk)


def _open_device(sample_rate: int) -> _Device:
    with contextlib.suppress(ImportError, OSError):  # OSError: the package is there and PortAudio is not
        return _SoundDevice(sample_rate)
    command = player_command(sample_rate)
    if command is None and sys.platform == "win32":
        return _FilePlayer(_play_on_windows, sample_rate)
    if command is None:
        raise MissingExtraError("sounddevice", "play", "playing sound")
    arguments, from_pipe = command
    return _PipedPlayer(arguments) if from_pipe else _FilePlayer(_by_command(arguments), sample_rate)


def player_command(sample_rate: int) -> Optional[Tuple[List[str], bool]]:
    """A player on this machine for raw 16-bit mono: its command, and whether it reads a pipe (else a file name)."""
    rate = str(sample_rate)
    candidates: Tuple[Tuple[List[str], bool], ...] = (
        (["paplay", "--raw", "--format=s16le", "--channels=1", f"--rate={rate}"], True),
        (["aplay", "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", rate, "-"], True),
        (["afplay"], False),
        (["ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-f", "s16le", "-ar", rate, "-i", "pipe:0"], True),
    )
    for arguments, from_pipe in candidates:
        program = shutil.which(arguments[0])
        if program is not None:
            return [program, *arguments[1:]], from_pipe
    return None


class _SoundDevice:
    def __init__(self, sample_rate: int) -> None:
        import sounddevice

        self._error: Any = sounddevice.PortAudioError
        try:
            self._stream = sounddevice.RawOutputStream(samplerate=sample_rate, channels=1, dtype="int16")
            self._stream.start()
        except self._error as error:
            raise OutputError(f"no sound device can be opened ({error}): write to a file with -o instead") from None

    def write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except self._error as error:
            raise OutputError(f"the sound device has stopped ({error}): write to a file with -o instead") from None

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()

    def abort(self) -> None:
        self._stream.abort()
        self._stream.close()


class _PipedPlayer:
    def __init__(self, arguments: List[str]) -> None:
        self._name = Path(arguments[0]).name
        try:
            self._process = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
                arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise OutputError(f"{self._name} cannot be started ({error}): write to a file with -o instead") from None

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except OSError:
            self._failed()

    def close(self) -> None:
        _, complaint = self._communicate()
        if self._process.returncode:
            raise OutputError(self._message(complaint))

    def abort(self) -> None:
        self._process.terminate()
        self._communicate()

    def _communicate(self) -> Tuple[bytes, bytes]:
        try:
            output, complaint = self._process.communicate()
        except OSError:
            self._process.wait()
            return b"", b""
        return output, complaint

    def _failed(self) -> None:
        _, complaint = self._communicate()
        raise OutputError(self._message(complaint)) from None

    def _message(self, complaint: bytes) -> str:
        lines = complaint.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {self._process.returncode}"
        return f"{self._name} cannot play the sound ({reason}): write to a file with -o instead"


class _FilePlayer:
    """For players that read no pipe: everything is written first, then played."""

    def __init__(self, play_file: Callable[[Path], None], sample_rate: int) -> None:
        self._play_file = play_file
        self._rate = sample_rate
        self._data: List[bytes] = []

    def write(self, data: bytes) -> None:
        self._data.append(data)

    def close(self) -> None:
        data = b"".join(self._data)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "speech.wav"
            path.write_bytes(wav_header(self._rate, len(data) // 2) + data)
            self._play_file(path)

    def abort(self) -> None:
        self._data.clear()


def _by_command(arguments: List[str]) -> Callable[[Path], None]:
    def play_file(path: Path) -> None:
        result = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [*arguments, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
        if result.returncode:
            name = Path(arguments[0]).name
            raise OutputError(f"{name} cannot play the sound: write to a file with -o instead")

    return play_file


def _play_on_windows(path: Path) -> None:
    import winsound

    windows: Any = winsound  # the module has these names on Windows only
    try:
        windows.PlaySound(str(path), windows.SND_FILENAME)
    except RuntimeError as error:
        raise OutputError(f"Windows cannot play the sound ({error}): write to a file with -o instead") from None


def can_play() -> bool:
    """Whether this machine has any way to play sound that this module knows."""
    if player_command(24000) is not None or sys.platform == "win32":
        return True
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError):
        return False
    return True

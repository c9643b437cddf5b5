"""Files appear whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import threading
import tracemalloc
import wave
from pathlib import Path
from typing import Iterator, List

import numpy as np
import pytest

from chattts_onnx.audio.formats import create_encoder, write_file
from chattts_onnx.audio.sinks import FileSink, StreamSink
from chattts_onnx.errors import InputError, OutputError

RATE = 24000


def chunks(count: int) -> Iterator[np.ndarray]:
    for index in range(count):
        yield np.full(RATE // 10, 0.01 * (index % 7), np.float32)


def test_a_file_is_written_as_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    with FileSink(path, create_encoder("wav", RATE)) as sink:
        for chunk in chunks(20):
            sink.write(chunk)
            assert not path.exists()
        (partial,) = tmp_path.iterdir()
        assert partial.stat().st_size > 0 or sink is not None
    assert [file.name for file in tmp_path.iterdir()] == ["speech.wav"]
    with wave.open(str(path)) as file:
        assert file.getnframes() == 2 * RATE


@pytest.mark.parametrize("name", ["speech.wav", "speech.flac", "speech.mp3", "speech.opus", "speech.aac", "speech.pcm"])
def test_every_format_reaches_a_file(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    pytest.importorskip("lameenc")
    assert write_file(tmp_path / name, chunks(10), RATE) == tmp_path / name
    assert (tmp_path / name).stat().st_size > 500


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from chunks(3)
        raise RuntimeError("the engine died")

    with pytest.raises(RuntimeError, match="the engine died"):
        write_file(tmp_path / "speech.wav", broken(), RATE)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), FileSink(path, create_encoder("wav", RATE)):
        raise RuntimeError
    assert path.read_bytes() == b"old"
    write_file(path, chunks(1), RATE)
    assert path.read_bytes()[:4] == b"RIFF"
    assert len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "no" / "such" / "a.wav", tmp_path / "file" / "a.wav", Path("a\0b.wav")):
        with pytest.raises(OutputError, match="cannot be written"):
            write_file(path, chunks(1), RATE)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        write_file(tmp_path / "folder.wav", chunks(1), RATE)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(tmp_path / "speech.wav", create_encoder("wav", RATE))
    sink._file.close()
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        sink._file = full
        with pytest.raises(OutputError, match="No space left"):  # noqa: PT012
            for chunk in chunks(50):
                sink.write(chunk)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.wav"
    link.symlink_to(tmp_path / "real" / "speech.wav")
    for _ in range(2):
        write_file(link, chunks(1), RATE)
        assert link.is_symlink()
        assert (tmp_path / "real" / "speech.wav").read_bytes()[:4] == b"RIFF"
    assert len(list((tmp_path / "real").iterdir())) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_written_to_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    heard: List[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, chunks(3), RATE)
    reader.join(10)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert len(heard[0]) == 44 + 3 * 4800
    assert [file.name for file in tmp_path.iterdir()] == ["pipe.wav"]
    write_file(Path("/dev/null"), chunks(1), RATE, format="wav")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116


def test_the_name_decides_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="suffix"):
        write_file(tmp_path / "speech.xyz", chunks(1), RATE)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_flat_whatever_the_length(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        write_file(tmp_path / "speech.wav", chunks(count), RATE)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(5)
    assert peak(2000) < 1.1 * peak(100) + 20_000


def test_a_stream_gets_every_chunk_at_once() -> None:
    stream = io.BytesIO()
    with StreamSink(create_encoder("wav", RATE), stream) as sink:
        seen = []
        for chunk in chunks(3):
            sink.write(chunk)
            seen.append(stream.tell())
    assert seen == [44 + 4800, 44 + 9600, 44 + 14400]


def test_a_broken_stream_gets_no_ending() -> None:
    pytest.importorskip("lameenc")
    stream = io.BytesIO()
    with pytest.raises(RuntimeError), StreamSink(create_encoder("mp3", RATE), stream) as sink:  # noqa: PT012
        sink.write(next(chunks(1)))
        size = stream.tell()
        raise RuntimeError
    assert stream.tell() == size


def test_a_reader_that_went_away_is_one_clear_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream:
        sink = StreamSink(create_encoder("pcm", RATE), stream)
        with pytest.raises(OutputError, match="closed its input"):
            sink.write(next(chunks(1)))

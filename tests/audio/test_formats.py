"""Every format: decodes back to the right length and sound, whole, streamed in odd pieces, and cut anywhere."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import List, Optional

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.formats import FORMATS, create_encoder, format_of, get_format, to_bytes
from chattts_onnx.errors import InputError, MissingExtraError

RATE = 24000
SECONDS = 2.3

pytest.importorskip("av", reason="decoding needs the audio extra")
pytest.importorskip("lameenc", reason="MP3 needs the audio extra")


def tone(rate: int = RATE, seconds: float = SECONDS) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def streamed(name: str, signal: np.ndarray, sizes: List[int], rate: int = RATE) -> bytes:
    encoder = create_encoder(name, rate)
    parts, start, index = [], 0, 0
    while start < len(signal):
        size = max(1, sizes[index % len(sizes)])
        parts.append(encoder.encode(signal[start : start + size]))
        start, index = start + size, index + 1
    return b"".join([*parts, encoder.flush()])


def with_av(data: bytes) -> tuple[np.ndarray, int]:
    """All that FFmpeg can decode; it goes on after damage, as players do."""
    import av

    frames, rate = [], 0
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux(audio=0):
            try:
                decoded_frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in decoded_frames:
                values = frame.to_ndarray().reshape(-1)
                frames.append(values / 32768.0 if values.dtype == np.int16 else values)
                rate = frame.sample_rate
    return np.concatenate(frames) if frames else np.zeros(0), rate


def with_soundfile(data: bytes, count: int) -> tuple[np.ndarray, int]:
    soundfile = pytest.importorskip("soundfile")
    # Up to a count, since the header of a stream does not know its length.
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        return file.read(count), file.samplerate


def tolerance(name: str, rate: int) -> int:
    """Samples by which a codec may be longer: whole frames and its priming."""
    return {"mp3": 3 * 1152, "aac": 3 * 1024}.get(name, 0)


def decoded(name: str, data: bytes, rate: int = RATE) -> tuple[np.ndarray, int]:
    return (np.frombuffer(data, "<i2") / 32768.0, rate) if name == "pcm" else with_av(data)


def check_sound(name: str, signal: np.ndarray, rate: int) -> None:
    middle = signal[len(signal) // 4 : 3 * len(signal) // 4]
    assert float(np.sqrt(np.mean(np.square(middle)))) == pytest.approx(0.4 / np.sqrt(2), rel=0.06)  # LAME takes 5 % off
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * rate / len(middle) == pytest.approx(440, abs=2 * rate / len(middle))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_decodes_back(name: str, whole: bool, rate: int) -> None:
    signal = tone(rate)
    data = to_bytes(signal, rate, format=name) if whole else streamed(name, signal, [1, 977, 12000], rate)
    got, got_rate = decoded(name, data, rate)
    expected = len(signal) * got_rate / rate
    assert -1 <= len(got) - expected <= 1 + tolerance(name, rate)
    check_sound(name, got, got_rate)
    # libsndfile reads neither PCM nor AAC, and no FLAC whose header states no length.
    if name not in ("pcm", "aac") and (whole or name != "flac"):
        again, again_rate = with_soundfile(data, 10 * rate)
        expected = len(signal) * again_rate / rate
        assert -1 <= len(again) - expected <= 1 + tolerance(name, rate)
        check_sound(name, again, again_rate)


@pytest.mark.parametrize("name", ["wav", "pcm", "flac", "mp3", "opus", "aac"])
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5))
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_sound_does_not_depend_on_the_cuts(name: str, sizes: List[int]) -> None:
    signal = tone(seconds=0.5)
    assert streamed(name, signal, sizes) == streamed(name, signal, [len(signal)])


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_cut_anywhere_is_playable(name: str) -> None:
    signal = tone(seconds=4.0)
    data = streamed(name, signal, [2400])
    for share in (0.35, 0.61, 0.9):
        cut = data[: round(len(data) * share)]
        got, rate = decoded(name, cut[: len(cut) - len(cut) % 2])
        # FFmpeg's FLAC parser gives up the few frames before the damage.
        assert len(got) / rate > 4.0 * share - (0.8 if name == "flac" else 0.35)
        check_sound(name, got, rate)


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_flow_while_the_sound_is_made(name: str) -> None:
    encoder = create_encoder(name, RATE)
    signal = tone(seconds=3.0)
    sizes = [len(encoder.encode(signal[start : start + 4800])) for start in range(0, len(signal), 4800)]
    # Never more than half a second without a byte.
    assert all(any(sizes[index : index + 3]) for index in range(len(sizes) - 2))
    assert len(encoder.flush()) < 0.4 * sum(sizes)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_still_a_file(name: str) -> None:
    data = to_bytes(np.zeros(0, np.float32), RATE, format=name)
    if name == "pcm":
        assert data == b""
        return
    got, _ = with_av(data)
    assert len(got) <= tolerance(name, RATE) + 2


@pytest.mark.parametrize("name", ["wav", "flac"])
def test_known_and_patched_lengths_are_exact(name: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    signal = tone()
    info = soundfile.info(io.BytesIO(to_bytes(signal, RATE, format=name)))
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (len(signal), RATE, 1, "PCM_16")
    encoder = create_encoder("wav", RATE, total_samples=len(signal))
    head = encoder.encode(signal[:10])
    assert struct.unpack("<I", head[40:44])[0] == 2 * len(signal)


def test_a_streamed_wav_states_no_length() -> None:
    head = create_encoder("wav", RATE).encode(tone()[:10])
    assert struct.unpack("<I", head[4:8])[0] == struct.unpack("<I", head[40:44])[0] == 0xFFFFFFFF
    assert len(head) == 44 + 20


@pytest.mark.parametrize("name", ["mp3", "opus", "aac"])
def test_the_bit_rate_is_followed(name: str) -> None:
    noise = (0.2 * np.random.default_rng(0).standard_normal(5 * RATE)).astype(np.float32)
    low, high = (len(to_bytes(noise, RATE, format=name, bitrate=rate)) for rate in (24_000, 64_000))
    assert 1.7 < high / low < 3.5


@pytest.mark.parametrize(("name", "bitrate"), [("wav", 64_000), ("flac", 64_000), ("mp3", 1), ("opus", 9_999_999)])
def test_impossible_bit_rates_are_refused(name: str, bitrate: int) -> None:
    with pytest.raises(InputError, match=r"bit ?rate"):
        create_encoder(name, RATE, bitrate=bitrate)


@pytest.mark.parametrize(("name", "module"), [("mp3", "lameenc"), ("flac", "av"), ("opus", "av"), ("aac", "av")])
def test_a_missing_package_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"chattts-onnx\[audio\]") as caught:
        create_encoder(name, RATE)
    assert caught.value.package == module
    assert FORMATS[name].package == module


def test_wav_and_pcm_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("av", "lameenc", "soxr", "soundfile"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("wav", "pcm"):
        assert FORMATS[name].package is None
        assert to_bytes(tone(), RATE, format=name)


def test_a_spent_encoder_says_so() -> None:
    encoder = create_encoder("wav", RATE)
    encoder.flush()
    assert encoder.flush() == b""
    with pytest.raises(ValueError, match="finished"):
        encoder.encode(tone())


@pytest.mark.parametrize(
    ("path", "name"), [("a.wav", "wav"), ("b.MP3", "mp3"), ("c.ogg", "opus"), ("d.raw", "pcm"), ("e.x.flac", "flac")]
)
def test_the_suffix_chooses(path: str, name: str) -> None:
    assert format_of(path) == name


@pytest.mark.parametrize("path", ["a", "a.", "a.txt", ".wav.d"])
def test_unknown_suffixes_name_the_known(path: str) -> None:
    with pytest.raises(InputError, match=r"\.opus"):
        format_of(path)


@pytest.mark.parametrize("name", ["", "m4a", "../wav", "x" * 1000])
def test_unknown_formats_name_the_known(name: str) -> None:
    with pytest.raises(InputError, match="opus") as caught:
        get_format(name)
    assert len(str(caught.value)) < 200


def test_the_table_is_complete() -> None:
    assert set(FORMATS) == {"wav", "pcm", "flac", "mp3", "opus", "aac"}
    for name, entry in FORMATS.items():
        assert entry.name == name
        assert format_of("x" + entry.extension) == name
        assert entry.media_type.startswith("audio/")
        bitrate: Optional[int] = entry.bitrate
        assert (bitrate is None) == (name in ("wav", "pcm", "flac"))


_WRITING = """
import resource, sys
import numpy as np
from chattts_onnx.audio.formats import write_file
noise = (0.1 * np.random.default_rng(0).standard_normal(24000)).astype(np.float32)
write_file(sys.argv[1], (noise for _ in range(60 * int(sys.argv[2]))), 24000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage there")
@pytest.mark.parametrize("name", FORMATS)
def test_a_long_file_needs_no_more_memory(name: str, tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 20):
        command = [sys.executable, "-c", _WRITING, str(tmp_path / f"speech.{name}"), str(minutes)]
        peaks.append(int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    # Held in memory, 19 minutes more are 55 MB as 16-bit samples, 110 MB as floats, 9 MB and more encoded.
    assert peaks[1] - peaks[0] < 4e6

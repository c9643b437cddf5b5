"""The command line as a user meets it: real parts, a tiny random model, and every mistake in one line."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from dataclasses import fields
from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np
import pytest

from chattts_onnx import __version__
from chattts_onnx.cli import COMMANDS, load, main
from chattts_onnx.commands import journal, recital, say
from chattts_onnx.commands.console import ProgressBar, bytes_text
from chattts_onnx.commands.sources import decode_text, safe_name
from chattts_onnx.errors import ChatTTSError, InputError, MissingExtraError

SHORT = ["--max_new_token", "12", "--max-attempts", "1"]
"""A random model never ends by itself."""


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTTS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHATTTS_VOICES", str(tmp_path / "voices"))
    monkeypatch.delenv("CHATTTS_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)


class Stdin(io.TextIOWrapper):
    def __init__(self, data: bytes, *, tty: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@pytest.fixture(autouse=True)
def _nobody_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b"", tty=True))


def speak(model: Path, *arguments: str) -> int:
    return main(["say", *arguments, "--model", str(model), *SHORT])


def samples_of(path: Path) -> Tuple[np.ndarray, int]:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def only_line(capsys: pytest.CaptureFixture) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    return lines[0]


# The frame


def test_help_names_every_command(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"chattts-onnx {__version__}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture) -> None:
    try:
        load(COMMANDS[name])
    except MissingExtraError as error:
        pytest.skip(str(error))
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"usage: chattts {name}" in capsys.readouterr().out


def test_help_is_cheap() -> None:
    """In processor time, beyond a bare interpreter's; the best of three: what it costs, not what else is running."""
    resource = pytest.importorskip("resource", reason="processor time of children is not told here")

    def cost(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cost("-m", "chattts_onnx", "--help") - cost("-c", "pass") for _ in range(3)) < 0.15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sing"], "unknown command 'sing'"),
        (["say", "--no-such-flag", "x"], "--no-such-flag"),
        (["say", "hi", "--top_K", "many"], "top_K"),
        (["say", "hi", "--precision", "int3"], "int3"),
        (["convert"], "SRC"),
        (["voices", "juggle"], "juggle"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments: List[str], said: str, capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 2
    line = only_line(capsys)
    assert line.startswith("chattts: ")
    assert said in line
    assert "--help" in line


def test_no_command_prints_help(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "commands:" in capsys.readouterr().out


def test_a_defect_is_named_as_one_and_shows_its_traceback_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("chattts_onnx.commands.models.run", lambda args: 1 // 0)
    assert main(["models"]) == 1
    assert "CHATTTS_DEBUG" in only_line(capsys)
    monkeypatch.setenv("CHATTTS_DEBUG", "1")
    assert main(["models"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (MemoryError(), 4),
        (OSError(28, "No space left on device", "/somewhere"), 4),
        (InputError("two\nlines\nof text"), 2),
    ],
)
def test_every_way_to_fail_has_its_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr("chattts_onnx.commands.models.run", fail)
    monkeypatch.setattr("chattts_onnx.cli._silence_stdout", lambda: None)
    assert main(["models"]) == code
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_the_flags_are_the_options_of_the_library() -> None:
    """Written out so that help needs no NumPy; this keeps the two lists one."""
    from chattts_onnx import SamplingParams, SpeechOptions

    own = {f.name for f in fields(SpeechOptions)} - {"sampling", "lexicon", "lookahead_tokens"}
    drawn = {f.name for f in fields(SamplingParams)} & {"top_P", "top_K", "temperature", "repetition_penalty"}
    assert own <= set(say.OPTION_NAMES), own - set(say.OPTION_NAMES)
    assert drawn <= {name for name, _, _ in say.SAMPLING_FLAGS}
    known = own | {f.name for f in fields(SamplingParams)}
    assert set(say.OPTION_NAMES) <= known, set(say.OPTION_NAMES) - known


def test_completion_knows_commands_and_flags(capsys: pytest.CaptureFixture) -> None:
    for shell in ("zsh", "fish"):
        assert main(["completion", shell]) == 0
        printed = capsys.readouterr().out
        assert "say" in printed
        assert "top_P" in printed


def test_bash_accepts_the_completion_script(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    if os.name == "nt":
        pytest.skip("no bash to try it in")
    main(["completion", "bash"])
    script = capsys.readouterr().out + '\nCOMP_WORDS=(chattts sa); COMP_CWORD=1; _chattts; echo "${COMPREPLY[@]}"'
    script += '\nCOMP_WORDS=(chattts say --temp); COMP_CWORD=2; _chattts; echo "${COMPREPLY[@]}"'
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["say", "--temperature"]


# Speaking


def test_say_writes_a_wav_and_says_how_it_went(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert speak(tiny_model, "你好，世界。Hello, world.", "-o", "hello.wav", "--seed", "3") == 0
    samples, rate = samples_of(tmp_path / "hello.wav")
    assert rate == 24000
    assert np.abs(samples).max() > 0
    closing = capsys.readouterr().err.splitlines()[-1]
    for part in (
        "hello.wav",
        f"{len(samples) / rate:.2f} s of speech",
        "real-time factor",
        "first audio",
        "seed 3",
        "fp32",
    ):
        assert part in closing
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_the_same_seed_gives_the_same_file(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        assert speak(tiny_model, "Hello.", "-o", name, "--seed", "5", "-q") == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_quiet_is_silent(tiny_model: Path, capsys: pytest.CaptureFixture) -> None:
    assert speak(tiny_model, "Hello.", "-q") == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert Path("speech.wav").is_file()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_text_comes_from_a_pipe_in_any_encoding(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin("你好，世界。这是一句话。".encode(encoding)))
    assert speak(tiny_model, "-", "-o", "piped.wav", "-q", "--seed", "1") == 0
    assert speak(tiny_model, "你好，世界。这是一句话。", "-o", "typed.wav", "-q", "--seed", "1") == 0
    assert Path("piped.wav").read_bytes() == Path("typed.wav").read_bytes()


def run_chattts(*arguments: str, **more: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "chattts_onnx", *arguments],
        capture_output=True,
        check=False,
        env=environment,
        timeout=120,
        **more,
    )


def test_standard_output_gets_sound_and_standard_error_the_rest(tiny_model: Path) -> None:
    result = run_chattts("say", "Hello.", "-o", "-", "--model", str(tiny_model), *SHORT, "--sample-rate", "16000")
    assert result.returncode == 0
    assert result.stdout[:4] == b"RIFF"
    assert int.from_bytes(result.stdout[24:28], "little") == 16000
    assert b"standard output" in result.stderr


def test_a_closed_pipe_is_quiet(tiny_model: Path) -> None:
    if os.name == "nt":
        pytest.skip("pipes end otherwise there")
    arguments = [
        sys.executable,
        "-m",
        "chattts_onnx",
        "say",
        "Hello. " * 30,
        "-o",
        "-",
        "--model",
        str(tiny_model),
        "-q",
    ]
    process = subprocess.Popen([*arguments, *SHORT], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(4) == b"RIFF"
    process.stdout.close()
    complaint = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert b"Traceback" not in complaint
    assert b"BrokenPipe" not in complaint


def test_a_foreign_locale_does_not_garble_the_text(tiny_model: Path) -> None:
    if os.name == "nt":
        pytest.skip("arguments are Unicode there")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(
        [sys.executable, "-m", "chattts_onnx", "say", "你好", "--voice", "无此人", "--model", str(tiny_model)],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 2
    assert "无此人" in result.stderr.decode("utf-8")


@pytest.mark.parametrize("suffix", [".wav", ".pcm", ".flac", ".mp3", ".opus", ".aac"])
def test_the_suffix_chooses_the_format(tiny_model: Path, tmp_path: Path, suffix: str) -> None:
    try:
        assert speak(tiny_model, "Hello.", "-o", f"x{suffix}", "-q") == 0
    except MissingExtraError as error:
        pytest.skip(str(error))
    magic = {".wav": b"RIFF", ".flac": b"fLaC", ".opus": b"OggS"}.get(suffix, b"")
    data = (tmp_path / f"x{suffix}").read_bytes()
    assert data.startswith(magic)
    assert len(data) > 100


def test_subtitles_follow_the_sound(tiny_model: Path, tmp_path: Path) -> None:
    text = "The first sentence is here. " * 6 + "\n\n第二段在这里，说完了。"
    assert speak(tiny_model, text, "-o", "s.wav", "--subtitles", "s.json", "-q", "--seed", "1") == 0
    samples, rate = samples_of(tmp_path / "s.wav")
    segments = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["segments"]
    assert len(segments) >= 2
    assert all(a["end"] <= b["start"] + 1e-6 for a, b in zip(segments, segments[1:]))
    assert segments[-1]["end"] <= len(samples) / rate + 1e-3
    assert "第二段" in segments[-1]["text"]


def test_a_device_is_written_to_and_not_replaced(tiny_model: Path, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    fifo = tmp_path / "pipe.wav"
    os.mkfifo(fifo)
    received: List[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    assert speak(tiny_model, "Hello.", "-o", str(fifo), "-q") == 0
    reader.join()
    assert received[0][:4] == b"RIFF"
    assert not fifo.is_file()


def test_play_feeds_the_player(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Player:
        def __init__(self, sample_rate: int) -> None:
            self.rate = sample_rate
            heard.clear()

        def write(self, samples: np.ndarray) -> None:
            heard.append(samples)

        def close(self) -> None:
            heard.append(None)

        def abort(self) -> None:
            heard.append("aborted")

    heard: list = []
    monkeypatch.setattr(recital, "Player", Player)
    assert speak(tiny_model, "Hello.", "--play", "--seed", "1") == 0
    assert heard[-1] is None
    assert sum(len(block) for block in heard[:-1]) > 1000
    assert "the loudspeaker" in capsys.readouterr().err
    assert not Path("speech.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([""], 2),
        (["   "], 2),
        (["😀🎉"], 2),
        (["bad \udcff text"], 2),
        (["字" * 100_000], 2),
        (["hi", "--voice", "nobody"], 2),
        (["hi", "--voice", "../../etc/passwd"], 2),
        (["hi", "--speed", "9"], 2),
        (["hi", "--seed", "-1"], 2),
        (["hi", "--format", "midi"], 2),
        (["hi", "--threads", "0"], 2),
        (["hi", "--jobs", "0"], 2),
        (["hi", "--lexicon", "missing.txt"], 2),
        (["hi", "--subtitles", "x.pdf"], 2),
        (["hi", "--device", "abacus"], 2),
        (["hi", "-f", "x.txt"], 2),
        (["-f", "missing.txt"], 2),
        (["hi", "-o", "x.midi"], 2),
        (["hi", "-o", "missing/bad.wav"], 4),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: List[str], code: int
) -> None:
    output = [] if "-o" in arguments else ["-o", "bad.wav"]
    assert speak(tiny_model, *arguments, *output) == code
    assert only_line(capsys).startswith("chattts: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_no_text_at_all_is_an_error(capsys: pytest.CaptureFixture) -> None:
    assert main(["say"]) == 2
    assert "at least one word" in only_line(capsys)


def test_no_model_is_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("chattts_onnx.hub.resolve.shipped_models", lambda: tmp_path / "none")
    assert main(["say", "hi"]) == 3
    assert "chattts pull" in only_line(capsys)


def test_a_damaged_model_is_exit_code_3(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    graph = next(path for path in broken.iterdir() if path.name.startswith("gpt") and path.stat().st_size > 1000)
    graph.write_bytes(graph.read_bytes()[:-100])
    assert speak(broken, "hi", "-o", "x.wav") == 3
    assert graph.name in only_line(capsys)
    assert not (tmp_path / "x.wav").exists()


def test_a_full_disk_is_one_line(tiny_model: Path, capsys: pytest.CaptureFixture) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no full device here")
    assert speak(tiny_model, "hi", "-o", "/dev/full", "--format", "wav", "-q") == 4
    assert "No space left" in only_line(capsys)
    assert not Path("/dev/full").is_file()


def test_voice_files_are_taken_from_the_command_line(tiny_model: Path, tmp_path: Path) -> None:
    assert main(["voices", "export", "7", "--model", str(tiny_model), "-o", "seven.csv"]) == 0
    assert speak(tiny_model, "Hello.", "--voice", "seven.csv", "-o", "a.wav", "-q", "--seed", "1") == 0
    assert speak(tiny_model, "Hello.", "--voice", "7", "-o", "b.wav", "-q", "--seed", "1") == 0
    a, _ = samples_of(tmp_path / "a.wav")
    b, _ = samples_of(tmp_path / "b.wav")
    assert len(a) == len(b)


@pytest.mark.parametrize(
    ("content", "entries"),
    [("# names\nGPT=G P T\n重庆\tchóng qìng\n", {"GPT": "G P T", "重庆": "chóng qìng"}), ("\ufeffa = b\n", {"a": "b"})],
)
def test_lexicon_files(tmp_path: Path, content: str, entries: dict) -> None:
    (tmp_path / "lexicon.txt").write_text(content, encoding="utf-8")
    (tmp_path / "lexicon.json").write_text(json.dumps(entries), encoding="utf-8")
    assert say._lexicon(tmp_path / "lexicon.txt") == entries
    assert say._lexicon(tmp_path / "lexicon.json") == entries


def test_a_bad_lexicon_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("good=yes\nnonsense\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2"):
        say._lexicon(tmp_path / "lexicon.txt")


def test_check_compares_with_what_is_read_not_with_what_is_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Recognizer:
        def transcribe(self, samples: np.ndarray, sample_rate: int, language: str) -> str:
            heard.append((len(samples), language))
            return "we paid two dollars" if len(heard) == 1 else "then he left home"

    pytest.importorskip("opencc", reason="the eval extra is not installed")
    heard: list = []
    monkeypatch.setattr("chattts_onnx.evaluation.asr.Recognizer", Recognizer)
    Path("lexicon.txt").write_text("Bob=he", encoding="utf-8")
    text = "We paid $2 [laugh] [pause 0.5s]\n\nThen Bob left early."
    assert speak(tiny_model, text, "-q", "--seed", "1", "--check", "--lexicon", "lexicon.txt", "--no-refine") == 0
    assert [language for _, language in heard] == ["en", "en"]
    assert all(count > 1000 for count, _ in heard)
    assert "error rate words 12.5% of 8; worst: 'Then he left early.'" in capsys.readouterr().err


# Long texts


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> str:
    """Long enough to be spoken in parts, short enough to be quick."""
    monkeypatch.setattr(recital, "LONG", 100)
    monkeypatch.setattr(recital, "PART", 60)
    return "\n\n".join(f"Paragraph number {number} of the book." for number in ("one", "two", "three", "four", "five"))


def test_a_long_text_leaves_one_file_and_no_parts(tiny_model: Path, tmp_path: Path, book: str) -> None:
    assert speak(tiny_model, book, "-o", "book.wav", "-q", "--seed", "2", "--subtitles", "book.srt") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.srt", "book.wav"]
    assert (tmp_path / "book.srt").read_text(encoding="utf-8").count("-->") == 5


def test_an_interrupted_book_goes_on_where_it_stopped(
    tiny_model: Path, tmp_path: Path, book: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert speak(tiny_model, book, "-o", "whole.wav", "-q", "--seed", "2", "--subtitles", "whole.json") == 0
    spoken: List[str] = []
    speech = recital.Recital._speech

    def interrupted(self: recital.Recital, text: str, tally: recital.Tally) -> Iterator[np.ndarray]:
        if len(spoken) == 2:
            raise KeyboardInterrupt
        spoken.append(text)
        return speech(self, text, tally)

    monkeypatch.setattr(recital.Recital, "_speech", interrupted)
    assert speak(tiny_model, book, "-o", "book.wav", "--seed", "2", "--subtitles", "book.json") == 130
    assert not (tmp_path / "book.wav").exists()
    assert len(list((tmp_path / "book.wav.parts").glob("*.f32"))) == 2

    monkeypatch.setattr(recital.Recital, "_speech", speech)
    capsys.readouterr()
    # Without the seed: the journal knows it.
    assert speak(tiny_model, book, "-o", "book.wav", "--subtitles", "book.json") == 0
    assert "going on after 2 of 5 parts (seed 2)" in capsys.readouterr().err
    assert (tmp_path / "book.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
    assert (tmp_path / "book.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not (tmp_path / "book.wav.parts").exists()


def test_another_voice_starts_the_book_over(tiny_model: Path, tmp_path: Path, book: str) -> None:
    started = journal.Journal.open(tmp_path / "book.wav.parts", "another key")
    started.begin(1)
    started.write("00000.f32", [np.zeros(10, np.float32)])
    started.done("00000.f32", 24000, [])
    assert speak(tiny_model, book, "-o", "book.wav", "-q", "--seed", "2") == 0
    assert speak(tiny_model, book, "-o", "again.wav", "-q", "--seed", "2") == 0
    assert (tmp_path / "book.wav").read_bytes() == (tmp_path / "again.wav").read_bytes()


def test_a_damaged_journal_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "journal.json").write_text('{"key": "k", "finished": 3}', encoding="utf-8")
    opened = journal.Journal.open(tmp_path / "parts", "k")
    assert opened.finished == {}
    assert opened.seed is None


@pytest.mark.parametrize("text", ["", "one line", "a\n\nb\n\nc\n", "\n\n\n", "x" * 50 + "\n" + "y" * 50, "a\r\n\r\nb"])
def test_paragraphs_joined_are_the_text(text: str) -> None:
    pieces = journal.split_paragraphs(text, 10)
    assert "".join(pieces) == text
    assert len(pieces) == 1 or all(piece.strip() for piece in pieces)


def test_files_in_several_jobs(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.txt").write_text(f"This is file {name}.", encoding="utf-8")
    files = [part for name in ("one", "two", "three") for part in ("-f", f"{name}.txt")]
    assert speak(tiny_model, *files, "-o", "out/", "--jobs", "3", "-q", "--seed", "1") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.wav", "three.wav", "two.wav"]
    assert speak(tiny_model, "-f", "two.txt", "-o", "alone.wav", "-q", "--seed", "1") == 0
    assert (tmp_path / "alone.wav").read_bytes() == (tmp_path / "out" / "two.wav").read_bytes()


def test_several_files_need_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["say", "-f", "a.txt", "-f", "b.txt", "-o", "x.wav"]) == 2
    assert "-o DIR/" in only_line(capsys)


def test_chapters_become_files(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "book.md").write_text("# One\n\nFirst words.\n\n# Two: more?\n\nSecond words.\n", encoding="utf-8")
    assert speak(tiny_model, "-f", "book.md", "-o", "book/", "-q") == 0
    names = sorted(path.name for path in (tmp_path / "book").iterdir())
    assert names == ["1 One.wav", "2 Two more.wav"]


def test_interrupt_ends_a_real_process_quickly(tiny_model: Path, tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("signals are otherwise there")
    text = "A sentence that takes its time. " * 200
    process = subprocess.Popen(
        [sys.executable, "-m", "chattts_onnx", "say", text, "-o", "long.wav", "--model", str(tiny_model)],
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "long.wav.parts" / "journal.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        complaint = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert complaint.decode().splitlines() == ["chattts: interrupted"]
    assert not (tmp_path / "long.wav").exists()


# Voices, models, conversion


def test_voices_from_first_to_last(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def voices(*arguments: str) -> str:
        assert main(["voices", *arguments, "--model", str(tiny_model)]) == 0
        return capsys.readouterr().out

    voices("add", "bob", "2222", "--licence", "CC0")
    assert "bob" in voices()
    assert json.loads(voices("show", "bob"))["licence"] == "CC0"
    for suffix in (".json", ".csv", ".txt"):
        voices("export", "bob", "-o", f"bob{suffix}")
        voices("add", f"from-{suffix[1:]}", f"bob{suffix}")
    voices("mix", "both", "bob:0.7+from-csv:0.3")
    names = {voice["name"] for voice in json.loads(voices("list", "--json"))}
    assert {"bob", "from-json", "from-csv", "from-txt", "both"} <= names
    voices("remove", "bob")
    assert "bob " not in voices("list")
    assert main(["voices", "show", "bob", "--model", str(tiny_model)]) == 2
    assert main(["voices", "add", "../x", "1", "--model", str(tiny_model)]) == 2
    assert main(["voices", "export", "both", "-o", "x.exe", "--model", str(tiny_model)]) == 2


def test_cloning_from_a_recording(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    soundfile = pytest.importorskip("soundfile")
    tone = np.sin(np.arange(2 * 16000) * 0.05).astype(np.float32) * 0.3
    soundfile.write(str(tmp_path / "me.flac"), np.stack([tone, tone], axis=1), 16000)
    arguments = ["--text", "hello there", "--model", str(tiny_model)]
    assert main(["voices", "clone", "me", "me.flac", *arguments]) == 0
    assert speak(tiny_model, "Hello.", "--voice", "me", "-q") == 0
    soundfile.write(str(tmp_path / "long.flac"), np.zeros(31 * 8000, np.float32), 8000)
    capsys.readouterr()
    assert main(["voices", "clone", "long", "long.flac", *arguments]) == 2
    assert "longer than 30 s" in only_line(capsys)
    (tmp_path / "no.wav").write_bytes(b"not sound")
    assert main(["voices", "clone", "no", "no.wav", *arguments]) == 2
    assert "cannot be read" in only_line(capsys)


def test_models_lists_and_verifies(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["models", "verify", str(tiny_model)]) == 0
    assert "as they were converted" in capsys.readouterr().out
    assert main(["models"]) == 0


def test_convert_puts_the_model_where_say_finds_it(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["convert", str(tiny_checkpoint), "--precision", "fp32"]) == 0
    capsys.readouterr()
    (made,) = (tmp_path / "home" / "models").iterdir()
    name = made.name[: -len("-fp32")]
    assert main(["say", "Hello.", "--model", name, *SHORT]) == 0
    assert f"model {name} (local, fp32)" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert made.name in capsys.readouterr().out


def test_convert_of_nothing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["convert", "missing", "-o", "x"]) == 2
    assert "asset/" in only_line(capsys)
    (tmp_path / "empty").mkdir()
    assert main(["convert", "empty", "-o", "x"]) == 3
    only_line(capsys)
    assert not (tmp_path / "x").exists()


# Small parts


def test_the_bar_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture) -> None:
    bar = ProgressBar()
    bar.update("speaking", 1, 2)
    bar.clear()
    assert capsys.readouterr().err == ""


def test_the_bar_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    bar = ProgressBar()
    bar.update("说话", 1, 2, "很长的说明" * 20)
    shown = terminal.getvalue()[len("\r\x1b[K") :]
    assert sum(2 if ord(character) > 0x2E80 else 1 for character in shown) <= 39
    bar.clear()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (448_604, "449 kB"), (1_217_824_689, "1.2 GB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Chapter 1: The/End?", "Chapter 1 The End"),
        ("..", "x"),
        ("", "x"),
        ("第一章　起点", "第一章 起点"),
        ("a" * 99, "a" * 60),
    ],
)
def test_titles_become_file_names(title: str, name: str) -> None:
    assert safe_name(title, "x") == name


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        decode_text(b"\xff\xff\xff\x00")


def test_every_error_of_ours_has_an_exit_code() -> None:
    kinds: List[type] = [ChatTTSError]
    while kinds:
        kind = kinds.pop()
        assert kind.exit_code in {2, 3, 4}
        kinds += kind.__subclasses__()

"""One text spoken to the end: to a file, a pipe, the loudspeaker, or several of them at once.

A long text is spoken part by part into files beside the output, with a journal of what is done, so that an interrupted
book goes on where it stopped; only the last step, seconds long, turns the parts into the file that was asked for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Generator, Iterable, Iterator, List, Optional

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.audio.player import Player
from chattts_onnx.audio.subtitles import Cue, render
from chattts_onnx.commands.console import ProgressBar, note
from chattts_onnx.commands.journal import Journal, fingerprint, split_paragraphs
from chattts_onnx.commands.sources import SUFFIXES, Passage, Reading, safe_name
from chattts_onnx.errors import OutputError, SynthesisError

Samples = NDArray[np.float32]

LONG = 4_000
"""Characters from which a file is spoken in parts that survive an interruption."""
PART = 2_000
"""Characters of a part, about; it ends with a paragraph."""
_PAUSE_BETWEEN_PASSAGES = 0.8
_PROBLEMS_SHOWN = 5


@dataclass
class Tally:
    """What has been spoken so far."""

    characters: int
    options: Dict[str, Any]
    """Of this reading: going on with an interrupted one takes its seed."""
    started: float = field(default_factory=time.monotonic)
    first: Optional[float] = None
    rate: int = 0
    samples: int = 0
    read: int = 0
    cues: List[Cue] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Of sound."""
        return self.samples / self.rate if self.rate else 0.0


class Recital:
    """Speaks readings with one synthesiser; ``speak`` may be called from several threads."""

    def __init__(
        self,
        tts: Any,
        model: str,
        options: Dict[str, Any],
        *,
        play: bool = False,
        live: bool = False,
        subtitles: Optional[Path] = None,
        check: bool = False,
        quiet: bool = False,
    ) -> None:
        self._tts = tts
        self._model = model
        self._options = options
        self._play = play
        self._live = live or play
        self._subtitles = subtitles
        self._quiet = quiet
        self._bar = ProgressBar(quiet=quiet)
        self._stopped = threading.Event()
        self._streams: List[Any] = []
        self._listener: Any = None
        if check:
            from chattts_onnx.commands.check import Listener

            self._listener = Listener()

    def stop(self) -> None:
        """End every reading now; may be called from a signal handler."""
        self._stopped.set()
        # In a thread of its own: the interrupted code may hold the very lock that closing needs.
        threading.Thread(target=self._close_streams, daemon=True).start()

    def _close_streams(self) -> None:
        for stream in list(self._streams):
            stream.close()

    def speak(self, reading: Reading) -> int:
        """Speak one reading to its end and say how it went; the exit code."""
        tally = Tally(reading.characters, dict(self._options))
        try:
            if reading.by_chapter:
                where = self._to_directory(reading, tally)
            elif reading.to_stdout:
                where = self._to_stdout(reading, tally)
            elif reading.output is None:
                where = self._to_loudspeaker(reading, tally)
            else:
                where = self._to_file(reading, reading.output, tally)
        finally:
            self._bar.clear()
        if self._subtitles is not None:
            _write_subtitles(tally.cues, self._subtitles)
        if not self._quiet:
            for problem in tally.problems[:_PROBLEMS_SHOWN]:
                note(problem)
            if len(tally.problems) > _PROBLEMS_SHOWN:
                note(f"… and {len(tally.problems) - _PROBLEMS_SHOWN} more segments that did not come out right")
            note(self._closing_line(where, tally))
        if self._listener is not None:
            note(self._listener.report())
        return 0

    def _to_stdout(self, reading: Reading, tally: Tally) -> str:
        from chattts_onnx.audio.formats import create_encoder

        out = sys.stdout.buffer
        with contextlib.closing(self._sound(reading.passages, tally)) as sound:
            first = next(sound)
            encoder = create_encoder(reading.format or "wav", tally.rate)
            for samples in _chained(first, sound):
                out.write(encoder.encode(samples))
                out.flush()
            out.write(encoder.flush())
            out.flush()
        return "standard output"

    def _to_loudspeaker(self, reading: Reading, tally: Tally) -> str:
        with contextlib.closing(self._sound(reading.passages, tally)) as sound:
            for _ in sound:
                pass
        return "the loudspeaker"

    def _to_file(self, reading: Reading, path: Path, tally: Tally) -> str:
        if path.parent == reading.made:
            _make(path.parent)
        _check_writable(path)
        if reading.characters >= LONG and not self._options.get("ssml"):
            return self._in_parts(reading, path, tally)
        with contextlib.closing(self._sound(reading.passages, tally)) as sound:
            first = next(sound)
            _write(path, _chained(first, sound), tally.rate, reading.format)
        return str(path)

    def _in_parts(self, reading: Reading, path: Path, tally: Tally) -> str:
        texts = [part for passage in reading.passages for part in split_paragraphs(passage.text, PART)]
        journal = Journal.open(path.with_name(path.name + ".parts"), self._key(texts))
        self._resume(journal, tally, len(texts))
        for number, text in enumerate(texts):
            name = f"{number:05d}.f32"
            if self._already_done(journal, name, text, tally):
                continue
            before = len(tally.cues)
            start = tally.seconds
            with contextlib.closing(self._sound([Passage("", text)], tally)) as sound:
                journal.write(name, sound)
            journal.done(name, tally.rate, _moved(tally.cues[before:], -start))
        _write(path, journal.read([f"{number:05d}.f32" for number in range(len(texts))]), tally.rate, reading.format)
        journal.remove()
        return str(path)

    def _to_directory(self, reading: Reading, tally: Tally) -> str:
        directory = reading.output
        assert directory is not None
        _make(directory)
        journal = Journal.open(directory / f".{safe_name(reading.name, 'text')}.parts", self._key(_texts(reading)))
        self._resume(journal, tally, len(reading.passages))
        width = len(str(len(reading.passages)))
        for number, passage in enumerate(reading.passages, 1):
            title = safe_name(passage.title, "")
            suffix = SUFFIXES[reading.format or "wav"]
            path = directory / f"{number:0{width}d}{' ' + title if title else ''}{suffix}"
            if path.is_file() and self._already_done(journal, path.name, passage.text, tally, of_journal=False):
                continue
            before, start = len(tally.cues), tally.seconds
            with contextlib.closing(self._sound([passage], tally)) as sound:
                first = next(sound)
                _write(path, _chained(first, sound), tally.rate, reading.format)
            journal.done(path.name, tally.rate, _moved(tally.cues[before:], -start))
        journal.remove()
        return str(directory)

    def _resume(self, journal: Journal, tally: Tally, parts: int) -> None:
        if journal.seed is None:
            journal.begin(self._options.get("seed"))
        else:
            tally.options["seed"] = journal.seed
        tally.rate = journal.rate or 0
        if journal.finished and not self._quiet:
            note(f"going on after {len(journal.finished)} of {parts} parts (seed {journal.seed})")

    def _already_done(self, journal: Journal, name: str, text: str, tally: Tally, *, of_journal: bool = True) -> bool:
        cues = journal.finished.get(name)
        if cues is None or (of_journal and not (journal.directory / name).is_file()):
            return False
        tally.cues += _moved(cues, tally.seconds)
        tally.samples += journal.samples(name) if of_journal else round(cues[-1].end * tally.rate) if cues else 0
        tally.read += len(text)
        return True

    def _key(self, texts: List[str]) -> str:
        options = {name: value for name, value in self._options.items() if name != "seed"}
        if "voice" in options:
            options["voice"] = options["voice"].to_json()
        return fingerprint(texts, options, self._model)

    def _sound(self, passages: Iterable[Passage], tally: Tally) -> Generator[Samples, None, None]:
        """The samples of the passages, counted, and played on the way if that was asked.

        Raises:
            SynthesisError: nothing came.
        """
        player: Optional[Player] = None
        before = tally.samples
        try:
            for samples in self._passages(passages, tally):
                if self._play:
                    if player is None:
                        player = Player(tally.rate)
                    player.write(samples)
                yield samples
            if tally.samples == before:
                raise SynthesisError("the model made no sound for this text: try another seed or voice")
        except BaseException:
            if player is not None:
                player.abort()
            raise
        if player is not None:
            player.close()

    def _passages(self, passages: Iterable[Passage], tally: Tally) -> Iterator[Samples]:
        for number, passage in enumerate(passages):
            if number:
                silence = np.zeros(round(_PAUSE_BETWEEN_PASSAGES * tally.rate), dtype=np.float32)
                tally.samples += len(silence)
                yield silence
            yield from self._speech(passage.text, tally)
            tally.read += len(passage.text)

    def _speech(self, text: str, tally: Tally) -> Iterator[Samples]:
        offset = tally.seconds
        judged = 0
        with self._streaming(text, tally) as stream:
            for chunk in stream:
                if self._stopped.is_set():
                    break
                if tally.first is None:
                    tally.first = time.monotonic() - tally.started
                tally.rate = chunk.sample_rate
                tally.samples += len(chunk.samples)
                begin, _ = chunk.text_span
                if self._listener is not None:
                    judged = self._listen(stream.segments, judged, tally.rate)
                    self._listener.hear(chunk.samples)
                self._bar.update("speaking", tally.read + begin, tally.characters, f"{tally.seconds:.1f} s of speech")
                yield chunk.samples
            if self._stopped.is_set():
                raise KeyboardInterrupt
            if self._listener is not None:
                self._listen(stream.segments, judged, tally.rate)
            for report in stream.segments:
                tally.cues.append(Cue(report.text, offset + report.start, offset + report.end))
                if report.problem:
                    tally.problems.append(f"{report.problem} after {report.attempts} attempts: {report.text.strip()!r}")

    def _listen(self, reports: List[Any], judged: int, rate: int) -> int:
        """Judge the segments that are complete and were not yet; how many are judged now."""
        for report in reports[judged:]:
            self._listener.judge(report.spoken, rate)
        return len(reports)

    @contextlib.contextmanager
    def _streaming(self, text: str, tally: Tally) -> Iterator[Any]:
        stream = self._tts.stream(text, live=self._live, **tally.options)
        self._streams.append(stream)
        try:
            if self._stopped.is_set():
                raise KeyboardInterrupt
            yield stream
        finally:
            stream.close()
            self._streams.remove(stream)

    def _closing_line(self, where: str, tally: Tally) -> str:
        wall = time.monotonic() - tally.started
        speed = f"real-time factor {wall / tally.seconds:.2f}" if tally.seconds else "nothing new to speak"
        first = f", first audio after {tally.first:.2f} s" if tally.first is not None else ""
        seed = tally.options.get("seed")
        how_fast = f"{tally.seconds:.2f} s of speech in {wall:.2f} s, {speed}{first}"
        return f"{where}: {how_fast}, seed {seed}, model {self._model}"


def _write(path: Path, samples: Iterable[Samples], rate: int, format_: Optional[str]) -> None:
    from chattts_onnx.audio.formats import create_encoder, format_of, write_file

    if not path.exists() or path.is_file():
        write_file(path, samples, rate, format=format_)
        return
    # A device or a pipe: it is written to, not replaced by a file of its name.
    encoder = create_encoder(format_ or format_of(path), rate)
    try:
        with path.open("wb") as file:
            for block in samples:
                file.write(encoder.encode(block))
            file.write(encoder.flush())
    except BrokenPipeError:
        raise
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path} cannot be written ({error.strerror or error}): choose another place") from None


def _write_subtitles(cues: Iterable[Cue], path: Path) -> None:
    text = render(cues, path.suffix)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OutputError(f"{path} cannot be written ({error.strerror or error}): choose another place") from None


def _chained(first: Samples, rest: Iterator[Samples]) -> Iterator[Samples]:
    yield first
    yield from rest


def _moved(cues: Iterable[Cue], seconds: float) -> List[Cue]:
    return [Cue(cue.text, cue.start + seconds, cue.end + seconds) for cue in cues]


def _texts(reading: Reading) -> List[str]:
    return [passage.text for passage in reading.passages]


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{directory} cannot be made ({error.strerror}): choose another place") from None


def _check_writable(path: Path) -> None:
    """Fail before minutes of speech are made for a place that cannot take them."""
    if path.is_dir():
        raise OutputError(f"{path} is a directory: give a file name in it")
    parent = path.parent
    if not parent.is_dir():
        raise OutputError(f"there is no directory {parent}: make it first, or choose another place")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{parent} cannot be written to: choose another place")

"""``chattts say``: text from an argument, a file or a pipe becomes sound in a file, a pipe or the loudspeaker.

Everything is streamed: a file is written as it is made and gets its name only when it is whole, so a long text needs
no more memory than a short one and an error leaves nothing that looks finished.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

from chattts_onnx.errors import InputError
from chattts_onnx.hub.resolve import PRECISIONS

if TYPE_CHECKING:
    # With NumPy behind them; `say --help` does without.
    from chattts_onnx.commands.recital import Recital
    from chattts_onnx.commands.sources import Reading

SAMPLING_FLAGS = (
    ("temperature", float, "randomness of the draw"),
    ("top_P", float, "keep the likeliest codes up to this probability"),
    ("top_K", int, "keep at most so many codes"),
    ("repetition_penalty", float, "of codes drawn a moment ago"),
    ("max_new_token", int, "limit of decode steps of a segment"),
    ("min_new_token", int, "decode steps before an end is allowed"),
)
"""With the reference's names."""

OPTION_NAMES = (
    *(name for name, _, _ in SAMPLING_FLAGS),
    "voice",
    "seed",
    "refine",
    "oral",
    "laugh",
    "break_",
    "speed_tag",
    "speed",
    "continuity",
    "normalize",
    "language",
    "ssml",
    "sample_rate",
    "max_attempts",
)
"""What goes to the synthesiser as it was given; an option that was not given keeps the synthesiser's default."""

DESCRIPTION = """\
Speak text.

  chattts say "你好，世界。Hello, world." -o hello.wav
  echo "Good morning." | chattts say - --play
  chattts say -f book.epub -o book.mp3        (interrupted: the same command goes on where it stopped)
  chattts say "Loud and clear" -o - --format mp3 | mpv -"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.set_defaults(**dict.fromkeys(OPTION_NAMES))
    parser.add_argument("text", nargs="*", metavar="TEXT", help="what to say; - reads standard input")
    parser.add_argument(
        "-f", "--file", dest="files", action="append", type=Path, default=[], metavar="FILE",
        help="read a text, Markdown, SRT or EPUB file; may be repeated",
    )  # fmt: skip
    out = parser.add_argument_group("where it goes")
    out.add_argument(
        "-o", "--output", metavar="FILE", help="sound file by its suffix, a directory, or - (default: speech.wav)"
    )
    out.add_argument("--format", help="wav, pcm, flac, mp3, opus or aac (default: by the suffix of the output)")
    out.add_argument("--play", action="store_true", help="play it, as it is made")
    out.add_argument("--stream", action="store_true", help="first sound as early as possible (a short look-ahead)")
    out.add_argument("--sample-rate", type=int, metavar="HZ", help="of the sound (default: the model's)")
    out.add_argument("--subtitles", type=Path, metavar="FILE", help="write timings to a .srt, .vtt or .json file")
    out.add_argument("--jobs", type=int, default=1, metavar="N", help="files to speak at once (default: %(default)s)")
    out.add_argument("-q", "--quiet", action="store_true", help="no progress, no closing line")
    voice = parser.add_argument_group("how it sounds")
    voice.add_argument("--voice", help="name, seed, voice file or string, or a mix such as a:0.7+b:0.3")
    voice.add_argument("--seed", type=int, help="the same seed, text and voice give the same speech")
    voice.add_argument("--speed", type=float, help="0.25 to 4, the pitch stays")
    voice.add_argument("--speed-tag", type=int, metavar="0-9", help="pace asked of the model itself")
    voice.add_argument("--continuity", choices=("carry", "anchor", "none"), help="how a segment follows the last one")
    voice.add_argument("--refine", action="store_const", const=True, help="let the model add pauses and laughs first")
    voice.add_argument(
        "--no-refine", "--skip_refine_text", dest="refine", action="store_const", const=False, help="speak as written"
    )
    voice.add_argument("--oral", type=int, metavar="0-9", help="how colloquial, when refining")
    voice.add_argument("--laugh", type=int, metavar="0-2", help="how much laughter, when refining")
    voice.add_argument("--break", dest="break_", type=int, metavar="0-7", help="how many pauses, when refining")
    reading = parser.add_argument_group("how the text is read")
    reading.add_argument("--language", choices=("zh", "en"), help="of numbers and symbols (default: by the script)")
    reading.add_argument("--lexicon", type=Path, metavar="FILE", help="lines of WORD=READING, applied first")
    reading.add_argument("--ssml", action="store_const", const=True, help="the text is SSML")
    reading.add_argument(
        "--no-normalize", dest="normalize", action="store_const", const=False, help="leave numbers and symbols alone"
    )
    reading.add_argument("--check", action="store_true", help="listen to the result and report the error rate")
    model = parser.add_argument_group("what speaks")
    model.add_argument("--model", metavar="NAME|DIR", help="default: the pulled full model, else the shipped mini")
    model.add_argument("--precision", choices=PRECISIONS, help="of the model (default: the fastest there is)")
    model.add_argument("--device", default="cpu", help="cpu, cuda, tensorrt, directml, coreml, openvino or auto")
    model.add_argument("--threads", type=int, metavar="N", help="cores to use")
    sampling = parser.add_argument_group("how it is drawn (the reference's names)")
    for name, kind, text in SAMPLING_FLAGS:
        flags = [f"--{name}", f"--{name.lower().replace('_', '-')}"]
        sampling.add_argument(*dict.fromkeys(flags), dest=name, type=kind, metavar="N", help=text)
    sampling.add_argument("--max-attempts", type=int, metavar="N", help="draws of a segment that comes out wrong")


def run(args: argparse.Namespace) -> int:
    """Speak."""
    from chattts_onnx.commands.recital import Recital
    from chattts_onnx.commands.sources import readings

    _check(args)
    plan = readings(args.text, args.files, args.output, args.format, play=args.play)
    options = _options(args)

    from chattts_onnx import ChatTTS

    tts = ChatTTS.from_pretrained(args.model, precision=args.precision, device=args.device, threads=args.threads)
    try:
        if args.voice is not None:
            options["voice"] = tts.voices.get(args.voice, trusted_paths=True)
        recital = Recital(
            tts,
            tts.description,
            options,
            play=args.play,
            live=args.stream,
            subtitles=args.subtitles,
            check=args.check,
            quiet=args.quiet,
        )
        with _stopping_on_interrupt(recital):
            return _speak_all(recital, plan, args.jobs)
    finally:
        tts.close()


@contextlib.contextmanager
def _stopping_on_interrupt(recital: Recital) -> Iterator[None]:
    """Ctrl-C stops the recital for certain.

    The exception alone may be lost: raised while NumPy first imports ``numpy.random``, compiled code drops it.
    """

    def stop(number: int, frame: Optional[FrameType]) -> None:
        recital.stop()
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _speak_all(recital: Recital, plan: List[Reading], jobs: int) -> int:
    if jobs == 1 or len(plan) == 1:
        return max(recital.speak(reading) for reading in plan)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(recital.speak, reading) for reading in plan]
        try:
            return max(future.result() for future in futures)
        except BaseException:
            recital.stop()
            for future in futures:
                future.cancel()
            raise


def _check(args: argparse.Namespace) -> None:
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs} speaks nothing: give at least 1")
    if args.threads is not None and args.threads < 1:
        raise InputError(f"--threads {args.threads} cannot work: give at least 1, or leave it out")
    if len(args.files) > 1 and (args.play or args.subtitles):
        raise InputError("--play and --subtitles follow one text: give one file at a time")
    if args.jobs > 1 and args.check:
        raise InputError("--check listens to one file at a time: leave --jobs out")
    if args.subtitles and args.subtitles.suffix.lower() not in {".srt", ".vtt", ".json"}:
        raise InputError(f"{args.subtitles} is no subtitle file: name it .srt, .vtt or .json")


def _options(args: argparse.Namespace) -> Dict[str, Any]:
    options = {name: getattr(args, name) for name in OPTION_NAMES if getattr(args, name) is not None}
    if args.seed is None:
        # Drawn here, so that the closing line can name it and an interrupted book goes on in the same voice.
        options["seed"] = secrets.randbelow(1 << 31)
    if args.lexicon is not None:
        options["lexicon"] = _lexicon(args.lexicon)
    return options


def _lexicon(path: Path) -> Dict[str, str]:
    """Lines of ``WORD=READING`` or ``WORD<tab>READING``, # for remarks; or a JSON object."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise InputError(f"the lexicon {path} cannot be read ({error}): give a UTF-8 text file") from None
    if path.suffix.lower() == ".json":
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise InputError(f"the lexicon {path} is no JSON ({error}): correct it") from None
        if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
            raise InputError(f"the lexicon {path} must be one JSON object of strings: correct it")
        return entries
    lexicon = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        word, separator, reading = line.partition("\t") if "\t" in line else line.partition("=")
        if not separator or not word.strip():
            raise InputError(f"{path}, line {number}: {line!r} is not WORD=READING: correct it")
        lexicon[word.strip()] = reading.strip()
    return lexicon

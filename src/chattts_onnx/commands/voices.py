"""``chattts voices``: the voices of a model and of the user. Only cloning loads the model itself."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

from chattts_onnx.errors import InputError, MissingExtraError, OutputError
from chattts_onnx.hub.resolve import PRECISIONS, resolve_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chattts_onnx.voices import Voice, VoiceLibrary

LONGEST_RECORDING = 30.0
"""Seconds that cloning reads."""

DESCRIPTION = """\
  chattts voices                                    list them
  chattts voices show NAME
  chattts voices add NAME FILE|SEED|STRING          keep a voice file of any known format, or a seed's voice
  chattts voices mix NAME a:0.7+b:0.3               keep a voice between voices
  chattts voices clone NAME REC.wav --text "..."    keep a voice from a recording and its exact words
  chattts voices export NAME -o FILE                .json, .csv, or .txt (the reference's string)
  chattts voices remove NAME"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _add_model(parser, default=None)
    parser.add_argument("--json", action="store_true", help="list as JSON")
    parser.set_defaults(action="list")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    common = argparse.ArgumentParser(add_help=False)
    # Suppressed, so that `voices --model M show NAME` is not undone by the action's own default.
    _add_model(common, default=argparse.SUPPRESS)
    listing = actions.add_parser("list", parents=[common], help="names, languages, licences")
    listing.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="as JSON")
    show = actions.add_parser("show", parents=[common], help="everything about one voice, but its numbers")
    show.add_argument("voice")
    add = actions.add_parser("add", parents=[common], help="keep a voice under a name")
    add.add_argument("name")
    add.add_argument("voice", metavar="FILE|SEED|STRING")
    add.add_argument("--text", default="", help="what is said in the recording, for a spk_smp string")
    mix = actions.add_parser("mix", parents=[common], help="keep a voice between voices")
    mix.add_argument("name")
    mix.add_argument("voice", metavar="a:0.7+b:0.3")
    clone = actions.add_parser("clone", parents=[common], help="keep a voice from a recording")
    clone.add_argument("name")
    clone.add_argument("recording", type=Path, help="up to 30 s of clear speech")
    clone.add_argument("--text", required=True, help="exactly what is said in it")
    for keeping in (add, mix, clone):
        keeping.add_argument("--licence", default=None, help="under which the voice may be used")
        keeping.add_argument("--overwrite", action="store_true", help="replace the voice of that name")
    export = actions.add_parser("export", parents=[common], help="write a voice to a file")
    export.add_argument("voice")
    export.add_argument("-o", "--output", metavar="FILE", help=".json, .csv or .txt (default: JSON to standard output)")
    remove = actions.add_parser("remove", parents=[common], help="forget a voice of your own")
    remove.add_argument("name")


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    if args.action == "clone":
        return _clone(args)
    library = _library(args)
    if args.action in {None, "list"}:
        _list(library, as_json=args.json)
    elif args.action == "show":
        print(json.dumps(_summary(library.get(args.voice, trusted_paths=True)), ensure_ascii=False, indent=2))
    elif args.action in {"add", "mix"}:
        _keep(library, _given(library, args), args)
    elif args.action == "export":
        _export(library.get(args.voice, trusted_paths=True), args.output)
    else:
        library.remove(args.name)
        print(f"removed {args.name}")
    return 0


def _add_model(parser: argparse.ArgumentParser, *, default: Optional[str]) -> None:
    parser.add_argument(
        "--model", metavar="NAME|DIR", default=default, help="whose voices (default: the model that `say` uses)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default=default, help="of the model")


def _library(args: argparse.Namespace) -> VoiceLibrary:
    from chattts_onnx.config import Manifest
    from chattts_onnx.voices import VoiceLibrary

    directory = resolve_model(args.model, args.precision).path
    return VoiceLibrary.of_model(directory, Manifest.load(directory))


def _list(library: VoiceLibrary, *, as_json: bool) -> None:
    voices = library.list()
    if as_json:
        summaries = [{**_summary(voice), "removable": library.is_removable(voice.name)} for voice in voices]
        print(json.dumps(summaries, ensure_ascii=False, indent=2))
        return
    default = library.default().name if voices else None
    for voice in voices:
        mark = "*" if voice.name == default else " "
        kind = "clone" if voice.is_cloned else "voice"
        whose = "yours" if library.is_removable(voice.name) else "model"
        languages = "/".join(voice.language) or "-"
        print(f"{mark} {voice.name:<24} {kind:<6} {whose:<6} {languages:<6} {voice.licence}")
    if sys.stdout.isatty():
        print("any whole number is a voice too: chattts say --voice 2222 …")


def _given(library: VoiceLibrary, args: argparse.Namespace) -> Voice:
    from chattts_onnx.voices import read_voice_file

    path = Path(args.voice).expanduser()
    if args.action == "add" and _is_file(path):
        return read_voice_file(path, name=args.name, transcript=args.text)
    return library.get(args.voice, trusted_paths=True).renamed(args.name)


def _keep(library: VoiceLibrary, voice: Voice, args: argparse.Namespace) -> None:
    from dataclasses import replace

    if args.licence is not None:
        voice = replace(voice, licence=args.licence)
    print(f"{voice.name}: {library.add(voice, overwrite=args.overwrite)}")


def _clone(args: argparse.Namespace) -> int:
    samples, rate = read_recording(args.recording)

    from chattts_onnx import ChatTTS

    with ChatTTS.from_pretrained(args.model, precision=args.precision) as tts:
        voice = tts.clone(args.name, samples, rate, args.text, provenance=f"cloned from {args.recording.name}")
        _keep(tts.voices, voice, args)
    return 0


def _export(voice: Voice, output: object) -> None:
    from chattts_onnx.voices import embedding_to_string, to_csv

    suffix = Path(str(output)).suffix.lower() if output is not None else ".json"
    if suffix == ".csv":
        text = to_csv(voice)
    elif suffix == ".txt":
        if voice.embedding is None:
            raise InputError(f"the voice {voice.name!r} has no embedding to write as a string: export it as .json")
        text = embedding_to_string(voice.embedding) + "\n"
    elif suffix == ".json":
        text = voice.to_json()
    else:
        raise InputError(f"{output} is no voice file: name it .json, .csv or .txt")
    if output is None:
        print(text, end="")
        return
    path = Path(str(output))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}): choose another place") from None
    print(path)


def read_recording(path: Path) -> Tuple[NDArray[np.float32], int]:
    """The first 30 s of a recording, float32 [n, channels], and its rate in Hz.

    Raises:
        MissingExtraError: soundfile is not installed.
        InputError: it is not a recording that soundfile reads, or is longer.
    """
    try:
        import soundfile
    except (ImportError, OSError):
        raise MissingExtraError("soundfile", "audio", "reading a recording") from None
    if not path.exists():
        raise InputError(f"there is no file {path}: give a recording (WAV, FLAC, OGG or MP3)")
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate = int(file.samplerate)
            # The header's length is a claim; what is read is bounded whatever it says.
            samples: NDArray[np.float32] = file.read(int(LONGEST_RECORDING * rate) + 1, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a recording ({error}): give WAV, FLAC, OGG or MP3") from None
    if len(samples) > LONGEST_RECORDING * rate:
        raise InputError(f"{path} is longer than {LONGEST_RECORDING:.0f} s: cut out one clear sentence or two")
    return samples, rate


def _summary(voice: Voice) -> Dict[str, Any]:
    """The voice's file without its numbers."""
    data = voice.to_dict()
    hidden: List[str] = [name for name in ("embedding", "prompt_codes") if name in data]
    for name in hidden:
        del data[name]
    data["numbers"] = voice.width
    data["code_frames"] = len(voice.prompt_codes) if voice.prompt_codes is not None else None
    return data


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # a voice string is no path

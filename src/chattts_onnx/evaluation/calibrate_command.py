"""``chattts calibrate``: speak a list of texts with the fp32 model and keep what its graphs were fed.

Static quantisation needs to know how large activations get in real use. The feeds are recorded where they arise, in
the running engine and vocoder, with the voices of the model; `convert --calibration` turns them into scales. The
built-in list is 200 Mandarin and English news-like sentences written for this project.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Sequence

if TYPE_CHECKING:
    from chattts_onnx.evaluation.sentences import Sentence

CALLERS = 4
"""Texts spoken at a time: calibration is not about latency."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``chattts calibrate``."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.npz", help="the recorded feeds")
    parser.add_argument("--model", default=None, help="fp32 model: name or directory (default: the shipped one)")
    parser.add_argument("--texts", type=Path, default=None, help="one sentence a line (default: the built-in 200)")
    parser.add_argument("--limit", type=int, default=None, help="use only so many, spread over the list")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)


def run(args: argparse.Namespace) -> int:
    """Run ``chattts calibrate``.

    Raises:
        InputError: the texts cannot be read, or the model is not fp32.
        ModelNotFoundError: no such model.
        OutputError: the file cannot be written.
    """
    from chattts_onnx.errors import OutputError
    from chattts_onnx.evaluation.sentences import CALIBRATION_TEXTS, read_sentences

    sentences = spread(read_sentences(args.texts or CALIBRATION_TEXTS), args.limit)
    recorder = record(args.model, sentences, seed=args.seed, threads=args.threads)
    try:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        recorder.save(args.output)
    except OSError as error:
        raise OutputError(f"{args.output} cannot be written ({error}): choose another place with -o") from None
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {len(recorder)} feeds of {len(sentences)} texts, {size:.1f} MB")
    print(f"next: chattts convert SRC --precision int8-static --calibration {args.output}")
    return 0


def spread(sentences: Sequence[Sentence], limit: int | None) -> List[Sentence]:
    """At most ``limit`` of them, evenly from the whole list, so that both languages stay in."""
    if limit is None or limit >= len(sentences):
        return list(sentences)
    return [sentences[position * len(sentences) // limit] for position in range(max(1, limit))]


def record(model: Any, sentences: Sequence[Sentence], *, seed: int = 1, threads: Any = None, **options: Any) -> Any:
    """Speak ``sentences`` and return the `Recorder` with the feeds of ``gpt``, ``decoder`` and ``vocos``.

    Args:
        model: name or directory of an fp32 model.
        sentences: what to say; the model's voices take turns.
        seed: of all draws.
        threads: of each graph.
        options: more of `ChatTTS.synthesize`; a generated model's noise needs a ``max_new_token``.

    Raises:
        InputError: the model is not fp32.
        ModelNotFoundError: no such model.
    """
    from concurrent.futures import ThreadPoolExecutor

    from chattts_onnx.audio.vocoder import Vocoder
    from chattts_onnx.config import EngineConfig, Manifest
    from chattts_onnx.engine.engine import Engine
    from chattts_onnx.engine.worker import EngineWorker
    from chattts_onnx.errors import InputError
    from chattts_onnx.evaluation.report import Progress
    from chattts_onnx.hub import resolve_model
    from chattts_onnx.session import Recorder, create_session
    from chattts_onnx.synthesizer import ChatTTS
    from chattts_onnx.synthesizer.parts import Parts
    from chattts_onnx.text.tokenizer import load_tokenizer
    from chattts_onnx.voices import VoiceLibrary

    resolved = resolve_model(model, "fp32" if model is None else None)
    directory, manifest = resolved.path, Manifest.load(resolved.path)
    if manifest.precision != "fp32":
        raise InputError(
            f"{directory} is {manifest.precision}: scales are taken from full precision; "
            "convert the checkpoint with --precision fp32 and name that with --model"
        )
    recorder = Recorder()

    def graph(role: str) -> Any:
        return recorder.wrap(role, create_session(manifest.path(directory, role), threads=threads))

    config = EngineConfig(max_batch=CALLERS, threads=threads)
    vocoder = Vocoder(manifest.audio, graph("decoder"), graph("vocos"))
    voices = VoiceLibrary.of_model(directory, manifest)
    parts = Parts(
        manifest,
        load_tokenizer(directory, manifest.front_end),
        EngineWorker(Engine.open(directory, manifest, config, recorder=recorder)),
        vocoder,
        voices,
    )
    names: List[Any] = [voice.name for voice in voices.list()] or [None]
    progress = Progress("calibrating", len(sentences))
    with ChatTTS(parts, directory, resolved.description, config) as speaker, ThreadPoolExecutor(CALLERS) as pool:

        def speak(position: int) -> None:
            sentence = sentences[position]
            voice = names[position % len(names)]
            speaker.synthesize(sentence.text, voice=voice, seed=seed + position, max_attempts=1, **options)
            progress.advance(sentence.text)

        list(pool.map(speak, range(len(sentences))))
    progress.close()
    return recorder

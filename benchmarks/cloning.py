"""How good is a cloned voice? Error rate and likeness of a clone beside the voice that it was made from.

    python benchmarks/cloning.py --model mini --language zh --update docs/longform.md
    python benchmarks/cloning.py --recording clip.wav --transcript "what is said in it" --language en

Each of the model's voices speaks a fixed text (``--spoken``: another, a shorter one say), a voice is cloned from that
sound and its words, and both read the same evaluation sentences. "Alike" is the cosine of speaker
embeddings with the recording; "others" the same for the other voices of the model. With a recording of your own there
is no such voice to compare with, and all voices are "others".
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx import ChatTTS
from chattts_onnx.commands.voices import read_recording
from chattts_onnx.evaluation.asr import MODEL_NAME, Recognizer
from chattts_onnx.evaluation.listening import Heard, listen, rates_of
from chattts_onnx.evaluation.report import (
    Progress,
    command_line,
    environment,
    environment_line,
    percent,
    publish,
    table,
)
from chattts_onnx.evaluation.sentences import Sentence, builtin_sentences
from chattts_onnx.evaluation.speakers import encoder

Samples = NDArray[np.float32]
SPOKEN = {
    "zh": "早上出门的时候，天还没有亮。路边的小店已经开了，老板正在把热气腾腾的包子端出来。",
    "en": "When we left in the morning it was still dark. The little shop on the corner was already open.",
}
"""What the recordings say by default; in no training text and in no evaluation list."""


def main() -> None:
    args = _arguments()
    report: Dict[str, Any] = {"environment": environment(), "language": args.language, "voices": {}}
    ear, embed = Recognizer(threads=args.ear_threads), encoder()
    sentences = builtin_sentences(args.language)[: args.sentences]
    with ChatTTS.from_pretrained(args.model, precision=args.precision, threads=args.threads) as tts:
        report["model"], report["name"] = tts.description, tts.manifest.name
        names = args.voices or [name for name in tts.voices.names() if args.language in tts.voices.get(name).language]
        sources: List[Tuple[str, Samples, int, str]] = []
        if args.recording:
            samples, rate = read_recording(args.recording)
            sources.append((args.recording.stem, samples.mean(axis=1), rate, args.transcript))
        else:
            spoken = args.spoken or SPOKEN[args.language]
            for name in names:
                audio = tts.synthesize(spoken, voice=name, seed=args.seed, continuity="none")
                sources.append((name, audio.samples, audio.sample_rate, spoken))
        read: Dict[str, List[Any]] = {}
        progress = Progress("sentences", len(sentences) * (len(names) + len(sources)))
        for name in names:
            read[name] = _read(tts, name, sentences, args.seed, progress)
        for name, samples, rate, transcript in sources:
            clone = tts.clone(f"{name}-clone", samples, rate, transcript)
            target = embed(samples, rate)
            assert target is not None
            said = {**read, "clone": _read(tts, clone, sentences, args.seed, progress)}
            alike = {
                key: [
                    float(found @ target)
                    for found in (embed(a.samples, a.sample_rate) for a in audios)
                    if found is not None
                ]
                for key, audios in said.items()
            }
            report["voices"][name] = {
                "recording_seconds": len(samples) / rate,
                "clone": _entry(said["clone"], sentences, ear, alike["clone"]),
                "voice": _entry(said[name], sentences, ear, alike[name]) if name in said else None,
                "others": [value for key, values in alike.items() if key not in (name, "clone") for value in values],
            }
        progress.close()
    out = (
        f"{environment_line(report['environment'])}\n\n{report['model']}, {len(sentences)} sentences each, "
        f"seed {args.seed}, recogniser {MODEL_NAME}:\n\n{render(report)}"
    )
    command = command_line("benchmarks/cloning.py", model=report["name"])
    publish(out, report, json_path=args.json, document=args.update, mark=f"cloning {args.language}", command=command)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--precision", default=None)
    parser.add_argument("--language", choices=("zh", "en"), default="zh")
    parser.add_argument("--voices", nargs="+", default=None, help="default: those of the language")
    parser.add_argument("--spoken", default=None, metavar="TEXT", help="what the voices say for the recording")
    parser.add_argument("--recording", type=Path, default=None, metavar="FILE", help="clone this one instead")
    parser.add_argument("--transcript", default=None, help="what is said in the recording")
    parser.add_argument("--sentences", type=int, default=8, help="of the evaluation list (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--ear-threads", type=int, default=2, help="of the recogniser")
    parser.add_argument("--json", default=None, metavar="FILE")
    parser.add_argument("--update", type=Path, default=None, metavar="FILE.md", help="put the table between its marks")
    args = parser.parse_args()
    if args.recording and not args.transcript:
        parser.error("--recording needs --transcript: the exact words")
    return args


def _read(tts: ChatTTS, voice: Any, sentences: Sequence[Sentence], seed: int, progress: Progress) -> List[Any]:
    audios = []
    for sentence in sentences:
        audios.append(tts.synthesize(sentence.text, voice=voice, seed=seed, continuity="none"))
        progress.advance()
    return audios


def _entry(audios: Sequence[Any], sentences: Sequence[Sentence], ear: Recognizer, alike: List[float]) -> Dict[str, Any]:
    heard: List[Heard] = [
        listen(audio.samples, audio.sample_rate, sentence, transcribe=ear.transcribe)
        for audio, sentence in zip(audios, sentences)
    ]
    return {
        "rates": {name: vars(value) for name, value in rates_of(heard).items()},
        "alike": alike,
        "transcripts": [one.as_json() for one in heard],
    }


def render(report: Dict[str, Any]) -> str:
    """The table of one language."""
    measure, title = ("pinyin", "pinyin error rate") if report["language"] == "zh" else ("wer", "WER")
    header = ["from", "recording s", f"clone, {title}", f"voice, {title}", "clone alike", "voice alike", "others alike"]
    rows: List[List[Any]] = []
    for name, entry in report["voices"].items():
        row: List[Any] = [name, f"{entry['recording_seconds']:.1f}"]
        row += [percent(entry[who] and entry[who]["rates"][measure]) for who in ("clone", "voice")]
        row += [_alike(entry[who]["alike"] if entry[who] else None) for who in ("clone", "voice")]
        rows.append([*row, _alike(entry["others"])])
    return table(header, rows)


def _alike(values: Optional[Sequence[float]]) -> str:
    return f"{statistics.median(values):.2f}" if values else ""


if __name__ == "__main__":
    main()

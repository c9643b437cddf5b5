"""Long text: is anything lost, and do neighbouring segments fit together?

    python benchmarks/longform.py --model mini --language zh --update docs/longform.md

A text of `benchmarks/texts` is spoken once per way of continuing. With the model's own way every segment is heard by
the recogniser, and beside it the same lines, each spoken alone: the bar is 1.2 times their error rate, and no tail
lost (a tail is lost where none of the last three words, syllables in Mandarin, is among the last six heard). The other
ways are heard at ``--heard`` segments, evenly spread. ``cut200`` is what is compared with: the text cut after every
200th character, whatever stands there, each piece spoken in one breath.

At every seam the pitch and the loudness before and after are compared, and the speaker of each segment with that of
the next; "within" gives the same for the two halves of a segment, "others" for another voice of the model.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx import ChatTTS
from chattts_onnx.config import MANIFEST_NAME, Manifest
from chattts_onnx.errors import MissingExtraError
from chattts_onnx.evaluation.asr import MODEL_NAME, Recognizer
from chattts_onnx.evaluation.listening import Heard, errors_by_measure, listen
from chattts_onnx.evaluation.report import (
    Progress,
    command_line,
    environment,
    environment_line,
    percent,
    publish,
    table,
)
from chattts_onnx.evaluation.scoring import rate
from chattts_onnx.evaluation.sentences import Sentence
from chattts_onnx.evaluation.speakers import Embed, encoder
from chattts_onnx.evaluation.spelling import english_words, mandarin_tokens, pinyin_tokens
from chattts_onnx.hub import resolve_model

Samples = NDArray[np.float32]
TEXTS = Path(__file__).parent / "texts"
WAYS = ("none", "anchor", "carry", "cut200")
CUT = 200
CUT_SECONDS = 90.0
"""Budget of a segment that lets a piece of 200 characters pass whole."""
TAIL_TOKENS = 3
EDGE_SECONDS = 0.4


def main() -> None:
    args = _arguments()
    text = (args.text or TEXTS / f"{args.language}.txt").read_text(encoding="utf-8").strip()[: args.characters]
    report: Dict[str, Any] = {"environment": environment(), "characters": len(text), "seed": args.seed, "runs": {}}
    ear = Recognizer(threads=args.ear_threads)
    embed = _encoder()
    with _opened(args, args.segment_seconds) as tts:
        report["model"] = resolve_model(args.model, args.precision).description
        report["name"] = tts.manifest.name
        report["default"] = tts.manifest.continuity
        report["segment_seconds"] = tts.manifest.segment_seconds
        report["voice"] = tts.voices.get(args.voice).name
        ways = args.continuity or [tts.manifest.continuity, *(way for way in WAYS if way != tts.manifest.continuity)]
        for number, way in enumerate(ways):
            parts = list(_speak_pieces(text, args)) if way == "cut200" else _speak(tts, text, way, args)
            heard = args.limit if number == 0 else args.heard
            report["runs"][way] = _measure(parts, way, heard, args.language, ear, embed)
            if number == 0:
                chosen = [parts[index] for index in report["runs"][way]["chosen"]]
                report["alone"] = _alone(tts, chosen, args, ear)
        report["others"] = _other_voice(tts, parts, report["voice"], args, embed)
    line = environment_line(report["environment"])
    out = f"{line}\n\n{_headline(report)}\n\n{render(report)}"
    command = command_line("benchmarks/longform.py", model=report["name"])
    publish(out, report, json_path=args.json, document=args.update, mark=args.language, command=command)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--precision", default=None)
    parser.add_argument("--language", choices=("zh", "en"), default="zh")
    parser.add_argument("--text", type=Path, default=None, metavar="FILE", help="another text")
    parser.add_argument("--segment-seconds", type=float, default=None, help="longest segment (default: the model's)")
    parser.add_argument("--characters", type=int, default=None, help="only the beginning of the text")
    parser.add_argument("--continuity", nargs="+", choices=WAYS, default=None, help="the first is heard as a whole")
    parser.add_argument("--limit", type=int, default=None, help="segments heard of the first way (default: all)")
    parser.add_argument("--heard", type=int, default=20, help="segments heard of the other ways (default: %(default)s)")
    parser.add_argument("--voice", default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--ear-threads", type=int, default=2, help="of the recogniser")
    parser.add_argument("--json", default=None, metavar="FILE")
    parser.add_argument("--update", type=Path, default=None, metavar="FILE.md", help="put the table between its marks")
    return parser.parse_args()


@dataclass(frozen=True)
class Part:
    """A segment: what it should say and how it sounds."""

    spoken: str
    samples: Samples
    rate: int
    attempts: int = 1
    problem: Optional[str] = None


def _speak(tts: ChatTTS, text: str, way: str, args: argparse.Namespace) -> List[Part]:
    audio = tts.synthesize(text, continuity=way, seed=args.seed, voice=args.voice)
    return list(_parts(audio))


def _parts(audio: Any) -> Iterator[Part]:
    rate = audio.sample_rate
    for one in audio.segments:
        samples = audio.samples[int(one.start * rate) : int(one.end * rate)]
        yield Part(one.spoken, samples, rate, one.attempts, one.problem)


@contextmanager
def _opened(args: argparse.Namespace, segment_seconds: Optional[float]) -> Iterator[ChatTTS]:
    """The model, told how long it may speak if that is given."""
    if segment_seconds is None:
        with ChatTTS.from_pretrained(args.model, precision=args.precision, threads=args.threads) as tts:
            yield tts
        return
    source = resolve_model(args.model, args.precision).path
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for path in source.iterdir():
            if path.name != MANIFEST_NAME:
                (directory / path.name).symlink_to(path.resolve())
        replace(Manifest.load(source), segment_seconds=segment_seconds).save(directory)
        with ChatTTS.from_pretrained(directory, threads=args.threads) as tts:
            yield tts


def _speak_pieces(text: str, args: argparse.Namespace) -> Iterator[Part]:
    """Each 200 characters as one prompt: the same model, told that it may speak so long."""
    with _opened(args, CUT_SECONDS) as tts:
        flat = text.replace("\n", "") if args.language == "zh" else " ".join(text.split())
        for start in range(0, len(flat), CUT):
            piece = flat[start : start + CUT]
            # One segment a piece: sentences are not told apart by a program that counts characters.
            joined = re.sub(r"(?<=[。！？.!?])", "，" if args.language == "zh" else ",", piece)
            joined = re.sub(r"[。！？.!?]+(?=[，,])", "", joined)
            audio = tts.synthesize(joined, continuity="none", seed=args.seed + start, voice=args.voice, max_attempts=1)
            parts = list(_parts(audio))
            yield Part(
                "".join(part.spoken for part in parts),
                audio.samples,
                audio.sample_rate,
                sum(part.attempts for part in parts) - len(parts) + 1,
                next((part.problem for part in parts if part.problem), None),
            )


def _measure(
    parts: Sequence[Part], way: str, limit: Optional[int], language: str, ear: Recognizer, embed: Optional[Embed]
) -> Dict[str, Any]:
    chosen = spread(len(parts), limit)
    heard = _listen([parts[index] for index in chosen], language, ear, way)
    halves = [(part.samples[: len(part.samples) // 2], part.samples[len(part.samples) // 2 :]) for part in parts]
    rate = parts[0].rate
    run: Dict[str, Any] = {
        "segments": len(parts),
        "chosen": chosen,
        "attempts": sum(part.attempts for part in parts),
        "problems": sum(part.problem is not None for part in parts),
        "seams": [step(a.samples, b.samples, rate) for a, b in zip(parts, parts[1:])],
        "within": [step(a, b, rate) for a, b in halves],
        "audio_seconds": sum(len(part.samples) for part in parts) / rate,
        **_heard_as_json(heard, language),
    }
    if embed is not None:
        speakers = [embed(part.samples, rate) for part in parts]
        run["alike"] = _cosines(zip(speakers, speakers[1:]))
        quarter = max(1, len(speakers) // 4)
        run["drift"] = _cosines((a, b) for a, b in zip(speakers[:quarter], speakers[-quarter:]))
        run["alike_within"] = _cosines((embed(a, rate), embed(b, rate)) for a, b in halves)
    return run


def _alone(tts: ChatTTS, parts: Sequence[Part], args: argparse.Namespace, ear: Recognizer) -> Dict[str, Any]:
    """The same lines, each a speech of its own."""
    single: List[Part] = []
    for index, part in enumerate(parts):
        audio = tts.synthesize(part.spoken, continuity="none", seed=args.seed + 1000 + index, voice=args.voice)
        single.append(Part(part.spoken, audio.samples, audio.sample_rate, audio.segments[0].attempts))
    run = _heard_as_json(_listen(single, args.language, ear, "alone"), args.language)
    return {**run, "segments": len(single), "attempts": sum(part.attempts for part in single)}


def _other_voice(
    tts: ChatTTS, parts: Sequence[Part], voice: str, args: argparse.Namespace, embed: Optional[Embed]
) -> Optional[Dict[str, Any]]:
    """How alike two voices of the model are: the ground under "alike"."""
    names = [name for name in tts.voices.names() if name != voice]
    if embed is None or not names:
        return None
    chosen = [parts[index] for index in spread(len(parts), args.heard)]
    pairs = []
    for index, part in enumerate(chosen):
        audio = tts.synthesize(part.spoken, continuity="none", seed=args.seed, voice=names[index % len(names)])
        pairs.append((embed(part.samples, part.rate), embed(audio.samples, audio.sample_rate)))
    return {"alike": _cosines(pairs)}


def _listen(parts: Sequence[Part], language: str, ear: Recognizer, label: str) -> List[Heard]:
    progress = Progress(label, len(parts))
    heard = []
    for index, part in enumerate(parts):
        sentence = Sentence(part.spoken, language, str(index))
        heard.append(listen(part.samples, part.rate, sentence, transcribe=ear.transcribe))
        progress.advance()
    progress.close()
    return heard


def _heard_as_json(heard: Sequence[Heard], language: str) -> Dict[str, Any]:
    lost = [one for one in heard if tail_is_lost(one.sentence.text, one.transcript, language)]
    columns = errors_by_measure(heard)
    return {
        "heard": len(heard),
        "lost_tails": len(lost),
        "lost": [one.as_json() for one in lost],
        "rates": {name: vars(rate(errors)) for name, errors in columns.items()},
        "errors": {name: [[one.edits, one.length] for one in errors] for name, errors in columns.items()},
        "transcripts": [one.as_json() for one in heard],
    }


def render(report: Dict[str, Any]) -> str:
    """The table of one language."""
    measures = list(report["alone"]["rates"])
    header = ["way", "segments", "heard", "tails lost", "said again"]
    header += [{"cer": "CER", "pinyin": "pinyin error rate", "wer": "WER"}[name] for name in measures]
    header += ["pitch step, semitones", "loudness step, dB", "speaker alike", "first to last quarter", "audio s"]
    rows: List[List[Any]] = [_row("each line alone", report["alone"], measures)]
    for way, run in report["runs"].items():
        rows.append(_row(way + (" (default)" if way == report["default"] else ""), run, measures))
        steps = [_step(run["within"], "pitch"), _step(run["within"], "loudness")]
        rows.append(["  within", *[""] * (4 + len(measures)), *steps, _alike(run.get("alike_within")), "", ""])
    others = report.get("others")
    if others:
        rows.append(["  others", *[""] * (6 + len(measures)), _alike(others["alike"]), "", ""])
    return table(header, rows)


def _row(name: str, run: Dict[str, Any], measures: Sequence[str]) -> List[Any]:
    row: List[Any] = [name, run["segments"], run["heard"], run["lost_tails"], run["attempts"] - run["segments"]]
    row += [percent(run["rates"][measure]) for measure in measures]
    if "seams" not in run:
        return [*row, "", "", "", "", ""]
    steps = [_step(run["seams"], "pitch"), _step(run["seams"], "loudness")]
    return [*row, *steps, _alike(run.get("alike")), _alike(run.get("drift")), f"{run['audio_seconds']:.0f}"]


def _headline(report: Dict[str, Any]) -> str:
    way, run = next(iter(report["runs"].items()))
    measure = list(run["rates"])[-1]
    value, low, high = ratio(run["errors"][measure], report["alone"]["errors"][measure])
    return (
        f"{report['model']}, voice {report['voice']}, {report['characters']} characters, seed {report['seed']}, "
        f"segments of at most {report['segment_seconds']:g} s, recogniser {MODEL_NAME}. The text read with `{way}` has "
        f"{value:.2f} times the error rate of its lines read alone (95 % interval {low:.2f} to {high:.2f}), tails "
        f"lost: {run['lost_tails']} of {run['heard']}, alone {report['alone']['lost_tails']}."
    )


def ratio(errors: Sequence[Sequence[int]], base: Sequence[Sequence[int]]) -> Tuple[float, float, float]:
    """Error rate over that of ``base``, the same lines, with its paired bootstrap interval."""
    pairs = np.array([[a[0], a[1], b[0], b[1]] for a, b in zip(errors, base)], dtype=np.float64)
    draws = np.random.default_rng(0).integers(0, len(pairs), size=(2000, len(pairs)))
    sums = pairs[draws].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (sums[:, 0] / sums[:, 1]) / (sums[:, 2] / sums[:, 3])
        whole = pairs.sum(axis=0)
        value = (whole[0] / whole[1]) / (whole[2] / whole[3])
    low, high = np.percentile(values[np.isfinite(values)], [2.5, 97.5]) if np.isfinite(values).any() else (np.nan,) * 2
    return float(value), float(low), float(high)


def spread(count: int, limit: Optional[int]) -> List[int]:
    """Indices of at most ``limit`` of ``count``, evenly spread."""
    if limit is None or limit >= count:
        return list(range(count))
    return [int((index + 0.5) * count / limit) for index in range(limit)]


def tail_is_lost(text: str, transcript: str, language: str) -> bool:
    """None of the last words (syllables in Mandarin) is among what was heard last."""
    if language == "zh":
        expected, found = pinyin_tokens(mandarin_tokens(text)), pinyin_tokens(mandarin_tokens(transcript))
    else:
        expected, found = english_words(text), english_words(transcript)
    tail, end = expected[-TAIL_TOKENS:], found[-2 * TAIL_TOKENS :]
    return not any(token in end for token in tail)


def step(before: Samples, after: Samples, rate: int) -> Dict[str, Optional[float]]:
    """Change of pitch (semitones) and loudness (dB) from the end of one piece to the start of the next, absolute."""
    left, right = voiced_edge(before, rate, last=True), voiced_edge(after, rate, last=False)
    pitch_a, pitch_b = pitch(left, rate), pitch(right, rate)
    semitones = abs(12 * np.log2(pitch_b / pitch_a)) if pitch_a and pitch_b else None
    level_a, level_b = (20 * np.log10(max(1e-6, float(np.sqrt(np.mean(x**2))))) for x in (left, right))
    return {"pitch": None if semitones is None else float(semitones), "loudness": abs(level_b - level_a)}


def voiced_edge(part: Samples, rate: int, *, last: bool) -> Samples:
    """The outermost piece of `EDGE_SECONDS` that is not silence."""
    size = int(EDGE_SECONDS * rate)
    frame = rate // 100
    frames = part[: len(part) // frame * frame].reshape(-1, frame)
    level = np.sqrt((frames**2).mean(axis=1)) if len(frames) else np.zeros(0)
    loud = np.nonzero(level > 0.1 * (level.max() if len(level) else 1.0))[0]
    if not len(loud):
        return part[-size:] if last else part[:size]
    if last:
        stop = (int(loud[-1]) + 1) * frame
        return part[max(0, stop - size) : stop]
    start = int(loud[0]) * frame
    return part[start : start + size]


def pitch(samples: Samples, rate: int, low: float = 70.0, high: float = 400.0) -> Optional[float]:
    """Median fundamental frequency in Hz by autocorrelation of 40 ms frames; None without voiced frames."""
    size, hop = int(0.04 * rate), int(0.01 * rate)
    shortest, longest = int(rate / high), int(rate / low)
    found = []
    for start in range(0, len(samples) - size, hop):
        frame = samples[start : start + size] - samples[start : start + size].mean()
        energy = float(frame @ frame)
        if energy < 1e-4:
            continue
        spectrum = np.abs(np.fft.rfft(frame, 2 * size)) ** 2
        correlation = np.fft.irfft(spectrum)[: longest + 1] / energy
        # A lag of n sees n samples less.
        correlation *= size / (size - np.arange(longest + 1))
        window = correlation[shortest : longest + 1]
        # Every multiple of the period correlates as well: the first peak that is nearly the best is the period.
        peaks = (window[1:-1] >= window[:-2]) & (window[1:-1] >= window[2:]) & (window[1:-1] > 0.9 * window.max())
        if window.max() > 0.5 and peaks.any():
            found.append(rate / (shortest + 1 + int(np.argmax(peaks))))
    return float(statistics.median(found)) if found else None


def _cosines(pairs: Any) -> List[float]:
    return [float(a @ b) for a, b in pairs if a is not None and b is not None]


def _alike(values: Optional[Sequence[float]]) -> str:
    return f"{statistics.median(values):.2f} (lowest {min(values):.2f})" if values else ""


def _step(steps: List[Dict[str, Optional[float]]], name: str) -> str:
    values = [value for value in (one[name] for one in steps) if value is not None]
    return f"{statistics.median(values):.1f} (worst {max(values):.1f})" if values else ""


def _encoder() -> Optional[Embed]:
    try:
        return encoder()
    except MissingExtraError as error:
        print(f"without speaker similarity: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    main()

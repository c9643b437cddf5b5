"""Long text: does the end of a segment get lost, and do neighbouring segments fit together?

    python benchmarks/longform.py --model DIR --language zh --continuity carry anchor none

A text of many sentences is spoken once per way of continuing. Every segment is cut out and heard by the recogniser:
a tail is lost where its last words are missing from what was heard. At every seam the pitch and the loudness before
and after are compared; ``within`` gives the same figures for cuts in the middle of segments, as the ground to compare
with.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any, Dict, List, Optional

import numpy as np
from numpy.typing import NDArray

from chattts_onnx import ChatTTS
from chattts_onnx.evaluation.asr import MODEL_NAME, Recognizer
from chattts_onnx.evaluation.listening import Heard, listen, rates_of
from chattts_onnx.evaluation.report import Progress, environment, environment_line, table, write_json
from chattts_onnx.evaluation.sentences import Sentence, builtin_sentences
from chattts_onnx.evaluation.spelling import english_words, mandarin_tokens, pinyin_tokens

Samples = NDArray[np.float32]
TAIL_TOKENS = 3
EDGE_SECONDS = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--precision", default=None)
    parser.add_argument("--language", choices=("zh", "en"), default="zh")
    parser.add_argument("--sentences", type=int, default=24, help="of the built-in list, joined to one text")
    parser.add_argument("--text", default=None, metavar="FILE", help="another text")
    parser.add_argument("--continuity", nargs="+", default=["carry", "anchor", "none"])
    parser.add_argument("--voice", default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", default=None, metavar="FILE")
    args = parser.parse_args()
    text = _text(args)
    report: Dict[str, Any] = {"environment": environment(), "characters": len(text), "seed": args.seed, "runs": {}}
    ear = Recognizer()
    with ChatTTS.from_pretrained(args.model, precision=args.precision, threads=args.threads) as tts:
        for continuity in args.continuity:
            audio = tts.synthesize(text, continuity=continuity, seed=args.seed, voice=args.voice)
            report["runs"][continuity] = _measure(audio, args.language, ear)
        report["model"] = tts.description
    print(environment_line(report["environment"]))
    print(f"{report['model']}, {len(text)} characters, seed {args.seed}; recogniser {MODEL_NAME}\n")
    print(render(report))
    if args.json:
        write_json(report, args.json)


def render(report: Dict[str, Any]) -> str:
    header = [
        "continuity",
        "segments",
        "lost tails",
        "repeated",
        "error rate",
        "pitch step, semitones",
        "loudness step, dB",
        "audio s",
    ]
    rows: List[List[Any]] = []
    for name, run in report["runs"].items():
        rate = next(iter(run["rates"].values()))
        rows.append(
            [
                name,
                run["segments"],
                run["lost_tails"],
                run["attempts"] - run["segments"],
                f"{100 * rate['value']:.1f} % ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})",
                _step(run["seams"], "pitch"),
                _step(run["seams"], "loudness"),
                f"{run['audio_seconds']:.1f}",
            ]
        )
        rows.append(["  within", "", "", "", "", _step(run["within"], "pitch"), _step(run["within"], "loudness"), ""])
    return table(header, rows)


def _measure(audio: Any, language: str, ear: Recognizer) -> Dict[str, Any]:
    rate = audio.sample_rate
    heard: List[Heard] = []
    parts: List[Samples] = []
    progress = Progress("segments", len(audio.segments))
    for report in audio.segments:
        part = audio.samples[int(report.start * rate) : int(report.end * rate)]
        sentence = Sentence(report.spoken, language, str(report.index))
        heard.append(listen(part, rate, sentence, transcribe=ear.transcribe))
        parts.append(part)
        progress.advance()
    progress.close()
    lost = [one for one in heard if tail_is_lost(one.sentence.text, one.transcript, language)]
    measure = "pinyin" if language == "zh" else "wer"
    return {
        "segments": len(parts),
        "attempts": sum(report.attempts for report in audio.segments),
        "problems": len(audio.problems),
        "lost_tails": len(lost),
        "lost": [one.as_json() for one in lost],
        "rates": {name: vars(value) for name, value in rates_of(heard).items() if name == measure},
        "seams": [step(before, after, rate) for before, after in zip(parts, parts[1:])],
        "within": [step(part[: len(part) // 2], part[len(part) // 2 :], rate) for part in parts],
        "audio_seconds": len(audio.samples) / rate,
    }


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


def _step(steps: List[Dict[str, Optional[float]]], name: str) -> str:
    values = [value for value in (one[name] for one in steps) if value is not None]
    return f"{statistics.median(values):.1f} (worst {max(values):.1f})" if values else ""


def _text(args: argparse.Namespace) -> str:
    if args.text:
        with open(args.text, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    glue = "" if args.language == "zh" else " "
    return glue.join(sentence.text for sentence in builtin_sentences(args.language)[: args.sentences])


if __name__ == "__main__":
    main()

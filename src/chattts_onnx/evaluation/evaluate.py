"""One evaluation run: speak or read recordings, listen, count, and put it into tables."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation import quality
from chattts_onnx.evaluation.asr import MODEL_NAME, Recognizer, resampled
from chattts_onnx.evaluation.listening import Heard, errors_by_measure, listen, listen_to, rates_of
from chattts_onnx.evaluation.report import Progress, environment, environment_line, percent, table, write_json
from chattts_onnx.evaluation.scoring import difference
from chattts_onnx.evaluation.sentences import (
    BUILTIN_LISTS,
    Sentence,
    builtin_sentences,
    read_manifest,
    read_sentences,
)

MEASURES = (("zh", "pinyin"), ("zh", "cer"), ("en", "wer"))
MEASURE_NAMES = {"pinyin": "zh pinyin error rate", "cer": "zh CER", "wer": "en WER"}


@dataclass
class Run:
    """One model over one list of sentences, or one manifest."""

    label: str
    heard: List[Heard] = field(default_factory=list)
    speech_seconds: float = 0.0
    """Wall-clock seconds of synthesis; 0 for recordings."""
    problems: int = 0
    """Segments the synthesiser itself reported as not right."""
    scores: Dict[str, List[float]] = field(default_factory=dict)
    """By predictor, one of each that was heard."""

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio that were listened to."""
        return sum(one.seconds for one in self.heard)


def evaluate(args: argparse.Namespace) -> Dict[str, Any]:
    """Do what the arguments of ``chattts eval`` say, print the tables, and return the report.

    Raises:
        InputError: a list or manifest cannot be read.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit} leaves nothing to say: give at least 1")
    recognizer = Recognizer(threads=args.listen_threads)
    with contextlib.ExitStack() as stack:
        predictors = [
            stack.enter_context(quality.distill_mos(args.quality_python)) if name == "distill-mos" else quality.dnsmos()
            for name in args.quality
        ]
        if args.manifest:
            runs = [_score_recordings(path, args, recognizer, predictors) for path in args.manifest]
        else:
            models, precisions = args.model or [None], args.precision or [None]
            runs = [_speak(*pair, args, recognizer, predictors) for pair in itertools.product(models, precisions)]
    report = summarize(runs, seed=args.seed)
    report["settings"] = _settings(args)
    print(environment_line(report["environment"]))
    print(f"recogniser: {MODEL_NAME}; rates with 95 % bootstrap intervals over sentences\n")
    print(render(report))
    if args.show:
        print("\n" + "\n".join(_misheard(runs)))
    if args.json:
        write_json(report, args.json)
    return report


def summarize(runs: Sequence[Run], *, seed: int) -> Dict[str, Any]:
    """Rates, differences to the first run, and every transcript, as plain values."""
    report: Dict[str, Any] = {"environment": environment(), "recognizer": MODEL_NAME, "runs": []}
    base = errors_by_measure(runs[0].heard)
    for position, one in enumerate(runs):
        entry: Dict[str, Any] = {"label": one.label, "problems": one.problems, **_figures(one, seed=seed)}
        entry["speakers"] = {part.label: _figures(part, seed=seed) for part in _by_speaker(one)}
        entry["audio_seconds"] = round(one.audio_seconds, 2)
        entry["real_time_factor"] = round(one.speech_seconds / one.audio_seconds, 3) if one.speech_seconds else None
        errors = errors_by_measure(one.heard)
        if position and all(name in base and _same_lengths(base[name], errors[name]) for name in errors):
            entry["difference_to_first"] = {
                name: vars(difference(base[name], errors[name], seed=seed)) for name in errors
            }
        entry["transcripts"] = [heard.as_json() for heard in one.heard]
        report["runs"].append(entry)
    return report


def render(report: Dict[str, Any]) -> str:
    """The report's tables, in Markdown."""
    measures = [name for _, name in MEASURES if any(name in run["rates"] for run in report["runs"])]
    scores = sorted({name for run in report["runs"] for name in run["quality"]})
    header = ["run", "sentences", *(MEASURE_NAMES[name] for name in measures), *scores, "audio s", "RTF", "clipped"]
    rows = []
    for one in report["runs"]:
        clipped = max((value["clipped"] for value in one["rates"].values()), default=0)
        factor = one["real_time_factor"]
        cells = _cells(one, measures, scores)
        rows.append([one["label"], one["sentences"], *cells, one["audio_seconds"], factor or "", clipped])
        if len(one["speakers"]) > 1:
            for speaker, part in one["speakers"].items():
                rows.append([f"  {speaker}", part["sentences"], *_cells(part, measures, scores), "", "", ""])
    text = table(header, rows)
    changed = [run for run in report["runs"] if "difference_to_first" in run]
    if changed:
        first = report["runs"][0]["label"]
        rows = [
            [run["label"], *(percent(run["difference_to_first"].get(name), signed=True) for name in measures)]
            for run in changed
        ]
        text += f"\n\nDifference to {first}, same sentences, paired:\n\n"
        text += table(["run", *(MEASURE_NAMES[name] for name in measures)], rows)
    return text


def _speak(
    model: Optional[str],
    precision: Optional[str],
    args: argparse.Namespace,
    recognizer: Recognizer,
    predictors: Sequence[quality.Predictor],
) -> Run:
    from chattts_onnx import ChatTTS

    result = Run(" ".join(part for part in (Path(model or "shipped").name, precision) if part))
    sentences = _sentences(args)
    with contextlib.closing(
        ChatTTS.from_pretrained(model, precision=precision, device=args.device, threads=args.threads)
    ) as tts:
        turns = _turns(sentences, tts, args)
        progress = Progress(result.label, len(turns))
        keeper = _Keeper(args.save_audio, result.label) if args.save_audio else None
        for sentence, voice in turns:
            started = time.perf_counter()
            audio = tts.synthesize(sentence.text, voice=voice, seed=args.seed)
            result.speech_seconds += time.perf_counter() - started
            result.problems += len(audio.problems)
            heard = listen(
                audio.samples,
                audio.sample_rate,
                sentence,
                speaker=voice or "default",
                transcribe=recognizer.transcribe,
            )
            result.heard.append(heard)
            _predict(result, predictors, audio.samples, audio.sample_rate)
            if keeper:
                keeper.keep(audio, heard)
            progress.advance(heard.transcript)
        progress.close()
        if keeper:
            keeper.close()
    return result


def _score_recordings(
    path: Path, args: argparse.Namespace, recognizer: Recognizer, predictors: Sequence[quality.Predictor]
) -> Run:
    result = Run(f"{path.resolve().parent.name}/{path.stem}")
    recordings = [one for one in read_manifest(path) if args.language in (None, one.sentence.language)]
    recordings = _limited(recordings, [one.sentence.language for one in recordings], args.limit)
    progress = Progress(result.label, len(recordings))
    for recording in recordings:
        heard, samples, rate = listen_to(recording, transcribe=recognizer.transcribe)
        result.heard.append(heard)
        _predict(result, predictors, samples, rate)
        progress.advance(heard.transcript)
    progress.close()
    return result


def _sentences(args: argparse.Namespace) -> List[Sentence]:
    if args.texts:
        lists = [read_sentences(path, language=args.language) for path in args.texts]
    else:
        lists = [builtin_sentences(language) for language in BUILTIN_LISTS if args.language in (None, language)]
    return [sentence for sentences in lists for sentence in sentences[: args.limit]]


def _turns(sentences: Sequence[Sentence], tts: Any, args: argparse.Namespace) -> List[Tuple[Sentence, Optional[str]]]:
    named = [name.strip() for name in args.voices.split(",") if name.strip()] if args.voices else None
    turns: List[Tuple[Sentence, Optional[str]]] = []
    for language in ("zh", "en"):
        voices: List[Optional[str]] = list(named) if named else _voices_for(tts, language)
        for position, sentence in enumerate(one for one in sentences if one.language == language):
            chosen = voices if args.every_voice else [voices[position % len(voices)]]
            turns.extend((sentence, voice) for voice in chosen)
    return turns


def _voices_for(tts: Any, language: str) -> List[Optional[str]]:
    presets = tts.voices.list()
    fitting = [voice.name for voice in presets if not voice.language or language in voice.language]
    return fitting or [voice.name for voice in presets] or [None]


def _limited(items: List[Any], languages: List[str], limit: Optional[int]) -> List[Any]:
    counts: Dict[str, int] = {}
    kept = []
    for item, language in zip(items, languages):
        counts[language] = counts.get(language, 0) + 1
        if limit is None or counts[language] <= limit:
            kept.append(item)
    return kept


def _predict(result: Run, predictors: Sequence[quality.Predictor], samples: Any, sample_rate: int) -> None:
    if not predictors:
        return
    audio = resampled(samples, sample_rate)
    for predict in predictors:
        for name, value in predict(audio).items():
            result.scores.setdefault(name, []).append(value)


class _Keeper:
    """Saves recordings with a manifest that ``--manifest`` reads back."""

    def __init__(self, directory: Path, label: str) -> None:
        self._directory = directory / "".join(c if c.isalnum() or c in "-." else "_" for c in label)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lines: List[str] = []

    def keep(self, audio: Any, heard: Heard) -> None:
        name = f"{len(self._lines):04d}.wav"
        audio.save(self._directory / name)
        text = heard.sentence.text.replace("\t", " ")
        self._lines.append(f"{name}\t{text}\t{heard.sentence.language}\t{heard.speaker}\n")

    def close(self) -> None:
        (self._directory / "manifest.tsv").write_text("".join(self._lines), encoding="utf-8")


def _figures(one: Run, *, seed: int) -> Dict[str, Any]:
    return {
        "sentences": len(one.heard),
        "rates": {name: vars(value) for name, value in rates_of(one.heard, seed=seed).items()},
        "quality": {name: _quality(values) for name, values in one.scores.items()},
    }


def _cells(figures: Dict[str, Any], measures: Sequence[str], scores: Sequence[str]) -> List[str]:
    return [
        *(percent(figures["rates"].get(name)) for name in measures),
        *(_score_cell(figures["quality"].get(name)) for name in scores),
    ]


def _by_speaker(one: Run) -> List[Run]:
    """What each voice said of a run, by name."""
    places: Dict[str, List[int]] = {}
    for place, heard in enumerate(one.heard):
        places.setdefault(heard.speaker, []).append(place)
    return [
        Run(
            speaker,
            heard=[one.heard[place] for place in own],
            scores={name: [values[place] for place in own] for name, values in one.scores.items()},
        )
        for speaker, own in sorted(places.items())
    ]


def _same_lengths(base: Sequence[Any], other: Sequence[Any]) -> bool:
    return [error.length for error in base] == [error.length for error in other]


def _quality(values: Sequence[float]) -> Dict[str, float]:
    return {"mean": float(np.mean(values)), "worst": float(np.min(values)), "median": float(np.median(values))}


def _score_cell(value: Optional[Dict[str, float]]) -> str:
    return f"{value['mean']:.2f} (worst {value['worst']:.2f})" if value else ""


def _misheard(runs: Sequence[Run]) -> List[str]:
    return [
        f"{one.label} [{heard.speaker}] {heard.sentence.text}\n    heard: {heard.transcript}"
        for one in runs
        for heard in one.heard
        if any(error.edits for error in heard.errors.values())
    ]


def _settings(args: argparse.Namespace) -> Dict[str, Any]:
    plain = {name: _plain(value) for name, value in vars(args).items()}
    return {name: value for name, value in plain.items() if value is not None and value != []}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) else None

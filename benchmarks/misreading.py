"""Does the model know what it misread? Its own account of every line beside what a recogniser hears.

    python benchmarks/misreading.py --model mini --language zh --update docs/longform.md

A text of `benchmarks/texts` is spoken line by line, each once, and again with the draws that are usual. The lines of
the first reading are put into classes by how unsure the model is of what it said (`SegmentReport.doubt`), and each
class is given its error rate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from chattts_onnx import ChatTTS
from chattts_onnx.errors import InputError
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
from chattts_onnx.evaluation.sentences import Sentence
from chattts_onnx.synthesizer.verdict import DOUBTFUL

TEXTS = Path(__file__).parent / "texts"
EDGES = (DOUBTFUL, 1.5 * DOUBTFUL, 2 * DOUBTFUL)
"""Between the classes, in nats: a line is drawn again above the first."""
MEASURES = {"zh": ("pinyin", "pinyin error rate"), "en": ("wer", "WER")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--precision", default=None)
    parser.add_argument("--language", choices=("zh", "en"), default="zh")
    parser.add_argument("--voice", default=None)
    parser.add_argument("--characters", type=int, default=None, help="only the beginning of the text")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--ear-threads", type=int, default=2, help="of the recogniser")
    parser.add_argument("--json", default=None, metavar="FILE")
    parser.add_argument("--update", type=Path, default=None, metavar="FILE.md", help="put the table between its marks")
    args = parser.parse_args()
    text = (TEXTS / f"{args.language}.txt").read_text(encoding="utf-8").strip()[: args.characters]
    ear = Recognizer(threads=args.ear_threads)
    with ChatTTS.from_pretrained(args.model, precision=args.precision, threads=args.threads) as tts:
        if not tts.manifest.aligns:
            raise InputError(f"the model {tts.manifest.name!r} cannot tell what it spoke: there is nothing to compare")
        description, name = tts.description, tts.manifest.name
        once, mended = (_read(tts, text, attempts, ear, args) for attempts in (1, None))
    report: Dict[str, Any] = {"environment": environment(), "once": _as_json(once), "mended": _as_json(mended)}
    out = f"{environment_line(report['environment'])}\n\n{_headline(once, description, args)}\n\n"
    out += render(once, mended, args.language)
    command = command_line("benchmarks/misreading.py", model=name)
    mark = f"misreading {args.language}"
    publish(out, report, json_path=args.json, document=args.update, mark=mark, command=command)


Line = Tuple[Heard, float, int]
"""What was heard, the model's doubt in nats, and how often it was drawn."""


def _read(tts: ChatTTS, text: str, attempts: Optional[int], ear: Recognizer, args: argparse.Namespace) -> List[Line]:
    options = {} if attempts is None else {"max_attempts": attempts}
    audio = tts.synthesize(text, continuity="none", seed=args.seed, voice=args.voice, **options)
    progress = Progress("lines", len(audio.segments))
    lines: List[Line] = []
    for one in audio.segments:
        samples = audio.samples[int(one.start * audio.sample_rate) : int(one.end * audio.sample_rate)]
        sentence = Sentence(one.spoken, args.language, str(one.index))
        heard = listen(samples, audio.sample_rate, sentence, transcribe=ear.transcribe)
        assert one.doubt is not None
        lines.append((heard, one.doubt, one.attempts))
        progress.advance()
    progress.close()
    return lines


def _headline(once: Sequence[Line], description: str, args: argparse.Namespace) -> str:
    errors = [one.errors[MEASURES[args.language][0]] for one, _, _ in once]
    rank = _correlation([doubt for _, doubt, _ in once], [error.edits / max(1, error.length) for error in errors])
    return (
        f"{description}, {len(once)} lines, seed {args.seed}, recogniser {MODEL_NAME}. Rank correlation of the "
        f"model's doubt with the error rate of the line: {rank:.2f}."
    )


def _correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, ties at their mean rank."""

    def ranks(values: Sequence[float]) -> Any:
        array = np.array(values)
        return (array[:, None] > array).sum(axis=1) + 0.5 * (array[:, None] == array).sum(axis=1)

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def render(once: Sequence[Line], mended: Sequence[Line], language: str) -> str:
    """Classes of the first reading, then both readings as a whole."""
    measure, title = MEASURES[language]
    rows: List[List[Any]] = []
    for above, upto in zip((float("-inf"), *EDGES), (*EDGES, float("inf"))):
        found = [line for line in once if above < line[1] <= upto]
        name = f"up to {upto:g}" if upto < float("inf") else "more"
        rows.append([f"spoken once, doubt {name}", len(found), _rate(found, measure), ""])
    for name, lines in (("spoken once, all", once), ("drawn again where in doubt, all", mended)):
        draws = sum(attempts for _, _, attempts in lines) / len(lines)
        rows.append([name, len(lines), _rate(lines, measure), f"{draws:.2f}"])
    return table(["lines", "number", title, "draws a line"], rows)


def _rate(lines: Sequence[Line], measure: str) -> str:
    return percent(vars(rates_of([heard for heard, _, _ in lines])[measure])) if lines else ""


def _as_json(lines: Sequence[Line]) -> List[Dict[str, Any]]:
    return [{**heard.as_json(), "doubt": doubt, "attempts": attempts} for heard, doubt, attempts in lines]


if __name__ == "__main__":
    main()

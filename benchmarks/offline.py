"""One program, one text after the other: real-time factor and time to first audio through the public interface.

python benchmarks/offline.py --model DIR --texts FILE
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any, Dict, List

from chattts_onnx import ChatTTS
from chattts_onnx.evaluation.report import environment, environment_line, table, write_json

TEXTS = [
    "今天早上的空气特别新鲜，我们一起去公园散步吧。",
    "The quick train leaves at nine, so please be there ten minutes early.",
    "会议改到下午三点，地点还是二楼的大会议室。",
    "我昨天用 Python 写了一个小程序，it works very well.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--precision", default=None)
    parser.add_argument("--texts", type=Path, default=None, help="one text a line")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", default=None, metavar="FILE")
    args = parser.parse_args()
    texts = args.texts.read_text(encoding="utf-8").splitlines() if args.texts else TEXTS
    begin = time.perf_counter()
    with ChatTTS.from_pretrained(args.model, precision=args.precision, threads=args.threads) as tts:
        load = time.perf_counter() - begin
        tts.synthesize(texts[0], seed=args.seed)
        rows = [_speak(tts, text, args.seed) for text in texts if text.strip()]
        name = tts.description
    audio = sum(row["audio_seconds"] for row in rows)
    wall = sum(row["wall_seconds"] for row in rows)
    report: Dict[str, Any] = {"environment": environment(), "model": name, "load_seconds": load, "texts": rows}
    print(environment_line(report["environment"]))
    print(f"{name}, loaded in {load:.2f} s, seed {args.seed}\n")
    cells: List[List[Any]] = [
        [row["text"][:24], f"{row['audio_seconds']:.2f}", f"{row['first_audio_seconds']:.3f}", f"{row['rtf']:.3f}"]
        for row in rows
    ]
    first = statistics.median(row["first_audio_seconds"] for row in rows)
    cells.append(["all", f"{audio:.2f}", f"{first:.3f}", f"{wall / audio:.3f}"])
    print(table(["text", "audio s", "first audio s", "RTF"], cells))
    if args.json:
        write_json(report, args.json)


def _speak(tts: ChatTTS, text: str, seed: int) -> Dict[str, Any]:
    begin = time.perf_counter()
    first, samples, rate = 0.0, 0, tts.sample_rate
    for chunk in tts.stream(text, seed=seed):
        first = first or time.perf_counter() - begin
        samples, rate = samples + len(chunk.samples), chunk.sample_rate
    wall = time.perf_counter() - begin
    seconds = samples / rate
    return {
        "text": text,
        "audio_seconds": seconds,
        "wall_seconds": wall,
        "first_audio_seconds": first,
        "rtf": wall / seconds if seconds else 0.0,
    }


if __name__ == "__main__":
    main()

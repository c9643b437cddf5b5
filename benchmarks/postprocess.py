"""What post-processing costs: ten seconds of audio through rate, gain, limiter and 16-bit WAV.

    python benchmarks/postprocess.py

The design this project starts from gave 15 ms for its post-processing; the bar here is 1 % of the audio's duration.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from chattts_onnx.audio.formats import to_bytes
from chattts_onnx.audio.postprocess import PostProcessor, postprocess
from chattts_onnx.evaluation.report import environment, environment_line, table, write_json

RATE = 24000
CHUNK = 4800


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", default=None, metavar="FILE")
    args = parser.parse_args()
    now = time.process_time if args.clock == "cpu" else time.perf_counter
    count = int(args.seconds * RATE)
    time_axis = np.arange(count) / RATE
    signal = (0.5 * np.sin(2 * np.pi * 180 * time_axis) * (1 + np.sin(2 * np.pi * 3 * time_axis))).astype(np.float32)
    cases: List[Tuple[str, Callable[[], Any]]] = [
        ("24 kHz to a 16-bit WAV at 16 kHz, whole", lambda: postprocess(signal, RATE, 16000)),
        ("limiter and 16-bit WAV at 24 kHz, whole", lambda: postprocess(signal, RATE, RATE)),
        ("24 to 16 kHz in chunks of 0.2 s", lambda: _chunked(signal, target_rate=16000)),
        ("speed 1.25 in chunks of 0.2 s", lambda: _chunked(signal, speed=1.25)),
    ]
    report: Dict[str, Any] = {"environment": environment(), "seconds": args.seconds, "clock": args.clock, "cases": {}}
    rows = []
    for name, work in cases:
        work()
        times = []
        for _ in range(args.repeats):
            begin = now()
            work()
            times.append(now() - begin)
        median = statistics.median(times)
        report["cases"][name] = {"median_seconds": median, "share": median / args.seconds}
        rows.append([name, f"{1000 * median:.1f}", f"{100 * median / args.seconds:.2f} %"])
    print(environment_line(report["environment"]) + f", {args.clock} clock\n")
    print(table([f"{args.seconds:g} s of audio", "ms, median", "of its duration"], rows))
    if args.json:
        write_json(report, args.json)


def _chunked(signal: Any, **options: Any) -> bytes:
    chain = PostProcessor(RATE, **options)
    parts = [chain.push(signal[start : start + CHUNK]) for start in range(0, len(signal), CHUNK)]
    return to_bytes(np.concatenate([*parts, chain.flush()]), chain.sample_rate, format="wav")


if __name__ == "__main__":
    main()

"""Carrying out a benchmark: start one process per configuration, measure in turns, collect plain values."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from chattts_onnx.errors import ChatTTSError, InputError
from chattts_onnx.evaluation.bench import BATCHES, GPU_BATCHES
from chattts_onnx.evaluation.report import Progress, available_cores, environment, write_json

SPEECH_TOKENS = 188
"""About four seconds of the published model, which is what `bench_worker.TEXT` takes."""
REQUEST_STEPS = 47
"""About one second of the published model."""
STATIC_WINDOW = 0.05
"""Seconds a static batch waits for company: the window of the design this project starts from."""
BATCHINGS = ("padded", "static", "continuous")
"""How arriving requests are put together; see `bench_worker.Subject.arrivals`."""
ARRIVING_STEPS = (16, 64, 384)
"""Shortest, middle and longest speech of an arriving request: a third of a second to eight of the published model."""
ARRIVING_SPREAD = 0.6
"""Standard deviation of the logarithm of its length: sentences are short mostly and long sometimes."""


class BenchmarkError(ChatTTSError, RuntimeError):
    """A measured process failed."""


class Child:
    """One configuration in a process of its own."""

    def __init__(self, label: str, command: Sequence[str]) -> None:
        self.label = label
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, or the one the user named
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        )

    def do(self, action: str, **arguments: Any) -> Dict[str, Any]:
        """Ask and wait.

        Raises:
            BenchmarkError: it failed or died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            code = self._process.wait()
            raise BenchmarkError(f"{self.label} ended with code {code} in {action!r}: not enough memory, perhaps")
        answer: Dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"{self.label} failed in {action!r} ({answer['error']}): see the message")
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Do what the arguments of ``chattts bench`` say; returns the report.

    Raises:
        InputError: an option cannot be used.
        BenchmarkError: a measured process failed.
        ModelError: no such model.
    """
    batches = _batches(args)
    subjects, checkpoint = _subjects(args)
    threads = args.threads or _default_threads()
    report: Dict[str, Any] = {
        "environment": environment(),
        "settings": _settings(args, batches, threads),
        "memory": {},
        "subjects": {},
    }
    children: List[Child] = []
    try:
        for label, model in subjects:
            report["memory"][label] = _peak_of_one_utterance(label, model, threads, args)
            child = Child(label, [sys.executable, "-m", "chattts_onnx.evaluation.bench_worker"])
            children.append(child)
            opened = child.do("open", model=model, **_opening(args, threads, max(batches)))
            report["subjects"][label] = {
                "open": opened,
                "limits": child.do("limits", threads=threads, context=args.context),
            }
        reference = _open_reference(args, checkpoint, threads, report)
        if reference is not None:
            children.append(reference)
        _measure_all(args, batches, children, reference, report)
        for child in children:
            report["subjects"][child.label]["peak_bytes"] = child.do("peak")["bytes"]
    finally:
        for child in children:
            child.close()
    return report


def _measure_all(
    args: argparse.Namespace,
    batches: Sequence[int],
    children: Sequence[Child],
    reference: Optional[Child],
    report: Dict[str, Any],
) -> None:
    own = [child for child in children if child is not reference]
    sections: List[Tuple[str, Callable[[], None]]] = [
        ("steps", lambda: _steps(args, batches, children, report)),
        ("requests", lambda: _requests(args, batches, children, report)),
        ("arrivals", lambda: _arrivals(args, max(batches), own, report)),
        ("parts", lambda: _parts(args, own, report)),
        ("operators", lambda: _operators(args, batches, own, report)),
        ("speech", lambda: _speech(args, batches, own, report)),
    ]
    progress = Progress("benchmark", len(sections))
    for name, section in sections:
        if name in args.only:
            section()
            if args.json and args.json != "-":
                write_json(report, args.json)  # a long run that is stopped keeps what it has
        progress.advance(name)
    progress.close()


def _steps(args: argparse.Namespace, batches: Sequence[int], children: Sequence[Child], report: Dict[str, Any]) -> None:
    for child in children:  # the first steps allocate
        child.do("decode", batch=min(batches), context=args.context, steps=4)
    for batch in batches:
        results = _in_turns(args, children, "decode", batch=batch, context=args.context, steps=args.steps)
        for label, rounds in results.items():
            rates = [one["steps"] / one["seconds"] for one in rounds]
            entry: Dict[str, Any] = {"steps_per_second": rates, "median": statistics.median(rates)}
            reads = [one["read_bytes_per_second"] for one in rounds if "read_bytes_per_second" in one]
            if reads:
                entry["read_bytes_per_second"] = statistics.median(reads)
            _store(report, label, "steps", batch, entry)


def _requests(
    args: argparse.Namespace, batches: Sequence[int], children: Sequence[Child], report: Dict[str, Any]
) -> None:
    for batch in [batch for batch in batches if batch in (1, 4, 8, 16, 32)]:
        results = _in_turns(args, children, "request", batch=batch, input_tokens=args.input_tokens, steps=REQUEST_STEPS)
        for label, rounds in results.items():
            latencies = [latency for one in rounds for latency in one["latencies"]]
            seconds = statistics.median(one["seconds"] for one in rounds)
            _store(
                report,
                label,
                "requests",
                batch,
                {
                    "mean_latency": statistics.fmean(latencies),
                    "p50_latency": statistics.median(latencies),
                    "requests_per_second": batch / seconds,
                },
            )


def _speech(
    args: argparse.Namespace, batches: Sequence[int], children: Sequence[Child], report: Dict[str, Any]
) -> None:
    for child in children:
        child.do("speak", batch=1, tokens=12)
    for batch in batches:
        results = _in_turns(args, children, "speak", batch=batch, tokens=SPEECH_TOKENS)
        for label, rounds in results.items():
            speeds = [one["audio_seconds"] / one["wall_seconds"] for one in rounds]
            first = [seconds for one in rounds for seconds in one["first_audio_seconds"]]
            _store(
                report,
                label,
                "speech",
                batch,
                {
                    "audio_seconds_per_second": statistics.median(speeds),
                    "real_time_factor": batch / statistics.median(speeds),
                    "first_audio_median": statistics.median(first),
                    "first_audio_worst": max(first),
                },
            )


def _arrivals(args: argparse.Namespace, batch: int, children: Sequence[Child], report: Dict[str, Any]) -> None:
    generator = np.random.default_rng(args.seed)
    low, middle, high = ARRIVING_STEPS
    drawn = np.exp(generator.normal(np.log(middle), ARRIVING_SPREAD, args.requests))
    lengths = [int(length) for length in np.clip(drawn, low, high)]
    gaps = generator.exponential(1.0, args.requests)
    for child in children:
        common = {
            "batch": batch,
            "lengths": lengths,
            # A token of text is about eight steps of speech; the rest is tags.
            "contexts": [16 + length // 8 for length in lengths],
            "window": STATIC_WINDOW,
        }
        # Capacity of padded batches: everything is there already, batch after batch.
        full = child.do("arrivals", batching="padded", times=[0.0] * args.requests, **common)
        capacity = args.requests / full["wall_seconds"]
        times = [float(time) for time in np.cumsum(gaps) / (args.load * capacity)]
        entry: Dict[str, Any] = {"padded_capacity": capacity, "offered": args.load * capacity}
        for batching in BATCHINGS:
            latencies = child.do("arrivals", batching=batching, times=times, **common)["latencies"]
            entry[batching] = {
                "mean": statistics.fmean(latencies),
                "p50": statistics.median(latencies),
                "p95": float(np.percentile(latencies, 95)),
            }
        report["subjects"][child.label]["arrivals"] = entry


def _parts(args: argparse.Namespace, children: Sequence[Child], report: Dict[str, Any]) -> None:
    for label, rounds in _in_turns(args, children, "parts", tokens=SPEECH_TOKENS, context=64).items():
        names = rounds[0]["seconds"]
        report["subjects"][label]["parts"] = {
            "seconds": {name: statistics.median(one["seconds"][name] for one in rounds) for name in names},
            "audio_seconds": rounds[0]["audio_seconds"],
        }


def _operators(
    args: argparse.Namespace, batches: Sequence[int], children: Sequence[Child], report: Dict[str, Any]
) -> None:
    if args.device != "cpu":
        return
    for child in children:
        for batch in (batches[0], batches[-1]):
            seconds = child.do("operators", batch=batch, context=args.context, steps=args.steps)["seconds"]
            _store(report, child.label, "operators", batch, seconds)


def _opening(args: argparse.Namespace, threads: int, batch: int) -> Dict[str, Any]:
    return {"threads": threads, "device": args.device, "max_batch": batch, "clock": args.clock}


def _in_turns(
    args: argparse.Namespace, children: Sequence[Child], action: str, **arguments: Any
) -> Dict[str, List[Dict[str, Any]]]:
    results: Dict[str, List[Dict[str, Any]]] = {child.label: [] for child in children}
    for _ in range(args.rounds):
        for child in children:
            results[child.label].append(child.do(action, **arguments))
    return results


def _store(report: Dict[str, Any], label: str, section: str, batch: int, values: Dict[str, Any]) -> None:
    report["subjects"][label].setdefault(section, {})[str(batch)] = values


def _peak_of_one_utterance(label: str, model: str, threads: int, args: argparse.Namespace) -> Dict[str, Any]:
    """A whole run at batch 1 in a fresh process: what a user's program would hold at most."""
    child = Child(label, [sys.executable, "-m", "chattts_onnx.evaluation.bench_worker"])
    try:
        opened = child.do("open", model=model, **_opening(args, threads, 1))
        child.do("speak", batch=1, tokens=SPEECH_TOKENS)
        return {"peak_bytes": child.do("peak")["bytes"], "load_seconds": opened["load_seconds"]}
    finally:
        child.close()


def _open_reference(
    args: argparse.Namespace, checkpoint: Optional[Path], threads: int, report: Dict[str, Any]
) -> Optional[Child]:
    if not args.compare:
        return None
    if checkpoint is None:
        raise InputError("--compare reference needs the checkpoint of the dims: use it with --random full")
    script = Path(__file__).with_name("reference_worker.py")
    child = Child("reference", [args.reference_python or sys.executable, str(script)])
    opened = child.do("open", checkpoint=str(checkpoint), threads=threads, kind=args.reference_kind, clock=args.clock)
    child.label = f"reference ({opened['kind']})"
    report["subjects"][child.label] = {"open": opened}
    return child


def _subjects(args: argparse.Namespace) -> Tuple[List[Tuple[str, str]], Optional[Path]]:
    """(label, directory) of each configuration, and the checkpoint they were generated from."""
    if args.random:
        from chattts_onnx.convert.package import convert
        from chattts_onnx.convert.random_checkpoint import write_random_checkpoint
        from chattts_onnx.hub.resolve import cache_directory

        if args.model:
            raise InputError("--random generates a model: leave --model out")
        work = args.work or cache_directory() / "bench"
        checkpoint = work / f"random-{args.random}"
        if not (checkpoint / "asset").is_dir():
            write_random_checkpoint(checkpoint, preset=args.random, seed=0)
        subjects = []
        for precision in args.precision or ["fp32", "int8", "int4"]:
            directory = work / f"random-{args.random}-{precision}"
            if not (directory / "manifest.json").is_file():
                convert(checkpoint, directory, precision)
            subjects.append((precision, str(directory)))
        return subjects, checkpoint
    from chattts_onnx.hub.resolve import resolve_model

    subjects = []
    for model in args.model or [None]:
        for precision in args.precision or [None]:
            resolved = resolve_model(model, precision)
            label = " ".join(part for part in (Path(model).name if model else "", precision) if part)
            subjects.append((label or resolved.description, str(resolved.path)))
    return subjects, None


def _batches(args: argparse.Namespace) -> List[int]:
    batches = args.batch or list(BATCHES if args.device == "cpu" else GPU_BATCHES)
    if min(batches) < 1 or args.rounds < 1 or args.steps < 1:
        raise InputError("batch sizes, --rounds and --steps are at least 1")
    return sorted(set(batches))


def _default_threads() -> int:
    from chattts_onnx.session import default_threads

    return min(default_threads(), available_cores())


def _settings(args: argparse.Namespace, batches: Sequence[int], threads: int) -> Dict[str, Any]:
    return {
        "batches": list(batches),
        "threads": threads,
        "device": args.device,
        "clock": args.clock,
        "context": args.context,
        "steps": args.steps,
        "rounds": args.rounds,
        "input_tokens": args.input_tokens,
        "request_steps": REQUEST_STEPS,
        "speech_tokens": SPEECH_TOKENS,
        "static_window": STATIC_WINDOW,
        "load": args.load,
        "requests": args.requests,
        "arriving_steps": list(ARRIVING_STEPS),
        "seed": args.seed,
        "random": args.random,
    }

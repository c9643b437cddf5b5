"""The tables of docs/quantization.md: what each recipe costs and what it does to speech.

    python benchmarks/quantization_report.py --checkpoint mini=CHECKPOINT --random full --update docs/quantization.md

Each checkpoint is converted to every precision (kept under --work), measured side by side in one run, compared with
fp32 over recorded sequences of the calibration texts, and, unless it is random, listened to by a recogniser.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from chattts_onnx.convert.package import convert
from chattts_onnx.convert.random_checkpoint import write_random_checkpoint
from chattts_onnx.evaluation import bench, command
from chattts_onnx.evaluation.bench_run import measure
from chattts_onnx.evaluation.calibrate_command import record, spread
from chattts_onnx.evaluation.evaluate import evaluate, render
from chattts_onnx.evaluation.fidelity import compare
from chattts_onnx.evaluation.report import (
    command_line,
    environment,
    environment_line,
    table,
    update_document,
    write_json,
)
from chattts_onnx.evaluation.sentences import CALIBRATION_TEXTS, read_sentences
from chattts_onnx.session import Recorder

PRECISIONS = ("fp32", "int8", "int4", "int8-static")
RANDOM_TEXTS, RANDOM_STEPS = 12, 96
"""Texts recorded of a generated model, and steps of each: its noise ends only where it must."""
_SECTION = re.compile(r"^### (\S+)\n.*?(?=^### |^<!-- end |\Z)", re.DOTALL | re.MULTILINE)


def main() -> None:
    args = _arguments()
    report: Dict[str, Any] = {"environment": environment(), "models": {}}
    sections: Dict[str, str] = {}
    command = command_line(
        "benchmarks/quantization_report.py", checkpoint="NAME=CHECKPOINT", **{"quality-python": "PYTHON"}
    )
    circumstances = f"```\n{command}\n```\n\n{environment_line(report['environment'])}"
    for name, checkpoint in _checkpoints(args):
        directories = _convert_all(name, checkpoint, args)
        entry: Dict[str, Any] = {"fidelity": {}}
        report["models"][name] = entry
        feeds = Recorder.load(_calibration(name, directories["fp32"], args))
        for precision, directory in directories.items():
            entry["fidelity"][precision] = vars(
                compare(directories["fp32"], directory, feeds, limit=args.fidelity_limit)
            )
        if not args.no_speed:
            entry["bench"] = measure(_bench_arguments(directories, args))
        if not name.startswith("random-") and not args.no_listening:
            entry["evaluation"] = evaluate(_eval_arguments(directories, args))
        sections[name] = f"### {name}\n\n{circumstances}\n\n{_section(name, entry)}"
    print("\n\n".join(sections.values()))
    if args.json:
        write_json(report, args.json)
    if args.update:
        _update(args.update, sections)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=DIR", help="in the published layout")
    parser.add_argument("--random", choices=("full", "tiny"), default=None, help="also a generated one")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS))
    parser.add_argument("--work", type=Path, default=Path("build/quantization"))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="see `chattts bench --help`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--calibration-limit", type=int, default=None, help="texts recorded (default: all 200)")
    parser.add_argument("--fidelity-limit", type=int, default=200, help="sequences compared with fp32")
    parser.add_argument("--sentences", type=int, default=None, help="spoken and heard per language (default: all)")
    parser.add_argument("--quality", nargs="+", default=[], help="distill-mos, dnsmos (development only)")
    parser.add_argument("--quality-python", default=None, metavar="PATH", help="a Python that has torch and distillmos")
    parser.add_argument("--listen-threads", type=int, default=1, help="cores of the recogniser")
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--no-listening", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", default=None, metavar="FILE")
    parser.add_argument(
        "--update", type=Path, default=None, metavar="FILE.md", help="put the tables between its markers"
    )
    return parser.parse_args()


def _checkpoints(args: argparse.Namespace) -> List[Tuple[str, Path]]:
    pairs = [(name, Path(directory)) for name, _, directory in (text.partition("=") for text in args.checkpoint)]
    if args.random:
        directory = args.work / f"random-{args.random}"
        if not (directory / "asset").is_dir():
            write_random_checkpoint(directory, preset=args.random, seed=0)
        pairs.append((f"random-{args.random}", directory))
    return pairs


def _convert_all(name: str, checkpoint: Path, args: argparse.Namespace) -> Dict[str, Path]:
    directories: Dict[str, Path] = {}
    for precision in ["fp32", *(one for one in args.precision if one != "fp32")]:
        directory = args.work / f"{name}-{precision}"
        if not (directory / "manifest.json").is_file():
            calibration: Optional[Path] = None
            if precision == "int8-static":
                calibration = _calibration(name, directories["fp32"], args)
            convert(checkpoint, directory, precision, calibration=calibration)
        directories[precision] = directory
    return directories


def _calibration(name: str, fp32: Path, args: argparse.Namespace) -> Path:
    path: Path = args.work / f"{name}-calibration.npz"
    if not path.is_file():
        generated = name.startswith("random-")
        sentences = spread(read_sentences(CALIBRATION_TEXTS), RANDOM_TEXTS if generated else args.calibration_limit)
        options = {"max_new_token": RANDOM_STEPS, "refine": False} if generated else {}
        record(str(fp32), sentences, seed=args.seed, threads=args.threads, **options).save(path)
    return path


def _bench_arguments(directories: Dict[str, Path], args: argparse.Namespace) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    models = [str(directory) for directory in directories.values()]
    options = ["--model", *models, "--batch", "1", "8", "--only", "steps", "--clock", args.clock]
    options += ["--rounds", str(args.rounds), "--steps", str(args.steps)]
    options += ["--threads", str(args.threads)] if args.threads else []
    return parser.parse_args(options)


def _eval_arguments(directories: Dict[str, Path], args: argparse.Namespace) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = ["--model", *(str(directory) for directory in directories.values()), "--seed", str(args.seed)]
    options += ["--limit", str(args.sentences)] if args.sentences else []
    options += ["--threads", str(args.threads)] if args.threads else []
    options += ["--quality", *args.quality] if args.quality else []
    options += ["--quality-python", args.quality_python] if args.quality_python else []
    options += ["--listen-threads", str(args.listen_threads)]
    return parser.parse_args(options)


def _section(name: str, entry: Dict[str, Any]) -> str:
    header = ["recipe", "logits cosine", "worst", "KL, nats", "same best code", "hidden cosine", "log-mel difference"]
    measured = entry.get("bench")
    if measured:
        header += ["MB on disk", "peak MB", "steps/s, batch 1", "tokens/s, batch 8"]
    rows = []
    for precision, values in entry["fidelity"].items():
        mel = values["mel_difference"]
        row = [
            precision,
            f"{values['cosine_mean']:.5f}",
            f"{values['cosine_worst']:.4f}",
            f"{values['divergence_mean']:.5f}",
            f"{100 * values['agreement']:.1f} %",
            f"{values['hidden_cosine_mean']:.5f}",
            "" if mel is None else f"{mel:.4f}",
        ]
        if measured:
            label = f"{name}-{precision}"
            subject, memory = measured["subjects"][label], measured["memory"][label]
            row += [
                f"{subject['open']['disk_bytes'] / 1e6:.1f}",
                f"{memory['peak_bytes'] / 1e6:.0f}",
                f"{subject['steps']['1']['median']:.1f}",
                f"{8 * subject['steps']['8']['median']:.0f}",
            ]
        rows.append(row)
    sequences = next(iter(entry["fidelity"].values()))["sequences"]
    text = f"Against fp32 over {sequences} recorded sequences of the calibration texts"
    if measured:
        settings = measured["settings"]
        text += f"; speed with {settings['threads']} threads, {settings['clock']} clock, measured in turns"
    text += ":\n\n" + table(header, rows)
    if "evaluation" in entry:
        text += "\n\nHeard by the recogniser (95 % bootstrap intervals over sentences):\n\n" + render(
            entry["evaluation"]
        )
    return text


def _update(path: Path, sections: Dict[str, str]) -> None:
    """Replace the sections of these models in the document's tables; those of other models stay."""
    present = {found.group(1): found.group(0).strip() for found in re.finditer(_SECTION, path.read_text("utf-8"))}
    update_document(path, "tables", "\n\n".join({**present, **sections}.values()))


if __name__ == "__main__":
    main()

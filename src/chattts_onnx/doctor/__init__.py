"""``chattts doctor``: look at everything that has ever kept somebody from speaking, and say what to fix.

Each check gives findings, never an exception: a doctor that dies of the disease is no use. What needs attention comes
with the command or the step that mends it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Callable, List, Sequence

from chattts_onnx import __version__
from chattts_onnx.doctor.finding import Finding
from chattts_onnx.errors import SynthesisError

DESCRIPTION = """\
Check this machine, this installation and the model, and say what to fix.
Exit code 0: speech works (notes may be worth reading); 4: something has to be mended first."""

_MARKS = {"ok": "ok  ", "note": "note", "fix": "FIX "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", metavar="NAME|DIR", help="the model to examine (default: the one `say` would use)")
    parser.add_argument("--precision", help="of the model")
    parser.add_argument("--device", default="cpu", help="to speak on (default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="cores to use")
    parser.add_argument("--offline", action="store_true", help="do not try to reach the hubs")
    parser.add_argument("--no-speech", action="store_true", help="do not try to speak")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Examine and report."""
    findings: List[Finding] = []
    for check in _checks(args):
        for finding in _examined(check):
            findings.append(finding)
            if not args.json:
                print(_line(finding), flush=True)
    broken = [finding for finding in findings if finding.state == "fix"]
    if args.json:
        print(json.dumps({"version": __version__, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        print(_summary(broken))
    return SynthesisError.exit_code if broken else 0


def _checks(args: argparse.Namespace) -> Sequence[Callable[[], Sequence[Finding]]]:
    from chattts_onnx.doctor import installation, machine, speech

    checks: List[Callable[[], Sequence[Finding]]] = [
        machine.check_python,
        machine.check_libc,
        machine.check_cpu,
        machine.check_cores,
        machine.check_memory,
        machine.check_text_encoding,
        installation.check_onnxruntime,
        installation.check_audio,
        installation.check_loudspeaker,
        installation.check_server,
        installation.check_cache,
    ]
    if not args.offline:
        checks.append(installation.check_hubs)
    checks.append(lambda: speech.check_model(args.model, args.precision))
    if not args.no_speech:
        checks.append(lambda: speech.check_speech(args.model, args.precision, args.device, args.threads))
    return checks


def _examined(check: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - see the module's own rule
        name = getattr(check, "__name__", "check").replace("check_", "").replace("_", " ")
        return [Finding("note", name, f"could not be examined ({type(error).__name__}: {error})")]


def _line(finding: Finding) -> str:
    line = f"{_MARKS[finding.state]} {finding.what:<12} {finding.detail}"
    return f"{line}\n{'':18}-> {finding.remedy}" if finding.remedy else line


def _summary(broken: Sequence[Finding]) -> str:
    if not broken:
        return "everything that speech needs is in order"
    return f"to be mended first: {', '.join(dict.fromkeys(finding.what for finding in broken))}"

"""Does a long text need more memory than a short one? The peak of `chattts say`, by its own process.

    python benchmarks/memory.py --model mini --format wav mp3

Each text is spoken to a file by a process of its own; the peak is its resident set as the operating system counted it.
The bar: a text of 10,000 characters peaks within 10 % of one of 500, whatever the format written.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

from chattts_onnx.evaluation.report import (
    Progress,
    command_line,
    environment,
    environment_line,
    publish,
    table,
)

FORMATS = ("wav", "pcm", "flac", "mp3", "opus", "aac")
# The child reports on itself: a parent that waits for several children only knows the largest of them all.
_CHILD = """\
import resource, sys
from chattts_onnx.cli import main
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--text", type=Path, default=Path(__file__).parent / "texts" / "zh.txt", metavar="FILE")
    parser.add_argument("--characters", type=int, nargs="+", default=[500, 10_000], help="the first is compared with")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=1, help="the median counts")
    parser.add_argument("--json", default=None, metavar="FILE")
    parser.add_argument("--update", type=Path, default=None, metavar="FILE.md", help="put the table between its marks")
    args = parser.parse_args()
    report: Dict[str, Any] = {"environment": environment(), "peaks": {}}
    progress = Progress("runs", len(args.format) * len(args.characters) * args.repeats)
    rows: List[List[Any]] = []
    for name in args.format:
        peaks = []
        for characters in args.characters:
            found = []
            for _ in range(args.repeats):
                peak, size = speak(text_of(args.text, characters), name, args)
                found.append(peak)
                progress.advance()
            peaks.append(statistics.median(found))
            report["peaks"].setdefault(name, []).append({"characters": characters, "bytes": found, "file": size})
            growth = f"{100 * (peaks[-1] / peaks[0] - 1):+.1f} %" if len(peaks) > 1 else ""
            rows.append([name, characters, f"{peaks[-1] / 1e6:.0f}", growth, f"{size / 1e6:.1f}"])
    progress.close()
    header = ["format", "characters", "peak MB", "against the first", "file MB"]
    out = environment_line(report["environment"]) + "\n\n" + table(header, rows)
    command = command_line("benchmarks/memory.py")
    publish(out, report, json_path=args.json, document=args.update, mark="memory", command=command)


def text_of(path: Path, characters: int) -> str:
    """The text, again and again, up to that length."""
    text = path.read_text(encoding="utf-8").strip() + "\n\n"
    return (text * (characters // len(text) + 1))[:characters]


def speak(text: str, format_name: str, args: argparse.Namespace) -> Tuple[int, int]:
    """Peak resident bytes of a process that speaks ``text`` to a file, and the size of the file."""
    with tempfile.TemporaryDirectory() as directory:
        source, sound = Path(directory) / "text.txt", Path(directory) / f"speech.{format_name}"
        source.write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", _CHILD, "say", "-f", str(source), "-o", str(sound), "--seed", "1", "-q"]
        command += ["--model", args.model] if args.model else []
        command += ["--threads", str(args.threads)] if args.threads else []
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)  # noqa: S603 - ourselves
        return int(done.stdout.split()[-1]), sound.stat().st_size


if __name__ == "__main__":
    main()

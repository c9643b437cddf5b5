"""Make the corpus: `python -m training.corpus --work DIR [--processes 2] [--hours 3.2] [--packs DIR]`.

Writes the job lists, runs the teachers over them (one process a core, each resumable), then joins clips for pauses and
length. Kokoro runs at 0.36 to 0.6 of real time on an AVX512 core, hibari at 0.02; --hours caps what Kokoro makes in
Mandarin, --english what it makes in English. Run again with another --seed, it adds other words, and the same sentences
by other voices, to what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from .prompts import jobs

SECONDS_A_JOB = 3.3  # measured mean length of a Mandarin clip; English ones are a little shorter


def run(args: argparse.Namespace, jobs_path: Path, processes: int) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    base = [
        sys.executable,
        "-m",
        "training.synth",
        "--work",
        str(args.work),
        "--jobs",
        str(jobs_path),
    ]
    if args.packs:
        base += ["--packs", str(args.packs)]
    workers = [
        subprocess.Popen([*base, "--shard", f"{i}/{processes}"], env=env)  # noqa: S603 - our own module
        for i in range(processes)
    ]
    if any(w.wait() for w in workers):
        raise SystemExit(f"a teacher process for {jobs_path.name} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--packs", type=Path, help="Kokoro style packs (*.bin of npm kokoro-js 1.2.1, package/voices)")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--hours", type=float, default=3.2, help="of Mandarin from Kokoro")
    parser.add_argument("--english", type=float, default=None, help="hours of English from Kokoro (default: all)")
    parser.add_argument("--composed", type=int, default=700)
    parser.add_argument("--seed", type=int, default=12)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    lists = None
    for name in ("heart", "en", "zh"):
        path = args.work / f"jobs_{name}{args.seed}.jsonl"
        if not path.exists():
            lists = lists or jobs(args.seed)
            hours = {"zh": args.hours, "en": args.english}.get(name)
            rows = lists[name] if hours is None else lists[name][: int(hours * 3600 / SECONDS_A_JOB)]
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        run(args, path, 1 if name == "heart" else args.processes)
    compose = [sys.executable, "-m", "training.compose", "--work", str(args.work), "--count", str(args.composed)]
    compose += ["--seed", str(args.seed)]
    raise SystemExit(subprocess.call(compose))  # noqa: S603 - our own module


if __name__ == "__main__":
    main()

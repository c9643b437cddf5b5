"""Run a teacher over a list of jobs: `python -m training.synth --work DIR --jobs FILE --shard 0/2`.

A job is one JSON line {"id","voice","speed","text","lang","spans"}: spans are [token, symbols] pairs,
the student's token and the teacher's symbols it covers, so durations come out per student token.
Each shard appends to its own meta file and skips what is already there: stop and resume at will.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import soundfile

from . import teacher

RATE = 24000
LEAD = 2  # frames of silence kept before the first symbol (50 ms): a predictable start
TAIL = 5  # frames kept after the last symbol


def read_lines(path: Path) -> Iterator[Dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8") as handle:
            for line in handle:
                if line.endswith("\n"):
                    yield json.loads(line)


def token_frames(spans: List[List[str]], durations: List[int]) -> List[int]:
    """Sum symbol durations (pads excluded) into token durations."""
    frames, at = [], 1
    for _, symbols in spans:
        frames.append(sum(durations[at : at + len(symbols)]))
        at += len(symbols)
    if at != len(durations) - 1:
        raise ValueError("spans do not cover the symbols")
    return frames


def finish(audio: np.ndarray, spans: List[List[str]], durations: List[int]) -> Dict[str, Any]:
    """Cut the pads to a fixed length and express what is left as [lead, tokens..., tail]."""
    frames = token_frames(spans, durations)
    first, last = durations[0], durations[-1]
    lead, tail = min(LEAD, first), min(TAIL, last)
    start = (first - lead) * teacher.FRAME
    stop = len(audio) - (last - tail) * teacher.FRAME
    return {"audio": audio[start:stop], "frames": [lead, *frames, tail]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--jobs", type=Path, required=True)
    parser.add_argument("--packs", type=Path, help="directory of Kokoro style packs (*.bin)")
    parser.add_argument("--shard", default="0/1")
    args = parser.parse_args()
    shard, shards = (int(x) for x in args.shard.split("/"))
    name = f"{args.jobs.stem}-{shard}of{shards}"
    out = args.work / "corpus" / "audio"
    out.mkdir(parents=True, exist_ok=True)
    meta = args.work / "corpus" / f"{name}.jsonl"
    done = {row["id"] for row in read_lines(meta)}
    jobs = [j for i, j in enumerate(read_lines(args.jobs)) if i % shards == shard and j["id"] not in done]
    engines: Dict[str, Any] = {}
    began, seconds = time.time(), 0.0
    with meta.open("a", encoding="utf-8") as handle:
        for job in jobs:
            kind = "hibari" if job["voice"] == teacher.HIBARI_VOICE else "kokoro"
            if kind not in engines:
                engines[kind] = (
                    teacher.Hibari(args.work)
                    if kind == "hibari"
                    else teacher.Kokoro(args.work, args.packs or args.work / "npm" / "package" / "voices")
                )
            symbols = "".join(s for _, s in job["spans"])
            try:
                audio, durations = engines[kind](symbols, job["voice"], job["speed"])
                row = finish(audio, job["spans"], durations)
            except Exception as error:  # noqa: BLE001 - one odd prompt must not end a long run
                print("skip", job["id"], repr(error), flush=True)
                continue
            clip = row.pop("audio")
            file = f"{job['id']}.flac"
            soundfile.write(out / file, np.clip(clip, -1, 1), RATE, subtype="PCM_16")
            row.update(
                id=job["id"],
                file=file,
                lang=job["lang"],
                voice=job["voice"],
                speed=job["speed"],
                text=job["text"],
                tokens=[t for t, _ in job["spans"]],
                samples=len(clip),
            )
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")
            handle.flush()
            seconds += len(clip) / RATE
            if seconds % 60 < 3:
                print(f"{seconds:.0f} s made in {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

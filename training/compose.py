"""Longer clips with pauses, cut and pasted from finished ones: `python -m training.compose --work DIR`.

Teachers give no `[uv_break]` or `[lbreak]`; two or three clips of a voice joined by silence do. They
also teach segments of 8 to 12 s and a change of language in mid-text. With the tag of pace moved to
where the last clip begins, they are a transcript, its speech and new text (`gpt_data`): what cloning and
reading on from the segment before look like.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import soundfile

from . import data
from .synth import LEAD
from .teacher import FRAME

SILENCE = {"[uv_break]": (8, 14), "[lbreak]": (24, 34), "": (2, 8)}  # frames of 25 ms


def join(work: Path, rows: List[Dict[str, Any]], rng: np.random.Generator) -> Dict[str, Any]:
    """One clip of several: tokens, frames, audio, and `split`, how many tokens stand before the last clip's."""
    tokens: List[str] = []
    frames: List[int] = [LEAD]
    split = 0
    pieces: List[np.ndarray] = []
    for k, row in enumerate(rows):
        audio, _ = soundfile.read(work / "corpus" / "audio" / row["file"], dtype="int16")
        own, lens = list(row["tokens"]), list(row["frames"])
        lead, tail = lens[0], lens[-1]
        if k:
            frames[-1] += lead
        else:
            frames[0] = lead
        if k + 1 == len(rows):
            split = len(tokens)
            tokens += own
            frames += lens[1:]
            pieces.append(audio)
            break
        tag = ("[uv_break]", "[lbreak]", "")[int(rng.choice(3, p=(0.45, 0.2, 0.35)))]
        low, high = SILENCE[tag]
        gap = int(rng.integers(low, high))
        if tag and own[-1] in ".," and rng.random() < 0.6:  # the tag alone makes the pause
            own = own[:-1]
            rest = lens[len(own) + 1] + tail
        else:
            rest = tail
        tokens += own
        frames += lens[1 : len(own) + 1]
        if tag:
            tokens.append(tag)
            frames.append(rest + gap)
        else:
            frames[-1] += rest + gap
        pieces += [audio, np.zeros(gap * FRAME, np.int16)]
    audio = np.concatenate(pieces)
    return {"tokens": tokens, "frames": frames, "audio": audio, "split": split}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--count", type=int, default=700)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    meta = args.work / "corpus" / f"composed{args.seed}.jsonl"
    groups: Dict[Any, List[Dict[str, Any]]] = {}
    for row in data.rows(args.work):
        if not row["id"].startswith("cp") and row["samples"] < 6 * 24000:
            groups.setdefault((row["voice"], row["speed"]), []).append(row)
    keys = list(groups)
    # voices count by the square root of what they have, so that the bulk voice does not take all
    weight = np.array([len(groups[k]) ** 0.5 for k in keys])
    with meta.open("w", encoding="utf-8") as handle:
        made = 0
        while made < args.count:
            pool = groups[keys[int(rng.choice(len(keys), p=weight / weight.sum()))]]
            if len(pool) < 4:
                continue
            rows = [pool[int(i)] for i in rng.integers(0, len(pool), int(rng.choice([2, 2, 3, 4])))]
            if sum(r["samples"] for r in rows) > 11 * 24000:
                continue
            clip = join(args.work, rows, rng)
            audio = clip.pop("audio")
            assert sum(clip["frames"]) * FRAME == len(audio), (sum(clip["frames"]) * FRAME, len(audio))
            name = f"cp{args.seed}{made:05d}"
            soundfile.write(args.work / "corpus" / "audio" / f"{name}.flac", audio, 24000, subtype="PCM_16")
            clip.update(id=name, file=f"{name}.flac", text=" ".join(r["text"] for r in rows), samples=len(audio))
            clip.update({key: rows[0][key] for key in ("lang", "voice", "speed")})
            handle.write(json.dumps(clip, ensure_ascii=False) + "\n")
            made += 1


if __name__ == "__main__":
    main()

"""The teachers read the evaluation sentences: `python -m training.floor --work DIR --packs DIR [--limit 32]`.

DIR/floor/manifest.jsonl then goes through `chattts eval --manifest`: what the same ear hears, and what the same
predictors think, of the best that `mini` could be. Each sentence is read by the voice that reads it in `chattts eval`,
so the two can be compared sentence by sentence. The recordings are for measuring only; the corpus never contains them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

from .prompts import Mapper
from .synth import RATE, finish
from .teacher import BLENDS, HIBARI_VOICE, Hibari, Kokoro

SENTENCES = Path(__file__).resolve().parent.parent / "src" / "chattts_onnx" / "evaluation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--packs", type=Path, help="Kokoro style packs, as for training.corpus")
    parser.add_argument("--limit", type=int, default=64, help="sentences per language")
    args = parser.parse_args()
    out = args.work / "floor"
    out.mkdir(parents=True, exist_ok=True)
    mapper = Mapper()
    kokoro = Kokoro(args.work, args.packs or args.work / "npm" / "package" / "voices")
    teachers = {**dict.fromkeys(BLENDS, kokoro), HIBARI_VOICE: Hibari(args.work)}
    with (out / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for lang, voices in (("zh", sorted(BLENDS)), ("en", sorted(teachers))):  # the order of `chattts voices list`
            lines = [s for s in (SENTENCES / f"sentences_{lang}.txt").read_text("utf-8").split("\n") if s]
            for n, text in enumerate(lines[: args.limit]):
                spans = mapper.spans(text)
                voice = voices[n % len(voices)]
                audio, durations = teachers[voice]("".join(s for _, s in spans), voice, 1.0)
                row = {"file": f"{lang}{n:02d}.wav", "text": text, "lang": lang, "voice": voice}
                soundfile.write(out / row["file"], np.clip(finish(audio, spans, durations)["audio"], -1, 1), RATE)
                manifest.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

"""Build the package's English data: `python -m training.lexicon --out src/chattts_onnx/text/data`.

Source: misaki's American gold and silver lexicons (Apache-2.0) as carried by hibari-tts. Words that
the run time's own suffix rules or letter-to-sound table already read right are left out. The
letter-to-sound table is learnt here: letters are aligned to phonemes by expectation-maximisation,
then a default-and-refine list keeps only the contexts that change the answer of a shorter one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, List, Tuple

from chattts_onnx.text import english

from .teacher import _package_dir

STRESS = "ˈˌ"
SILVER_RANK = 60000  # silver words are kept only this far down the frequency list
CONTEXTS = english.CONTEXTS


def entries() -> Tuple[Dict[str, str], Dict[str, str]]:
    def read(name: str) -> Dict[str, str]:
        raw = json.loads(
            gzip.decompress((_package_dir("hibari") / "assets" / f"lexicon_us_{name}.json.gz").read_bytes())
        )
        out = {}
        for word, value in raw.items():
            phones = value["DEFAULT"] if isinstance(value, dict) else value
            if phones and all(c.isascii() and (c.isalpha() or c in "'-") for c in word):
                out[word] = phones
        return out

    return read("gold"), read("silver")


def units(phones: str) -> List[str]:
    """Phoneme characters, a stress mark kept with the sound it precedes."""
    out: List[str] = []
    mark = ""
    for c in phones:
        if c in STRESS:
            mark += c
        else:
            out.append(mark + c)
            mark = ""
    return out


def align(pairs: List[Tuple[str, List[str]]], rounds: int = 5) -> List[List[str]]:
    """For every word, the phonemes each letter stands for (none to three), by hard EM."""
    score: Dict[Tuple[str, str], float] = {}
    best: List[List[str]] = []
    for turn in range(rounds):
        counts: Counter = Counter()
        best = []
        for word, phones in pairs:
            n, m = len(word), len(phones)
            table = [[-1e18] * (m + 1) for _ in range(n + 1)]
            back = [[0] * (m + 1) for _ in range(n + 1)]
            table[0][0] = 0.0
            for i in range(n):
                for j in range(m + 1):
                    if table[i][j] < -1e17:
                        continue
                    for k in range(min(3, m - j) + 1):
                        key = (word[i], "".join(p.strip(STRESS) for p in phones[j : j + k]))
                        gain = score.get(key, -12.0) if turn else (-abs(j + k - (i + 1) * m / n) * 0.3 - abs(k - 1))
                        if table[i][j] + gain > table[i + 1][j + k]:
                            table[i + 1][j + k] = table[i][j] + gain
                            back[i + 1][j + k] = k
            if table[n][m] < -1e17:
                best.append([])
                continue
            parts, j = [], m
            for i in range(n, 0, -1):
                k = back[i][j]
                parts.append("".join(phones[j - k : j]))
                counts[(word[i - 1], "".join(p.strip(STRESS) for p in phones[j - k : j]))] += 1
                j -= k
            best.append(parts[::-1])
        totals: Counter = Counter()
        for (letter, _), c in counts.items():
            totals[letter] += c
        score = {key: math.log(c / totals[key[0]]) for key, c in counts.items()}
    return best


def refine(pairs: List[Tuple[str, List[str]]], aligned: List[List[str]]) -> Dict[str, str]:
    """Context -> phonemes, shortest first; a longer context is stored only where it changes the answer."""
    votes: List[Dict[str, Counter]] = [defaultdict(Counter) for _ in CONTEXTS]
    for (word, _), parts in zip(pairs, aligned):
        if not parts:
            continue
        padded = english.pad(word)
        for i, part in enumerate(parts):
            for level, shape in enumerate(CONTEXTS):
                votes[level][english.context(padded, i, shape)][part] += 1
    rules: Dict[str, str] = {}
    for level, table in enumerate(votes):
        for key, counter in table.items():
            part, count = counter.most_common(1)[0]
            total = sum(counter.values())
            left, letter, right = key.split("|")
            previous = english.look_up(rules, left, letter, right, level)
            if part != previous and (
                level == 0 or (count >= 4 and count >= 0.5 * total and count - counter[previous] >= 3)
            ):
                rules[key] = part
    return rules


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep-rules", action="store_true", help="reuse the letter-to-sound table that is there")
    args = parser.parse_args()
    from wordfreq import top_n_list

    gold, silver = entries()
    common = set(top_n_list("en", SILVER_RANK))
    words = dict(gold)
    for word, phones in silver.items():
        if word not in words and word.lower() in common:
            words[word] = phones
    plain = [(w, units(p)) for w, p in words.items() if w.isalpha() and w == w.lower() and len(w) > 2]
    rules = dict(english.Reader.load().rules) if args.keep_rules else refine(plain, align(plain))
    args.out.mkdir(parents=True, exist_ok=True)

    def write(name: str, rows: Dict[str, str]) -> None:
        text = "\n".join(f"{k}\t{v}" for k, v in sorted(rows.items()))
        (args.out / name).write_bytes(lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))

    write("english_rules.txt.xz", rules)
    reader = english.Reader({}, rules)
    kept: Dict[str, str] = {}
    for word in sorted(words, key=len):  # stems before the words made of them
        reader.lexicon = kept
        # what only the letter-to-sound table reads stays: suffix rules need its entry as a stem
        if len(word) < 4 or reader.suffixed(word) != words[word]:
            kept[word] = words[word]
    write("english_lexicon.txt.xz", kept)
    right = sum(reader.spell(w) == "".join(p) for w, p in plain)
    print(
        f"{len(words)} words, {len(kept)} stored, {len(rules)} rules; rules alone read {right / len(plain):.3f} right"
    )


if __name__ == "__main__":
    main()

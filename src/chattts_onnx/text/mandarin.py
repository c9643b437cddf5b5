"""Hanzi to the Mandarin symbols of the phoneme front end: pinyin as *spoken*, then initial + final.

pypinyin knows the readings of characters and phrases; what it leaves to the speaker is done here:
tone sandhi (third tones, 一, 不), common neutral tones, and the particles 得 and 地, whose dictionary
reading is not the one heard after a verb or before one. A model trained on symbols can only say
what the symbols say, so training and run time must share this one module.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ebef〇]+")

INITIALS = ("zh", "ch", "sh", "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "r", "z", "c", "s")
FINALS = (
    "a o e eh ai ei ao ou an ang en eng er ong i ia io iao ie iou ian iang in ing iong "
    "u ua uo uai uei uan uang uen ueng v ve van vn ir iz m n ng"
).split()
TONES = "12345"

_ZERO_INITIAL = {
    "yi": "i", "ya": "ia", "yo": "io", "yao": "iao", "ye": "ie", "you": "iou", "yan": "ian", "yang": "iang",
    "yin": "in", "ying": "ing", "yong": "iong", "yai": "ai", "yu": "v", "yue": "ve", "yuan": "van", "yun": "vn",
    "wu": "u", "wa": "ua", "wo": "uo", "wai": "uai", "wei": "uei", "wan": "uan", "wang": "uang", "wen": "uen",
    "weng": "ueng", "ê": "eh", "hm": "m", "hng": "ng", "r": "er",
}  # fmt: skip
_SHORT = {"iu": "iou", "ui": "uei", "un": "uen", "ue": "ve", "ê": "eh"}
_AFTER_JQX = {"u": "v", "ue": "ve", "uan": "van", "un": "vn"}


def _light_words() -> FrozenSet[str]:
    """Words whose last syllable is light in ordinary speech; pypinyin reads many of them in full."""
    path = Path(__file__).resolve().parent / "data" / "mandarin_light.txt"
    return frozenset(path.read_text("utf-8").split())


_NEUTRAL = _light_words()
_NEUTRAL_LENGTHS = sorted({len(w) for w in _NEUTRAL}, reverse=True)

_DE_FULL_BEFORE = set("到出了以知益失胜分奖名票罪主天手逞意体道过宠")  # 得 is de2 before these: 得到, 得以, 得知 ...
_DE_FULL_AFTER = set("获取所赢博心难求贪夺应自非")  # ... and after these: 获得, 取得, 心得 ...
_DE_MUST_AFTER = set("我你您他她它们咱就还总只可都也又须非必人得")  # 得 is dei3 after these unless a complement follows
_DI_ADVERB = frozenset(
    "高兴 认真 努力 仔细 小心 安静 大声 小声 轻轻 慢慢 快乐 开心 热情 激动 紧张 耐心 迅速 不断 不停 "
    "渐渐 悄悄 静静 深深 紧紧 默默 逐渐 愉快 生气 着急 兴奋 自然 简单 完全 清楚 明显 大胆 勇敢 积极 "
    "主动 顺利 成功 准确 正确 有效 特别 痛苦 伤心 严肃".split()
)
_DIGITS = set("零〇一二三四五六七八九十两")
_YI_FULL_AFTER = set("第初周期拜统唯之万专单合同其惟")
_YI_FULL_BEFORE = set("月号日楼班级")
_ERHUA_BEFORE = frozenset("这那哪点事玩会空花活话伙块头味劲面边份样圈弯趟眼嘴歌猫鸟馅碗盘根条片本名门孩男")

_Readings = List[str]


def _read(text: str) -> _Readings:
    """Dictionary readings of a run of hanzi, one per character (`xx5` for neutral)."""
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError as error:  # pragma: no cover - depends on the installation
        raise ImportError("Mandarin text needs pypinyin: pip install 'chattts-onnx[zh]'") from error
    # A list, one reading a character, is what it takes here, whatever its annotation says.
    unread: Any = lambda chars: ["" for _ in chars]  # noqa: E731
    readings = lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True, errors=unread)
    if len(readings) != len(text):  # never seen; keeps the one-per-character promise whatever pypinyin does
        readings = [(lazy_pinyin(c, style=Style.TONE3, neutral_tone_with_five=True) or [""])[0] for c in text]
    return [r if re.fullmatch("[a-zêüv]+[1-5]", r) else "" for r in readings]


def _tone(reading: str) -> str:
    return reading[-1:] if reading else ""


def _set_tone(reading: str, tone: str) -> str:
    return reading[:-1] + tone if reading else reading


def _neutral_tones(text: str, readings: _Readings) -> None:
    at = 0
    while at < len(text):
        for length in _NEUTRAL_LENGTHS:
            if text[at : at + length] in _NEUTRAL and len(text[at : at + length]) == length:
                last = at + length - 1
                # 上/里/来 ... after a name of a place is light; the first syllable keeps its tone
                readings[last] = _set_tone(readings[last], "5")
                at += length - 1
                break
        at += 1


def _particles(text: str, readings: _Readings) -> None:
    for i, char in enumerate(text):
        before, after = text[i - 1 : i] if i else "", text[i + 1 : i + 2]
        if char == "得" and before:
            if (
                before in _DE_MUST_AFTER
                and after
                and after not in "很多太不到了好真非更"
                and after not in _DE_FULL_BEFORE
            ):
                readings[i] = "dei3"
            elif (after in _DE_FULL_BEFORE and after) or before in _DE_FULL_AFTER or text[i - 1 : i + 2] == "不得不":
                readings[i] = "de2"
            else:
                readings[i] = "de5"
        elif char == "地" and i >= 2 and after:
            if text[i - 2] == text[i - 1] or text[i - 2 : i] in _DI_ADVERB:
                readings[i] = "de5"
        elif char == "了" and readings[i] == "liao3" and (not after or before == "到"):
            readings[i] = "le5"
        elif char == "儿" and before and before in _ERHUA_BEFORE and after not in set("子女童歌媳科"):
            readings[i] = "er5"


def _yi_and_bu(text: str, readings: _Readings) -> None:
    for i, char in enumerate(text):
        if char not in "一不":
            continue
        before, after = text[i - 1 : i] if i else "", text[i + 1 : i + 2]
        tone = _tone(readings[i + 1]) if i + 1 < len(text) else ""
        if after == "个":
            tone = "4"  # light, but it still lowers what stands before it
        if char == "不":
            if before and before == after:
                readings[i] = "bu5"
            else:
                readings[i] = "bu2" if tone == "4" else "bu4"
        elif before and before == after and before not in _DIGITS:
            readings[i] = "yi5"
        elif not after or before in _DIGITS or before in _YI_FULL_AFTER or after in _DIGITS or after in _YI_FULL_BEFORE:
            readings[i] = "yi1"
        elif tone:
            readings[i] = "yi2" if tone == "4" else ("yi4" if tone in "123" else "yi1")


def _is_word(word: str) -> bool:
    from pypinyin.constants import PHRASES_DICT

    return word in PHRASES_DICT


def _third_tones(text: str, readings: _Readings) -> None:
    """A third tone before a third tone is spoken as a second; in threes, a word at the end keeps its own."""
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and _tone(readings[end]) == "3":
            end += 1
        length = end - at
        if length == 3 and not _is_word(text[at : at + 2]) and _is_word(text[at + 1 : end]):
            readings[at + 1] = _set_tone(readings[at + 1], "2")
        elif length >= 2:
            size = 2 if length >= 4 else length
            for i in range(at, end - 1):
                if length < 4 or (i - at) % size != size - 1:
                    readings[i] = _set_tone(readings[i], "2")
        at = max(end, at + 1)


def readings(text: str) -> List[str]:
    """Pinyin with tone digits as spoken, one per character of a run of hanzi ("" if unknown)."""
    out = _read(text)
    _particles(text, out)
    _neutral_tones(text, out)
    _yi_and_bu(text, out)
    _third_tones(text, out)
    return out


def split_syllable(pinyin: str) -> Optional[Tuple[str, str]]:
    """("", "iou3") for `you3`, ("zh", "ang4") for `zhang4`; None when it is no Mandarin syllable."""
    base, tone = pinyin[:-1].replace("ü", "v"), pinyin[-1:]
    if tone not in TONES or not base:
        return None
    if base in _ZERO_INITIAL:
        return "", _ZERO_INITIAL[base] + tone
    initial = next((i for i in INITIALS if base.startswith(i) and len(base) > len(i)), "")
    final = base[len(initial) :]
    if base in ("ng", "n", "m"):
        initial, final = "", base
    if initial in ("j", "q", "x"):
        final = _AFTER_JQX.get(final, final)
    final = _SHORT.get(final, final)
    if final == "i" and initial in ("zh", "ch", "sh", "r"):
        final = "ir"
    elif final == "i" and initial in ("z", "c", "s"):
        final = "iz"
    elif final == "o" and initial in ("b", "p", "m", "f", "l"):
        final = "uo"
    return (initial, final + tone) if final in FINALS else None


def symbols(pinyin: str) -> List[str]:
    """The front end's symbols of a syllable: `zh-`, `ang4`. The dash marks the initial's slot."""
    parts = split_syllable(pinyin)
    if parts is None:
        return []
    initial, final = parts
    return [initial + "-", final] if initial else [final]


def inventory() -> List[str]:
    """Every symbol this module can produce, in a fixed order."""
    return [i + "-" for i in INITIALS] + [f + t for f in FINALS for t in TONES]


def is_han(char: str) -> bool:
    """Whether a character is a hanzi."""
    return _HAN.match(char) is not None


_CACHE: Dict[str, List[str]] = {}


def phonemize(text: str) -> List[str]:
    """Symbols of a run of hanzi."""
    out: List[str] = []
    for reading in readings(text):
        if reading not in _CACHE:
            _CACHE[reading] = symbols(reading)
        out.extend(_CACHE[reading])
    return out

from __future__ import annotations

import re
from pathlib import Path
from typing import List

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chattts_onnx.errors import InputError
from chattts_onnx.text.characters import HAN
from chattts_onnx.text.lexicon import Lexicon, load_lexicon
from chattts_onnx.text.normalizer import detect_language, normalize
from chattts_onnx.text.tags import WORD_TAGS

from .timing import FLOOD_CASES, flood, seconds

READABLE = re.compile(rf"(?:[{HAN}A-Za-z，。？！、,.?!' ]|{'|'.join(map(re.escape, sorted(WORD_TAGS)))})*")
WORDS = """你好 苹果 个 年 月 日 元 万 ， 。 ？ ！ hello GPT US a.m. No. kg km/h % $ ￥ € ° ± = + - / : . , ; ( ) [ ]
[laugh] [x] 0 1 2 10 007 2024 3.14 1,234 12:30 555-1234 '70s é Σ １ Ａ ① ½ Ⅳ 😀 の * _ # @ & < > " ' ’ ~ … —— v1.2
1st http://a.b me@x.cn"""
BLANKS_AND_PHRASES = [" ", "\n", "\u200b", "\ud800", "\x00", "Dr. Li ", "the Main St. is", "J. K. Rowling"]
PIECES = st.sampled_from([*WORDS.split(), *BLANKS_AND_PHRASES])
TEXTS = st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=40)


@given(TEXTS, st.sampled_from([None, "zh", "en"]))
@settings(max_examples=150, deadline=None)
def test_only_what_the_model_reads_is_left(text: str, language: str) -> None:
    assert READABLE.fullmatch(normalize(text, language=language))


@given(TEXTS, st.sampled_from(["zh", "en"]))
@settings(max_examples=150, deadline=None)
def test_normalising_again_changes_nothing(text: str, language: str) -> None:
    once = normalize(text, language=language)
    assume(not re.search(r"(?<![A-Za-z])[A-Z]\. ?[A-Z]", once))  # an initial or the end of a sentence: nobody can tell
    # The full stop behind an address may be read as that of an abbreviation once the address is words.
    assume(not re.search(r"\S[/.@%]\S*(?:Dr|St|No)\.", text))
    assert normalize(once, language=language) == once


@given(st.lists(st.sampled_from(sorted(WORD_TAGS)), max_size=5), st.lists(PIECES, min_size=6, max_size=6))
@settings(max_examples=80, deadline=None)
def test_tags_pass_through_in_order(tags: List[str], pieces: List[str]) -> None:
    plain = [re.sub(r"[\[\]]", "", piece) for piece in pieces]
    text = "".join(piece + tag for piece, tag in zip(plain, [*tags, "", "", "", "", "", ""]))
    assert re.findall(r"\[[a-z_]+\]", normalize(text, language="zh")) == tags


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你好世界", "zh"),
        ("hello world", "en"),
        ("我用 Python 写代码", "zh"),
        ("I like 北京 very much indeed", "en"),
        ("123", "en"),
        ("￥5", "zh"),
        ("iPhone 15 Pro Max售价为￥9,999起，支持5G和Wi-Fi 6E。", "zh"),
        ("室温25℃±2℃", "zh"),
        ("共5篇[pause 500ms]", "zh"),
        ("", "en"),
    ],
)
def test_the_script_tells_the_language(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("我有3个苹果。I have 3 apples.", "我有三个苹果。I have three apples."),
        ("他说：“我们走吧？”她说好！", "他说，我们走吧？她说好！"),
        ("真的吗？？！", "真的吗？"),
        ("今天天气很好[laugh]我们去玩3天吧[lbreak]", "今天天气很好[laugh]我们去玩三天吧[lbreak]"),
        (
            "花了￥99.9元买GPT-4的书，速度100km/h，占2.5万",
            "花了九十九点九元买G P T四的书，速度每小时一百公里，占二点五万",
        ),
        ("# 标题\n\n**粗体**和*斜体*，`代码`，[链接](https://x.cn)", "标题。粗体和斜体，代码，链接"),
        ("- 苹果3个\n- 香蕉5根", "苹果三个。香蕉五根"),
        ("1. 第一\n2. 第二", "一。第一。二。第二"),
        ("| 名称 | 数量 |\n|---|---|\n| 苹果 | 3 |", "名称，数量。苹果，三"),
        ("😀你好👨‍👩‍👧，世界🇨🇳", "你好，世界"),
        ("<p>你好<br/>世界</p>", "你好世界"),
        ("A &amp; B", "A and B"),
        ("寶貝，這裡有3個蘋果", "寶貝，這裡有三個蘋果"),
        ("ＧＰＴ　４", "G P T four"),
        ("Café naïve", "Cafe naive"),
        ("等等……好吧——走", "等等，好吧，走"),
        ("你好\u200b世\u202e界", "你好世界"),
        ("Don’t stop", "Don't stop"),
        ("Really? Yes!", "Really? Yes!"),
        ("state-of-the-art (new)", "state of the art, new"),
        ("雪の花", "雪花"),
        ("[UV_BREAK]你好[ laugh ]", "[uv_break]你好[laugh]"),
        ("[spk_emb]你好[foo]", "你好"),
        ("没有关的[括号", "没有关的，括号"),
        ("😀😀", ""),
        ("", ""),
    ],
)
def test_texts(written: str, spoken: str) -> None:
    assert normalize(written) == spoken


def test_the_language_can_be_forced() -> None:
    assert normalize("5G", language="zh") == "五G"
    assert normalize("5G", language="en") == "five G"
    with pytest.raises(InputError, match="'zh' or 'en'"):
        normalize("5", language="ja")


def test_a_text_without_letters_takes_the_language_around_it() -> None:
    assert normalize("2024", default="zh") == "两千零二十四"
    assert normalize("2024") == "twenty twenty four"


def test_without_rules_digits_stay() -> None:
    assert normalize("共３篇[LAUGH]😀，50%", rules=False) == "共3篇[laugh]，50"


def test_letters_nobody_can_read_are_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert normalize("你好 привет") == "你好"
    assert "п" in caplog.text


@pytest.mark.parametrize("symbol", FLOOD_CASES)
def test_floods_are_read_in_linear_time(symbol: str) -> None:
    text = flood(symbol)
    assert seconds(lambda: normalize(text)) < 2.0


def test_the_lexicon_comes_first_and_does_not_loop() -> None:
    lexicon = Lexicon({"GPT": "杰皮提", "行长": "航长", "2号线": "二号线路", "a": "b", "b": "a"})
    assert normalize("GPT的行长坐2号线", lexicon=lexicon, language="zh") == "杰皮提的航长坐二号线路"
    assert lexicon.apply("a b gpt gpts") == "b a 杰皮提 gpts"
    assert len(lexicon) == 5


def test_the_longest_word_wins() -> None:
    assert Lexicon({"重庆": "崇庆", "重庆大学": "崇大"}).apply("重庆大学在重庆") == "崇大在崇庆"


def test_lexicon_files(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# names\nGPT\tgee pee tee\n\n行长 = 航长\n", encoding="utf-8")
    assert load_lexicon(path).apply("GPT行长") == "gee pee tee航长"


@pytest.mark.parametrize("content", [b"no separator here\n", b"\t reading\n", b"\xff\xfe\x00\xd8"])
def test_bad_lexicon_files_say_where(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"words\.txt"):
        load_lexicon(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_lexicon(tmp_path / "absent.txt")


def test_an_empty_lexicon_changes_nothing() -> None:
    assert Lexicon({}).apply("你好") == "你好"

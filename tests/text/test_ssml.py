from __future__ import annotations

import logging
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.errors import InputError
from chattts_onnx.text.ssml import MAX_DEPTH, Span, is_ssml, parse_ssml


def texts(document: str) -> List[str]:
    return [span.text for span in parse_ssml(document)]


def test_the_subset_as_spans() -> None:
    document = """<?xml version="1.0"?>
    <speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="zh-CN">
      <p><s>第一句。</s><s>第二句<break time="500ms"/>还没完。</s></p>
      <voice name="alice">换人<prosody rate="fast">快一点</prosody>说</voice>
      再见
    </speak>"""
    assert parse_ssml(document) == [
        Span("第一句。", None, None, 380, "zh"),
        Span("第二句", None, None, 500, "zh"),
        Span("还没完。", None, None, 750, "zh"),
        Span("换人", "alice", None, 0, "zh"),
        Span("快一点", "alice", 1.25, 0, "zh"),
        Span("说", "alice", None, 0, "zh"),
        Span("再见", None, None, 0, "zh"),
    ]


@pytest.mark.parametrize(
    ("attributes", "pause_ms"),
    [
        ('time="0.25s"', 250),
        ('time="90s"', 10_000),
        ('strength="none"', 0),
        ('strength="weak"', 160),
        ('strength="x-strong"', 1200),
        ("", 380),
        ('time="1s" strength="weak"', 1000),
    ],
)
def test_breaks(attributes: str, pause_ms: int) -> None:
    assert parse_ssml(f"<speak>你好<break {attributes}/>再见</speak>")[0].pause_ms == pause_ms


def test_a_break_before_the_first_word_is_a_pause_of_its_own() -> None:
    assert parse_ssml('<speak><break time="1s"/>你好</speak>') == [Span("", pause_ms=1000), Span("你好")]


@pytest.mark.parametrize(
    ("rate", "value"),
    [
        ("x-slow", 0.5),
        ("medium", 1.0),
        ("120%", 1.2),
        ("+20%", 1.2),
        ("-50%", 0.5),
        ("1.5", 1.5),
        ("900%", 4.0),
        ("1%", 0.25),
    ],
)
def test_rates(rate: str, value: float) -> None:
    (span,) = parse_ssml(f'<speak><prosody rate="{rate}">你好</prosody></speak>')
    assert span.rate == pytest.approx(value)


def test_nested_rates_multiply() -> None:
    spans = parse_ssml('<speak><prosody rate="2">a<prosody rate="50%">b</prosody></prosody></speak>')
    assert [span.rate for span in spans] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ('<sub alias="世界卫生组织">WHO</sub>说', "世界卫生组织 说"),
        ('<say-as interpret-as="characters">GPT4</say-as>', "G P T four"),
        ('<say-as interpret-as="spell-out" xml:lang="zh">AB1</say-as>', "A B 幺"),
        ('<say-as interpret-as="telephone" xml:lang="zh">110</say-as>', "幺幺零"),
        ('<say-as interpret-as="digits">2024</say-as>', "two oh two four"),
        ('第<say-as interpret-as="ordinal">3</say-as> place', "第third place"),
        ('<say-as interpret-as="ordinal" xml:lang="zh">3</say-as>', "第三"),
        ('<say-as interpret-as="date">2024-05-06</say-as>', "2024-05-06"),
        ("<emphasis>really</emphasis> [laugh]", "really [laugh]"),
        ("a &lt; b &#38; c", "a < b & c"),
        ("<desc>not read</desc>read", "read"),
    ],
)
def test_readings(inner: str, text: str) -> None:
    assert texts(f"<speak>{inner}</speak>") == [text]


def test_unknown_elements_are_read_plainly_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert texts('<speak><m:express-as xmlns:m="urn:x" style="sad">你好</m:express-as></speak>') == ["你好"]
    assert "express-as" in caplog.text


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("<speak>你好", r"line 1, column \d+: no element found"),
        ("<speak>\n  <p>你好</s></speak>", r"line 2, column \d+: mismatched tag"),
        ("", "no element found"),
        ("你好", "line 1, column 1"),
        ("<p>你好</p>", "<speak>"),
        ("<speak>&nbsp;</speak>", "undefined entity"),
        ("<!DOCTYPE speak><speak>x</speak>", "document types"),
        ('<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><speak>&b;</speak>', "document types"),
        ('<!DOCTYPE s SYSTEM "file:///etc/passwd"><speak>x</speak>', "document types"),
        ('<speak>你好\n<break time="soon"/></speak>', r"line 2, column \d+: break time 'soon'"),
        ('<speak><break strength="huge"/></speak>', "strength 'huge'"),
        ('<speak><prosody rate="warp">x</prosody></speak>', "rate 'warp'"),
        ("<speak><sub>x</sub></speak>", "alias"),
        ("<speak>" + "<s>" * MAX_DEPTH + "x" + "</s>" * MAX_DEPTH + "</speak>", "nested deeper than 10"),
    ],
)
def test_refused(document: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_ssml(document)


def test_too_large() -> None:
    with pytest.raises(InputError, match="limit"):
        parse_ssml("<speak>" + "x" * (17 << 20) + "</speak>")


def test_half_surrogates_are_no_crash() -> None:
    assert texts("<speak>你\ud800好</speak>") == ["你?好"]


def test_recognition() -> None:
    assert is_ssml(' \n<?xml version="1.0"?><speak>x</speak>')
    assert not is_ssml("<p>x</p>")
    assert not is_ssml("speak")


@given(st.text(alphabet=st.sampled_from('<>/&;"= speakbrvoicn!DOCTYPE[]你'), max_size=60))
def test_any_text_is_spans_or_an_input_error(text: str) -> None:
    for document in (text, f"<speak>{text}</speak>"):
        try:
            spans = parse_ssml(document)
        except InputError:
            continue
        assert all(isinstance(span, Span) for span in spans)

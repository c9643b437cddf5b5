"""Subtitle files."""

from __future__ import annotations

import json

import pytest

from chattts_onnx.audio.subtitles import Cue, render
from chattts_onnx.errors import InputError

CUES = [Cue("你好，世界。", 0.0, 1.2345), Cue("a <b> & c -->\n\n d", 61.5, 3725.0004)]


def test_srt() -> None:
    assert render(CUES, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,234\n你好，世界。\n\n2\n00:01:01,500 --> 01:02:05,000\na <b> & c --> d\n"
    )


def test_vtt_escapes_markup() -> None:
    text = render(CUES, ".VTT")
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.234\n你好，世界。\n")
    assert text.endswith("00:01:01.500 --> 01:02:05.000\na &lt;b&gt; &amp; c --&gt; d\n")


def test_json() -> None:
    data = json.loads(render(CUES, "json"))
    assert data["segments"][0] == {"text": "你好，世界。", "start": 0.0, "end": 1.2345}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("你好[laugh]，再见[pause 0.5s]。", "你好，再见。"),
        ("So[ UV Break ] it is［pause 500ms］", "So it is"),
        ("# Title", "Title"),
        ("Hello **world**, see [the link](http://a.b).", "Hello world, see the link."),
        ("- one\n- two", "one two"),
        ("a note [1] and [two words], 3 * 4", "a note [1] and [two words], 3 * 4"),
    ],
)
def test_what_is_not_said_is_not_shown(text: str, shown: str) -> None:
    assert render([Cue(text, 0.0, 1.0)], "srt").splitlines()[2] == shown


def test_nothing_is_still_valid() -> None:
    assert render([], "srt") == ""
    assert render([], "vtt") == "WEBVTT\n"
    assert json.loads(render([], "json")) == {"segments": []}


def test_unknown_formats_name_the_known() -> None:
    with pytest.raises(InputError, match="srt, vtt, json"):
        render(CUES, "ass")

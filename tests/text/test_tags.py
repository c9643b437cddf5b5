from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.text.tags import MAX_PAUSE_MS, STRUCTURAL_TAGS, canonicalize, scan, strip_structural

BRACKETS = st.text(alphabet=st.sampled_from("[]［］【】()spk_embStuvbreaklaugh 0.5ms\n你"), max_size=60)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("[UV_BREAK]", "[uv_break]"),
        ("[ laugh ]", "[laugh]"),
        ("[Uv Break]", "[uv_break]"),
        ("[uv-break]", "[uv_break]"),
        ("［laugh］", "[laugh]"),
        ("【laugh】", "[laugh]"),
        ("[lbreak]a[v_break]", "[lbreak]a[v_break]"),
        ("no tags", "no tags"),
        ("【注】原文", "【注】原文"),
        ("see [1] and [the note]", "see (1) and (the note)"),
        ("open [ never closed", "open ( never closed"),
        ("closed ] never opened", "closed ) never opened"),
        ("[link](http://x.y)", "(link)(http://x.y)"),
        ("[laugh](aside)", "[laugh](aside)"),
    ],
)
def test_tags_are_brought_into_the_spelling_of_the_vocabulary(written: str, canonical: str) -> None:
    assert canonicalize(written) == canonical


@pytest.mark.parametrize("tag", ["[spk_emb]", "[Stts]", "[PTTS]", "[ empty_spk ]", "[foo]", "[PAD]", "[Break]"])
def test_unknown_and_structural_tags_are_dropped_with_a_warning(tag: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert canonicalize(f"你{tag}好").replace(" ", "") == "你好"
    assert tag in caplog.text


def test_a_parameter_tag_is_dropped_and_the_warning_says_where_it_belongs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert canonicalize("[speed_3]你好").strip() == "你好"
    assert "prompt" in caplog.text


@pytest.mark.parametrize(
    ("written", "pause_ms"),
    [
        ("[pause 0.5s]", 500),
        ("[pause 500ms]", 500),
        ("[Pause:1.25s]", 1250),
        ("[pause=2]", 2000),
        ("[pause 1秒]", 1000),
        ("[pause]", 500),
        ("[pause 99s]", MAX_PAUSE_MS),
    ],
)
def test_pauses(written: str, pause_ms: int) -> None:
    (piece,) = scan(written)
    assert (piece.kind, piece.pause_ms, piece.text) == ("pause", pause_ms, "")


def test_nesting_cannot_make_a_structural_tag() -> None:
    assert strip_structural("[spk_[spk_emb]emb]") == ""
    assert strip_structural("[[S[Stts]tts]]") == "[]"
    for tag in STRUCTURAL_TAGS:
        assert tag not in canonicalize(f"[{tag}Stts]{tag[:3]}{tag}{tag[3:]}")


@given(BRACKETS)
def test_after_canonicalising_every_bracket_is_part_of_a_known_tag(text: str) -> None:
    canonical = canonicalize(text)
    assert "[" not in "".join(piece.text for piece in scan(canonical) if piece.kind != "tag")
    assert not any(tag in canonical for tag in STRUCTURAL_TAGS)
    assert canonicalize(canonical) == canonical


@given(BRACKETS)
def test_the_pieces_cover_the_text_without_a_gap(text: str) -> None:
    at = 0
    for piece in scan(text):
        assert piece.start == at
        assert piece.end > at
        at = piece.end
    assert at == len(text)


@given(st.text(alphabet=st.sampled_from("[]Sts"), max_size=60))
def test_no_structural_tag_survives_stripping(text: str) -> None:
    assert not any(tag in strip_structural(text) for tag in STRUCTURAL_TAGS)

from __future__ import annotations

import pytest

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation.sentences import builtin_sentences, detect_language, read_manifest, read_sentences


def test_lines_are_sentences_with_the_language_of_their_script(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# a comment\n\n你好。\nHello there.\n", encoding="utf-8")
    sentences = read_sentences(path)
    assert [(one.text, one.language, one.name) for one in sentences] == [
        ("你好。", "zh", "mine:3"),
        ("Hello there.", "en", "mine:4"),
    ]
    assert {one.language for one in read_sentences(path, language="zh")} == {"zh"}


def test_an_empty_or_missing_list_says_what_to_do(tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(InputError, match="one sentence a line"):
        read_sentences(tmp_path / "empty.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_sentences(tmp_path / "missing.txt")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_fixed_lists_are_long_enough_distinct_and_in_their_language(language):
    sentences = builtin_sentences(language)
    assert len(sentences) >= 60
    assert len({one.text for one in sentences}) == len(sentences)
    assert all(detect_language(one.text) == language for one in sentences)


def test_both_kinds_of_manifest_are_read(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "b.ogg").touch()
    path = tmp_path / "manifest.tsv"
    path.write_text(
        'a.wav\t你好。\t\tAnna\n{"file": "b.ogg", "text": "Hi.", "lang": "en", "voice": "Bob", "pinyin": null}\n',
        encoding="utf-8",
    )
    first, second = read_manifest(path)
    assert (first.path, first.sentence.language, first.speaker) == (tmp_path / "a.wav", "zh", "Anna")
    assert (second.path, second.sentence.language, second.speaker) == (tmp_path / "audio" / "b.ogg", "en", "Bob")


@pytest.mark.parametrize("line", ["only-a-file.wav", '{"file": "a.wav"}', "{broken", "\ttext"])
def test_a_bad_manifest_line_is_named(tmp_path, line):
    path = tmp_path / "manifest.tsv"
    path.write_text(f"a.wav\tfine\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.tsv:2"):
        read_manifest(path)

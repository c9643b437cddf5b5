"""The names a user may rely on. Adding one is a decision; losing one breaks somebody."""

from __future__ import annotations

import inspect

import pytest

import chattts_onnx

PUBLIC = {
    "Audio",
    "AudioChunk",
    "ChatTTS",
    "ChatTTSError",
    "EngineConfig",
    "SamplingParams",
    "SegmentReport",
    "SpeechOptions",
    "SpeechStream",
    "Voice",
    "__version__",
    "read_document",
}


def test_exported_names() -> None:
    assert set(chattts_onnx.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(chattts_onnx, name)
    assert name == "__version__" or inspect.getdoc(value)
    assert name in dir(chattts_onnx)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Chatts"):
        chattts_onnx.Chatts  # noqa: B018


def test_what_a_synthesiser_can_do() -> None:
    public = {name for name in dir(chattts_onnx.ChatTTS) if not name.startswith("_")}
    assert {"from_pretrained", "synthesize", "stream", "astream", "clone", "voices", "stats", "close"} <= public


def test_the_reference_names_keep_their_meaning_and_defaults() -> None:
    params = chattts_onnx.SamplingParams()
    assert (params.temperature, params.top_P, params.top_K) == (0.3, 0.7, 20)
    assert (params.repetition_penalty, params.max_new_token, params.min_new_token) == (1.05, 2048, 0)
    options = chattts_onnx.SpeechOptions.of(skip_refine_text=True, top_P=0.5)
    assert options.refine is False
    assert options.sampling.top_P == 0.5


def test_the_error_tree_is_what_its_drawing_says() -> None:
    from chattts_onnx import errors

    drawn = {word.strip("│├└─ ") for word in (errors.__doc__ or "").split() if word.strip("│├└─ ").endswith("Error")}
    classes = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, chattts_onnx.ChatTTSError)
    }
    assert set(classes) <= drawn
    for kind in classes.values():
        assert kind.__doc__


def test_the_package_is_typed() -> None:
    from pathlib import Path

    assert (Path(chattts_onnx.__file__).parent / "py.typed").is_file()

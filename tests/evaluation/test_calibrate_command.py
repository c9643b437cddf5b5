from __future__ import annotations

import argparse

import numpy as np
import pytest

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation import calibrate_command
from chattts_onnx.evaluation.fidelity import compare
from chattts_onnx.evaluation.sentences import CALIBRATION_TEXTS, builtin_sentences, read_sentences
from chattts_onnx.session import Recorder


def test_the_built_in_list_is_200_sentences_of_both_languages_and_none_of_the_test():
    sentences = read_sentences(CALIBRATION_TEXTS)
    texts = {one.text for one in sentences}
    assert len(sentences) == len(texts) == 200
    assert sum(one.language == "zh" for one in sentences) == 100
    assert not texts & {one.text for language in ("zh", "en") for one in builtin_sentences(language)}


def test_a_limit_is_spread_over_the_list():
    sentences = read_sentences(CALIBRATION_TEXTS)
    few = calibrate_command.spread(sentences, 10)
    assert len(few) == 10
    assert {one.language for one in few} == {"zh", "en"}
    assert calibrate_command.spread(sentences, None) == sentences
    assert calibrate_command.spread(sentences, 500) == sentences


@pytest.fixture(scope="module")
def recorded(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration")
    texts = folder / "texts.txt"
    texts.write_text("你好世界。\nGood morning.\n", encoding="utf-8")
    parser = argparse.ArgumentParser()
    calibrate_command.add_arguments(parser)
    path = folder / "new" / "feeds.npz"
    assert (
        calibrate_command.run(parser.parse_args(["-o", str(path), "--model", str(tiny_model), "--texts", str(texts)]))
        == 0
    )
    return path


def test_whole_sequences_and_acoustic_feeds_are_recorded(recorded):
    feeds = Recorder.load(recorded)
    assert len(feeds["gpt"]) >= 2
    for feed in feeds["gpt"]:
        ids, mask = feed["input_ids"], feed["text_mask"]
        assert ids.shape[:2] == mask.shape
        # Text first, then what was spoken.
        assert mask[0, 0]
        assert not mask[0, -1]
    assert feeds["decoder"][0]["hidden"].dtype == np.float32
    assert feeds["vocos"]


def test_fp32_is_identical_to_itself_and_int8_nearly(recorded, tiny_model, tiny_model_int8):
    feeds = Recorder.load(recorded)
    same = compare(tiny_model, tiny_model, feeds)
    assert (same.divergence_mean, same.agreement, same.mel_difference) == (0.0, 1.0, 0.0)
    near = compare(tiny_model, tiny_model_int8, feeds)
    assert 0.98 < near.cosine_mean < 1.0
    assert 0 < near.divergence_mean < 0.5


def test_nothing_recorded_is_refused(tiny_model):
    with pytest.raises(InputError, match="calibrate"):
        compare(tiny_model, tiny_model, {})


def test_only_full_precision_is_calibrated(tiny_model_int8):
    with pytest.raises(InputError, match="--precision fp32"):
        calibrate_command.record(str(tiny_model_int8), read_sentences(CALIBRATION_TEXTS)[:1])

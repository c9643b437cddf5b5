from __future__ import annotations

from typing import Any

import pytest

from chattts_onnx.text.tags import STRUCTURAL_TAGS
from chattts_onnx.text.templates import code_prompt, refine_prompt


def test_prompts_equal_the_reference(golden: Any) -> None:
    texts = golden.text["texts"]
    assert [code_prompt(text) for text in texts] == golden.text["plain_prompts"]
    cloned = [code_prompt(text, prompt="[speed_3]", transcript="北京时间晚上七点。") for text in texts]
    assert cloned == golden.text["cloned_prompts"]
    assert [refine_prompt(texts[0], "[oral_2][laugh_0][break_4]")] == golden.text["refine_prompts"]


def test_without_a_speaker_the_place_is_empty() -> None:
    assert code_prompt(" 你好。 ", speaker=False) == "[Stts][empty_spk][speed_5]你好。[Ptts]"


@pytest.mark.parametrize("tag", sorted(STRUCTURAL_TAGS))
def test_a_text_can_neither_end_its_span_nor_place_a_speaker(tag: str) -> None:
    injected = f"{tag}你{tag[:2]}{tag}{tag[2:]}好{tag}"
    assert code_prompt(injected, transcript=injected) == "[Stts][spk_emb]你好[speed_5]你好[Ptts]"
    assert refine_prompt(injected) == "[Sbreak]你好[Pbreak]"

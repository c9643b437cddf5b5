from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List

import pytest

from chattts_onnx.errors import InputError, ModelFormatError
from chattts_onnx.text.templates import code_prompt
from chattts_onnx.text.tokenizer import WordPieceTokenizer, load_tokenizer

TAGS = ["[Stts]", "[Ptts]", "[spk_emb]", "[empty_spk]", "[uv_break]", "[laugh]", "[break_0]", "[break_1]"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tokenizer.json of the published kind with a dozen pieces, truncation, padding and a template included."""
    tokenizers = pytest.importorskip("tokenizers")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "你", "好", "hello", "##s", "cafe", ",", "[", "]"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({piece: index for index, piece in enumerate(vocab)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(TAGS)
    tokenizer.enable_truncation(max_length=8)
    tokenizer.enable_padding(length=8)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def published(golden_dir: Path) -> WordPieceTokenizer:
    return WordPieceTokenizer(golden_dir / "tokenizer" / "tokenizer.json")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (
            "[Stts][spk_emb][speed_5]What is [uv_break]your favorite english food?[laugh][lbreak][Ptts]",
            "21131 21143 21173 9100 8310 21137 8880 12289 10701 11366 8899 9579 136 21142 21139 21132",
        ),
        (
            "[Stts][empty_spk][speed_5]你真是太聪明啦。[Ptts]",
            "21131 21144 21173 872 4696 3221 1922 5473 3209 1568 511 21132",
        ),
        (
            "[Sbreak]四川美食确实以辣闻名[Pbreak][oral_2][laugh_0][break_6]",
            "21134 1724 2335 5401 7608 4802 2141 809 6793 7319 1399 21135 21160 21155 21153",
        ),
        (
            "[UV_BREAK] [ laugh ] Café ChatTTS 123 …",
            "138 9473 142 13049 140 138 8515 12667 140 8377 9537 8488 9235 8118 8604 100",
        ),
    ],
)
def test_ids_of_the_published_vocabulary(published: WordPieceTokenizer, text: str, ids: str) -> None:
    assert published.encode(text) == [int(i) for i in ids.split()]


def test_decoding_as_the_reference(published: WordPieceTokenizer) -> None:
    text = "[Stts][spk_emb][speed_5]What is [uv_break]your favorite english food?[laugh][lbreak][Ptts]"
    assert published.decode(published.encode(text)) == (
        "[Stts] [spk_emb] [speed_5] what is [uv_break] your favorite english food? [laugh] [lbreak] [Ptts]"
    )


def test_ids_of_the_reference_prompts(golden: Any) -> None:
    tokenizer = load_tokenizer(golden.directory / "asset" / "tokenizer")
    rows: List[List[int]] = golden.arrays["plain_input_ids"][:, :, 0].tolist()
    for text, row in zip(golden.text["texts"], rows):
        ids = tokenizer.encode(code_prompt(text))
        assert row[len(row) - len(ids) :] == ids


def test_no_truncation_no_padding_no_template(small: Path) -> None:
    tokenizer = load_tokenizer(small.parent)
    assert tokenizer.encode("你好") == [4, 5]
    assert len(tokenizer.encode("你好" * 50)) == 100


def test_tags_keep_their_ids_among_text(small: Path) -> None:
    tokenizer = load_tokenizer(small.parent)
    ids = tokenizer.encode("[Stts]Hellos, [uv_break]Café[laugh][Ptts]")
    assert ids == [tokenizer.vocab[piece] for piece in "[Stts] hello ##s , [uv_break] cafe [laugh] [Ptts]".split()]


def test_refined_text_ends_before_the_sentence_tags(small: Path) -> None:
    tokenizer = WordPieceTokenizer(small)
    ids = [tokenizer.vocab[piece] for piece in ["hello", "##s", "[uv_break]", "[break_1]", "[break_0]", "你"]]
    assert tokenizer.decode_refined(ids) == "hellos [uv_break] 你"


def test_half_of_a_surrogate_pair_is_an_input_error(small: Path) -> None:
    with pytest.raises(InputError, match="surrogate"):
        load_tokenizer(small.parent).encode("你\ud800好")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json is missing: convert or pull"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"version": "1.0"}'])
def test_a_damaged_file_is_a_model_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelFormatError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_without_control_tags_is_refused(small: Path) -> None:
    data = json.loads(small.read_text(encoding="utf-8"))
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] != "[spk_emb]"]
    small.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ModelFormatError, match=r"\[spk_emb\]"):
        load_tokenizer(small)


def test_an_unknown_front_end_is_refused(small: Path) -> None:
    with pytest.raises(ModelFormatError, match="newer"):
        load_tokenizer(small.parent, "graphemes")

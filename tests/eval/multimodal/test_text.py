"""Texts become numbers the same way each time; what is lost is counted; the vocabulary is of the training texts."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import eval.multimodal.text
from eval.multimodal.text import cached_tokens, tokenize
from eval.multimodal.tokenizer import TextTokenizer, build_tokenizer, model_fingerprint, word_pieces
from shards.base.errors import InputError
from tests.conftest import ROOT

TEXTS = ["Year old woman with cough", "year old man with effusion, ___ dyspnea", "cough and fever", "effusion"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return build_tokenizer("small", TEXTS, vocabulary=200)


def test_pieces_are_the_characters_and_then_the_most_frequent_pairs() -> None:
    assert word_pieces({"aab": 5, "ab": 2}, size=9) == ["##a", "##b", "a", "##ab", "aab", "ab"]
    assert word_pieces({"aab": 5, "ab": 2}, size=4) == ["##a", "##b", "a", "##ab"]
    assert word_pieces({"xy": 1}, size=9) == ["##y", "x"], "a pair that comes once stays two"


def test_the_vocabulary_is_the_same_in_each_process(tokenizer: TextTokenizer) -> None:
    """That of the tokenizers library's own trainer is not."""
    code = (
        "from eval.multimodal.tokenizer import build_tokenizer as b; "
        f"print(b('small', {TEXTS[::-1]!r}, vocabulary=200).key)"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert keys == {tokenizer.key}


def test_case_is_folded_and_blanks_are_one_sign(tokenizer: TextTokenizer) -> None:
    one, other = tokenizer(["COUGH and ______ fever", "cough AND ___ FEVER"])
    assert one == other
    assert one[2] == tokenizer.backend.token_to_id("___")
    assert len(one) == 4
    assert tokenizer.unknown not in one


def test_texts_begin_and_end_and_are_padded_cut_and_counted(tokenizer: TextTokenizer) -> None:
    texts = ["cough", None, "  ", "cough and fever with effusion", "мокрый кашель", "cough мокрый and"]
    tokens = tokenize(texts, tokenizer, max_tokens=5)
    assert tokens.ids.shape == (6, 5)
    assert tokens.ids.dtype == np.int32
    assert tokens.lengths.tolist() == [3, 1, 1, 5, 4, 5]
    first, last, padding = tokenizer.first, tokenizer.last, tokenizer.padding
    assert tokens.ids[0].tolist() == [first, tokenizer(["cough"])[0][0], last, padding, padding]
    assert tokens.ids[1].tolist() == [first, *[padding] * 4]
    assert tokens.ids[3].tolist() == [first, *tokenizer(["cough and fever"])[0], last]
    counts = tokens.counts
    assert (counts.num_texts, counts.num_empty, counts.num_truncated, counts.num_foreign) == (6, 2, 1, 1)
    assert (counts.num_tokens, counts.num_unknown) == (1 + 5 + 2 + 3, 3)


def test_another_language_is_a_warning_with_its_count(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 2 texts are mostly words unknown"):
        cached_tokens(tmp_path, ["мокрый кашель", "cough"], tokenizer, max_tokens=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached_tokens(tmp_path, ["cough", None], tokenizer, max_tokens=8)


def test_the_cache_is_of_one_tokenizer_and_these_texts(
    tokenizer: TextTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = eval.multimodal.text.tokenize
    monkeypatch.setattr(
        eval.multimodal.text, "tokenize", lambda *given, **more: calls.append(0) or real(*given, **more)
    )
    first = cached_tokens(tmp_path, TEXTS, tokenizer, max_tokens=8)
    again = cached_tokens(tmp_path, TEXTS, tokenizer, max_tokens=8)
    assert len(calls) == 1
    assert np.array_equal(first.ids, again.ids)
    assert np.array_equal(first.lengths, again.lengths)
    assert first.counts == again.counts
    cached_tokens(tmp_path, TEXTS[:-1], tokenizer, max_tokens=8)
    cached_tokens(tmp_path, TEXTS, tokenizer, max_tokens=7)
    cached_tokens(tmp_path, TEXTS, build_tokenizer("small", TEXTS[:2], vocabulary=200), max_tokens=8)
    assert len(calls) == 4


def test_no_texts_leave_the_signs_alone() -> None:
    tokenizer = build_tokenizer("small", [], vocabulary=200)
    assert tokenizer.size == 5
    assert tokenize([None, "cough"], tokenizer, max_tokens=8).lengths.tolist() == [1, 3]


@pytest.mark.parametrize("name", ["/no/such/folder", "./gone", "nobody/has-such-a-model"])
def test_a_model_that_is_not_there_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"multimodal\.text_model .*; give a BERT-like model.* or small$"):
        build_tokenizer(name, [], vocabulary=200)


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    assert model_fingerprint("small") == "small"
    assert model_fingerprint("bert-base-uncased") == "bert-base-uncased"
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = model_fingerprint(str(tmp_path))
    (tmp_path / "README.md").write_text("does not count")
    assert model_fingerprint(str(tmp_path)) == first
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert model_fingerprint(str(tmp_path)) != first

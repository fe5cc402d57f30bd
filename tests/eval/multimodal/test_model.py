"""The network sees what is present and nothing else; text models of the BERT family load from a folder."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from eval.multimodal.config import MultimodalConfig
from eval.multimodal.model import MultimodalModel, build_text_model, parameter_groups
from eval.multimodal.tokenizer import TextTokenizer, build_tokenizer
from eval.multimodal.tokens import TokenEncoder
from shards.base.errors import InputError
from train.encoders.build import build_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cough", "fever", "and"]
TINY = MultimodalConfig(layers=2, width=16, heads=2, vocabulary=100, max_tokens=8, image_tokens=4)
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
FAMILY: dict[str, Any] = {
    "bert": transformers.BertConfig(**SIZES, vocab_size=8, max_position_embeddings=12),
    "roberta": transformers.RobertaConfig(**SIZES, vocab_size=8, max_position_embeddings=14, pad_token_id=0),
    "distilbert": transformers.DistilBertConfig(
        n_layers=2, n_heads=2, dim=16, hidden_dim=32, vocab_size=8, max_position_embeddings=12
    ),
    "electra": transformers.ElectraConfig(**SIZES, embedding_size=8, vocab_size=8, max_position_embeddings=12),
}


def save_pretrained(folder: Path, family: str) -> Path:
    backend = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    signs = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    signs = {f"{name}_token": sign for name, sign in signs.items()}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **signs).save_pretrained(folder)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(FAMILY[family]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return build_tokenizer("small", ["cough and fever"] * 3, vocabulary=100)


@pytest.fixture
def model(tokenizer: TextTokenizer) -> MultimodalModel:
    text_model = build_text_model(TINY, tokenizer)
    return MultimodalModel(text_model, num_labels=3, num_features=6, num_image_tokens=4).eval()


def some_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 4, 6, generator=generator)
    return image, torch.randint(4, 8, (4, 7), generator=generator), torch.tensor([7, 4, 1, 5])


@pytest.mark.parametrize("autocast", [False, True])
def test_what_is_masked_changes_no_bit(model: MultimodalModel, autocast: bool) -> None:
    image, ids, lengths = some_inputs()
    has_image = torch.tensor([True, False, True, False])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        before = model(image, ids, lengths, has_image)
        changed, other = image.clone(), ids.clone()
        changed[1], changed[3] = torch.nan, torch.inf
        for number, length in enumerate(lengths):
            other[number, length:] = 9
        after = model(changed, other, lengths, has_image)
        assert torch.equal(before, after)
        image[0, 0, 0] += 1.0
        ids[1, 3] = 9
        moved = model(image, ids, lengths, has_image)
    assert before.dtype == torch.float32
    assert not torch.equal(before[0], moved[0])
    assert not torch.equal(before[1], moved[1])
    assert torch.equal(before[2:], moved[2:])


def test_masked_inputs_get_no_gradient(model: MultimodalModel) -> None:
    image, ids, lengths = some_inputs()
    image.requires_grad_()
    model(image, ids, lengths, torch.tensor([True, False, True, False])).sum().backward()
    assert image.grad is not None
    assert image.grad[0].abs().min() > 0
    assert not image.grad[[1, 3]].any()


def test_an_example_does_not_depend_on_its_batch(model: MultimodalModel) -> None:
    """Neither on how long the longest text is, nor on whether images are masked or not there at all."""
    image, ids, lengths = some_inputs()
    with torch.inference_mode():
        together = model(image, ids, lengths)
        for number, length in enumerate(lengths.tolist()):
            one = slice(number, number + 1)
            alone = model(image[one], ids[one, :length], lengths[one])
            torch.testing.assert_close(alone, together[one], rtol=1e-4, atol=1e-5)
        masked = model(image, ids, lengths, torch.zeros(4, dtype=torch.bool))
        torch.testing.assert_close(model(None, ids, lengths), masked, rtol=1e-4, atol=1e-5)


def test_places_of_the_image_differ(model: MultimodalModel) -> None:
    image, ids, lengths = some_inputs()
    with torch.inference_mode():
        turned = model(image.flip(1), ids, lengths)
        assert not torch.allclose(turned, model(image, ids, lengths), atol=1e-5)


def test_training_tokens_are_standardised(model: MultimodalModel) -> None:
    tokens = torch.randn(50, 4, 6) * 3 + 7
    tokens[:, :, 2] = 5.0
    model.standardise(tokens)
    moved = ((tokens - model.mean) / model.std).flatten(0, 1)
    torch.testing.assert_close(moved.mean(dim=0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(moved.std(dim=0, correction=0), torch.tensor([1.0, 1, 0, 1, 1, 1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILY)
def test_pretrained_text_models_load_from_a_folder(family: str, tmp_path: Path) -> None:
    folder = save_pretrained(tmp_path, family)
    config = dataclasses.replace(TINY, text_model=str(folder))
    tokenizer = build_tokenizer(str(folder), [], vocabulary=100)
    assert tokenizer(["cough and ____ fever mud"]) == [[5, 7, 4, 6, 1]]
    assert (tokenizer.first, tokenizer.last, tokenizer.padding, tokenizer.unknown) == (2, 3, 0, 1)
    text_model: Any = build_text_model(config, tokenizer)
    plain = transformers.AutoModel.from_pretrained(folder).eval()
    model = MultimodalModel(text_model, num_labels=3, num_features=6, num_image_tokens=4).eval()
    ids = torch.tensor([[2, 5, 7, 3], [2, 6, 3, 0]])
    with torch.inference_mode():
        mine = model(None, ids, torch.tensor([4, 3]))
        theirs = plain(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state[:, 0]
        torch.testing.assert_close(mine, model.head(theirs), rtol=1e-4, atol=1e-5)
        assert model(torch.randn(2, 4, 6), ids, torch.tensor([4, 3])).shape == (2, 3)
    groups = {group["factor"]: len(group["params"]) for group in parameter_groups(model, config)}
    assert set(groups) == {1.0, 0.1}
    with pytest.raises(InputError, match=r"multimodal\.max_tokens 64: .* takes texts of at most 1[0-9]"):
        build_text_model(dataclasses.replace(config, max_tokens=64), tokenizer)


def test_a_decoder_is_refused(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    config = transformers.T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    transformers.T5Model(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="t5 is no BERT-like encoder"):
        build_text_model(dataclasses.replace(TINY, text_model=str(tmp_path)), tokenizer)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_small"])
def test_image_tokens_average_to_the_pooled_feature(name: str) -> None:
    encoder: Any = build_encoder(name, seed=0).eval()
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, four = (TokenEncoder(encoder, grid)(images) for grid in (1, 2))
        assert four.shape == (2, 4, encoder.num_features)
        torch.testing.assert_close(one[:, 0], encoder(images))
        if name != "vit_small":  # which gives its class token
            torch.testing.assert_close(four.mean(dim=1), one[:, 0], rtol=1e-3, atol=1e-5)
            return
        patches = encoder.forward_features(images)[:, 1:].reshape(2, 4, 4, -1)
        torch.testing.assert_close(four[:, 1], patches[:, :2, 2:].mean(dim=(1, 2)))


def test_finer_grids_than_the_map_and_unknown_encoders_are_refused() -> None:
    images = torch.zeros(1, 1, 64, 64)
    with pytest.raises(InputError, match=r"image_tokens 49: .* 2 x 2 places; give at most 4"):
        TokenEncoder(build_encoder("resnet18"), 7)(images)
    with pytest.raises(InputError, match="image_tokens 4: the encoder has no map as wide as its features; give 1"):
        TokenEncoder(nn.Flatten(), 2)(images)


def test_new_parts_are_seeded(tokenizer: TextTokenizer) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        text_model = build_text_model(dataclasses.replace(TINY, seed=seed), tokenizer)
        return list(MultimodalModel(text_model, num_labels=3, num_features=6, seed=seed).parameters())

    before = torch.random.get_rng_state()
    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(first, other, strict=True))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_tokens", 5),
        ("max_tokens", 2),
        ("modality_dropout", 1.0),
        ("layers", 0),
        ("width", 130),
        ("heads", 0),
        ("vocabulary", 9),
        ("dropout", -0.1),
        ("lr", 0.0),
        ("text_factor", 0.0),
        ("encoder_factor", 2.0),
        ("warmup", 1.0),
        ("epochs", 0.0),
        ("max_steps", 0),
        ("num_processes", 0),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: Any) -> None:
    MultimodalConfig().check()
    with pytest.raises(InputError, match=rf"multimodal\.{field} {value}: out of range; give "):
        dataclasses.replace(MultimodalConfig(), **{field: value}).check()

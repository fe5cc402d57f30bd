import pytest

from shards.sources.words.split import parse_split


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("train", "train Training TRAIN trainset train_images Train-Data train2017 01_training train_val trainvaldata"),
        ("valid", "val valid VALIDATE Validation dev eval val_set Validation_Set valimages"),
        ("test", "test Testing TEST testset test-images tst"),
        (None, "NORMAL trained holdout latest testimony 1 images contest test_train value evaluate_me"),
    ],
)
def test_words(split, words):
    for word in words.split():
        assert parse_split(word) == (None if word == "trainvaldata" else split), word
    assert parse_split("Test Set (chest x-ray)") == "test"
    assert parse_split("") is None

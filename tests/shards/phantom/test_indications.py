"""Phantom indications: informative and not sufficient, as the generator's own chances tell and as words do."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from shards.phantom.indications import COMPLAINTS, HISTORY, QUESTIONS, Story, chances, draw_story, write_indication
from shards.phantom.labels import FINDINGS, draw_illness, draw_severities, draw_train_labels
from shards.phantom.mimic_release import write_report
from shards.sources.words.indication import find_indication

LABEL = "Pleural Effusion"


class Studies:
    """Three studies of each of a thousand patients; ``known`` where the label is 1.0 or 0.0."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        illnesses = [draw_illness(rng) for _ in range(1_000)]
        severities = [draw_severities(rng, illness, split="train") for illness in illnesses for _ in range(3)]
        self.labels = [draw_train_labels(rng, severity) for severity in severities]
        self.present = np.array([[severity[finding] > 0 for finding in FINDINGS] for severity in severities])
        self.stories = [draw_story(rng, severity) for severity in severities]
        self.texts = [write_indication(rng, story, sex="Female", age=67) for story in self.stories]
        self.patients = np.arange(len(self.texts)) // 3

    def known(self, label: str) -> tuple[np.ndarray, np.ndarray]:
        values = np.array([labels[label] for labels in self.labels])
        rows = np.flatnonzero((values == "1.0") | (values == "0.0"))
        return rows, values[rows] == "1.0"


@pytest.fixture(scope="module")
def studies() -> Studies:
    return Studies()


def _posterior(stories: list[Story], present: np.ndarray, finding: str) -> np.ndarray:
    """(N,) chance of a finding given what each story says, over all the other studies' states."""
    said = np.zeros((len(stories), len(HISTORY)))
    for row, story in enumerate(stories):
        said[row, list(story.history)] = 1
    history = chances(HISTORY, present, is_choice=False)
    likelihood = np.log(history) @ said.T + np.log(1 - history) @ (1 - said).T
    likelihood += np.log(chances(COMPLAINTS, present, is_choice=True))[:, [story.complaint for story in stories]]
    likelihood += np.log(chances(QUESTIONS, present, is_choice=True))[:, [story.question for story in stories]]
    np.fill_diagonal(likelihood, -np.inf)
    weights = np.exp(likelihood)
    return (weights * present[:, [FINDINGS.index(finding)]]).sum(axis=0) / weights.sum(axis=0)


def test_the_best_that_text_can_tell(studies: Studies) -> None:
    rows, is_present = studies.known(LABEL)
    assert 0.70 < roc_auc_score(is_present, _posterior(studies.stories, studies.present, LABEL)[rows]) < 0.75
    for finding in ("Edema", "Pneumonia", "Cardiomegaly", "Pneumothorax"):
        rows, is_present = studies.known(finding)
        assert 0.6 < roc_auc_score(is_present, _posterior(studies.stories, studies.present, finding)[rows]) < 0.85


def _bag_of_words_auroc(texts: list[str], studies: Studies) -> float:
    rows, is_present = studies.known(LABEL)
    counts = CountVectorizer(ngram_range=(1, 2), min_df=3, binary=True).fit_transform([texts[row] for row in rows])
    is_train = studies.patients[rows] < 600
    model = LogisticRegression(C=0.05, max_iter=1000).fit(counts[is_train], is_present[is_train])
    return float(roc_auc_score(is_present[~is_train], model.decision_function(counts[~is_train])))


def test_words_tell_part_and_shuffled_words_nothing(studies: Studies) -> None:
    assert 0.65 < _bag_of_words_auroc(studies.texts, studies) < 0.80
    order = np.random.default_rng(1).permutation(len(studies.texts))
    assert _bag_of_words_auroc([studies.texts[place] for place in order], studies) == pytest.approx(0.5, abs=0.07)


def test_wordings_differ_and_hold_blanks_ages_and_typos(studies: Studies) -> None:
    assert len(set(studies.texts)) > 0.9 * len(studies.texts)
    together = "\n".join(studies.texts)
    for oddity in ("___F", "67 yo F", "sixty-seven year old woman", "SOB", "  // ", "PNEUMONIA"):
        assert oddity in together
    assert 0.4 < np.mean(["___" in text for text in studies.texts]) < 0.8


def test_chances_are_chances(studies: Studies) -> None:
    assert np.allclose(chances(COMPLAINTS, studies.present, is_choice=True).sum(axis=1), 1)
    drawn = np.bincount([story.complaint for story in studies.stories], minlength=len(COMPLAINTS))
    told = chances(COMPLAINTS, studies.present, is_choice=True).sum(axis=0)
    assert drawn == pytest.approx(told, abs=4 * np.sqrt(told.max()))


def test_reports_give_back_their_indication_and_nothing_of_the_answer(studies: Studies) -> None:
    rng = np.random.default_rng(0)
    for text, labels in zip(studies.texts[:800], studies.labels[:800], strict=True):
        report = write_report(rng, indication=text, labels=labels, exam="CHEST (PA AND LAT)")
        assert find_indication(report) == " ".join(text.split())
        for empty in ("", "___", "________________"):
            assert find_indication(write_report(rng, indication=empty, labels=labels, exam="CHEST (AP)")) is None

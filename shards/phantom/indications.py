"""The indications of phantom studies: what a clinician writes who has seen the patient and not the image.

Complaint, past history and question follow what the patient has, with overlap: dyspnea is common with an effusion and
without one. So text tells something that a mild finding on an image does not, and never enough: the best that can be
told of the label Pleural Effusion from all three has an AUROC near .73, and words tell a little less.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shards.phantom.labels import FINDINGS


@dataclass(frozen=True, kw_only=True)
class Concept:
    """Something that may be said: its wordings, its weight (of complaints and questions) or log odds (of history) where
    nothing is wrong, and how much each finding adds to the logarithm of either."""

    words: tuple[str, ...]
    base: float
    lifts: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Story:
    """What one indication says: places in ``COMPLAINTS``, ``HISTORY`` (any number, ascending) and ``QUESTIONS``."""

    complaint: int
    history: tuple[int, ...]
    question: int


def _concept(words: str, base: float, **lifts: float) -> Concept:
    names = {name.replace("_", " "): lift for name, lift in lifts.items()}
    return Concept(words=tuple(words.split("|")), base=base, lifts=names)


# The base of complaints and questions is the logarithm of a weight, of history that of the odds.
COMPLAINTS = (
    _concept(
        "shortness of breath|SOB|dyspnea|increasing dyspnea|short of breath|DOE|worsening shortness of breath",
        0.5, Pleural_Effusion=0.6, Edema=0.6, Pneumonia=0.2, Atelectasis=0.2, Pneumothorax=0.4,
    ),
    _concept("cough|productive cough|cough x 1 week|coughing", 0.9, Pneumonia=0.7, Consolidation=0.4, Lung_Lesion=0.3),
    _concept("fever|fevers|febrile to 102|fever and chills|pyrexia", 0.6, Pneumonia=0.9, Consolidation=0.6),
    _concept(
        "chest pain|CP|pleuritic chest pain|chest discomfort", 0.8, Pneumothorax=0.6, Fracture=0.5, Pleural_Other=0.3,
    ),
    _concept(
        "hypoxia|desaturation|low O2 sat|new O2 requirement", -0.4, Pleural_Effusion=0.6, Edema=0.6, Atelectasis=0.6,
    ),
    _concept(
        "leg swelling|LE edema|weight gain|orthopnea|PND", -1.3, Pleural_Effusion=0.7, Edema=1.0, Cardiomegaly=0.8,
    ),
    _concept("fall|s/p fall|mechanical fall|MVC|trauma", 0.0, Fracture=1.8, Pneumothorax=0.5),
    _concept("altered mental status|AMS|confusion|weakness|lethargy", 0.3, Pneumonia=0.2),
    _concept(
        "pre-op|preoperative evaluation|pre op for hip surgery", 0.3, Pleural_Effusion=-0.8, Edema=-0.8, Pneumonia=-0.8,
    ),
    _concept("positive PPD|screening|annual exam", -0.3, Pleural_Effusion=-1.0, Edema=-1.0, Support_Devices=-1.2),
    _concept(
        "line placement|new PICC|s/p central line|s/p intubation|ETT placement", -0.6, Support_Devices=1.6, Edema=0.2,
    ),
    _concept("hemoptysis|weight loss|night sweats", -0.7, Lung_Lesion=1.5, Pleural_Other=0.6),
)  # fmt: skip
HISTORY = (
    _concept(
        "CHF|heart failure|h/o CHF|congestive heart failure", -2.0, Pleural_Effusion=0.8, Edema=0.9, Cardiomegaly=1.0,
    ),
    _concept("cirrhosis|ESLD|liver cirrhosis|hx of cirrhosis", -3.2, Pleural_Effusion=1.1),
    _concept("ESRD on HD|renal failure|CKD", -2.6, Pleural_Effusion=0.7, Edema=0.6, Support_Devices=0.4),
    _concept(
        "breast cancer|lung ca|metastatic disease|h/o malignancy|lymphoma", -2.5, Pleural_Effusion=0.7, Lung_Lesion=1.4,
    ),
    _concept("COPD|emphysema|h/o COPD", -2.0, Pneumothorax=0.5, Pneumonia=0.4, Pleural_Effusion=-0.2),
    _concept("asthma|reactive airways", -2.3, Pleural_Effusion=-0.6, Edema=-0.5),
    _concept("HTN|hypertension|diabetes|DM2|HLD", -1.4, Cardiomegaly=0.5, Enlarged_Cardiomediastinum=0.3),
    _concept(
        "s/p CABG|recent cardiac surgery|s/p AVR", -3.0, Pleural_Effusion=0.9, Atelectasis=0.9, Support_Devices=0.7,
    ),
    _concept("smoker|tobacco use|80 pack years", -2.3, Lung_Lesion=0.8, Pneumothorax=0.3),
    _concept("atrial fibrillation|afib|AF", -2.4, Cardiomegaly=0.6, Edema=0.3),
    _concept("HIV|immunosuppressed|s/p transplant", -3.0, Pneumonia=0.9, Consolidation=0.4),
    _concept("chest tube in place|s/p chest tube|VATS yesterday", -3.8, Pneumothorax=2.0, Pleural_Effusion=0.5),
)  # fmt: skip
QUESTIONS = (
    _concept(
        "pneumonia|PNA|infiltrate|consolidation|infection", 1.6, Pneumonia=0.6, Consolidation=0.4, Lung_Opacity=0.2,
    ),
    _concept("acute process|acute cardiopulmonary process|any acute change", 1.2, Pleural_Effusion=-0.3, Edema=-0.3),
    _concept("effusion|pleural effusion|fluid|size of effusions", -1.0, Pleural_Effusion=0.9),
    _concept(
        "pulmonary edema|volume overload|CHF|fluid status", -0.3, Edema=1.0, Pleural_Effusion=0.5, Cardiomegaly=0.4,
    ),
    _concept("pneumothorax|PTX|ptx", -0.5, Pneumothorax=1.3, Fracture=0.3),
    _concept(
        "interval change|progression|any change", 0.0, Pleural_Effusion=0.4, Atelectasis=0.4, Support_Devices=0.4,
    ),
    _concept("fracture|rib fx|rib fractures", -1.0, Fracture=1.6),
    _concept("line position|tube placement|tip position", -0.8, Support_Devices=1.5),
    _concept("mass|nodule|malignancy", -1.2, Lung_Lesion=1.4),
    _concept("cardiomegaly|heart size", -1.8, Cardiomegaly=1.3),
)  # fmt: skip

_SEXES = {
    "Male": ("M", " year old man", "-year-old male", " yo M", " y/o gentleman"),
    "Female": ("F", " year old woman", "-year-old female", " yo F", " y/o lady"),
}
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ASKING = (
    "eval for {}",
    "r/o {}",
    "{}?",
    "evaluate for {}",
    "please assess for {}",
    "? {}",
    "assess {}",
    "rule out {}",
)
_FORMS = (
    "{who} with {history}, now with {complaint}  // {question}",
    "{who} with {complaint}. {history}. {question}.",
    "{who} w/ {history} p/w {complaint}, {question}",
    "{complaint} in {who}, {history}. {question}",
    "{complaint}, {history}; {question}",
    "{who}, {complaint}, {history}\n   {question}",
)
_BARE_FORMS = ("{who} with {complaint}  // {question}", "{complaint}. {question}.", "{who} w/ {complaint}, {question}")
_TYPO_SHARE = 0.015


def chances(concepts: tuple[Concept, ...], present: NDArray[np.bool_], *, is_choice: bool) -> NDArray[np.float64]:
    """(N, concepts) chance of each concept in studies with ``present`` (N, findings in the order of ``FINDINGS``).

    Of a choice (complaints, questions) one is made, so rows sum to 1; otherwise (history) each is said or not.
    """
    lifts = np.array([[concept.lifts.get(finding, 0.0) for finding in FINDINGS] for concept in concepts])
    logits = np.array([concept.base for concept in concepts]) + present @ lifts.T
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True) if is_choice else weights / (1 + weights)


def draw_story(rng: np.random.Generator, severities: Mapping[str, float]) -> Story:
    """What is said of a study with these severities (0 where absent)."""
    present = np.array([[severities[finding] > 0 for finding in FINDINGS]])
    said = rng.random(len(HISTORY)) < chances(HISTORY, present, is_choice=False)[0]
    return Story(
        complaint=int(rng.choice(len(COMPLAINTS), p=chances(COMPLAINTS, present, is_choice=True)[0])),
        history=tuple(np.flatnonzero(said).tolist()),
        question=int(rng.choice(len(QUESTIONS), p=chances(QUESTIONS, present, is_choice=True)[0])),
    )


def write_indication(rng: np.random.Generator, story: Story, *, sex: str, age: int) -> str:
    """The story in words, over one or two lines: abbreviations, the age in words or removed (``___``), a few typos."""
    history = _joined(rng, [_pick(rng, HISTORY[place].words) for place in story.history])
    text = _pick(rng, _FORMS if history else _BARE_FORMS).format(
        who=_who(rng, sex=sex, age=age),
        complaint=_pick(rng, COMPLAINTS[story.complaint].words),
        history=history,
        question=_pick(rng, _ASKING).format(_pick(rng, QUESTIONS[story.question].words)),
    )
    text = text.replace("?.", "?")
    text = " ".join(_typed(rng, word) for word in text.split(" "))
    return text.upper() if rng.random() < 0.06 else text


def _who(rng: np.random.Generator, *, sex: str, age: int) -> str:
    kind = rng.random()
    if kind < 0.12:
        return {"Male": "man", "Female": "woman"}[sex] if kind < 0.06 else "patient"
    if kind < 0.22 and age >= 20:
        digits = ("", "-one", "-two", "-three", "-four", "-five", "-six", "-seven", "-eight", "-nine")
        return f"{_TENS[age // 10 - 2]}{digits[age % 10]} year old {'man' if sex == 'Male' else 'woman'}"
    shown = "___" if kind < 0.8 else str(age)  # the release removed most ages
    return shown + _pick(rng, _SEXES[sex])


def _joined(rng: np.random.Generator, items: list[str]) -> str:
    return _pick(rng, (", ", "/", " and ", ", ")).join(items)


def _typed(rng: np.random.Generator, word: str) -> str:
    """Two letters of a long word swapped, or one lost, once in a while."""
    place, is_typo = int(rng.integers(1, 4)), rng.random() < _TYPO_SHARE
    if not (is_typo and len(word) > 5 and word.isalpha()):
        return word
    if rng.random() < 0.5:
        return word[:place] + word[place + 1 :]
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]

"""The reports of phantom studies, set in the layouts of MIMIC-CXR: the indication, then what the labeller reads."""

from collections.abc import Mapping

import numpy as np

# {asked} is the indication, {seen} what was seen; a slip of either into the other's place is what these are to catch.
_LAYOUTS = (
    "                                 FINAL REPORT\n EXAMINATION:  {exam}\n\n INDICATION:  {asked}\n\n TECHNIQUE:  PA"
    "\n\n COMPARISON:  ___\n\n FINDINGS: \n\n {seen}\n\n IMPRESSION: \n\n {summary}\n",
    "                                 FINAL REPORT\n HISTORY:  {asked}\n\n COMPARISON:  None.\n\n FINDINGS:  {seen}\n\n"
    " IMPRESSION:  {summary}\n",
    " WET READ: ___ ___ ___ 4:50 PM\n  {summary}\n {rule}\n                                 FINAL REPORT\n"
    " REASON FOR EXAM:  {asked}\n\n {exam}\n\n {seen}\n",
    " Indication: {asked}\n Comparison: none\n Findings: {seen}\n Impression: {summary}\n",
    " EXAMINATION: {exam} INDICATION: {asked} COMPARISON: ___ FINDINGS: {seen} IMPRESSION: {summary}\n",
    " CLINICAL HISTORY\n {asked}\n FINDINGS\n {seen}\n IMPRESSION\n {summary}\n",
    " REASON FOR EXAMINATION:\n {asked}\n\n Frontal radiograph of the chest. {seen}\n",
    " CLINICAL INFORMATION:\t{asked}\r\n\r\n FINDINGS  {seen}\r\n\r\n IMPRESSION  {summary}\r\n",
)
_SHARES = (0.46, 0.14, 0.1, 0.08, 0.05, 0.05, 0.07, 0.05)
_SEEN = {
    "1.0": ("There is {}.", "{} is seen.", "New {} is noted."),
    "-1.0": ("Possible {}.", "{} cannot be excluded."),
    "0.0": ("There is no {}.", "No evidence of {}."),
}


def write_report(rng: np.random.Generator, *, indication: str, labels: Mapping[str, str], exam: str) -> str:
    """A report that asks ``indication`` (may be empty) and tells ``labels`` (``1.0``, ``0.0``, ``-1.0`` or blank)."""
    layout = _LAYOUTS[int(rng.choice(len(_LAYOUTS), p=_SHARES))]
    told = [(label.lower(), value) for label, value in labels.items() if value and label != "No Finding"]
    seen = [_SEEN[value][int(rng.integers(len(_SEEN[value])))].format(label).capitalize() for label, value in told]
    present = [label for label, value in told if value == "1.0"]
    summary = f"{', '.join(present)}.".capitalize() if present else "No acute cardiopulmonary process."
    return layout.format(
        asked=indication, seen=" ".join(seen) or "The lungs are clear.", summary=summary, exam=exam, rule="_" * 78
    )

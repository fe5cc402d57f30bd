"""Montgomery County tuberculosis set (Jaeger et al., 2014): ``CXR_png/MCUCXR_0001_0.png``, ``ClinicalReadings/*.txt``.

The label is the last digit of the file name; the readings give sex, age and findings. The masks of the lungs bear the
same file names in other folders and are not images to pack. The release has no split: one is drawn here once, by class.
"""

import re

from shards.sources.diagnoses.shenzhen import Reading, read_films
from shards.sources.files import SourceFiles
from shards.sources.options import SourceOptions
from shards.sources.release import Release
from shards.sources.words.patient import parse_age, parse_sex

_SEX = re.compile(r"Patient's\s+Sex\s*:\s*(\w*)", re.IGNORECASE)
_AGE = re.compile(r"Patient's\s+Age\s*:\s*(\w*)", re.IGNORECASE)


def read(files: SourceFiles, options: SourceOptions) -> Release:
    """Reads the Montgomery release from the folder that holds ``CXR_png``, or the folder around it.

    Raises:
        InputError: no ``CXR_png`` folder.
    """
    return read_films(files, "Montgomery", stem="MCUCXR", parse=_parse_reading)


def _parse_reading(text: str) -> Reading:
    sex, age = _SEX.search(text), _AGE.search(text)
    findings = " ".join(line for line in text.splitlines() if not line.strip().startswith("Patient's"))
    return parse_sex(sex[1]) if sex else None, parse_age(age[1]) if age else None, findings

"""A dataset's index without a dataset, for steps on ready-made views."""

from typing import Any

import numpy as np


class PatientRows:
    """What a trainer reads of an index: ``num_rows`` images, of as many patients."""

    def __init__(self, num_rows: int) -> None:
        self.rows = np.arange(num_rows)

    def __len__(self) -> int:
        return len(self.rows)

    def patients(self) -> Any:
        """A number for each row's patient (N,)."""
        return self.rows

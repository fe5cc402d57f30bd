"""What labels can be asked for as: names that settings share with the index, free of what reading an index takes."""

from typing import Literal

LabelPolicy = Literal["ignore", "ones", "zeros"]

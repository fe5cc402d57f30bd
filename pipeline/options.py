"""What a loader can be asked for: names that settings share with it, free of torch, so that help comes at once."""

from typing import Literal

EngineName = Literal["auto", "dali", "kornia", "resident"]
DamagePolicy = Literal["error", "skip"]
Positives = Literal["image", "study", "patient"]

"""What a part is given, and how it says what it has found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.parts import Sizes, result_path, sizes_of
from benchmarks.measuring.machine import describe_machine
from benchmarks.measuring.result import write_result


@dataclass(frozen=True, kw_only=True)
class Job:
    """``work`` is for what need not be kept; ``data`` a packed dataset."""

    part: str
    device: str
    folder: Path
    data: Path
    remarks: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.device)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def say(self, remark: str, **figures: Any) -> None:
        """Adds a sentence and figures to the result, which is written at once."""
        print(remark, flush=True)
        self.remarks.append(remark)
        self.figures.update(figures)
        path = result_path(self.folder, self.part, self.device)
        machine = describe_machine(self.device)
        write_result(path, self.part, machine, (), remarks=self.remarks, figures=self.figures)

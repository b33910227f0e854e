"""Where the inputs lie that all trials of a sweep share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainable.execution import Execution
from trainable.teacher import Teacher


@dataclass(frozen=True)
class Task:
    """Where the shared inputs of all trials lie, and what was measured of the teacher.

    Plain values throughout: it is written as JSON into a run and handed to other processes.
    """

    tokens: str  # folder of the tokenised splits
    pad_id: int  # of the tokenizer; the same among the tokens in use
    label_names: list[str]
    teacher: Teacher
    outputs: dict[str, str]  # LOGITS and hidden pools -> folder
    data_digest: str
    device: str  # "cpu" or "cuda": where the trials train
    # Of each split: `train`, `evaluation`, and `whole` where `evaluation` is a sample of it.
    sentences: dict[str, int]
    execution: Execution = field(default_factory=Execution)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Task":
        """The task that `to_dict` wrote."""
        parts = {
            "teacher": Teacher(**values["teacher"]),
            "execution": Execution(**values["execution"]),
        }
        return cls(**{**values, **parts})

    def teacher_in_words(self) -> str:
        """`0.8688`, or `0.9580 on the 900 sentences of the sample, 0.9608 on all 25,000`."""
        accuracy, whole = f"{self.teacher.accuracy:.4f}", self.teacher.whole_accuracy
        if whole is None:
            return accuracy
        sample = f"{accuracy} on the {self.sentences['evaluation']:,} sentences of the sample"
        return f"{sample}, {whole:.4f} on all {self.sentences['whole']:,}"

    def moved(self, places: Mapping[str, str]) -> "Task":
        """The same with each of its folders where `places` has it."""
        return replace(
            self,
            tokens=places[self.tokens],
            teacher=replace(self.teacher, folder=places[self.teacher.folder]),
            outputs={kind: places[path] for kind, path in self.outputs.items()},
        )

    def folders(self) -> list[Path]:
        """All that a trial reads."""
        return [
            Path(folder) for folder in (self.tokens, self.teacher.folder, *self.outputs.values())
        ]

"""Scores on the test split: examples that nothing was trained on or selected by, looked at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from search.record.labels import labels_of
from search.record.run import Run
from search.results.cells import interval
from search.results.statistics import mean_interval
from search.students.kept import answers, choose_checkpoint, inputs_here, sweep_examples
from trainable.common.errors import UserError, as_user_error
from trainable.config.metrics import lowest_score
from trainable.config.training_inputs import TrainingInputs
from trainable.data.datasets import LabelledTexts
from trainable.engine.metrics import example_scores, score
from trainable.engine.training_state import CheckpointError
from trainable.trial.checkpoint import check_checkpoint

ON_TEST = "on the test split, by which nothing was selected"


class Score(NamedTuple):
    """A score with its 95% interval over examples: None where predictions are lost."""

    name: str
    score: float
    interval: tuple[float, float] | None
    examples: int
    note: str


@contextmanager
def teacher_folder(inputs: TrainingInputs) -> Iterator[Path]:
    """A temporary folder with the teacher and its tokenizer, as anyone would load them."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for source in (Path(inputs.teacher.folder), Path(inputs.tokens) / "tokenizer"):
            for path in source.iterdir():
                (folder / path.name).unlink(missing_ok=True)
                (folder / path.name).symlink_to(path)
        yield folder


def test_scores(folder: Path, inputs: TrainingInputs, test: LabelledTexts | None) -> list[Score]:
    """Of an exported student, its teacher and their difference; empty without a test split."""
    if test is None:
        return []
    with teacher_folder(inputs) as teacher:
        folders = {"these weights": folder, "teacher": teacher}
        found = {name: answers(path, test.texts) for name, path in folders.items()}
    labels, metric = np.asarray(test.labels), inputs.metric
    scores = {name: score(metric, own, labels) for name, own in found.items()}
    each = {name: example_scores(metric, own, labels) for name, own in found.items()}
    student, reference = found
    gap = f"{student} - {reference}"
    scores[gap], each[gap] = scores[student] - scores[reference], each[student] - each[reference]
    lowest = {**dict.fromkeys(found, lowest_score(metric)), gap: -1.0}
    ends = {name: interval_of(own, lowest[name]) for name, own in each.items()}
    return [Score(n, scores[n], ends[n], len(labels), ON_TEST) for n in scores]


def score_once(run: Run) -> str:
    """A sentence on the recommended student of a run and its score on the test split; UserError if
    none is kept, or the examples are no longer those of the run."""
    trial, checkpoint, _ = choose_checkpoint(run, None)
    inputs = inputs_here(run)
    with as_user_error("the checkpoint is ", CheckpointError):
        check_checkpoint(checkpoint, trial.config, inputs)
    examples = sweep_examples(checkpoint, run.request, inputs.of(trial.config))
    if examples.test is None:
        raise UserError("the test examples are no longer those of the run")
    scores = test_scores(checkpoint, inputs, examples.test)
    student = labels_of(run)(trial)
    return f"{describe_test(scores, inputs.metric_label)} Student: {student}."


def describe_test(scores: Sequence[Score], metric: str) -> str:
    """A sentence on what `test_scores` gave."""
    student, teacher, gap = ([f"{s.score:.4f}", interval(s.interval)] for s in scores)
    return (
        f"Test {metric}: {student[0]} (95% interval {student[1]}), of the teacher {teacher[0]}, "
        f"less the teacher {gap[0]} ({gap[1]})."
    )


def interval_of(by_example: np.ndarray | None, lowest: float) -> tuple[float, float] | None:
    """95% interval of the mean of scores by example [N], at least `lowest`, for other examples."""
    return None if by_example is None else mean_interval(by_example[None], lowest)

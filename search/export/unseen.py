"""Scores on the test split: examples that nothing was trained on or selected by, looked at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from search.export.model_card import Score, interval_of
from trainable.config.training_inputs import TrainingInputs
from trainable.data.datasets import LabelledTexts
from trainable.engine.metrics import example_scores, score
from trainable.serving.served_model import ServedModel, predicted

ON_TEST = "on the test split, by which nothing was selected"


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
        answers = {
            name: predicted(ServedModel.load(path).logits(test.texts))
            for name, path in (("these weights", folder), ("teacher", teacher))
        }
    labels, metric = np.asarray(test.labels), inputs.metric
    scores = {name: score(metric, own, labels) for name, own in answers.items()}
    each = {name: example_scores(metric, own, labels) for name, own in answers.items()}
    student, reference = answers
    gap = f"{student} - {reference}"
    scores[gap], each[gap] = scores[student] - scores[reference], each[student] - each[reference]
    return [Score(n, scores[n], interval_of(each[n]), len(labels), ON_TEST) for n in scores]

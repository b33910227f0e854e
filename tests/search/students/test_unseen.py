"""Scores on the test split, and the examples of a sweep loaded again."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from search.plan.request import Request
from search.students import unseen
from search.students.kept import sweep_examples
from tests.made_runs import made_inputs
from trainable.data.datasets import LabelledTexts
from trainable.data.sources import load_sources
from trainable.data.tokens import save_split, tokenise
from trainable.data.wheels import small_encoder


def test_a_student_that_is_worse_than_its_teacher_is_behind_by_an_interval(monkeypatch):
    """30 of 200 are wrong, of the teacher none: a score ends at 0, a difference does not."""
    labels = np.arange(200) % 2
    said = {"student": np.where(np.arange(200) < 30, 1 - labels, labels), "teacher": labels}
    monkeypatch.setattr(unseen, "teacher_folder", lambda inputs: nullcontext("teacher"))
    monkeypatch.setattr(unseen, "answers", lambda folder, texts: said[folder])
    texts = LabelledTexts(["text"] * 200, labels.tolist())
    student, teacher, gap = unseen.test_scores("student", made_inputs(), texts)
    assert (student.score, teacher.score, gap.score) == (0.85, 1.0, pytest.approx(-0.15))
    half = 1.96 * np.sqrt(0.85 * 0.15 / 200)
    assert student.interval == pytest.approx((0.85 - half, 0.85 + half), abs=0.006)
    assert gap.interval == pytest.approx((-0.15 - half, -0.15 + half), abs=0.006)
    assert teacher.interval[1] == 1.0 > teacher.interval[0] > 0.98


def test_the_column_of_texts_without_labels_does_not_keep_a_presets_examples(bert, tmp_path):
    (tmp_path / "more.csv").write_text("body\none more\n")
    sizes = {"preset": "mini", "max_train_samples": 20, "max_eval_samples": 20}
    request = Request(space="study", cache=str(tmp_path), **sizes)
    own = load_sources(request).dataset
    length = request.effective_preset.max_length
    split = tokenise(bert, own.evaluation.texts, own.evaluation.labels, length)
    save_split(split, tmp_path, "evaluation")
    inputs = made_inputs(tokens=str(tmp_path))
    given = replace(request, transfer=str(tmp_path / "more.csv"), text_column="body")
    assert load_sources(given).dataset.transfer.texts == ["one more"]
    assert sweep_examples(small_encoder(), given, inputs) == own

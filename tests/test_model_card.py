"""The model card: each number is the record's or was measured, and no local path is told."""

from dataclasses import fields, replace

import numpy as np
import pytest
from huggingface_hub import ModelCard

from search.export_check import Check
from search.model_card import (
    Exported,
    Size,
    data_source,
    gap_to_teacher,
    model_card,
    scores,
    teacher_source,
)
from search.request import Request
from search.table import trials_table
from tests.exports import make_request, make_run, make_teacher
from trainable.config import TrialConfig
from trainable.metrics import unpack_bits
from trainable.whole_student import label_names


@pytest.fixture(scope="module")
def small(tokenizer, data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    teacher = make_teacher("bert", tokenizer, folder / "teacher")
    request = make_request(folder, teacher, data_folder, search_sentences=30)
    settings = {"alpha": 0.5, "student_layers": 2, "epochs": 1, "evaluations": 4, "batch_size": 8}
    configs = [TrialConfig(**settings, learning_rate=3e-3, seed=seed) for seed in (0, 1)]
    return make_run(folder, request, configs)


@pytest.fixture
def told(small):
    """What a card is made of, for the second trial."""
    trial = list(small.run.trials.values())[1]
    best = max(trial.evaluations, key=lambda evaluation: evaluation["accuracy"])
    return Exported(
        run=small.run,
        trial=trial,
        evaluation=best,
        labels=["even", "odd"],
        rows=(65, 205),
        student=Size(17_100_000, 68_000_000, 900.0),
        teacher=Size(22_700_000, 91_000_000, 500.0),
        measured_on="a processor with 2 threads",
        check=Check(best["accuracy"], 30, 0),
    )


def test_scores_are_the_records_with_the_tables_intervals(told):
    found = {score.name: score for score in scores(told)}
    evaluations, teacher = told.trial.evaluations, told.task.teacher
    assert found["these weights"].accuracy == max(e["accuracy"] for e in evaluations)
    assert found["best5"].accuracy == told.trial.best5
    assert found["last"].accuracy == evaluations[-1]["accuracy"]
    assert found["whole"].accuracy == evaluations[-1]["whole_accuracy"]
    assert found["teacher"].accuracy == teacher.accuracy
    assert found["teacher, whole"].accuracy == teacher.whole_accuracy
    assert [found[name].sentences for name in ("last", "whole")] == [30, 40]
    row = trials_table(told.run).set_index("digest").loc[told.trial.config.digest]
    assert found["best5"].interval == (row["low"], row["high"])
    for score in found.values():
        assert score.interval[0] <= score.accuracy <= score.interval[1]


def test_gap_is_paired(told):
    gap, (low, high) = gap_to_teacher(told)
    assert gap == pytest.approx(told.evaluation["accuracy"] - told.task.teacher.accuracy)
    assert low <= gap <= high
    same = replace(told, evaluation={**told.evaluation, "correct": told.task.teacher.correct})
    assert gap_to_teacher(same) == (0.0, (0.0, 0.0))


def test_card_tells_the_numbers(told):
    card = model_card(told)
    for score in scores(told):
        assert f"| {score.name} | {score.accuracy:.4f} | " in card
    for setting, value in told.trial.config.to_dict().items():
        assert f"| `{setting}` | {'-' if value is None else value}" in card
    for setting in fields(TrialConfig):
        assert f"| {setting.metadata['help']} |" in card
    assert "| student | 17.1 M | 68 MB | 900 |" in card
    assert "| teacher | 22.7 M | 91 MB | 500 |" in card
    assert "1.8 times as fast" in card
    assert "65 of the 205 rows" in card
    assert "the other 140 are the teacher's own" in card
    assert "of the 2 trials that ended, by the mean best5 of a recipe's seeds" in card
    assert "looked at the evaluation sentences 8 times" in card
    assert f"those of evaluation {told.evaluation['evaluations']}, the most accurate of its 4." in (
        card
    )
    assert told.trial.config.digest in card


def test_front_matter_is_read_by_the_hubs_own_library(told):
    data = ModelCard(model_card(told)).data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert data.license == "unknown"
    (result,) = data.eval_results
    assert result.metric_value == round(told.evaluation["accuracy"], 6)


def test_no_local_path_is_told(told):
    card = model_card(told)
    assert "/tmp" not in card
    assert str(told.run.folder.parent) not in card
    assert told.request.dataset not in card
    assert told.request.teacher not in card


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (Check(0.5, 30, 0), "0.5000 on 30 sentences, the same answer on every one"),
        (Check(0.5, 30, 2), "0.5000 on 30 sentences, 2 of them answered otherwise"),
        ("no sentences", "not computed again from this folder: no sentences."),
    ],
)
def test_the_check_is_told(check, words, told):
    card = replace(told, check=check)
    assert words in model_card(card)
    assert card.is_wrong == (check == Check(0.5, 30, 2))


def test_answers_may_differ_where_the_arithmetic_does(told):
    config = replace(told.trial.config, precision="bf16")
    other = replace(told, trial=replace(told.trial, config=config), check=Check(0.5, 30, 2))
    assert not other.is_wrong
    assert "(the trial trained in bf16 on cpu)" in model_card(other)


@pytest.mark.parametrize(
    ("values", "teacher", "data"),
    [
        ({"preset": "sst2"}, "microsoft/deberta-v3-base", "nyu-mll/glue"),
        ({"preset": "imdb"}, "microsoft/deberta-v3-base", "stanfordnlp/imdb"),
        ({"preset": "mini"}, None, None),
        ({"preset": "mini", "teacher": "/home/me/t", "dataset": "a/b:c"}, None, "a/b"),
    ],
)
def test_hub_ids_are_told_and_nothing_else_is_taken_for_one(values, teacher, data):
    request = Request(space="study", cache="", **values)
    assert teacher_source(request).hub_id == teacher
    assert data_source(request).hub_id == data
    assert "/home" not in teacher_source(request).words


def test_licences_are_told_where_known():
    known = teacher_source(Request(space="study", preset="sst2", cache=""))
    assert known.licence == "MIT"
    unknown = data_source(Request(space="study", preset="sst2", cache=""))
    assert unknown.licence == "unknown"


def test_label_names():
    class Config:
        id2label = {0: "bad", 1: "good"}

    class Unnamed:
        id2label = {0: "LABEL_0", 1: "LABEL_1"}

    assert label_names(["0", "1"], Config) == ["bad", "good"]
    assert label_names(["0", "1"], Unnamed) == ["0", "1"]
    assert label_names(["negative", "positive"], Config) == ["negative", "positive"]


def test_bits_of_these_weights_make_their_accuracy(told):
    bits = unpack_bits(told.evaluation["correct"], 30)
    assert np.mean(bits) == told.evaluation["accuracy"]

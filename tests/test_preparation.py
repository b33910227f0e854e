"""What a sweep says and refuses before its first trial, on the tiny inputs."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from trainable.task import Task

from search.plan import plan_trials
from search.preparation import describe, how_many, prepare_again, prepare_sweep
from search.request import Request
from search.run import main
from trainable.data import sample_evaluation, subset

TINY = {"student_layers": 2, "batch_size": 8, "precision": "fp32"}


@pytest.fixture
def request_for(teacher_folder, data_folder, tmp_path):
    """A request on the tiny inputs, with these sizes."""

    def make(**sizes):
        return Request(
            "baselines",
            "mini",
            cache=str(tmp_path / "cache"),
            teacher=str(teacher_folder),
            dataset=str(data_folder),
            max_length=16,
            overrides=TINY,
            **sizes,
        )

    return make


def prepared(request):
    """The sweep as it is prepared, and the lines said."""
    console = Console(file=io.StringIO(), width=200, highlight=False, markup=False)
    return prepare_sweep(request, console), console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("used", "sample", "said"),
    [
        (None, None, "each evaluated 8 times on 40, in"),
        (30, None, "each evaluated 8 times on 30 of 40, in"),
        (None, 13, "each evaluated 8 times on 13 of 40 and once, at its end, on 40, in"),
        (30, 13, "each evaluated 8 times on 13 of 30 and once, at its end, on 30 of 40, in"),
    ],
)
def test_description_says_what_each_evaluation_is_on(inputs, request_for, used, sample, said):
    dataset = sample_evaluation(subset(inputs.dataset, None, used), sample)
    configs = plan_trials(request_for())
    text = describe(configs, replace(inputs, dataset=dataset))
    assert text == f"on 96 sentences, {said} fp32."


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"space": "study"}, "18 trials"),
        ({"space": "recipe", "samples": 24}, "24 configurations (optuna suggests 20 of them)"),
        ({"space": "recipe", "samples": 2}, "2 configurations (optuna suggests 0 of them)"),
        (
            {"space": "recipe", "samples": 24, "seeds": 3},
            "24 configurations (optuna suggests 20 of them), each on 3 seeds",
        ),
        (
            {"space": "recipe", "time_budget": 60.0},
            "4 configurations and what optuna suggests for about 60 s",
        ),
    ],
)
def test_how_many_are_to_come_is_said_of_every_kind_of_sweep(asked, said):
    request = Request(preset="mini", cache="", searcher="optuna", **asked)
    assert how_many(request, plan_trials(request)) == said


def test_both_scores_of_the_teacher_are_said_and_handed_on(request_for, sampled_task):
    sweep, said = prepared(request_for(search_sentences=13))
    assert sweep.evaluation_sentences == 13
    assert sweep.task.sentences == {"train": 96, "evaluation": 13, "whole": 40}
    assert sweep.task.teacher.whole_correct == sampled_task.teacher.whole_correct
    assert said[-1] == f"Teacher's accuracy: {sampled_task.teacher_in_words()}."


def test_without_a_sample_one_score_is_said(request_for, task):
    sweep, said = prepared(request_for())
    assert sweep.evaluation_sentences == 40
    assert said[-1] == f"Teacher's accuracy: {task.teacher.accuracy:.4f}."


def test_task_that_is_made_again_has_the_same_sample(request_for, tmp_path):
    request = request_for(search_sentences=13)
    sweep, _ = prepared(request)
    elsewhere = replace(request, cache=str(tmp_path / "other"))
    again = prepare_again(elsewhere, sweep.configs, Console(file=io.StringIO()))
    assert again.data_digest == sweep.task.data_digest
    assert again.teacher.whole_correct == sweep.task.teacher.whole_correct
    assert Task.from_dict(again.to_dict()) == again


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("41", "--eval-subset 41: the evaluation split has 40; give at most that"),
        ("1", "--eval-subset 1: too few to have each label among them; give at least 2"),
    ],
)
def test_sample_that_cannot_be_had_is_refused(
    *, teacher_folder, data_folder, tmp_path, capsys, asked, said
):
    argv = ["--space", "baselines", "--preset", "mini", "--eval-subset", asked]
    argv += ["--teacher", str(teacher_folder), "--dataset", str(data_folder)]
    argv += ["--cache", str(tmp_path / "cache"), "--storage", str(tmp_path / "runs")]
    argv += ["--set", "student_layers=2", "--set", "batch_size=8"]
    assert main(argv) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {said}"]
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache" / "teachers").exists()

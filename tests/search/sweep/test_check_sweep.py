"""What a sweep says and makes before its first trial, on the tiny inputs."""

import io
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

from search.plan.grid import left_out, plan_trials
from search.sweep import check_sweep as check_sweep_module
from search.sweep.check_sweep import check_sweep, complete, describe, prepare_again
from tests.conftest import make_teacher, user_error
from tests.made_runs import asked
from trainable.config.fields import from_plain
from trainable.config.training_inputs import TrainingInputs
from trainable.data.datasets import sample_evaluation, subset
from trainable.data.sources import load_sources
from trainable.teacher.outputs import kept_layers

TINY = (("student_layers", 2), ("batch_size", 8), ("precision", "fp32"))


@pytest.fixture
def request_for(teacher_folder, data_folder, tmp_path):
    """A request on the tiny inputs, with these sizes."""

    def make(**sizes):
        given = {"teacher": str(teacher_folder), "dataset": str(data_folder), "max_length": 16}
        given |= {"cache": str(tmp_path / "cache"), "allow_weak_teacher": True}
        return asked(overrides=TINY, **given, **sizes)

    return make


def quiet():
    return Console(file=io.StringIO(), width=200)


def checked_of(request, console=None):
    return check_sweep(request, load_sources(request), console or quiet())


@pytest.mark.parametrize(
    ("used", "sample", "said"),
    [
        (None, None, "40"),
        (30, None, "30 of 40"),
        (30, 13, "a subset of 13, and 30 of 40 at the end"),
    ],
)
def test_description_says_what_each_evaluation_is_on(loaded, request_for, used, sample, said):
    dataset = sample_evaluation(subset(loaded.dataset, None, used), sample)
    configs, inputs = plan_trials(request_for()), replace(loaded, dataset=dataset)
    said = f"Training: 96 examples, 24 steps per trial. Validation: {said}, 8 evaluations per trial"
    assert describe(configs, inputs) == f"{said}. In fp32."
    of_f1 = describe(configs, replace(inputs, metric="f1"))
    assert of_f1 == f"{said}, scored by F1 of 'odd'. In fp32."


def test_a_search_does_not_vary_the_temperature_of_a_regression(
    request_for, data_folder, tokenizer, tmp_path
):
    """Also of whole numbers, which are one where a correlation is the metric."""
    teacher = make_teacher("bert", tokenizer, tmp_path / "teacher", num_labels=1)
    given = {"space": "recipe", "searcher": "random", "scheduler": "promotion", "samples": 9}
    request = replace(request_for(), **given, teacher=str(teacher), metric="pearson")
    checked = checked_of(request)
    assert checked.preparation.inputs.dataset.label_names == []
    assert {config.temperature for config in checked.possible} == {2.0}
    assert dict(checked.request.overrides) == {**dict(TINY), "temperature": 2.0}
    fixed = (*TINY, ("temperature", 4.0))
    labels_alone = (*TINY, ("alpha_schedule", "fixed"), ("alpha", 1.0))  # have no temperature
    for overrides in (fixed, labels_alone):
        checked = checked_of(replace(request, overrides=overrides))
        assert dict(checked.request.overrides) == dict(overrides)


@pytest.mark.parametrize(
    ("budget", "given", "made"),
    [
        (None, (), 4.0),
        (81.0, (), 1.25),
        (30.0, (), 0.0),
        (81.0, (("share", 3.0),), 3.0),
        (81.0, (("crop", 0.25),), 1.25),
    ],
)
def test_no_more_texts_are_made_than_the_budget_has_time_for(
    request_for, monkeypatch, budget, given, made
):
    """A pass of 12 steps takes 12 s, so that 81 s are 6.75 passes: 3 over the labelled examples,
    and as long over 1.25 times as many texts. Where time has no limit, 3,000 steps are 250."""
    monkeypatch.setattr(check_sweep_module, "step_seconds", lambda *of: 1.0)
    searched = {"space": "recipe", "searcher": "random", "scheduler": "promotion", "finals": 2}
    options = {"transfer": "augment", "augmentation": given, "time_budget": budget}
    checked = checked_of(replace(request_for(), **searched, **options))
    texts = checked.preparation.inputs.dataset.transfer
    assert (len(texts.texts) if texts else 0) == pytest.approx(made * 96, abs=5)  # some are alike
    assert checked.request.transfer_share == made
    assert dict(checked.request.augmentation).get("crop", 0.25) == 0.25


def test_inputs_are_made_once_again_alike_and_completed_where_trials_look_at_more(
    request_for, tmp_path
):
    console = quiet()
    checked = checked_of(request_for(eval_subset=13), console)
    said = console.file.getvalue()
    assert f"Teacher: {Path(checked.request.teacher).name} (local files).\n" in said
    assert "5 trials. Training: 96 examples, 24 steps per trial. Validation: a subset" in said
    assert "Validation: a subset of 13, and 40 at the end" in said
    inputs = checked.prepare(quiet())
    assert inputs.examples == {"train": 96, "evaluation": 13, "full": 40}
    assert inputs.teacher.full_score is not None
    assert from_plain(TrainingInputs, asdict(inputs)) == inputs
    assert prepare_again(checked.request, checked.configs, quiet()) == inputs
    elsewhere = replace(checked.request, cache=str(tmp_path / "other"))
    again = prepare_again(elsewhere, checked.configs, quiet())
    assert again.data_digest == inputs.data_digest
    assert again.teacher.full_predictions == inputs.teacher.full_predictions

    cache, config = tmp_path / "cache", checked.configs[0]
    aligned = replace(config, alpha=0.5, aligned_layers="1", hidden_pool="mean")
    assert complete(inputs, [], [config], cache, quiet()) == inputs
    more = complete(inputs, [], [aligned], cache, quiet())
    assert set(more.outputs) == {*inputs.outputs, "mean"}
    assert (more.teacher, more.tokens) == (inputs.teacher, inputs.tokens)
    for depth, layers in ((2, [2, 4]), (1, [2, 4]), (4, [1, 2, 3, 4])):
        deeper = replace(aligned, hidden_pool="tokens", student_layers=depth)
        more = complete(more, [], [aligned, deeper], cache, quiet())
        assert kept_layers(Path(more.outputs["tokens"])) == layers


def test_a_grace_that_leaves_nothing_to_compare_is_refused(request_for):
    wanted = replace(request_for(), scheduler="asha", grace_evaluations=8)
    said = user_error(checked_of, wanted)
    assert said.startswith("--grace-evaluations 8: must be below the trials' 8 evaluations")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"space": "schedules", "preset": "sst2"}, ""),
        ({"space": "logits"}, "alpha=0.0, alpha=0.25, alpha=0.75, temperature=8.0"),
        ({"space": "recipe", "searcher": "optuna"}, ""),
    ],
)
def test_values_that_a_coarse_grid_leaves_out_are_said(given, said):
    found = left_out(asked(**given))
    assert sorted(found.split(", ")) == sorted(said.split(", "))

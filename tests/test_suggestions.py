"""Suggestions: a function of the record, never twice the same, and the study that they make."""

import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from search import suggestions
from search.draws import config_of_draw, starting_draws
from search.plan import plan_trials
from search.record import GIVE_UP, PARAMETERS, RECORD, create_run, read_run
from search.request import Request
from search.searchers import SEARCHERS
from search.suggestions import JOURNAL, extend_by_suggestion, study_of, suggest, write_study
from trainable.config import TrialConfig
from trainable.errors import UserError

EVALUATIONS = 8


def make_run(folder, **asked):
    request = Request("recipe", "mini", cache="", **{"searcher": "optuna", "samples": 30, **asked})
    configs = plan_trials(request)
    plan = {"requests": [request.to_dict()], "latency": {"3": 5.0, "2": 4.0}}
    if request.searched:
        plan[PARAMETERS] = starting_draws(request, configs)
    return create_run(folder, plan, configs)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "mine")


def score(config):
    """A stand-in for a student: best at a learning rate of 2e-4, and without hidden alignment."""
    off = abs(math.log(config.learning_rate / 2e-4))
    return 0.9 - 0.05 * off - 0.02 * (config.aligned_layers != "none") + 0.001 * config.seed


def evaluate(run, trial, count=EVALUATIONS, *, stop=False, best5=None):
    """Appends a start and so many evaluations."""
    digest = trial.config.digest
    run.append({"event": "start", "trial": digest})
    for n in range(1, count + 1):
        value = score(trial.config) - 0.01 * (count - n) if best5 is None else best5
        values = {"evaluations": n, "accuracy": value, "best5_accuracy": value}
        decision = "stop" if stop and n == count else "continue"
        event = {"event": "evaluation", "decision": decision, "evaluation": values}
        run.append(event | {"trial": digest})


def fail(run, trial):
    event = {"event": "failure", "reason": "x", "then": GIVE_UP, "trial": trial.config.digest}
    run.append(event)


def pending(run):
    return [trial for trial in run.trials.values() if trial.outcome == "pending"]


def sweep(run, until=math.inf, reopened=lambda run: run):
    """Runs to the end, two trials at a time, `reopened` after each."""
    while len(run.trials) < until:
        while len(pending(run)) < 2 and extend_by_suggestion(run):
            pass
        if not pending(run):
            break
        evaluate(run, pending(run)[0])
        run = reopened(run)
    return run


def test_as_many_as_wanted_no_two_alike_the_starts_first(run):
    starts = list(run.trials)
    sweep(run)
    assert len(run.trials) == 30
    assert list(run.trials)[:4] == starts
    assert len({trial.config.recipe for trial in run.trials.values()}) == 30
    assert not run.interrupted
    assert extend_by_suggestion(run) == []


def test_a_suggestion_depends_on_nothing_but_the_record(tmp_path):
    """Read anew from disk after every single trial, the sweep is the same as one in one go."""
    whole = sweep(make_run(tmp_path / "whole"), until=16)
    pieces = sweep(
        make_run(tmp_path / "pieces"), until=16, reopened=lambda run: read_run(run.folder)
    )
    assert list(whole.trials) == list(pieces.trials)
    assert [t.parameters for t in whole.trials.values()] == [
        t.parameters for t in pieces.trials.values()
    ]


def test_sweep_seed_decides(tmp_path):
    found = [
        {t.config.recipe for t in sweep(make_run(tmp_path / name, seed=seed), 8).trials.values()}
        for name, seed in (("a", 0), ("b", 1))
    ]
    assert len(found[0] & found[1]) == 4  # the starts


def test_suggestion_whose_line_was_cut_short_is_made_again_and_is_the_same(run):
    (made,) = extend_by_suggestion(run)
    for path in (run.folder / RECORD, run.trial_folder(made) / RECORD):
        path.write_bytes(path.read_bytes()[:-40])
    again = read_run(run.folder)
    assert made.config.digest not in again.trials
    (second,) = extend_by_suggestion(again)
    assert second == made or (second.config, second.parameters) == (made.config, made.parameters)


def test_read_run_equals_the_run_that_was_extended_live(run):
    sweep(run, until=9)
    assert read_run(run.folder) == run


def test_numbers_have_three_digits_and_stay_in_their_ranges(run):
    sweep(run)
    for trial in run.trials.values():
        for key, value in trial.parameters.items():
            assert isinstance(value, str) or float(f"{value:.3g}") == value
            assert key == "aligned_layers" or getattr(trial.config, key) == value
        assert config_of_draw(run.request, trial.parameters) == trial.config


def test_every_trial_has_the_precision_of_the_first(tmp_path):
    request = Request("recipe", "mini", cache="", searcher="random", samples=6)
    configs = [replace(config, precision="bf16") for config in plan_trials(request)]
    plan = {"requests": [request.to_dict()]}
    plan[PARAMETERS] = starting_draws(request, configs)
    run = sweep(create_run(tmp_path / "mine", plan, configs))
    assert {trial.config.precision for trial in run.trials.values()} == {"bf16"}


class Stubborn(BaseSampler):
    """Draws always the same values, whatever it is told."""

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        return RandomSampler(seed=7).sample_independent(study, trial, name, distribution)


def test_a_searcher_that_repeats_itself_is_given_up_for_random_draws(run, monkeypatch):
    monkeypatch.setitem(SEARCHERS, "optuna", lambda seed: Stubborn())
    for _ in range(4):
        extend_by_suggestion(run)
    assert len({trial.config.recipe for trial in run.trials.values()}) == 8


def test_a_space_that_is_used_up_ends_the_search_for_good(tmp_path):
    pinned = {"alpha_schedule": "fixed", "alpha": 1.0, "learning_rate": 5e-5}
    run = sweep(make_run(tmp_path / "mine", overrides=pinned))
    assert len(run.trials) == 5  # one an initialisation
    assert (run.exhausted, run.to_suggest, run.interrupted) == (True, 0, False)
    again = read_run(run.folder)
    assert again == run
    assert extend_by_suggestion(again) == []


def test_a_draw_that_what_is_set_does_not_allow_is_passed_over(run, monkeypatch):
    """Rounding can make an alpha 1, at which no layer may be aligned."""
    drawn, real = [], suggestions.config_of_draw

    def refuse_first(request, values):
        drawn.append(values)
        if len(drawn) == 1:
            raise UserError("aligned_layers: no effect at alpha 1")
        return real(request, values)

    monkeypatch.setattr(suggestions, "config_of_draw", refuse_first)
    config, values = suggest(run, run.request)
    assert values is drawn[1] != drawn[0]
    assert config == real(run.request, values)


# Seeds.


def test_a_configuration_comes_on_all_its_seeds(tmp_path):
    run = make_run(tmp_path / "mine", seeds=3, samples=5, seed=2)
    assert [trial.config.seed for trial in extend_by_suggestion(run)] == [2, 3, 4]
    assert len(run.trials) == 15
    assert extend_by_suggestion(run) == []


@pytest.mark.parametrize("lost", [1, 2])
def test_seeds_that_a_kill_left_out_are_put_in(tmp_path, lost):
    run = make_run(tmp_path / "mine", seeds=3, samples=6)
    made = extend_by_suggestion(run)
    lines = (run.folder / RECORD).read_bytes().splitlines(keepends=True)
    (run.folder / RECORD).write_bytes(b"".join(lines[:-lost]))
    for trial in made[-lost:]:
        (run.trial_folder(trial) / RECORD).unlink()
    again = read_run(run.folder)
    assert again.interrupted
    assert [config for config, _ in again.missing_seeds] == [t.config for t in made[-lost:]]
    again.add_missing_seeds()
    assert [t.config for t in again.trials.values()] == [t.config for t in run.trials.values()]


def test_more_seeds_of_a_run_that_is_over(tmp_path):
    run = sweep(make_run(tmp_path / "mine", samples=6))
    assert not run.interrupted
    run.replan({"requests": [replace(run.request, seeds=2).to_dict()]}, [])
    assert run.interrupted
    assert len(run.missing_seeds) == 6
    run.add_missing_seeds()
    sweep(run)
    assert sorted(trial.config.seed for trial in run.trials.values()) == [0] * 6 + [1] * 6
    assert len({trial.config.recipe for trial in run.trials.values()}) == 6


# Time.


def stamp(run, *events):
    """Takes in events of these kinds and clock times."""
    for kind, time in events:
        run.take_in({"event": kind, "time": time, "provenance": {}})


def test_time_budget_counts_sessions_and_not_the_nights_between(tmp_path):
    run = make_run(tmp_path / "mine", samples=None, time_budget=100.0)
    run.last_time = run.seconds = 0.0
    stamp(run, ("session", 1000.0), ("other", 1060.0), ("session", 9000.0), ("other", 9039.0))
    assert (run.seconds, run.to_suggest) == (99.0, math.inf)
    stamp(run, ("other", 9040.0))
    assert (run.seconds, run.to_suggest) == (100.0, 0)
    assert extend_by_suggestion(run) == []


@pytest.mark.parametrize(
    ("samples", "budget", "wanted"),
    [(None, None, 36), (7, None, 3), (None, 60.0, math.inf), (7, 60.0, 3), (3, None, 0)],
)
def test_how_many_are_still_to_be_suggested(tmp_path, samples, budget, wanted):
    run = make_run(tmp_path / "mine", samples=samples, time_budget=budget)
    assert run.to_suggest == wanted
    assert len(run.trials) == (3 if samples == 3 else 4)


# The study.


def test_study_has_each_configuration_once_with_its_score(run):
    sweep(run, until=9)
    trials = list(run.trials.values())
    fail(run, trials[7])
    study = study_of(run)
    assert [trial.params for trial in study.trials] == [trial.parameters for trial in trials]
    for trial, made in zip(trials, study.trials, strict=True):
        state, value = TrialState.COMPLETE, score(trial.config)
        if trial.outcome in ("pending", "running"):
            state, value = TrialState.RUNNING, None
        elif trial.outcome == "failed":
            state, value = (TrialState.COMPLETE, value) if trial.evaluations else (state, value)
        if trial is trials[7]:
            state, value = TrialState.FAIL, None
        assert (made.state, made.value) == (state, value)
        assert made.user_attrs["trials"] == [trial.config.digest]
    assert study.best_value == max(score(t.config) for t in trials if t.outcome == "finished")


def test_a_stopped_trial_counts_with_its_last_best5(run):
    trial = next(iter(run.trials.values()))
    evaluate(run, trial, 2, stop=True, best5=0.625)
    (made,) = [t for t in study_of(run).trials if t.state.is_finished()]
    assert (made.value, made.intermediate_values) == (0.625, {1: 0.625, 2: 0.625})


def test_value_of_a_configuration_is_the_mean_over_its_seeds(tmp_path):
    run = make_run(tmp_path / "mine", seeds=2, samples=3)
    first, second, third, fourth, *_ = run.trials.values()
    evaluate(run, first, best5=0.5)
    assert study_of(run).trials[0].state == TrialState.RUNNING
    evaluate(run, second, best5=0.7)
    evaluate(run, third, best5=0.8)
    fail(run, fourth)
    made = study_of(run).trials
    assert len(made) == 3
    assert made[0].value == pytest.approx(0.6)
    assert made[1].value == 0.8  # of the seed that did not fail
    assert made[0].user_attrs["trials"] == [first.config.digest, second.config.digest]


@pytest.mark.parametrize(("against", "cost"), [("depth", [3.0, 2.0]), ("latency", [5.0, 4.0])])
def test_two_objectives(tmp_path, against, cost):
    run = sweep(make_run(tmp_path / "mine", against=against, samples=12))
    study = study_of(run)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial, made in zip(run.trials.values(), study.trials, strict=True):
        wanted = cost[0] if trial.config.student_layers == 3 else cost[1]
        assert made.values == pytest.approx([score(trial.config), wanted])
    assert {trial.config.student_layers for trial in run.trials.values()} == {2, 3}


def test_importance_can_be_computed_of_the_study(run):
    """Lists as categories break it; layer sets are strings."""
    sweep(run)
    common = ["initialisation", "learning_rate", "alpha_schedule"]  # of every trial
    found = optuna.importance.get_param_importances(study_of(run), params=common)
    assert max(found, key=found.get) == "learning_rate"
    assert np.isfinite(list(found.values())).all()


def test_written_study_is_what_optuna_loads_and_the_newest_takes_its_place(run):
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    for until in (6, 9):
        sweep(run, until=until)
        write_study(run)
        storage = JournalStorage(JournalFileBackend(str(run.folder / JOURNAL)))
        loaded = optuna.load_study(study_name="mine", storage=storage)
        wanted = study_of(run)
        assert [(t.params, t.state, t.values) for t in loaded.trials] == [
            (t.params, t.state, t.values) for t in wanted.trials
        ]
        assert loaded.directions == wanted.directions
        assert loaded.metric_names == ["best5_accuracy"]


def test_random_and_tpe_search_begin_alike_and_then_part(tmp_path):
    runs = [
        sweep(make_run(tmp_path / name, searcher=name, samples=20)) for name in ("optuna", "random")
    ]
    first, second = ([t.config for t in run.trials.values()] for run in runs)
    assert first[:4] == second[:4]
    assert first[10:] != second[10:]
    tail = [np.mean([score(config) for config in configs[8:]]) for configs in (first, second)]
    assert tail[0] > tail[1]  # it has learnt where the best learning rate lies


def test_a_listed_run_has_nothing_to_suggest(tmp_path):
    configs = [TrialConfig(alpha=0.5)]
    request = Request("study", "mini", cache="")
    run = create_run(tmp_path / "mine", {"requests": [request.to_dict()]}, configs)
    assert (run.searched, run.to_suggest, run.missing_seeds) == (False, 0, [])
    assert extend_by_suggestion(run) == []

"""Suggestions: a function of the record, never twice the same, and the study that they make."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console

from search.plan.draws import config_of_draw, starting_points
from search.plan.grid import plan_trials
from search.plan.request import SEARCHERS
from search.policy.policy import Policy
from search.policy.still_to_come import is_complete, to_suggest
from search.policy.suggestions import SAMPLERS, study_of
from search.record.run import read_run
from search.record.trial_record import GIVE_UP
from search.sweep.optuna_journal import JOURNAL, write_study
from search.sweep.summary import finish as finish_sweep
from tests.made_runs import asked, evaluated, failed, finish, searched_run, started, suggested


def make_run(folder, precision="fp32", **changes):
    values = {"space": "recipe", "searcher": "optuna", "samples": 30, **changes}
    request = asked(**values)
    configs = [replace(config, precision=precision) for config in plan_trials(request)]
    return searched_run(folder, request, configs, costs={"3": 5.0, "2": 4.0})


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "mine")


def score(config):
    """A stand-in for a student: best at a learning rate of 2e-4, and without hidden alignment."""
    off = abs(math.log(config.learning_rate / 2e-4))
    return 0.9 - 0.05 * off - 0.02 * (config.alpha_schedule != "fixed") + 0.001 * config.seed


def grow(run):
    """Records what comes next; gives the new trials."""
    known = len(run.trials)
    for event in Policy(run).additions(exclusive=True):
        run.append(event)
    return list(run.trials.values())[known:]


def pending(run):
    return [trial for trial in run.trials.values() if trial.outcome == "pending"]


def sweep(run, until=math.inf, reopened=lambda run: run):
    """Runs to the end, two trials at a time, `reopened` after each."""
    while len(run.trials) < until:
        while len(pending(run)) < 2 and grow(run):
            pass
        if not pending(run):
            break
        config = pending(run)[0].config
        run.append(started(config))
        finish(run, config, score(config))
        run = reopened(run)
    return run


def recipes(run):
    return [trial.config.recipe for trial in run.trials.values()]


# Searchers.


def next_x(name, seed, count):
    """What is drawn after so many random draws, of which those near 1 are the best."""
    study = optuna.create_study(direction="maximize", sampler=RandomSampler(seed=0))

    def draw(trial):
        trial.suggest_float("noise", 0.0, 1.0)
        return trial.suggest_float("x", 0.0, 1.0)

    for _ in range(count):
        trial = study.ask()
        study.tell(trial, draw(trial))
    study.sampler = SAMPLERS[name](seed, {})
    return draw(study.ask())


def test_seed_decides_and_tpe_learns_once_it_has_seen_eight(recwarn):
    assert tuple(SAMPLERS) == SEARCHERS == ("prior", "optuna", "random")
    for name in SEARCHERS:
        assert next_x(name, 1, 20) == next_x(name, 1, 20) != next_x(name, 2, 20)
    assert next_x("optuna", 5, 7) == next_x("random", 5, 7)
    assert next_x("optuna", 5, 8) != next_x("random", 5, 8)
    means = {name: np.mean([next_x(name, s, 30) for s in range(40)]) for name in SEARCHERS}
    assert min(means["optuna"], means["prior"]) > 0.75  # each has a standard error of 0.05
    assert 0.35 < means["random"] < 0.65
    assert list(recwarn) == []


# Suggestions.


def test_a_draw_that_the_space_does_not_fit_is_drawn_again(tmp_path, monkeypatch):
    """A user's space may have combinations so rare that the check before the run meets none."""
    path = tmp_path / "rare.py"
    path.write_text(
        "def rare(trial):\n"
        "    alpha = trial.suggest_float('alpha', 0.01, 1.0, step=0.01)\n"
        "    layers = 'none' if alpha < 0.6 else '1'\n"
        "    return {'alpha': alpha if alpha < 0.8 else 1.0, 'aligned_layers': layers}\n"
    )
    monkeypatch.setattr("search.plan.draws.RANDOM_DRAWS", 1)
    request = asked(space=f"{path}:rare", searcher="random", samples=30)
    run = searched_run(tmp_path / "rare", request, [config_of_draw(request, {"alpha": 0.5})])
    alphas = {trial.config.alpha for trial in sweep(run).trials.values()}
    assert len(alphas) == 30
    assert max(alphas) < 0.8


def test_as_many_as_wanted_no_two_alike_the_starts_first(run):
    starts = [config.recipe for config, _ in starting_points(run.request)]
    sweep(run)
    assert recipes(run)[: len(starts)] == starts
    assert len(set(recipes(run))) == len(run.trials) == 30
    assert is_complete(run)
    assert grow(run) == []
    assert read_run(run.folder) == run
    for trial in run.trials.values():
        for value in trial.parameters.values():
            assert isinstance(value, str) or float(f"{value:.3g}") == value
        assert config_of_draw(run.request, trial.parameters) == trial.config


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_suggestion_depends_on_nothing_but_record_and_seed(tmp_path, searcher):
    """Read anew from disk after every single trial, the sweep is the same as one in one go."""
    whole = sweep(make_run(tmp_path / "full", searcher=searcher), until=12)
    pieces = make_run(tmp_path / "pieces", searcher=searcher)
    pieces = sweep(pieces, until=12, reopened=lambda run: read_run(run.folder))
    assert list(whole.trials) == list(pieces.trials)
    assert [t.parameters for t in whole.trials.values()] == [
        t.parameters for t in pieces.trials.values()
    ]
    other = sweep(make_run(tmp_path / "other", searcher=searcher, seed=1), until=8)
    assert len(set(recipes(other)) & set(recipes(whole))) == 2  # the starts


def test_starts_count_among_those_wanted_and_give_all_their_precision(tmp_path):
    for samples, to_come in ((None, 39), (7, 6)):
        run = make_run(tmp_path / f"{samples}", precision="bf16", samples=samples)
        assert (to_suggest(run), len(run.trials)) == (to_come, 1)
    assert {trial.config.precision for trial in sweep(run).trials.values()} == {"bf16"}
    assert len(run.trials) == 7


def test_a_searcher_that_repeats_itself_is_given_up_for_random_draws(run, monkeypatch):
    monkeypatch.setitem(SAMPLERS, "optuna", lambda *_: RandomSampler(seed=7))
    for _ in range(6):
        grow(run)
    assert len(set(recipes(run))) == 7


def test_a_space_that_is_used_up_ends_the_search_for_good(tmp_path, capsys):
    pinned = {"alpha_schedule": "fixed", "alpha": 1.0, "learning_rate": 5e-5, "ema_decay": 0.0}
    run = sweep(make_run(tmp_path / "mine", overrides=tuple(pinned.items())))
    assert len(run.trials) == 5  # one an initialisation
    assert (run.exhausted, to_suggest(run), is_complete(run)) == (True, 0, True)
    assert read_run(run.folder) == run
    finish_sweep(run, Console())
    assert "The searcher found no new configuration." in capsys.readouterr().out


@pytest.mark.parametrize("trained", [None, 0, 7])
def test_a_search_in_which_every_trial_fails_ends_before_its_time(tmp_path, trained):
    run = make_run(tmp_path / "mine", samples=None, time_budget=1e6)
    for number in range(10):
        if not (pending(run) or grow(run)) or is_complete(run):
            break
        config = pending(run)[0].config
        run.append(started(config))
        if number == trained:
            run.append(evaluated(config, 1, 0.7))
        run.append(failed(config, GIVE_UP))
    ended = trained is None
    assert (len(run.trials), is_complete(read_run(run.folder))) == (8 if ended else 10, ended)


def test_a_range_that_is_narrower_than_the_rounding_is_searched(tmp_path):
    file = tmp_path / "narrow.py"
    file.write_text("def narrow(trial):\n    trial.suggest_float('alpha', 0.50011, 0.50019)\n")
    run = sweep(make_run(tmp_path / "mine", space=f"{file}:narrow", samples=4))
    assert len({trial.config.alpha for trial in run.trials.values()}) == 4
    assert all(0.50011 <= trial.config.alpha <= 0.50019 for trial in run.trials.values())


VALUES = """
import numpy

def mine(trial):
    trial.suggest_categorical("alpha", [1 / 3, 2 / 3])
    trial.suggest_float("ema_decay", 0.0, 15 / 16, step=5 / 16)
    trial.suggest_float("warmup_share", 0.1, 0.3, step=0.1)
    trial.suggest_categorical("batch_size", list(2 ** numpy.arange(3, 5)))
"""


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_choices_and_steps_are_tried_as_they_are_given(tmp_path, searcher):
    """However many digits they have, and if they are numpy's."""
    (tmp_path / "values.py").write_text(VALUES)
    space = f"{tmp_path / 'values.py'}:mine"
    run = sweep(make_run(tmp_path / "mine", space=space, searcher=searcher, samples=48))
    names = ("alpha", "ema_decay", "warmup_share", "batch_size")
    found = {tuple(getattr(t.config, name) for name in names) for t in run.trials.values()}
    assert found == set(
        product((1 / 3, 2 / 3), (0.0, 0.3125, 0.625, 0.9375), (0.1, 0.2, 0.3), (8, 16))
    )


@pytest.mark.parametrize("begins", ["session", "lost"])
def test_time_budget_counts_sessions_and_not_the_nights_between(tmp_path, begins):
    """Also where the event of a session's beginning is lost, in whose place is an older time."""
    run = make_run(tmp_path / "mine", samples=None, time_budget=100.0)
    run.last_time = run.seconds = 0.0
    lost = [("lost", 1060), ("other", 9000)]
    begun = lost if begins == "lost" else [("session", 9000)]
    for kind, now in [("session", 1000), ("other", 1060), *begun, ("other", 9039)]:
        run.apply({"event": kind, "time": now})
    assert (run.seconds, to_suggest(run)) == (99.0, math.inf)
    run.apply({"event": "other", "time": 9040.0})
    assert (run.seconds, to_suggest(run)) == (100.0, 0)
    assert grow(run) == []


# The study.


def test_study_has_each_configuration_once_with_its_score(run):
    sweep(run, until=9)
    trials = list(run.trials.values())
    run.append(failed(trials[7].config, GIVE_UP))
    stopped = trials[8].config
    run.append(evaluated(stopped, 1, 0.625, "continue"))
    run.append(evaluated(stopped, 2, 0.625, "stop"))
    study = study_of(run)
    assert [trial.params for trial in study.trials] == [trial.parameters for trial in trials]
    for trial, made in zip(trials[:7], study.trials, strict=False):
        assert (made.state, made.value) == (TrialState.COMPLETE, score(trial.config))
        assert made.user_attrs["trials"] == [trial.config.digest]
    assert study.trials[7].state == TrialState.FAIL
    assert study.trials[8].value == 0.625  # of its last evaluation
    assert [made.user_attrs["evaluations"] for made in study.trials[6:]] == [8, 8, 2]
    (made,) = grow(run)
    run.append(evaluated(made.config, 1, 0.75, "continue"))
    assert study_of(run).trials[9].state == TrialState.RUNNING
    run.append(evaluated(made.config, 2, 0.75, "wait"))
    assert study_of(run).trials[9].value == 0.75
    run.append(started(made.config))  # it goes on
    assert study_of(run).trials[9].state == TrialState.RUNNING


def test_value_of_a_configuration_is_the_mean_over_its_seeds(tmp_path):
    run = make_run(tmp_path / "mine", seeds=2, samples=3)
    for _ in range(2):
        grow(run)
    first, third, _ = (trial.config for trial in run.trials.values())
    second, fourth = (replace(config, seed=1) for config in (first, third))
    for config, like in ((second, first), (fourth, third)):
        run.append(suggested(config, run.trials[like.digest].parameters))
    finish(run, first, 0.5)
    assert study_of(run).trials[0].state == TrialState.RUNNING
    finish(run, second, 0.7)
    finish(run, third, 0.8)
    run.append(failed(fourth, GIVE_UP))
    one, other, _ = study_of(run).trials
    assert (one.value, other.value) == (pytest.approx(0.6), 0.8)  # of the seed that did not fail
    assert one.user_attrs["trials"] == [first.digest, second.digest]


@pytest.mark.parametrize(("against", "cost"), [("depth", [3.0, 2.0]), ("latency", [5.0, 4.0])])
def test_two_objectives(tmp_path, against, cost):
    run = sweep(make_run(tmp_path / "mine", against=against, samples=12))
    study = study_of(run)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial, made in zip(run.trials.values(), study.trials, strict=True):
        wanted = cost[0] if trial.config.student_layers == 3 else cost[1]
        assert made.values == pytest.approx([score(trial.config), wanted])
    assert {trial.config.student_layers for trial in run.trials.values()} == {2, 3}


def test_written_study_is_what_optuna_loads_and_the_newest_takes_its_place(run):
    for until in (6, 30):
        sweep(run, until=until)
        write_study(run)
        storage = JournalStorage(JournalFileBackend(str(run.folder / JOURNAL)))
        loaded, wanted = optuna.load_study(study_name="mine", storage=storage), study_of(run)
        assert [(t.params, t.state, t.values) for t in loaded.trials] == [
            (t.params, t.state, t.values) for t in wanted.trials
        ]
        assert (loaded.directions, loaded.metric_names) == (wanted.directions, ["best5_accuracy"])

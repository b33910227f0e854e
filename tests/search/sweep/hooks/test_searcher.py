"""What Tune is handed: open trials in their order, so many at a time, then what is suggested."""

from dataclasses import asdict
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Experiment
from ray.tune.search import Searcher, SearchGenerator

from search.plan.draws import first_draw, starting_points
from search.plan.grid import plan_trials
from search.record.storage import RecordCopy
from tests.made_runs import asked, finish, made_run
from tests.simulated_tune import make_hooks
from trainable.config.trial_config import TrialConfig

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.75, 0.25, 0.5)]


@pytest.fixture
def calm():
    return SimpleNamespace(requested=False, problem="")


@pytest.fixture
def make(tmp_path, calm):
    """A searcher on these trials, so many at a time, and its run."""

    def make(configs=CONFIGS, slots=2, **changes):
        run = made_run(tmp_path / "mine", configs, **changes)
        hooks = make_hooks(run, slots, copy=RecordCopy(run.folder), interruption=calm)
        return hooks.searcher, run

    return make


def test_a_suggestion_is_recorded_only_when_a_slot_is_free_and_before_tune_has_it(make):
    request = asked(space="recipe", searcher="random", samples=4)
    (first,) = plan_trials(request)
    searcher, run = make([first], 3, request=request, parameters=first_draw(request, first))
    starts = [asdict(config) for config, _ in starting_points(request)]
    assert [searcher.suggest(name) for name in "abc"] == starts
    assert (searcher.suggest("d"), len(run.trials)) == (None, 3)
    searcher.on_trial_complete("a")
    answer, *more = [searcher.suggest(name) for name in "de"]
    assert (asdict(list(run.trials.values())[3].config), more) == (answer, [None])
    assert run.events[-1]["config"] == answer
    for name, trial in zip("bcd", run.trials.values(), strict=False):
        finish(run, trial.config)
        searcher.on_trial_complete(name)
    assert searcher.suggest("e") == Searcher.FINISHED


def test_tune_makes_trials_of_exactly_these_configurations_and_keeps_nothing_of_it(make, tmp_path):
    searcher, _ = make(CONFIGS[:2])
    generator = SearchGenerator(searcher)
    assert not generator.set_search_properties(None, None, {"alpha": 1})  # a space of Tune's own
    assert generator.set_search_properties(None, None, {})
    generator.add_configurations(Experiment("mine", lambda config: None, num_samples=10**6))
    trials = [generator.next_trial() for _ in range(2)]
    assert [trial.config for trial in trials] == [asdict(CONFIGS[0]), asdict(CONFIGS[1])]
    assert generator.next_trial() is None
    for trial in trials:
        generator.on_trial_complete(trial.trial_id)
    assert generator.next_trial() is None
    assert generator.is_finished()
    (tmp_path / "state").mkdir()
    searcher.save_to_dir(str(tmp_path / "state"))
    assert list((tmp_path / "state").iterdir()) == []

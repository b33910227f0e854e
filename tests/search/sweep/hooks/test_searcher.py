"""What Tune is handed: open trials in their order, so many at a time, then what is suggested."""

import pickle
from dataclasses import asdict, replace

import pytest
from ray.tune.experiment import Experiment
from ray.tune.search import Searcher, SearchGenerator
from search.sweep.scheduling.trial_queue import OpenTrials

from tests.made_runs import made_run
from trainable.config.trial_config import TrialConfig

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.75, 0.25, 0.5)]


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path / "mine", CONFIGS)


def ordered(run, *numbers):
    return [run.trials[CONFIGS[number].digest] for number in numbers]


def alpha(answer):
    return answer["alpha"] if isinstance(answer, dict) else answer


def test_trials_begin_in_their_order_so_many_at_a_time_and_none_while_pausing(run):
    paused = []
    searcher = OpenTrials(run, ordered(run, 2, 0, 1), lambda: 2, paused=lambda: bool(paused))
    assert [alpha(searcher.suggest(name)) for name in "abc"] == [0.5, 0.75, None]
    searcher.on_trial_complete("b", error=True)
    paused.append(True)
    assert searcher.suggest("c") is None
    paused.clear()
    assert [alpha(searcher.suggest(name)) for name in "cd"] == [0.25, None]
    for name in "ac":
        searcher.on_trial_complete(name)
    assert searcher.suggest("d") == Searcher.FINISHED


def test_more_is_asked_for_only_when_a_slot_is_free_and_all_that_was_given_is_handed_out(run):
    wanted, left = [], [[replace(CONFIGS[0], seed=1), replace(CONFIGS[0], seed=2)], []]

    def more(of_run):
        wanted.append(sorted(searcher._under_way))
        return [of_run.add_suggestion(config, {}) for config in left.pop(0)]

    searcher = OpenTrials(run, ordered(run, 1), lambda: 2, more)
    assert (alpha(searcher.suggest("a")), wanted) == (0.25, [])
    assert searcher.suggest("b")["seed"] == 1
    assert (searcher.suggest("c"), wanted) == (None, [["a"]])
    searcher.on_trial_complete("a")
    assert searcher.suggest("c")["seed"] == 2  # of the same answer
    searcher.on_trial_complete("b")
    assert searcher.suggest("d") == Searcher.FINISHED
    assert wanted == [["a"], ["c"]]


def test_trials_that_wait_take_no_slot_and_keep_the_sweep_going(run):
    waiting = [0]
    searcher = OpenTrials(run, ordered(run, 0, 1, 2), lambda: 1, waiting=lambda: waiting[0])
    assert [alpha(searcher.suggest(name)) for name in "ab"] == [0.75, None]
    for number, wanted in ((1, [0.25, None]), (2, [0.5, None])):
        waiting[0] = number
        assert [alpha(searcher.suggest(name)) for name in ("bc", "cd")[number - 1]] == wanted
    waiting[0] = 3
    assert searcher.suggest("d") is None  # not the end: their processes are still needed
    for name in "abc":
        searcher.on_trial_complete(name)
    waiting[0] = 0
    assert searcher.suggest("d") == Searcher.FINISHED


def test_tune_makes_trials_of_exactly_these_configurations_and_keeps_nothing_of_it(run, tmp_path):
    searcher = OpenTrials(run, ordered(run, 1, 0), lambda: 2)
    generator = SearchGenerator(searcher)
    assert not generator.set_search_properties(None, None, {"alpha": 1})  # a space of Tune's own
    assert generator.set_search_properties(None, None, {})
    generator.add_configurations(Experiment("mine", lambda config: None, num_samples=10**6))
    trials = [generator.next_trial() for _ in range(2)]
    assert [trial.config for trial in trials] == [asdict(CONFIGS[1]), asdict(CONFIGS[0])]
    assert generator.next_trial() is None
    for trial in trials:
        generator.on_trial_complete(trial.trial_id)
    assert generator.next_trial() is None
    assert generator.is_finished()
    (tmp_path / "state").mkdir()
    searcher.save_to_dir(str(tmp_path / "state"))
    assert list((tmp_path / "state").iterdir()) == []
    assert vars(pickle.loads(pickle.dumps(searcher))) == {}

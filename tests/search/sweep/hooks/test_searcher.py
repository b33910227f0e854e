"""What Tune is handed: open trials in their order, so many at a time, then what is suggested."""

from dataclasses import asdict
from types import SimpleNamespace

from ray.tune.search import Searcher

from search.plan.draws import starting_points
from search.record.storage import RecordCopy
from tests.made_runs import asked, finish, searched_run
from tests.simulated_tune import make_hooks


def test_a_suggestion_is_recorded_only_when_a_slot_is_free_and_before_tune_has_it(tmp_path):
    request = asked(space="recipe", searcher="random", samples=3)
    run = searched_run(tmp_path / "mine", request)
    calm = SimpleNamespace(requested=False, problem="")
    searcher = make_hooks(run, 2, copy=RecordCopy(run.folder), interruption=calm).searcher
    starts = [asdict(config) for config, _ in starting_points(request)]
    assert [searcher.suggest(name) for name in "ab"] == starts
    assert (searcher.suggest("c"), len(run.trials)) == (None, 2)
    searcher.on_trial_complete("a")
    answer, *more = [searcher.suggest(name) for name in "cd"]
    assert (asdict(list(run.trials.values())[2].config), more) == (answer, [None])
    assert run.events[-1]["config"] == answer
    for name, trial in zip("bc", run.trials.values(), strict=False):
        finish(run, trial.config)
        searcher.on_trial_complete(name)
    assert searcher.suggest("d") == Searcher.FINISHED

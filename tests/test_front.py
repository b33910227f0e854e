"""The Pareto front, against brute force; whose scores it goes by."""

import random
from dataclasses import replace

import pytest

from search.front import against, front_trials, pareto_front
from search.record import create_run
from tests.report_runs import plan
from trainable.config import TrialConfig


def dominated(place, costs, scores):
    """Whether some other pair is as good in both and better in one, or is the same and earlier."""
    for other, (cost, score) in enumerate(zip(costs, scores, strict=True)):
        as_good = cost <= costs[place] and score >= scores[place]
        better = cost < costs[place] or score > scores[place]
        if other != place and as_good and (better or other < place):
            return True
    return False


def test_front_equals_brute_force():
    generator = random.Random(0)
    for _ in range(300):
        count = generator.randrange(9)
        costs = [float(generator.randrange(4)) for _ in range(count)]
        scores = [generator.randrange(5) / 4 for _ in range(count)]
        wanted = [place for place in range(count) if not dominated(place, costs, scores)]
        found = pareto_front(costs, scores)
        assert sorted(found) == wanted
        assert [costs[place] for place in found] == sorted(costs[place] for place in found)


def make_run(folder, scores, against="latency", confirms=None):
    """Finished trials by depth and seed."""
    configs = [
        TrialConfig(alpha=0.5, student_layers=depth, evaluations=1, seed=seed)
        for depth, seed in scores
    ]
    latency = {"3": 6.0, "2": 5.0, "1": 5.5}
    planned = replace(plan(*configs, against=against), latency=latency, confirms=confirms)
    run = create_run(folder, planned)
    for config, best5 in zip(configs, scores.values(), strict=True):
        values = {"evaluations": 1, "accuracy": best5, "best5_accuracy": best5}
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append(event | {"trial": config.digest})
    return run


def test_a_recipe_stands_by_the_mean_of_its_seeds_and_is_shown_by_the_best(tmp_path):
    scores = {(3, 0): 0.9, (3, 1): 0.5, (2, 0): 0.75, (2, 1): 0.625, (1, 0): 0.7}
    run = make_run(tmp_path / "mine", scores)
    found = [(trial.config.student_layers, trial.best5) for trial in front_trials(run)]
    assert found == [(2, 0.75), (1, 0.7)]  # 0.6875, 0.7 by the cost measured; 0.7 again is no gain


@pytest.mark.parametrize("changes", [{"against": None}, {"confirms": {}}])
def test_nothing_is_weighed_where_that_was_not_asked_nor_in_a_confirmation(tmp_path, changes):
    run = make_run(tmp_path / "mine", {(3, 0): 0.9, (2, 0): 0.7}, **changes)
    assert (against(run), front_trials(run)) == ("", [])

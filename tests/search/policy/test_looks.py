"""Confirmations that grow by looks: which trials there are, and that no kill changes them."""

import random
from dataclasses import asdict, replace

import numpy as np
import pytest

from search.policy.policy import Policy
from search.policy.still_to_come import is_complete, may_grow
from search.record.run import create_run, read_run
from search.record.trial_record import FINISHED, RETRY_ALONE
from search.results.confirmation import Confirmation
from search.results.confirmation_result import conclude
from tests.made_runs import failed, finish, made_inputs, made_plan
from tests.report_runs import evaluation, fail
from tests.simulated_tune import play
from trainable.config.fields import from_plain
from trainable.config.trial_config import TrialConfig

EXAMPLES = 1000
GROWTH = TrialConfig(alpha_schedule="cosine_growth", sharpness=2.0, evaluations=2)
FIXED, CE_ONLY = TrialConfig(alpha=0.5, evaluations=2), TrialConfig(alpha=1.0, evaluations=2)
CLOSE, CLEAR = {GROWTH: 0.9, FIXED: 0.9, CE_ONLY: 0.7}, {GROWTH: 0.9, FIXED: 0.8, CE_ONLY: 0.7}


@pytest.fixture
def make_run(tmp_path):
    def make(most=5, name="mine-confirm"):
        made = Confirmation("mine", "then", (GROWTH,), (0.9,), tuple(range(1, most + 1)), (most,))
        plan = made_plan(
            made.trials(made.looks[0]),
            inputs=made_inputs(examples={"train": 9, "evaluation": EXAMPLES}),
            confirms=asdict(made),
        )
        return create_run(tmp_path / name, plan)

    return make


def train(run, shares, chance=0, killed=0.0):
    """To its end; another seed gets a few other examples right."""

    def evaluate(config, number):
        right = round(shares[config.recipe] * EXAMPLES) + config.seed % 3
        return evaluation(number, np.arange(EXAMPLES) < right, [0.5] * (number - 1))

    return play(run, 2, random.Random(chance), killed=killed, evaluate=evaluate)


def configs_of(run):
    return [trial.config for trial in run.trials.values()]


def on(seeds, *recipes):
    return [replace(recipe, seed=seed) for seed in seeds for recipe in recipes]


def test_a_clear_case_ends_at_the_first_look(make_run):
    run = make_run()
    assert may_grow(run)
    run = train(run, CLEAR)
    assert configs_of(run) == on((1, 2, 3), GROWTH, FIXED, CE_ONLY)
    assert (run.decided, is_complete(run)) == (True, True)
    found = conclude(run)
    assert found.confirmation.seeds == (1, 2, 3)
    assert [known.seeds for known in found.comparisons] == [3, 3]
    assert any("compared after 3 and 5 seeds" in note for note in found.notes)


def test_the_next_look_has_only_recipes_that_are_undecided_however_often_it_is_killed(make_run):
    whole = train(make_run(), CLOSE)
    assert configs_of(whole) == [*on((1, 2, 3), GROWTH, FIXED, CE_ONLY), *on((4, 5), GROWTH, FIXED)]
    assert (whole.decided, is_complete(whole)) == (True, True)  # though one recipe has fewer seeds
    assert [known.seeds for known in conclude(whole).comparisons] == [5, 3]
    for chance in range(3):
        again = train(make_run(name=f"killed{chance}"), CLOSE, chance, killed=0.1)
        assert sum(event["event"] == "session" for event in again.events) > 1
        assert list(again.trials) == list(whole.trials)
        assert {trial.outcome for trial in again.trials.values()} == {FINISHED}
        assert (again.decided, conclude(again)) == (True, conclude(whole))
    equal = train(make_run(name="equal"), dict.fromkeys(CLOSE, 0.9))
    assert configs_of(equal) == on(range(1, 6), *CLOSE)
    assert (equal.decided, is_complete(equal)) == (False, True)


def test_more_seeds_begin_anew_with_all_recipes(make_run):
    run = train(make_run(), CLEAR)
    more = from_plain(Confirmation, run.plan.confirms).with_seeds(8, {1, 2, 3, 4, 5})
    new = [config for config in more.trials(more.looks[0]) if config.digest not in run.trials]
    run.replan({"requests": run.plan.requests}, [])
    assert (run.decided, may_grow(run)) == (True, False)
    run.replan({"confirms": asdict(more)}, new)
    run = read_run(run.folder)
    assert (run.decided, may_grow(run), is_complete(run)) == (False, False, False)
    run = train(run, CLEAR)
    assert configs_of(run)[9:] == on(range(4, 9), GROWTH, FIXED, CE_ONLY)
    assert any("Seeds were added later (5, then 8)" in note for note in conclude(run).notes)


def test_failed_trials_end_a_look_and_those_that_wait_to_be_alone_do_not(make_run):
    run = make_run()
    *first, last = configs_of(run)
    for config in first:
        finish(run, config)
    run.append(failed(last, RETRY_ALONE))
    policy = Policy(run)
    assert (policy.next_trial(set(), exclusive=False), policy.exclusive) == (None, True)
    assert policy.additions(exclusive=False) == []
    fail(run, last)
    seeds = [event["config"]["seed"] for event in policy.additions(exclusive=False)]
    assert seeds == [4] * 3 + [5] * 3

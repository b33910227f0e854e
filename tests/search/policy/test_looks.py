"""Confirmations that grow by looks: what Tune is handed, and that a kill changes nothing of it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from ray.tune.search import Searcher

from search.record.events import RECORD
from search.record.run import create_run, read_run
from search.record.trial_record import ENDED, FINISHED
from search.results.confirmation_result import conclude
from search.results.finalists import Confirmation
from search.policy.race import grow
from search.sweep.scheduling.trial_queue import OpenTrials
from tests.made_runs import made_inputs, made_plan
from tests.report_runs import evaluation, fail
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


def train(run, config, shares):
    """Its two evaluations; another seed gets a few other examples right."""
    for number in range(1, 3):
        right = round(shares[config.recipe] * EXAMPLES) + config.seed % 3
        values = evaluation(number, np.arange(EXAMPLES) < right, [0.5] * (number - 1))
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append({**event, "trial": config.digest})


def session(run, shares, slots=2, until=None):
    """What a Tuner trains, in its order; killed once it has trained so many."""
    trials = [trial for trial in run.trials.values() if trial.outcome not in ENDED]
    searcher = OpenTrials(run, trials, lambda: slots, grow if run.growing else None)
    running, trained = [], []
    while len(trained) != until:
        answer = searcher.suggest(f"{len(trained)} {len(running)}")
        if isinstance(answer, dict):
            running.append((f"{len(trained)} {len(running)}", TrialConfig(**answer)))
            continue
        if answer == Searcher.FINISHED and not running:
            break
        name, config = running.pop(0)  # None, or all is handed out: the first of them ends
        train(run, config, shares)
        searcher.on_trial_complete(name)
        trained.append(config)
    return trained


def on(seeds, *recipes):
    return [replace(recipe, seed=seed) for seed in seeds for recipe in recipes]


def test_a_clear_case_ends_at_the_first_look(make_run):
    run = make_run()
    assert run.growing
    assert session(run, CLEAR) == on((1, 2, 3), GROWTH, FIXED, CE_ONLY)
    assert (run.decided, run.unfinished) == (True, False)
    found = conclude(read_run(run.folder))
    assert found.confirmation.seeds == (1, 2, 3)
    assert [known.seeds for known in found.comparisons] == [3, 3]
    assert any("compared after 3 and 5 seeds" in note for note in found.notes)


def test_the_next_look_has_only_recipes_that_are_undecided(make_run):
    run = make_run()
    trained = session(run, CLOSE)
    assert trained == [*on((1, 2, 3), GROWTH, FIXED, CE_ONLY), *on((4, 5), GROWTH, FIXED)]
    assert (run.decided, run.unfinished) == (True, False)  # though one recipe has fewer seeds
    assert [known.seeds for known in conclude(read_run(run.folder)).comparisons] == [5, 3]
    run = make_run(name="equal")
    assert session(run, dict.fromkeys(CLOSE, 0.9)) == on(range(1, 6), *CLOSE)
    assert (run.decided, run.unfinished) == (False, False)


@pytest.mark.parametrize("until", range(1, 13))
def test_killed_and_resumed_it_trains_the_same(make_run, until):
    whole, killed = make_run(), make_run(name="killed")
    session(whole, CLOSE)
    session(killed, CLOSE, until=until)
    again = read_run(killed.folder)
    session(again, CLOSE)
    assert list(again.trials) == list(whole.trials)
    assert {trial.outcome for trial in again.trials.values()} == {FINISHED}
    assert (again.decided, again.unfinished) == (True, False)
    assert conclude(again) == conclude(whole)


def test_a_look_that_a_kill_cut_short_is_completed(make_run):
    whole, killed = make_run(), make_run(name="killed")
    session(whole, CLOSE)
    session(killed, CLOSE, until=9)
    added = grow(killed)
    assert [trial.config for trial in added] == on((4, 5), GROWTH, FIXED)
    for cut in added[2:]:
        record, copy = killed.folder / RECORD, killed.trial_folder(cut) / RECORD
        record.write_bytes(b"".join(record.read_bytes().splitlines(keepends=True)[:-1]))
        copy.unlink()
    again = read_run(killed.folder)
    assert len(again.trials) == 11
    session(again, CLOSE)
    assert list(again.trials) == list(whole.trials)
    assert conclude(again).comparisons == conclude(whole).comparisons


def test_more_seeds_begin_anew_with_all_recipes(make_run):
    run = make_run()
    session(run, CLEAR)
    more = Confirmation.from_dict(read_run(run.folder).plan.confirms).with_seeds(8, {1, 2, 3, 4, 5})
    new = [config for config in more.trials(more.looks[0]) if config.digest not in run.trials]
    run = read_run(run.folder)
    run.replan({"requests": run.plan.requests}, [])
    assert (run.decided, run.growing) == (True, False)
    run.replan({"confirms": asdict(more)}, new)
    run = read_run(run.folder)
    assert (run.decided, run.growing, run.unfinished) == (False, False, True)
    assert session(run, CLEAR) == on(range(4, 9), GROWTH, FIXED, CE_ONLY)
    assert any("Seeds were added later (5, then 8)" in note for note in conclude(run).notes)


def test_failed_trials_end_a_look_and_those_that_wait_to_be_alone_do_not(make_run):
    run = make_run()
    *first, last = run.trials.values()
    for trial in first:
        train(run, trial.config, CLOSE)
    failure = {"event": "failure", "trial": last.config.digest, "reason": "no room"}
    run.append({**failure, "then": "retry alone on the GPU"})
    beside = OpenTrials(run, [], lambda: 2, grow)
    assert beside.suggest("a") == Searcher.FINISHED  # for the part in which it runs alone
    assert run.growing
    fail(run, last.config)
    assert OpenTrials(run, [], lambda: 2, grow).suggest("a")["seed"] == 4

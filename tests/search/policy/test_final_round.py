"""What the final round of a search trains: computed by hand from times and scores."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from search.plan import time_split
from search.plan.draws import starting_points
from search.policy import final_round as module
from search.policy import still_to_come
from search.policy.final_round import _finalists
from search.policy.policy import Policy
from search.policy.progress import progress_of
from search.policy.still_to_come import is_complete, to_suggest
from search.record.run import read_run
from search.record.trial_record import STOPPED
from search.sweep.summary import finish as finish_sweep
from tests.made_runs import asked, evaluated, finish, made_inputs, made_run, pack_right, suggested
from trainable.config.trial_config import TrialConfig

EXAMPLES = 1000
SECONDS = 7.2


@pytest.fixture(autouse=True)
def longest_by_passes(monkeypatch):
    """As where examples are many."""
    monkeypatch.setattr(time_split, "LONGEST_STEPS", 0)


def searched(
    folder,
    shares,
    overhead=0.0,
    labelled=0.0,
    second=None,
    slower=1.0,
    times=1.0,
    starting=0.0,
    **request,
):
    """A run whose short trials have ended after SECONDS each, the default first: of 12 steps, 3.2 s
    of training and two evaluations of 2 s. A pass over the training examples takes 6 steps. Seconds
    of `overhead` pass before the first evaluation of each, `starting` before the first trial.
    `second` are other settings of that trial, whose training takes `slower` times as long. All
    train `times` as many steps."""
    fixed = (("evaluations", 2), ("batch_size", 16))
    wanted = {"space": "recipe", "searcher": "random", "scheduler": "promotion", "finals": 2}
    request = asked(**{**wanted, "samples": len(shares), "overrides": fixed, **request})
    configs = [replace(request.default, temperature=n + 2.0) for n in range(len(shares))]
    configs[1:2] = [replace(config, **(second or {})) for config in configs[1:2]]
    examples = {"train": 96, "evaluation": EXAMPLES, "transfer": 96}
    drawn = {config.digest: {} for config in configs}
    inputs = made_inputs(examples=examples, outputs_seconds=labelled)
    run = made_run(folder, configs, request, inputs=inputs, parameters=drawn)
    run.append({"event": "session", "provenance": {}, "time": 1e9})
    now = 1e9 + starting
    for index, (config, share) in enumerate(zip(configs, shares, strict=True)):
        run.append({"event": "start", "trial": config.digest, "time": now})
        now += overhead
        training = 1.6 * times * (slower if index == 1 else 1.0)
        for number in (1, 2):
            now += training + 2.0
            event = short_evaluation(config, number, share)
            event["evaluation"] |= {"training_seconds": training, "step": round(6 * times * number)}
            run.append({**event, "time": now})
    return run


def short_evaluation(config, number, share):
    right = pack_right(np.arange(EXAMPLES) < round(share * EXAMPLES))
    seconds = {"training_seconds": 1.6, "evaluation_seconds": 2.0, "saving_seconds": 0.0}
    more = {"step": 6 * number, "predictions": right, **seconds}
    return evaluated(config, number, share, "continue" if number == 1 else "stop", **more)


def finals(run):
    """Temperature, seed and steps of each; the policy suggests nothing else, or ends the run."""
    events = Policy(run).additions(exclusive=True)
    if [event["event"] for event in events] == ["decided"]:
        return []
    assert [event["parameters"] for event in events] == [None] * len(events)
    configs = [event["config"] for event in events]
    return [(c["temperature"], c["seed"], c["max_steps"]) for c in configs]


@pytest.mark.parametrize(
    ("shares", "left", "wanted"),
    [
        # 30 s each, 26 s without evaluations, at 3.75 steps a second: 16 passes, of at most 12.
        # One that is clearly better than the default comes before it.
        ([0.8, 0.9, 0.88], 90.0, [(3, 0, 72), (2, 0, 72), (4, 0, 72)]),
        ([0.8, 0.88, 0.9], 90.0, [(4, 0, 72), (2, 0, 72), (3, 0, 72)]),
        # None is expected to be better than the default: it has more seeds, of 16 s each without
        # evaluations, 10 passes, or of 20 s, 12.5.
        ([0.9, 0.8, 0.7], 60.0, [(2, seed, 60) for seed in range(3)]),
        ([0.9, 0.8, 0.7], 120.0, [(2, seed, 72) for seed in range(5)]),
        # In 50 s two can make 12 passes: 21 s each without evaluations. In 10 s not even one can.
        ([0.875, 0.887, 0.84], 50.0, [(2, 0, 72), (3, 0, 72)]),
        ([0.875, 0.887, 0.84], 10.0, [(2, 0, 22)]),
        ([0.8, 0.9, 0.88], 10.0, [(3, 0, 22)]),
        # No longer than the search's trials, of two passes; and the time is over.
        ([0.8, 0.9, 0.88], 7.2, []),
        ([0.8, 0.9, 0.88], -20.0, []),
        # No budget: the search took a third of it, and 43.2 s are left.
        ([0.8, 0.9, 0.88], None, [(3, 0, 66), (3, 1, 66)]),
    ],
)
def test_the_rest_of_the_budget_goes_to_the_best_and_the_default(tmp_path, shares, left, wanted):
    budget = left and left + SECONDS * len(shares)
    assert finals(searched(tmp_path / "run", shares, time_budget=budget)) == wanted
    seconds = sum(steps / 3.75 + 4.0 for _, _, steps in wanted)
    assert seconds <= max(left or 2 * SECONDS * len(shares), 0.0) + 0.2  # steps are whole


def test_a_final_has_the_passes_of_others_whatever_its_batch_size(tmp_path):
    """The better one's batches are twice as large, so its 12 steps were 4 passes, and 6 took 6.4 s:
    two finals of 12 passes, its own of 36 steps, take 12.8 s and two evaluations of 2 s each."""
    shares, large = [0.8, 0.9], {"batch_size": 32}
    run = searched(tmp_path / "run", shares, time_budget=34.0 + 2 * SECONDS, second=large)
    assert finals(run) == [(3, 0, 36), (2, 0, 72)]


def test_a_default_that_failed_is_no_final(tmp_path):
    run = searched(tmp_path / "run", [0.8, 0.9, 0.88], time_budget=90.0 + 3 * SECONDS)
    run.trials[next(iter(run.trials))].outcome = "failed"
    assert {temperature for temperature, _, _ in finals(run)} == {3, 4}


def test_finals_that_do_not_all_fit_into_the_slots_run_in_rounds(tmp_path):
    """Two slots, of which the search has left one idle: 7.2 s of overhead. In 50 s three finals
    would have 25 s each, 8.6 passes; two at a time have all."""
    shares = [0.8, 0.9, 0.88]
    run = searched(tmp_path / "run", shares, time_budget=50.0 + 3 * SECONDS)
    run.slots, run.slot_seconds = 2, 2 * run.trial_seconds
    assert finals(run) == [(3, 0, 72), (2, 0, 72)]
    idle = searched(tmp_path / "idle", [0.8], time_budget=24.0 + SECONDS, finals=1, samples=1)
    idle.slots, idle.slot_seconds = 4, 4 * idle.trial_seconds
    # Of which one trial had use: no overhead, and four seeds of 20 s, 12 passes
    assert finals(idle) == [(2, seed, 72) for seed in range(4)]


def test_where_examples_are_few_finals_are_longer_in_passes(tmp_path, monkeypatch):
    """120 steps are 20 passes, and 15 the fewest that another seed is worth. With made texts one of
    two finals has all, the other none."""
    monkeypatch.setattr(time_split, "LONGEST_STEPS", 120)
    for left, wanted in ((40.0, [(2, 0, 120)]), (60.0, [(2, 0, 97), (2, 1, 97)])):
        run = searched(tmp_path / f"{left}", [0.9, 0.8, 0.7], time_budget=left + 3 * SECONDS)
        assert finals(run) == wanted
    run = searched(
        tmp_path / "texts", [0.9, 0.8, 0.7], transfer="augment", time_budget=80.0 + 3 * SECONDS
    )
    events = Policy(run).additions(exclusive=True)
    assert {event["config"]["transfer_share"] for event in events} == {4.0, 0.0}


def test_finals_of_long_trials_are_twice_as_long_where_there_is_time(tmp_path):
    """Trials of 13 passes, 78 steps in 24.8 s each. In 52 s without evaluations one makes 32."""
    fixed = (("evaluations", 2), ("batch_size", 16), ("epochs", 13))
    for left, wanted in ((99.2, [(2, 0, 156), (3, 0, 156)]), (24.0, [])):
        request = {"overrides": fixed, "time_budget": left + 3 * 24.8}
        run = searched(tmp_path / f"{left}", [0.875, 0.887, 0.84], times=6.5, **request)
        assert finals(run) == wanted


def test_finals_have_the_time_of_students_of_their_shape(tmp_path):
    """A deep student's steps take thrice as long: 0.8 s, where the first one's took 0.27. In 60 s
    two finals of 12 passes, one of each, would take 23.2 and 61.6 s: so there is one."""
    deep = {"second": {"student_layers": 2}, "slower": 3.0}
    for left, wanted in ((60.0, [(3, 0, 70)]), (93.0, [(3, 0, 72), (2, 0, 72)])):
        budget = left + 2 * SECONDS + 2 * 3.2
        run = searched(tmp_path / f"{left}", [0.8, 0.9], **deep, time_budget=budget)
        assert finals(run) == wanted


def test_of_recipes_expected_to_be_equal_those_of_higher_scores_have_finals(tmp_path, monkeypatch):
    run = searched(tmp_path / "run", [0.85, 0.86, 0.87, 0.88], time_budget=300.0)
    keys = [trial.config.recipe.digest for trial in run.trials.values()]
    expected = dict.fromkeys(keys, 0.865) | {keys[0]: 0.86}
    monkeypatch.setattr(module, "expected_scores", lambda run, finished: expected)
    assert {temperature for temperature, _, _ in finals(run)} == {2, 4, 5}


@pytest.mark.parametrize(
    ("least", "transfer"), [("LEAST_BESIDE", "augment"), ("SEEDED_SHARE", None)]
)
def test_no_second_final_of_the_default_that_is_shorter_than_the_search(
    tmp_path, monkeypatch, least, transfer
):
    """One has time for 5.5 passes; each of two, of other texts or another seed, for 1.5, though one
    would do."""
    monkeypatch.setattr(module, least, 0.1)
    budget = 12.8 + 3 * SECONDS
    run = searched(tmp_path / "run", [0.9, 0.8, 0.7], transfer=transfer, time_budget=budget)
    assert finals(run) == [(2, 0, 33)]


def test_what_passes_before_a_trial_trains_does_so_once_in_a_final(tmp_path):
    """Of 120 s each of three has 6 s to train; each of two has 26 s, 16 passes."""
    budget = 120.0 + 3 * (SECONDS + 30.0)
    run = searched(tmp_path / "run", [0.87, 0.887, 0.89], overhead=30.0, time_budget=budget)
    assert finals(run) == [(4, 0, 72), (2, 0, 72)]


def test_ray_starts_once_in_a_session_not_in_each_final(tmp_path):
    """In 40 s, which were no part of any trial, either."""
    budget = 90.0 + 3 * SECONDS + 40.0
    run = searched(tmp_path / "run", [0.8, 0.9, 0.88], starting=40.0, time_budget=budget)
    assert run.starting_seconds == read_run(run.folder).starting_seconds == 40.0
    assert finals(run) == [(3, 0, 72), (2, 0, 72), (4, 0, 72)]


def test_the_teachers_outputs_are_made_in_the_budgets_time(tmp_path):
    """In 40 s, which were no part of any trial: what is left is as without."""
    budget = 90.0 + 3 * SECONDS + 40.0
    run = searched(tmp_path / "run", [0.8, 0.9, 0.88], labelled=40.0, time_budget=budget)
    assert run.seconds == read_run(run.folder).seconds == pytest.approx(61.6)
    assert finals(run) == [(3, 0, 72), (2, 0, 72), (4, 0, 72)]


def test_without_a_finished_default_a_score_need_not_be_above_0(tmp_path):
    run = searched(tmp_path / "run", [0.8, 0.0, 0.0])
    _, *others = run.trials.values()
    assert {config.temperature for config in _finalists(run, others)} == {2.0, 3.0, 4.0}


def test_recipes_that_differ_in_the_average_alone_share_one_final(tmp_path, monkeypatch):
    """It has all the time, as if there were one."""
    run = searched(tmp_path / "run", [0.9, 0.8, 0.7], time_budget=50.0)
    default = next(iter(run.trials.values())).config
    wanted = []
    averaged = replace(default, ema_decay=0.98)
    for recipes in ([default], [default, averaged], [replace(averaged, seed=1), default]):
        monkeypatch.setattr(module, "_finalists", lambda run, finished, r=recipes: r)
        wanted.append(finals(run))
    assert wanted[0] == wanted[1] == wanted[2]


@pytest.mark.parametrize("recorded", [1, 2])
def test_finals_of_which_a_crash_left_some_unrecorded_are_all_trained(tmp_path, recorded):
    run = searched(tmp_path / "run", [0.8, 0.9, 0.88], time_budget=111.6)
    planned = Policy(run).additions(exclusive=True)
    assert len(planned) == 3
    for event in planned[:recorded]:
        run.append({**event, "time": run.last_time})
    for again in (run, read_run(run.folder)):
        for trial in again.trials.values():
            if trial.final:
                finish(again, trial.config, 0.9)
        added = Policy(again).additions(exclusive=True)
        assert [e["config"] for e in added] == [e["config"] for e in planned[recorded:]]
        for event in added:
            again.append(event)
            finish(again, again.trials[event["trial"]].config, 0.9)
        assert [e["event"] for e in Policy(again).additions(exclusive=True)] == ["decided"]


def with_its_finals(folder, seconds=43.2, **request):
    """A search of 21.6 s whose finals have taken so many more, and nothing is left to do."""
    run = searched(folder, [0.8, 0.9, 0.88], **request)
    for event in Policy(run).additions(exclusive=True):
        run.append({**event, "time": run.last_time})
    count = sum(trial.final for trial in run.trials.values())
    for trial in [trial for trial in run.trials.values() if trial.final]:
        for number in (1, 2):
            event = short_evaluation(trial.config, number, 0.9)
            event["evaluation"]["step"] = trial.config.max_steps // 2 * number
            event["evaluation"]["training_seconds"] = max(seconds / 2 / count - 2.0, 0.0)
            run.append({**event, "time": run.last_time + seconds / 2 / count})
    run.append({"event": "decided", "time": run.last_time})
    assert run.final_seconds == read_run(run.folder).final_seconds == pytest.approx(seconds)
    return run


@pytest.mark.parametrize(
    ("more", "unfinished"),
    [({"time_budget": 130.0}, True), ({"time_budget": 188.0}, True), ({"keep": 3}, False)],
)
def test_more_time_for_a_complete_search_is_for_suggestions_too(
    tmp_path, monkeypatch, more, unfinished
):
    """A third of it, and what finals have taken is none of that."""
    monkeypatch.setattr(time_split, "FEWEST_TRIALS", 1)
    run = with_its_finals(tmp_path / "run", time_budget=64.8, samples=None)
    run.replan({"requests": (replace(run.request, **more),)}, [])
    for found in (run, read_run(run.folder)):
        assert (to_suggest(found) > 0, is_complete(found)) == (unfinished, not unfinished)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"time_budget": 90.0}, True),
        ({"time_budget": 55.0}, False),  # too short for a final as long as those there
        ({"finals": 1}, False),
        ({"keep": 3}, False),
    ],
)
def test_where_nothing_is_to_be_suggested_more_time_is_for_longer_finals(tmp_path, more, wanted):
    run = with_its_finals(tmp_path / "run", seconds=18.4, time_budget=40.0)
    longest = max(trial.config.max_steps or 0 for trial in run.trials.values())
    run.replan({"requests": (replace(run.request, **more),)}, [])
    assert run.lengthened == ("time_budget" in more)
    longer = [] if is_complete(run) else finals(read_run(run.folder))
    assert bool(longer) == wanted
    assert all(steps > longest for _, _, steps in longer)


def test_the_time_that_finals_take_is_theirs(tmp_path):
    """Steps of 0.27 s, and evaluations of 2 s. Of a trial that was stopped half of the steps took
    time. Then half of the first final is made."""
    run = searched(tmp_path / "run", [0.8, 0.9, 0.88], time_budget=90.0 + 3 * SECONDS)
    stopped = run.last_trial
    del stopped.evaluations[1:]
    stopped.outcome = STOPPED
    for event in Policy(run).additions(exclusive=True):
        run.append({**event, "time": run.last_time})
    steps = [trial.config.max_steps for trial in run.trials.values() if trial.final]
    wanted = sum(steps) / 3.75 + 4.0 * len(steps)
    assert progress_of(run).seconds_left == pytest.approx(wanted)
    trial = next(trial for trial in run.trials.values() if trial.final)
    event = short_evaluation(trial.config, 1, 0.9)
    event["evaluation"] |= {"step": 36, "training_seconds": 9.6}
    run.append({**event, "time": run.last_time + 11.6})
    assert progress_of(run).seconds_left == pytest.approx(wanted - 11.6)


@pytest.mark.parametrize(
    ("budget", "wanted"),
    [
        (90.0, [(3, 2)]),
        (130.0, [(2, 0), (2, 1), (3, 2)]),
        (188.0, [(2, 0), (4, 0), (2, 1), (4, 1), (3, 2)]),
    ],
)
def test_where_finals_could_hardly_be_longer_more_time_is_for_other_seeds(tmp_path, budget, wanted):
    """66 steps took 21.6 s, and 72 are the most."""
    run = with_its_finals(tmp_path / "run", time_budget=64.8)
    made = [trial.config for trial in run.trials.values() if trial.final]
    assert [(c.temperature, c.seed, c.max_steps) for c in made] == [(3, 0, 66), (3, 1, 66)]
    run.replan({"requests": (replace(run.request, time_budget=budget),)}, [])
    assert finals(run) == [(temperature, seed, 66) for temperature, seed in wanted]
    events = Policy(run).additions(exclusive=True)
    assert made[0].recipe in {TrialConfig.from_dict(event["config"]).recipe for event in events}


def test_more_seeds_bring_no_other_finals_and_a_lengthened_round_is_whole(tmp_path, monkeypatch):
    """Though there is time: the finals took a fifth of what was planned for them."""
    monkeypatch.setattr(time_split, "LONGEST", 1000)
    run = with_its_finals(tmp_path / "run", seconds=20.0, time_budget=121.6, finals=1)
    (steps,) = {trial.config.max_steps for trial in run.trials.values() if trial.final}
    run.replan({"requests": (replace(run.request, seeds=3),)}, [])
    assert {longest for _, _, longest in finals(run)} <= {steps}
    run.replan({"requests": (replace(run.request, seeds=1, time_budget=2000.0),)}, [])
    planned = Policy(run).additions(exclusive=True)
    assert len(planned) > 1
    assert all(event["config"]["max_steps"] > steps for event in planned)
    run.append({**planned[0], "time": run.last_time})
    finish(run, run.trials[planned[0]["trial"]].config, 0.9)
    added = Policy(read_run(run.folder)).additions(exclusive=True)
    assert [event["config"] for event in added] == [event["config"] for event in planned[1:]]


@pytest.mark.parametrize(
    ("share", "left", "wanted"),
    [
        (0.95, 60.0, [(9, 0, 66), (2, 0, 66)]),  # 72 steps would be hardly longer
        (0.95, 42.0, [(9, 0, 66)]),
        (0.95, 20.0, [(9, 0, 60)]),  # of a recipe that has no final yet
        (0.5, 42.0, [(3, 2, 66)]),
        (0.5, 20.0, []),
    ],
)
def test_a_recipe_found_later_is_trained_as_long_as_the_finals_that_are_there(
    tmp_path, share, left, wanted
):
    run = with_its_finals(tmp_path / "run", time_budget=64.8)
    budget = run.seconds + SECONDS + left
    run.replan({"requests": (replace(run.request, time_budget=budget),)}, [])
    config = replace(next(iter(run.trials.values())).config, temperature=9.0)
    run.append({**suggested(config, {}), "time": run.last_time})
    for number in (1, 2):
        event = short_evaluation(config, number, share)
        run.append({**event, "time": run.last_time + SECONDS / 2})
    assert finals(run) == wanted


def test_without_a_budget_a_longer_search_has_finals_in_proportion(tmp_path):
    """Twice as long as the search took, whatever the finals before took."""
    run = with_its_finals(tmp_path / "run")
    run.replan({"requests": (replace(run.request, samples=4),)}, [])
    config = replace(next(iter(run.trials.values())).config, temperature=9.0)
    run.append({**suggested(config, {}), "time": run.last_time})
    for number in (1, 2):
        at = run.last_time + SECONDS / 2
        run.append({**short_evaluation(config, number, 0.95), "time": at})
    seconds = sum(steps / 3.75 + 4.0 for _, _, steps in finals(run))
    assert 0.5 * 8 * SECONDS < seconds <= 8 * SECONDS


def test_short_trials_train_without_texts_and_a_search_without_finals_ends(tmp_path):
    run = searched(tmp_path / "run", [0.8, 0.9], transfer="rest")
    assert {trial.config.transfer_share for trial in run.trials.values()} == {0.0}
    without = searched(tmp_path / "without", [0.8, 0.9], finals=0)
    assert Policy(without).additions(exclusive=True) == []
    assert is_complete(without)


@pytest.mark.parametrize(
    ("transfer", "left", "wanted"),
    [
        ("rest", 10.0, {0.22}),
        ("rest", 120.0, {1.0}),
        ("augment", 10.0, {0.22}),
        ("augment", 20.0, {1.0, 0.0}),  # two of 22 steps
        ("augment", 38.0, {2.11, 0.17}),  # two of 15 s each without evaluations, 56 steps
        ("augment", 140.0, {3.0, 0.5}),
        ("rest,augment", 120.0, {3.0}),
    ],
)
def test_a_short_final_trains_less_on_texts_without_labels(tmp_path, transfer, left, wanted):
    """22 steps are 3.67 passes, and 72 are 12. Of these 3 are over the labelled examples. Where
    made texts are all there are and two have time for 3 passes, it is at most half of them, and 8
    in another final."""
    budget = left + 3 * SECONDS
    run = searched(tmp_path / "run", [0.9, 0.8, 0.7], transfer=transfer, time_budget=budget)
    shares = {e["config"]["transfer_share"] for e in Policy(run).additions(exclusive=True)}
    assert shares == wanted
    fixed = (*run.request.overrides, ("transfer_share", 0.5))
    run.plan = replace(run.plan, requests=(replace(run.request, overrides=fixed),))
    shares = {e["config"]["transfer_share"] for e in Policy(run).additions(exclusive=True)}
    assert shares == {0.5}


def test_where_texts_change_nothing_the_default_has_one_final(tmp_path):
    """Without the teacher's part of the loss nothing is learned without labels."""
    run = searched(tmp_path / "run", [0.8], transfer="augment", time_budget=180.0)
    fixed = (*run.request.overrides, ("alpha", 1.0))
    run.plan = replace(run.plan, requests=(replace(run.request, overrides=fixed),))
    (trial,) = run.trials.values()
    trial.config = replace(trial.config, alpha=1.0, temperature=2.0)
    made = [event["config"] for event in Policy(run).additions(exclusive=True)]
    assert len(made) == len({config["seed"] for config in made}) > 0


def test_the_default_is_never_stopped_at_a_rung(tmp_path):
    fixed = (("evaluations", 4),)
    kind = {"space": "recipe", "searcher": "random", "scheduler": "promotion"}
    request = asked(**kind, samples=3, overrides=fixed)
    configs = [replace(request.default, temperature=2.0 + n) for n in range(3)]
    run = made_run(tmp_path / "run", configs, request, grace_evaluations=1)
    finish(run, configs[0], 0.1)
    policy = Policy(run)
    assert policy.decision(configs[0].digest, 1) == "continue"
    for config, score in zip(configs[1:], (0.3, 0.2), strict=True):
        event = short_evaluation(config, 1, score)
        event.pop("decision")
        policy.apply(event)
    # The other two alone are compared: the better half of them goes on.
    assert [policy.decision(config.digest) for config in configs[1:]] == ["continue", "stop"]


@pytest.mark.parametrize(("budget", "then"), [(None, {}), (9000.0, {"event": "closed"})])
@pytest.mark.parametrize(("share", "decision"), [(0.7, "stop"), (0.8, "continue")])
def test_a_recipe_that_comes_alone_stops_at_a_rung_where_it_is_worse_than_the_default(
    tmp_path, budget, then, share, decision
):
    fixed = (("evaluations", 4),)
    kind = {"space": "recipe", "searcher": "random", "scheduler": "promotion"}
    request = asked(**kind, samples=2, time_budget=budget, overrides=fixed)
    configs = [replace(request.default, temperature=2.0 + n) for n in range(2)]
    run = made_run(tmp_path / "run", configs, request, grace_evaluations=1)
    for number in range(1, 5):  # the default was better later, and is alone at none of its rungs
        run.append(short_evaluation(configs[0], number, (0.75 if number == 1 else 0.9)))
    policy = Policy(run)
    event = short_evaluation(configs[1], 1, share)
    event.pop("decision")
    policy.apply(event)
    if then:  # more might come, until there is no time for them
        assert policy.decision(configs[1].digest) == "wait"
        policy.apply(then)
    assert policy.decision(configs[1].digest) == decision
    assert Policy(run).decision(configs[1].digest) == decision


@pytest.mark.parametrize(
    ("budget", "begun", "starts", "then"),
    [
        (360.0, 1, 2, "drawn"),
        (330.0, 1, 2, "exhausted"),
        (330.0, 2, 2, "drawn"),
        (45.0, 1, 1, "finals"),
        (42.0, 1, 0, "finals"),
    ],
)
@pytest.mark.usefixtures("three_starts")
def test_a_budget_for_too_few_trials_is_for_what_the_space_begins_with_and_the_finals(
    tmp_path, capsys, budget, begun, starts, then
):
    """The default took SECONDS. A third of the budget is for suggestions: of 330 s that is 15 times
    as long, and 30 times if two run at a time; of 45 s twice."""
    run = searched(tmp_path / "run", [0.8], time_budget=budget, samples=None)
    run.first_slots, run.slots = begun, 3 - begun  # later sessions may have more or fewer
    draws = [drawn for _, drawn in starting_points(run.request)[1:]]
    for drawn in draws[:starts]:
        (event,) = Policy(run).additions(exclusive=True)
        assert event["parameters"] == drawn
        run.append({**event, "time": run.last_time})
        for number in (1, 2):
            evaluation = short_evaluation(run.last_trial.config, number, 0.7)
            run.append({**evaluation, "time": run.last_time})
    assert starts in (0, 1, len(draws))
    assert (to_suggest(run) > 0) == (then != "finals")
    if then != "drawn":  # a searcher adds no more than there are
        assert progress_of(run).total == len(run.trials)
    if then == "exhausted":
        (event,) = Policy(run).additions(exclusive=True)
        assert event["event"] == then
        run.append({**event, "time": run.last_time})
        finish_sweep(run, Console())
        assert "found no new configuration" not in capsys.readouterr().out  # none was asked for
    if then != "drawn":
        assert finals(run)
        assert to_suggest(run) == 0


def test_what_is_left_of_an_extended_search_has_finals_in_it_and_none_of_those_before(tmp_path):
    """Without a budget finals take twice as long as the search, which has taken 21.6 s."""
    run = with_its_finals(tmp_path / "run")
    run.replan({"requests": (replace(run.request, samples=4),)}, [])
    assert 2 * 21.6 < progress_of(run).seconds_left < 64.8
    config = replace(run.any_config, temperature=9.0)
    run.append({**suggested(config, {}), "time": run.last_time})
    for number in (1, 2):
        evaluation = short_evaluation(config, number, 0.95)
        run.append({**evaluation, "time": run.last_time + SECONDS / 2})
    assert progress_of(run).seconds_left == pytest.approx(2 * (21.6 + SECONDS))


def test_finals_of_a_session_with_more_slots_are_side_by_side_and_no_shorter(tmp_path):
    """What its trials took before, one after the other, was no time of eight slots."""
    run = searched(tmp_path / "run", [0.8, 0.9, *[0.7] * 6], time_budget=57.6 + 8 * SECONDS)
    assert {steps for _, _, steps in finals(run)} == {72}
    run.append({"event": "slots", "slots": 8, "time": run.last_time})
    assert {steps for _, _, steps in finals(run)} == {72}


def test_a_short_search_that_has_its_finals_is_complete_whatever_was_not_tried(
    tmp_path, monkeypatch
):
    """As those of before, which tried none of a space's starts but the first."""
    with monkeypatch.context() as before:
        before.setattr(still_to_come, "_most_starts", lambda run: 0)
        run = with_its_finals(tmp_path / "run", time_budget=330.0, samples=None)
    assert is_complete(run)

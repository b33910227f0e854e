"""The policy is a fold: after each event, the live one equals one made anew from the record."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from search.policy.policy import Policy
from search.policy.still_to_come import is_complete
from search.record.run import Run
from search.record.trial_record import (
    ENDED,
    FINISHED,
    GO,
    NODE_LOST,
    RUNNING,
    STOP,
    WAIT,
    TrialRecord,
)
from search.results.confirmation import Confirmation
from tests.made_runs import asked, evaluated, made_inputs, made_plan, of_two_strata, pack_right
from trainable.config.training_inputs import Execution
from trainable.trial.messages import DIVERGED, NOT_CAPTURED, OUT_OF_MEMORY

EVALUATIONS = 4
EXAMPLES, MOST_SEEDS = 8, 5  # validated on; of a confirmation
SCORES = st.integers(0, EXAMPLES).map(lambda right: right / EXAMPLES)  # coarse: many are equal
OF_RUN = ("decided", "exhausted", "fallbacks", "execution", "finals_begun", "slots")
KINDS = (None, NODE_LOST, DIVERGED, OUT_OF_MEMORY, NOT_CAPTURED)


def confirmed(count):
    """The trials of a confirmation's first look, and what they confirm."""
    finalists = tuple(of_two_strata(count, evaluations=EVALUATIONS))
    seeds, asked_for = tuple(range(1, MOST_SEEDS + 1)), (MOST_SEEDS,)
    made = Confirmation("mine", "then", finalists, (0.5,) * count, seeds, asked_for)
    return made.trials(made.looks[0]), asdict(made)


class Sweep(RuleBasedStateMachine):
    """Trials that train, fail and wait in any order, kills, and plans that are extended."""

    @initialize(
        scheduler=st.sampled_from(["asha", "promotion", "fifo"]),
        within=st.sampled_from(["all", "init"]),
        count=st.integers(1, 5),
        seeds=st.integers(1, 3),
        finals=st.none() | st.integers(0, 2),
        confirms=st.booleans(),
    )
    def begin(self, scheduler, within, count, seeds, finals=None, confirms=False):
        """With `finals` the trials are those of a search, whose seeds race; a run that confirms
        grows by looks."""
        if confirms:
            self.begin_run(asked(scheduler="fifo", trials_per_gpu=2), *confirmed(count))
            return
        request = asked(scheduler=scheduler, compare_within=within, seeds=seeds, trials_per_gpu=2)
        configs = of_two_strata(count, evaluations=EVALUATIONS)
        if finals is not None:
            fixed = (("evaluations", EVALUATIONS),)
            searched = {"space": "recipe", "searcher": "random", "samples": count + 1}
            request = replace(request, **searched, finals=finals, overrides=fixed)
            configs = [request.default, *configs]
        each = range(seeds if finals is None else 1)
        self.begin_run(request, [replace(config, seed=seed) for config in configs for seed in each])

    def begin_run(self, request, trials, confirms=None):
        examples = {"train": 96, "evaluation": EXAMPLES}
        inputs = made_inputs(device="cuda", execution=Execution("graph"), examples=examples)
        more = {"inputs": inputs, "grace_evaluations": 1, "confirms": confirms}
        self.plan = made_plan(trials, request, **more)
        self.events, self.begun, self.exclusive, self.kills = [], set(), False, 0
        self.policy = self.rebuilt()
        self.take({"event": "plan", "plan": asdict(self.plan)})

    def rebuilt(self):
        """As it is made when the run is read from disk."""
        trials = {config.digest: TrialRecord(config) for config in self.plan.trials}
        run = Run(Path(), self.plan, trials)
        for event in json.loads(json.dumps(self.events)):
            run.apply(event)
        return Policy(run)

    def take(self, event):
        """As a live run does."""
        event = {"number": len(self.events), "time": 1e9 + len(self.events), **event}
        self.policy.apply(event)
        self.events.append(json.loads(json.dumps(event)))
        self.live_equals_rebuilt()

    def evaluate(self, trial, score):
        right = np.arange(EXAMPLES) < round(score * EXAMPLES)
        number, predictions = len(trial.evaluations) + 1, pack_right(right)
        event = evaluated(trial.config, number, score, predictions=predictions)
        self.take({key: value for key, value in event.items() if key != "decision"})

    def trials(self, outcome=RUNNING):
        return [t for t in self.policy.run.trials.values() if t.outcome == outcome]

    def begin_trials(self):
        while trial := self.policy.next_trial(self.begun, exclusive=self.exclusive):
            self.begun.add(trial.config.digest)
            self.take({"event": "start", "trial": trial.config.digest})
        for event in self.policy.additions(exclusive=self.exclusive):
            self.take(event)

    @rule(choice=st.randoms(), scores=st.lists(SCORES, min_size=1, max_size=12))
    def train(self, choice, scores):
        self.begin_trials()
        for score in scores:
            if running := self.trials():
                self.evaluate(choice.choice(running), score)

    @precondition(lambda self: any(trial.evaluations for trial in self.trials()))
    @rule(choice=st.randoms(), reason=st.sampled_from(["graph: no room", "flash: no kernel"]))
    def say_otherwise(self, choice, reason):
        """What decides nothing of a trial: an evaluation that is made again, a fallback."""
        trial = choice.choice([trial for trial in self.trials() if trial.evaluations])
        self.take({"event": "repeated", "trial": trial.config.digest, "evaluations": 1})
        self.take({"event": "fallback", "reason": reason})

    @precondition(lambda self: self.trials())
    @rule(choice=st.randoms(), kind=st.sampled_from(KINDS))
    def fail(self, choice, kind):
        digest, told = choice.choice(self.trials()).config.digest, {"reason": "it broke"}
        if kind == NODE_LOST:
            told = {"reason": NODE_LOST}
        elif kind is not None:
            told |= {"kind": kind, "shared": kind == OUT_OF_MEMORY and not self.exclusive}
        self.take({"event": "failure", "trial": digest, **told})
        self.begun.discard(digest)

    @precondition(lambda self: self.trials("waiting"))
    @rule()
    def act_on_decisions(self):
        for trial in self.trials("waiting"):
            decision = self.policy.decision(trial.config.digest)
            if decision in (GO, STOP):
                event = {GO: "start", STOP: "stop"}[decision]
                self.take({"event": event, "trial": trial.config.digest})

    @precondition(lambda self: self.kills < 3)
    @rule()
    def go_on_after_a_kill(self):
        self.kills += 1
        self.policy, self.begun = self.rebuilt(), set()
        self.take({"event": "session", "provenance": {}})
        self.begun = {trial.config.digest for trial in self.trials("waiting")}
        self.exclusive = self.policy.exclusive

    @precondition(lambda self: len(self.plan.requests) < 3 and not self.plan.confirms)
    @rule(more_seeds=st.booleans())
    def extend(self, more_seeds):
        request, known = self.plan.request, self.plan.trials
        if request.searched:
            request, new = replace(request, seeds=request.seeds + 1), []
        elif more_seeds:
            request = replace(request, seeds=request.seeds + 1)
            new = {replace(config, seed=request.seeds - 1) for config in known}
            new = sorted(new, key=lambda config: config.digest)
        else:
            config = of_two_strata(len(known) + 11, evaluations=EVALUATIONS)[-1]
            new = [replace(config, seed=seed) for seed in range(request.seeds)]
        new = [config for config in new if config.digest not in self.policy.run.trials]
        requests = (*self.plan.requests, request)
        self.plan = replace(self.plan, requests=requests, trials=(*known, *new))
        self.policy.run.plan = self.plan
        self.policy.run.trials |= {config.digest: TrialRecord(config) for config in new}
        self.take({"event": "plan", "plan": asdict(self.plan)})

    def live_equals_rebuilt(self):
        live, again = self.policy, self.rebuilt()
        assert again.run.trials == live.run.trials
        assert [getattr(again.run, name) for name in OF_RUN] == [
            getattr(live.run, name) for name in OF_RUN
        ]
        assert self.answers(again) == self.answers(live)

    def answers(self, policy):
        trials = {
            digest: (
                policy.decision(digest),
                policy.waits(digest),
                policy.failures.restarts(digest, told=False),
                policy.failures.is_for_next_tuner(digest, exclusive=False),
            )
            for digest in policy.run.trials
        }
        of_run = [is_complete(policy.run), policy.exclusive]
        for exclusive in (False, True):
            following = policy.next_trial(self.begun, exclusive=exclusive)
            of_run += [following, policy.additions(exclusive=exclusive)]
        return trials, of_run

    def teardown(self):
        """It comes to its end, and some trial with it, unless all have failed."""
        if not hasattr(self, "policy"):
            return
        for _ in range(1000):
            if is_complete(self.policy.run):
                break
            for trial in self.trials():
                self.begun.add(trial.config.digest)
                self.evaluate(trial, 0.5)
            self.act_on_decisions()
            self.exclusive = self.policy.exclusive
            self.begin_trials()
        assert is_complete(self.policy.run)
        outcomes = {trial.outcome for trial in self.policy.run.trials.values()}
        assert outcomes <= set(ENDED)
        failed_for_good = outcomes == {"failed"} or any(
            event.get("then") == "give up" for event in self.events
        )
        assert FINISHED in outcomes or failed_for_good


TestSweep = Sweep.TestCase
TestSweep.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(("time_budget", "decided"), [(None, WAIT), (600.0, GO)])
def test_with_a_time_budget_recipes_go_on_before_all_samples_have_come(
    monkeypatch, time_budget, decided
):
    """For which there may be no time; without one, the best of all that come are chosen."""

    def another(run):
        return of_two_strata(len(run.trials) + 9, evaluations=EVALUATIONS)[-1], {}

    monkeypatch.setattr("search.policy.policy.suggest", another)
    fixed = (("evaluations", EVALUATIONS),)
    searched = {"space": "recipe", "searcher": "random", "samples": 40, "overrides": fixed}
    request = asked(scheduler="promotion", finals=1, time_budget=time_budget, **searched)
    sweep = Sweep()
    sweep.begin_run(request, [request.default, *of_two_strata(2, evaluations=EVALUATIONS)])
    sweep.begin_trials()
    _, worse, better = sweep.trials()[:3]
    sweep.evaluate(worse, 0.5)
    sweep.evaluate(better, 0.75)
    assert sweep.policy.decision(better.config.digest) == decided
    assert sweep.policy.decision(worse.config.digest) == WAIT


def test_recipes_that_wait_in_vain_are_decided_by_an_event():
    """One that failed does not come to the rung where the others wait for it."""
    sweep = Sweep()
    sweep.begin("promotion", "all", 3, 1)
    sweep.begin_trials()
    failing, *others = sweep.trials()
    failure = {"event": "failure", "reason": "it broke", "kind": DIVERGED}
    sweep.take({**failure, "trial": failing.config.digest})
    for trial, score in zip(others, (0.9, 0.8), strict=True):
        sweep.evaluate(trial, score)
    sweep.begin_trials()
    assert sweep.events[-1]["event"] == "closed"
    assert [sweep.policy.decision(trial.config.digest) for trial in others] == [GO, STOP]

"""ASHA that compares a trial only with those of its own stratum.

Students copied from the teacher start points ahead of random ones; compared together, every random
one would be stopped at the first rung and half of the study's tables would stay empty. Each stratum
is a Ray ASHA scheduler of its own (Li et al. 2020). What competes there is a recipe, by
the mean over its seeds (`search.sweep.scheduling.seed_groups`).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from search.plan.asha_rules import FACTOR, rung_score, stratum_of
from search.plan.schedulers import Slots
from search.record.run import Run
from search.record.trial_record import FAILED, GIVE_UP, GO, RETRY_ALONE, STOP, WAIT
from search.sweep.scheduling.fifo_scheduler import ResumingScheduler, digest_of
from search.sweep.scheduling.seed_groups import DECISION, Decisions, SeedGroups
from trainable.config.trial_config import TrialConfig

METRIC, SCORE = "accuracy", "score"  # what trials report; what recipes are compared by
TIME = "training_iteration"  # counts evaluations
DECISIONS = {GO: TrialScheduler.CONTINUE, WAIT: TrialScheduler.PAUSE, STOP: TrialScheduler.STOP}


class Stopping:
    """A Ray ASHA scheduler for each stratum (Li et al. 2020), whose trials are recipes."""

    def __init__(
        self,
        stratum: Callable[[TrialConfig], str],
        evaluations: int,
        grace_evaluations: int,
        factor: int,
    ) -> None:
        self._stratum = stratum
        self._strata = defaultdict[str, ASHAScheduler](
            lambda: ASHAScheduler(
                time_attr=TIME,
                metric=SCORE,
                mode="max",
                max_t=evaluations,
                grace_period=min(grace_evaluations, evaluations),
                reduction_factor=factor,
            )
        )

    def arrive(self, config: TrialConfig, rung: int, score: float) -> Decisions:
        """Whether a recipe of this score goes on beyond a rung."""
        recipe = config.recipe.digest
        asha, group = self._strata[self._stratum(config)], SimpleNamespace(trial_id=recipe)
        asha.on_trial_add(None, group)
        decision = asha.on_trial_result(None, group, {TIME: rung, SCORE: score})
        return {(recipe, rung): STOP if decision == TrialScheduler.STOP else GO}

    def close(self) -> Decisions:
        """Nothing: each recipe is decided when it comes."""
        return {}


class StratifiedASHA(ResumingScheduler):
    """Asks the ASHA scheduler of a group's stratum, and has seeds wait for one another.

    Ray does not save a scheduler's rungs. They are a function of the evaluations in the order they
    came in, which the run's record holds. Trials are known by their configuration's digest, which
    is the same in every session.

    A trial that waits is PAUSED to Ray and takes no slot. It is resumed or stopped in
    `choose_trial_to_run`, which Ray calls many times a second: by then the evaluation that decided
    it is in the record.
    """

    def __init__(self, run: Run, slots: Slots | None = None) -> None:
        super().__init__(run, slots)
        self._metric = METRIC
        self._rule = self.make_rule()
        self._groups = SeedGroups(run.rungs, run.any_config.evaluations, self._rule.arrive)
        self._lost: set[str] = set()  # Ray's ids of those that failed and were looked up
        self.drained: Callable[[], bool] = lambda: False  # whether no trial is still to be added
        self._refill()

    def make_rule(self) -> Any:
        """What decides at the rungs."""
        length, grace = self.run.any_config.evaluations, self.run.plan.grace_evaluations
        return Stopping(self.stratum, length, grace, FACTOR)

    def stratum(self, config: TrialConfig) -> str:
        """Of the trials that this configuration competes with."""
        return stratum_of(asdict(config), self.run.plan.compare_within)

    @property
    def waiting(self) -> int:
        """How many of this session's trials wait for other seeds, and need no slot."""
        return sum(
            self._groups.waits(digest)
            for name, digest in self._digests.items()
            if name not in self._lost
        )

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Metric and mode are fixed: TuneConfig must not name others."""
        return metric in (None, METRIC) and mode in (None, "max")

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Ray's hook, also for a trial that is tried again."""
        new = trial.trial_id not in self._digests
        super().on_trial_add(tune_controller, trial)
        for record in self.run.trials.values():  # some may have been suggested meanwhile
            self._groups.add(record.config)
        digest = self._digests[trial.trial_id]
        if new and self._groups.decision(digest) != GO:  # it waited when the last session ended
            trial.init_local_path()  # which Ray asks for, should it end without going on
            trial.set_status(Trial.PAUSED)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's hook: CONTINUE, PAUSE or STOP."""
        decision = GO
        if TIME in result and METRIC in result:
            decision = self._groups.evaluated(digest_of(trial), result[TIME], rung_score(result))
        setattr(trial, DECISION, decision)
        return str(DECISIONS[decision])

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Ray's hook: a trial that waited and is to go on, else the first that has not begun.

        Those whose group was stopped while they waited are ended before.
        """
        trials = list(tune_controller.get_trials())
        for trial in trials:
            if trial.status == Trial.ERROR and trial.trial_id not in self._lost:
                self._lost.add(trial.trial_id)
                self._lose(self._digests[trial.trial_id])
        paused = [
            (trial, self._groups.decision(self._digests[trial.trial_id]))
            for trial in trials
            if trial.status == Trial.PAUSED
        ]
        for trial, decision in paused:
            if decision == STOP:
                setattr(trial, DECISION, STOP)
                self._groups.stopped(self._digests[trial.trial_id])
                tune_controller.stop_trial(trial)
        going = [trial for trial, decision in paused if decision == GO]
        taken = sum(trial.status in (Trial.RUNNING, Trial.PENDING) for trial in trials)
        if paused and not going and not taken and self.drained():
            self._groups.take(self._rule.close())
        if going and (self.slots is None or taken < self.slots()):
            return going[0]
        return next((trial for trial in trials if trial.status == Trial.PENDING), None)

    def _lose(self, digest: str) -> None:
        """Applies what the record has of a trial that failed and is not tried again here.

        Nothing where the sweep is being interrupted: it is tried again when it goes on.
        """
        record = self.run.trials[digest]
        if record.outcome == FAILED or record.alone:
            self._groups.failed(digest, alone=record.outcome != FAILED)

    def _refill(self) -> None:
        """Shows every recorded event to the groups again, in the order that trials came in."""
        for event in self.run.events:
            if event["event"] == "plan":
                for values in event["plan"]["trials"]:
                    self._groups.add(TrialConfig.from_dict(values))
            elif event.get("trial") in self.run.trials:
                self._groups.add(self.run.trials[event["trial"]].config)
                self._replay(event)

    def _replay(self, event: dict[str, Any]) -> None:
        trial = event["trial"]
        match event["event"]:
            case "evaluation":
                values = event["evaluation"]
                self._groups.evaluated(trial, values["evaluations"], rung_score(values))
                self._groups.recorded(trial, event["decision"])
            case "start":
                self._groups.recorded(trial, GO)
            case "stop":
                self._groups.recorded(trial, STOP)
                self._groups.stopped(trial)
            case "failure" if event["then"] in (GIVE_UP, RETRY_ALONE):
                self._groups.failed(trial, alone=event["then"] == RETRY_ALONE)


SCHEDULER = StratifiedASHA

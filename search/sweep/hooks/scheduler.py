"""Tune's scheduler: has trials go on, wait or stop as the policy says."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.record.trial_record import GO, STOP, WAIT
from search.sweep.hooks.live_run import LiveRun
from search.sweep.hooks.ray_private import go_on_from_checkpoint, names_of, pause_before_start
from trainable.common.errors import UserError
from trainable.trial.messages import MESSAGE

DECISIONS = {GO: TrialScheduler.CONTINUE, WAIT: TrialScheduler.PAUSE, STOP: TrialScheduler.STOP}


class RunScheduler(FIFOScheduler):  # type: ignore[misc] # Ray has no types
    """Trials are known by their configuration's digest, which is the same in every session.

    A trial that waits is PAUSED to Ray and takes no slot. It is resumed or stopped in
    `choose_trial_to_run`, which Ray calls many times a second: by then the evaluation that decided
    it is in the record.
    """

    def __init__(self, live: LiveRun) -> None:
        super().__init__()
        self._live = live
        self._digests: dict[str, str] = {}  # of this Tuner's trials, by Ray's id

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its scheduler into the run; a resumed run makes its own

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Ray's hook, also for a trial that is tried again, whose checkpoint Ray knows."""
        if trial.trial_id in self._digests:
            return
        live, digest = self._live, names_of(trial)["trial"]
        self._digests[trial.trial_id] = digest
        try:
            go_on_from_checkpoint(trial, live.run, live.run.trials[digest])
        except (OSError, UserError) as error:  # of a storage that does not answer
            live.interruption.pause(str(error))
        if live.policy.decision(digest) != GO:  # it waited when the last session ended
            pause_before_start(trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's hook: CONTINUE, PAUSE or STOP."""
        message = result.get(MESSAGE)
        decision = GO if message is None else self._live.receive(message, **names_of(trial))
        return str(DECISIONS[decision])

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Ray's hook: the trial that the policy runs next. Those that were stopped while they
        waited are ended before."""
        live = self._live
        trials = {self._digests[trial.trial_id]: trial for trial in tune_controller.get_trials()}
        running, pending, waiting = (
            [digest for digest, trial in trials.items() if trial.status == status]
            for status in (Trial.RUNNING, Trial.PENDING, Trial.PAUSED)
        )
        for digest in waiting:
            if live.policy.decision(digest) == STOP and not live.interruption.requested:
                live.record({"event": "stop"}, **names_of(trials[digest]))
                tune_controller.stop_trial(trials[digest])
        free = len(running) + len(pending) < live.slots()
        chosen = live.policy.next_to_run(waiting if free else [], pending)
        return None if chosen is None else trials[chosen]

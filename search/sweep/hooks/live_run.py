"""A run while Tune trains its trials: what Ray's hooks share."""

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from search.policy.failures import FALL_BACK, PAUSE
from search.policy.policy import Policy
from search.record.events import FALLBACK, RECORD, SLOTS, SUGGESTION, TIMINGS, Event
from search.record.run import Run
from search.record.storage import RecordCopy, TakenOverError
from search.record.trial_record import GO, TrialRecord
from search.results.best_trials import prune
from search.sweep.hooks.live_table import Display
from search.sweep.processes.signals import READER_GONE, Interruption
from trainable.trial.messages import OUT_OF_MEMORY, Message


class LiveRun:
    """Has evaluations, stops and suggestions on disk before Tune acts on them, starts and failures
    after; asks the policy what follows.

    One is made for each Tuner. If the record can't be written, or a trial can't save, the sweep
    pauses and nothing more is recorded of it: what the record lacks, the trials' checkpoints have.
    """

    def __init__(
        self,
        run: Run,
        display: Display,
        interruption: Interruption,
        copy: RecordCopy,
        *,
        slots: Callable[[], int],
        exclusive: bool,
    ) -> None:
        """`slots` counts the trials that run at a time; with `exclusive` each has its own GPU."""
        self.run, self.policy = run, Policy(run)
        self.display, self.interruption = display, interruption
        self.slots, self.exclusive = slots, exclusive
        self._copy, self._execution = copy, run.execution
        self._told: dict[str, Message] = {}  # by digest, failures that trials told of
        self._pruned: set[str] = set()
        self.needs_next_tuner = False  # whether Tune has given up a trial that is to be run again
        if run.first_slots and (now := slots()) != run.slots:  # which finals are planned for
            self.record({"event": SLOTS, "slots": now})

    @property
    def paused(self) -> bool:
        """Whether no more trials are to begin here: steps that can't be captured are run otherwise
        by other processes, of the next Tuner."""
        return self.interruption.requested or self.run.execution != self._execution

    def next_trial(self, begun: Collection[str]) -> TrialRecord | None:
        """The trial to begin next, suggested only now if need be; None if there is none so far."""
        while True:
            trial = self.policy.next_trial(begun, exclusive=self.exclusive)
            additions = [] if trial else self.policy.additions(exclusive=self.exclusive)
            for event in additions:
                self.record(event)
            if not additions or self.paused:
                return trial

    def receive(self, message: Message, **names: str) -> str:
        """Records what a trial says; GO, WAIT or STOP. `names` are those of `record`."""
        digest = names["trial"]
        for reason in message.fallbacks:
            self._fall_back(reason)
        if message.failure is not None:
            self._told[digest] = message
            of_others = self.policy.failures.of_others(message.failure)
            if of_others == PAUSE:
                self.interruption.pause(message.reason)
            elif of_others == FALL_BACK:
                self._fall_back(f"{self._execution.lesser[0]}: {message.reason}")
        if message.evaluation is None:
            return GO
        values = message.evaluation
        number, recorded = values["evaluations"], self.run.trials[digest].evaluations
        known = recorded[number - 1] if number <= len(recorded) else None
        if known is None or not (message.restored or _alike(known, values)):
            self.record({"event": "evaluation", "evaluation": values}, **names)
        elif not message.restored:
            self.record({"event": "repeated", "evaluations": number}, **names)
        return self.policy.decision(digest, number)

    def restarts(self, digest: str) -> int:
        """How often Tune may restart a trial that fails."""
        return self.policy.failures.restarts(digest, told=digest in self._told)

    def failed(self, reason: str, *, restarted: bool, **names: str) -> None:
        """Records a failure that counts; the policy says what follows, which Tune may have
        restarted already. Trials of a sweep that is interrupted are tried again when it goes on."""
        digest, failures = names["trial"], self.policy.failures
        message = self._told.pop(digest, None)
        if failures.counts(digest) and not self.interruption.requested:
            event: Event = {"event": "failure", "reason": reason}
            if message is not None:
                event["kind"] = message.failure
                event["shared"] = message.failure == OUT_OF_MEMORY and not self.exclusive
            self.record(event, **names)
        if not restarted:
            self.completed(digest)

    def record(self, event: Event, **names: str) -> None:
        """Applies an event, and has it on disk, at the run's storage and on the screen.

        `names` of an event of a trial: its digest `trial`, and Tune's name for it.
        """
        if self.interruption.problem:
            return
        try:
            event = self.run.append({**event, **names}, self.policy.apply)
            self._copy.copy(RECORD)
        except OSError as error:
            self.interruption.pause(str(error), taken_over=isinstance(error, TakenOverError))
            return
        if event["event"] != SUGGESTION and ("trial" in event or event["event"] == FALLBACK):
            with suppress(*READER_GONE):
                self.display.show(self.run, event)

    def completed(self, digest: str) -> None:
        """Takes in that a trial returned; if it has not ended, as after a pause that another
        session asked for, the next Tuner goes on with it."""
        if self.policy.failures.is_for_next_tuner(digest, exclusive=self.exclusive):
            self.needs_next_tuner = True

    def prune(self) -> None:
        """Removes checkpoints that are not kept; what fails is tried again at the next trial's
        end."""
        with suppress(OSError):
            prune(self.run, self._pruned)

    def _fall_back(self, reason: str) -> None:
        """Records what trials do otherwise than was wanted, each once."""
        if reason not in self.run.fallbacks:
            self.record({"event": FALLBACK, "reason": reason})


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two evaluations differ in nothing but their times."""
    return one.keys() == other.keys() and all(
        one[key] == other[key] for key in one if key not in TIMINGS
    )

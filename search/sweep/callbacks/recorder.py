"""Ray's events turned into the run's own record, and shown."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from search.record.events import RECORD, TIMINGS
from search.record.run import Run
from search.record.storage import RecordCopy
from search.record.trial_record import ENDED, GIVE_UP, GO, NODE_LOST, RETRY, RETRY_ALONE, STOP
from search.results.kept_students import prune
from search.sweep.callbacks.display import Display
from search.sweep.processes.cluster import SIGN_OF_LOST_NODE
from search.sweep.processes.signals import READER_GONE, Interruption
from search.sweep.scheduling.fifo_scheduler import digest_of
from search.sweep.scheduling.seed_groups import DECISION
from trainable.config.names import EAGER
from trainable.engine.metrics import BITS
from trainable.trial.training_loop import EVALUATION_KEYS
from trainable.trial.tune_function import (
    DISK,
    FAILURE_KIND,
    FALLBACK,
    NOT_CAPTURED,
    OUT_OF_MEMORY,
    REASON,
    RESTORED,
    SAVED_STEP,
)

FORGIVEN_NODE_LOSSES = 5  # of its node, one after the other, that are not held against a trial


class Recorder(Callback):  # type: ignore[misc] # Ray has no types, and names what it gives hooks
    """Writes each event to the run's record before anything else is done with it.

    `sharing` says whether trials have neighbours on their GPU. Where the record can't be written,
    or a trial can't save, the sweep pauses, and nothing more is recorded of it: what the record
    lacks, the trials' checkpoints have. `left_over` is true once a trial has failed to Ray that is
    to be run again: one that has lost its node with no retry left, or whose steps can't be
    captured. From the latter on, `uncaptured` is true: this Tuner is to begin no more trials.
    """

    def __init__(
        self,
        run: Run,
        display: Display,
        interruption: Interruption,
        copy: RecordCopy,
        *,
        sharing: bool,
    ) -> None:
        self._run, self._display, self._interruption = run, display, interruption
        self._copy, self._sharing = copy, sharing
        self.left_over = self.uncaptured = False
        self._failure_kinds: dict[str, str] = {}  # by digest, as a trial said before it failed

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles its callbacks into the run; a resumed run makes its own

    def setup(self, *args: Any, **info: Any) -> None:
        """Ray's hook, before the first trial."""
        self._display.start()

    def on_step_end(self, trials: list[Trial], **info: Any) -> None:
        """Ray's hook, several times a second: once all trials have saved, the loop can end."""
        running = any(trial.status == Trial.RUNNING for trial in trials)
        pausing = self._interruption.requested and (self._interruption.problem or not running)
        begun = running or any(trial.status == Trial.PENDING for trial in trials)
        # Of what a lost node has left over, other seeds may wait for ever: the next Tuner runs it.
        if pausing or (self.left_over and not begun):
            self._interruption.leave_loop()

    def on_experiment_end(self, **info: Any) -> None:
        """Ray's hook, after the last trial or an interruption."""
        self._display.stop()

    def on_trial_start(self, trial: Trial, **info: Any) -> None:
        """Ray's hook."""
        if not self._interruption.requested:
            self._take({"event": "start"}, trial)

    def on_trial_result(self, trial: Trial, result: dict[str, Any], **info: Any) -> None:
        """Ray's hook, after the scheduler has decided.

        The correct/wrong bits are taken out of the result, so that Tune keeps scalars only.
        """
        bits = {key: result.pop(key, None) for key in BITS}
        self._fall_back(result.pop(FALLBACK, ""))
        if FAILURE_KIND in result:
            self._failure_kinds[digest_of(trial)] = result[FAILURE_KIND]
            trial.max_failures = 0
            if result[FAILURE_KIND] == DISK:
                self._interruption.pause(result[REASON])
            elif result[FAILURE_KIND] == NOT_CAPTURED:
                self._fall_back(f"{EAGER}: {result[REASON]}")
                self.left_over = self.uncaptured = True
        elif "accuracy" in result and SAVED_STEP not in result:
            values = {key: result.get(key) for key in (*EVALUATION_KEYS, "saving_seconds")} | bits
            values |= {key: part for key, part in result.items() if key.startswith("loss_")}
            number, recorded = result["evaluations"], self._run.trials[digest_of(trial)].evaluations
            known = recorded[number - 1] if number <= len(recorded) else None
            if RESTORED in result and known is not None:
                return
            if known is not None and _without_timings(known) == _without_timings(values):
                event = {"event": "repeated", "evaluations": number}
            else:
                decision = STOP if result.get("done") else getattr(trial, DECISION, GO)
                event = {"event": "evaluation", "decision": decision, "evaluation": values}
            self._take(event, trial)

    def on_trial_complete(self, trial: Trial, **info: Any) -> None:
        """Ray's hook for trials that finished, were stopped, or paused with the sweep."""
        ended = self._run.trials[digest_of(trial)].outcome in ENDED
        if getattr(trial, DECISION, GO) == STOP and not ended and not self._interruption.requested:
            self._take({"event": "stop"}, trial)  # while it waited for other seeds
        self._prune()

    def on_trial_recover(self, trial: Trial, **info: Any) -> None:
        """Ray's hook for a trial that failed and goes on from its checkpoint.

        Losing its node does not use up one of a trial's retries, unless it happens again and again
        without an evaluation in between: that may be the trial's own doing.
        """
        reason = _reason(trial)
        if reason == NODE_LOST and self._node_loss_is_forgiven(trial):
            trial.max_failures += 1
        self._take({"event": "failure", "reason": reason, "then": RETRY}, trial)

    def on_trial_error(self, trial: Trial, **info: Any) -> None:
        """Ray's hook for a trial that failed for good, or that waits to be alone on the GPU."""
        digest = digest_of(trial)
        record, failure_kind = self._run.trials[digest], self._failure_kinds.get(digest)
        alone = failure_kind == OUT_OF_MEMORY and self._sharing and not record.alone
        reason = _reason(trial)
        # With no retry left it is run again when the others have ended.
        lost = reason == NODE_LOST and self._node_loss_is_forgiven(trial)
        self.left_over = self.left_over or lost
        again = lost or failure_kind == NOT_CAPTURED
        then = RETRY_ALONE if alone else RETRY if again else GIVE_UP
        self._take({"event": "failure", "reason": reason, "then": then}, trial)
        self._prune()

    def _fall_back(self, reason: str) -> None:
        """Records what trials do otherwise than was wanted, each once."""
        if reason and reason not in self._run.fallbacks:
            self._append({"event": FALLBACK, "reason": reason})

    def _prune(self) -> None:
        """What fails is tried again when the next trial ends."""
        with suppress(OSError):
            prune(self._run)

    def _node_loss_is_forgiven(self, trial: Trial) -> bool:
        return self._run.trials[digest_of(trial)].lost_nodes < FORGIVEN_NODE_LOSSES

    def _take(self, event: dict[str, Any], trial: Trial) -> None:
        pausing = self._interruption.requested  # then a failure is tried again on resuming
        if self._interruption.problem or (pausing and event["event"] == "failure"):
            return
        self._append({**event, "trial": digest_of(trial), "tune_trial": trial.trial_id})

    def _append(self, event: dict[str, Any]) -> None:
        try:
            self._run.append(event)
            self._copy.copy(RECORD)
        except OSError as error:
            self._interruption.pause(str(error))
            return
        with suppress(*READER_GONE):
            self._display.show(self._run, event)


def _without_timings(evaluation: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in evaluation.items() if key not in TIMINGS}


def _reason(trial: Trial) -> str:
    """From the text that Ray keeps of a trial's error."""
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    last = text[text.rfind("\nFailure # ") + 1 :]  # Ray keeps those before it, too
    return NODE_LOST if SIGN_OF_LOST_NODE in last else failure_reason(last)


def failure_reason(error: str) -> str:
    """What went wrong in one line, from the text that Ray keeps of a trial's error.

    After a traceback that is the line below the last frame, without our own exceptions' module; of
    a process that died, Ray's first line.
    """
    lines = [line for line in error.splitlines() if line.strip()]
    frames = [index for index, line in enumerate(lines) if line.startswith('  File "')]
    below = [line for line in lines[frames[-1] if frames else 0 :] if not line.startswith(" ")]
    message_lines = [line for line in below if not line.startswith("Failure #")]
    if not message_lines:
        return "unknown"
    name, colon, message = message_lines[0].partition(": ")
    return message if colon and name.startswith("trainable.") else message_lines[0]

"""States of trials that wait at a rung, in the memory of the process that trained them.

Whatever is lost here is trained again: from the trial's checkpoint, or where it has none anew.
"""

from dataclasses import dataclass

from trainable.config.trial_config import TrialConfig
from trainable.trial.checkpoint import State, copied_state
from trainable.trial.training_loop import Trial


@dataclass(frozen=True)
class Waiting:
    """A trial as it was."""

    state: State
    unsaved_seconds: float  # since its last checkpoint, or its start


class WaitingTrials:
    """The latest that fit into so many bytes."""

    def __init__(self) -> None:
        self._kept: dict[str, Waiting] = {}  # by the configuration's digest, oldest first

    def keep(self, trial: Trial, room: int, unsaved_seconds: float) -> bool:
        """Whether a trial's state fits into `room` bytes, where the oldest give way to it."""
        self._kept.pop(trial.config.digest, None)
        state = copied_state(trial)
        while self._kept and state.bytes + sum(w.state.bytes for w in self._kept.values()) > room:
            self._kept.pop(next(iter(self._kept)))
        if fits := state.bytes <= room:
            self._kept[trial.config.digest] = Waiting(state, unsaved_seconds)
        return fits

    def take(self, config: TrialConfig) -> Waiting | None:
        """The state of a trial that goes on, no longer kept; None if it is not here."""
        return self._kept.pop(config.digest, None)

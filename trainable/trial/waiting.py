"""States of trials that wait at a rung, in the memory of the process that trained them.

Whatever is lost here is trained again: from the trial's checkpoint, or where it has none anew.
"""

from trainable.config.trial_config import TrialConfig
from trainable.trial.checkpoint import State, copied_state, state_bytes
from trainable.trial.training_loop import Trial


class WaitingTrials:
    """The latest that fit into so many bytes."""

    def __init__(self) -> None:
        self._states: dict[str, State] = {}  # by the configuration's digest, oldest first

    def keep(self, trial: Trial, room: int) -> bool:
        """Whether a trial's state fits into `room` bytes, where the oldest give way to it."""
        self.take(trial.config)
        if (size := state_bytes(trial)) > room:
            return False
        while sum(state.bytes for state in self._states.values()) > room - size:
            self._states.pop(next(iter(self._states)))
        self._states[trial.config.digest] = copied_state(trial)
        return True

    def take(self, config: TrialConfig) -> State | None:
        """The state of a trial that goes on, no longer kept; None if it is not here."""
        return self._states.pop(config.digest, None)

"""What is known of one trial of a run, the names of its states, and trials by recipe."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from trainable.config.trial_config import TrialConfig

PENDING, RUNNING = "pending", "running"
WAITING = "waiting"  # at a rung, for other seeds of its recipe or for other recipes
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
ENDED = (FINISHED, STOPPED, FAILED)
GO, WAIT, STOP = "continue", "wait", "stop"  # an evaluation's `decision`, by the policy
NODE_LOST = "its node was lost"  # the reason of a failure
RETRY, RETRY_ALONE, GIVE_UP = "retry", "retry alone on the GPU", "give up"


@dataclass
class TrialRecord:
    """What is known of one trial; `evaluations` are Evaluations as dicts, one for each n.

    `predictions` of one that had to be put back from a trial's copy is empty.
    """

    config: TrialConfig
    outcome: str = PENDING
    reason: str = ""  # of the last failure
    alone: bool = False  # whether it ran out of GPU memory beside others
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    repeated: int = 0  # evaluations that had to be made again, with the same result
    parameters: dict[str, Any] | None = None  # as drawn; None of a listed trial, a final
    final: bool = False  # whether it trains one of the best recipes of a search again

    @classmethod
    def suggested(cls, event: dict[str, Any]) -> "TrialRecord":
        """The trial that an event of the record adds; ValueError where its digest is another's."""
        config, parameters = TrialConfig.from_dict(event["config"]), event["parameters"]
        if config.digest != event["trial"]:
            raise ValueError(
                f"trial {event['trial'][:40]} has the configuration of {config.digest}"
            )
        return cls(config, parameters=parameters, final=parameters is None)

    @property
    def best5(self) -> float | None:
        """None before the first evaluation."""
        return self.evaluations[-1]["best5"] if self.evaluations else None

    @property
    def has_predictions(self) -> bool:
        """Whether the predictions of all evaluations are there, of one at least."""
        return bool(self.evaluations) and all(e["predictions"] for e in self.evaluations)

    @property
    def seconds(self) -> float:
        """Spent in training and evaluation."""
        parts = ("training_seconds", "evaluation_seconds")
        return float(sum(e[part] for e in self.evaluations for part in parts))

    def apply(self, event: dict[str, Any]) -> None:
        """Takes in one event; a trial that went back evaluates anew, and that is what counts."""
        match event["event"]:
            case "start":
                self.outcome = RUNNING
            case "evaluation":
                self._evaluated(event["evaluation"], event["decision"])
            case "stop" if self.evaluations:  # while it waited; not where all are lost
                self.outcome, self.reason = STOPPED, ""
            case "repeated":
                self.repeated += 1
            case "failure":
                self.reason, then = event["reason"], event["then"]
                self.outcome = FAILED if then == GIVE_UP else PENDING
                self.alone = self.alone or then == RETRY_ALONE

    def _evaluated(self, values: dict[str, Any], decision: str) -> None:
        number = values["evaluations"]
        if number > len(self.evaluations) + 1:
            return  # one before it is lost; the trial makes both again
        self.evaluations[number - 1 :] = [values]
        last = number >= self.config.evaluations
        decided = {STOP: STOPPED, WAIT: WAITING}
        self.outcome = FINISHED if last else decided.get(decision, RUNNING)
        self.reason = ""


def by_recipe(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """The trials of each recipe, one a seed, by the recipe's digest; all in the order given."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(trial.config.recipe.digest, []).append(trial)
    return groups

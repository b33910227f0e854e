"""ASHA that compares a trial only with those of its own stratum.

Students copied from the teacher start points ahead of random ones; compared together, every random
one would be stopped at the first rung and half of the study's tables would stay empty. Each stratum
is a Ray ASHA scheduler of its own (Li et al. 2020).
"""

from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from search.record import read_events, read_run
from search.strata import REDUCTION_FACTOR, SchedulerSettings, stratum_of
from trainable.config import TrialConfig

METRIC = "best5_accuracy"
TIME = "training_iteration"  # counts evaluations


class StratifiedASHA(FIFOScheduler):  # type: ignore[misc] # Ray has no types
    """Hands every call on to the ASHA scheduler of the trial's stratum.

    Ray does not save a scheduler's rungs. They are a function of the evaluations in the order they
    came in, which the run's record holds: the first trial that is added brings them back. Trials
    are known by their configuration's digest, which is the same in every session.
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        super().__init__()
        self._metric = METRIC
        self._settings = settings
        self._strata: dict[str, ASHAScheduler] = {}
        self._refilled = False

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Metric and mode are fixed: TuneConfig must not name others."""
        return metric in (None, METRIC) and mode in (None, "max")

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Ray's hook; the first call refills the rungs."""
        if not self._refilled:
            self._refilled = True
            self._refill()
        config = TrialConfig.from_dict(trial.config)
        self._stratum(config).on_trial_add(tune_controller, _known(config))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's hook: CONTINUE or STOP."""
        return self._decide(TrialConfig.from_dict(trial.config), result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Ray's hook."""
        config = TrialConfig.from_dict(trial.config)
        self._stratum(config).on_trial_complete(tune_controller, _known(config), result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Ray's hook."""
        config = TrialConfig.from_dict(trial.config)
        self._stratum(config).on_trial_remove(tune_controller, _known(config))

    def debug_string(self) -> str:
        """One line a stratum."""
        return "\n".join(f"{key}: {asha.debug_string()}" for key, asha in self._strata.items())

    def _stratum(self, config: TrialConfig) -> ASHAScheduler:
        """The scheduler of the trials that this configuration competes with."""
        key = stratum_of(config.to_dict(), self._settings.compare_within)
        if key not in self._strata:
            self._strata[key] = ASHAScheduler(
                time_attr=TIME,
                metric=METRIC,
                mode="max",
                max_t=self._settings.evaluations,
                grace_period=min(self._settings.grace_evaluations, self._settings.evaluations),
                reduction_factor=REDUCTION_FACTOR,
            )
        return self._strata[key]

    def _decide(self, config: TrialConfig, result: dict[str, Any]) -> str:
        return str(self._stratum(config).on_trial_result(None, _known(config), result))

    def _refill(self) -> None:
        """Shows every recorded evaluation to its stratum again."""
        run = read_run(self._settings.run_folder)
        for event in read_events(self._settings.run_folder):
            if event["event"] == "evaluation" and event["trial"] in run.trials:
                config, values = run.trials[event["trial"]].config, event["evaluation"]
                self._stratum(config).on_trial_add(None, _known(config))
                self._decide(config, {**values, TIME: values["evaluations"]})


def _known(config: TrialConfig) -> SimpleNamespace:
    """A trial as ASHA needs it: something with an id."""
    return SimpleNamespace(trial_id=config.digest)

"""The Ray side of a sweep: the Tuner, its resources, and how it is started and restored."""

import logging
import os
import re
import warnings
from collections.abc import Sequence
from math import floor
from pathlib import Path
from typing import Any

from search.record import ENDED, Run

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns where it is unset
    "TOKENIZERS_PARALLELISM": "false",
}
UNWIND_SECONDS = "60"  # a stopped trial may take so long before its process takes the next


def start_ray(cores: int, gpus: int) -> None:
    """A quiet local Ray with so many CPUs and GPUs."""
    os.environ.update(QUIET)
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = UNWIND_SECONDS
    import ray

    warnings.filterwarnings("ignore", module="ray")
    ray.init(
        address="local",  # not a cluster that happens to run here
        num_cpus=cores,
        num_gpus=gpus,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    # A failed trial's reason stands in our own lines, its traceback in the trial's error.txt.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def resources_per_trial(gpus: int, trials_per_gpu: int) -> dict[str, float]:
    """One core a trial, and its share of a GPU where there is one.

    Ray counts in ten-thousandths: a share that is rounded up would leave the last trial waiting.
    """
    share = floor(10_000 / trials_per_gpu) / 10_000
    return {"cpu": 1, "gpu": share} if gpus else {"cpu": 1}


def concurrency(cores: int, gpus: int, trials_per_gpu: int, limit: int | None) -> int:
    """How many trials run at a time: one a core, no more than share the GPUs, than `limit`."""
    places = [cores] + ([gpus * trials_per_gpu] if gpus else []) + ([limit] if limit else [])
    return max(1, min(places))


def trial_folder(trial: Any) -> str:
    """A trial's folder name in words, with its number first, safe on any file system."""
    from trainable.config import TrialConfig

    config = TrialConfig.from_dict(trial.config)
    number = trial.trial_id.rpartition("_")[2]
    words = re.sub(r"[^A-Za-z0-9.=_]+", "-", config.words())
    return f"{number}-{words}-{config.digest}"


def _trainable(task: dict[str, Any], resources: dict[str, float]) -> Any:
    from functools import partial

    from ray import tune

    from trainable.ray_adapter import train_student

    return tune.with_resources(partial(train_student, task_values=task), resources)


def _space_as_domains(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The values that each setting takes, as Tune domains; the points come from the plan."""
    from ray import tune

    domains = {}
    for key in configs[0]:
        values = []
        for config in configs:
            if config[key] not in values:
                values.append(config[key])
        domains[key] = tune.choice(values)
    return domains


def new_tuner(run: Run, places: int, resources: dict[str, float], scheduler: Any) -> Any:
    """A Tuner that runs each configuration that has not ended once, in the planned order."""
    from ray import tune
    from ray.tune.search import BasicVariantGenerator

    from search.recorder import Recorder

    open_trials = [trial for trial in run.trials.values() if trial.outcome not in ENDED]
    points = [trial.config.to_dict() for trial in open_trials]
    return tune.Tuner(
        _trainable(run.sweep["task"], resources),
        param_space=_space_as_domains(points),
        tune_config=tune.TuneConfig(
            search_alg=BasicVariantGenerator(points_to_evaluate=points, max_concurrent=places),
            scheduler=scheduler,
            num_samples=len(points),
            reuse_actors=True,
            trial_dirname_creator=trial_folder,
        ),
        run_config=tune.RunConfig(
            name=run.folder.name,
            storage_path=str(run.folder.parent),
            callbacks=[Recorder(run.folder, places)],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            verbose=0,
        ),
    )


def restored_tuner(run: Run, resources: dict[str, float]) -> Any:
    """The Tuner of an interrupted run; its trials go on from their last checkpoints."""
    from ray import tune

    return tune.Tuner.restore(str(run.folder), _trainable(run.sweep["task"], resources))


def ray_state_exists(folder: Path) -> bool:
    """Whether Ray had saved enough of the sweep to restore it."""
    return (folder / "tuner.pkl").is_file() and any(folder.glob("experiment_state-*.json"))

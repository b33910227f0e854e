"""How a sweep sets Ray up: its start, the trainable, what each trial gets, and the Tuner."""

import logging
import os
import warnings
from dataclasses import asdict, replace
from functools import partial
from math import floor
from typing import Any

from search.exit_codes import adopt_orphans, children, end_all
from search.plan.request import LOCAL
from search.record.run import Run
from search.record.storage import storage_of
from search.sweep.hooks.callback import RunCallback, Silence
from search.sweep.hooks.live_run import LiveRun
from search.sweep.hooks.ray_private import kill_at_shutdown
from search.sweep.hooks.scheduler import RunScheduler
from search.sweep.hooks.searcher import RunSearcher
from search.sweep.processes.cluster import cluster_size, join
from trainable.common.errors import first_line
from trainable.config.trial_config import TrialConfig
from trainable.trial.tune_function import Sweep, train_student

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # search.sweep.processes.signals has its own
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial's last result may say why it fails
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # a failure after an interruption
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns where it is unset
    "TOKENIZERS_PARALLELISM": "false",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # of a stopped trial, before its process takes the next
}
TIMED_OUT = "timed out"  # in what Ray says of a start that took too long


def start_ray(cores: int, gpus: int, address: str = LOCAL) -> tuple[int, int]:
    """A quiet Ray: a local one with so many CPUs and GPUs, or a cluster. Returns what it has.

    UserError where there is no cluster at this address.
    """
    os.environ.update(ENVIRONMENT)
    warnings.filterwarnings("ignore", module="ray")
    logging.getLogger("ray").setLevel(logging.ERROR)  # that this is not the main thread
    if address == LOCAL:  # not a cluster that happens to run here
        adopt_orphans()
        _start_here(cores, gpus)
        kill_at_shutdown()
    else:
        join(address, runtime_env={"env_vars": ENVIRONMENT})
        cores, gpus = cluster_size(with_gpus=gpus > 0)
    # A failed trial's reason stands in our own lines, its traceback in the trial's error.txt.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    return cores, gpus


def _start_here(cores: int, gpus: int) -> None:
    """Starts a local Ray, at the second try if need be: Ray's wait for itself can't be lengthened,
    and is too short where the machine is busy. OSError if it does not start."""
    import ray

    for last in (False, True):
        others = set(children())
        try:
            ray.init(
                address=LOCAL,
                num_cpus=cores,
                num_gpus=gpus,
                include_dashboard=False,
                logging_level="ERROR",
                log_to_driver=False,
            )
        except Exception as error:  # of many kinds: processes that died, no memory, no port
            if last or TIMED_OUT not in str(error):
                raise OSError(f"Ray could not start: {first_line(error)}") from error
            end_all(child for child in children() if child not in others)
        else:
            return


def resources_per_trial(gpus: int, trials_per_gpu: int) -> dict[str, float]:
    """One core a trial, and its share of a GPU where there is one.

    Ray counts in ten-thousandths: a share that is rounded up would leave the last trial waiting.
    """
    share = floor(10_000 / trials_per_gpu) / 10_000
    return {"cpu": 1, "gpu": share} if gpus else {"cpu": 1}


def concurrency(cores: int, gpus: int, trials_per_gpu: int, limit: int | None) -> int:
    """How many trials run at a time: one a core, no more than share the GPUs, than `limit`."""
    slots = [cores] + ([gpus * trials_per_gpu] if gpus else []) + ([limit] if limit else [])
    return max(1, min(slots))


def trial_folder(trial: Any) -> str:
    """A trial's folder, the same in every session of a run."""
    return TrialConfig.from_dict(trial.config).folder_name


def make_tuner(
    run: Run, sweep: Sweep, resources: dict[str, float], live: LiveRun, callback: RunCallback
) -> Any:
    """A Tuner that runs what the searcher hands out.

    A resumed run gets a new one: the state that Ray saved of an earlier Tuner may lag behind the
    record, be damaged, or point to where the run lay before.
    """
    from ray import tune

    inputs = asdict(replace(run.plan.inputs, execution=run.execution))
    return tune.Tuner(
        tune.with_resources(partial(train_student, inputs=inputs, sweep=sweep), resources),
        tune_config=tune.TuneConfig(
            search_alg=RunSearcher(live),
            scheduler=RunScheduler(live),
            num_samples=-1,  # until the searcher has no more
            reuse_actors=True,
            trial_dirname_creator=trial_folder,
        ),
        run_config=tune.RunConfig(
            name=run.folder.name,
            storage_path=storage_of(run.folder.parent),
            callbacks=[callback, Silence()],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            failure_config=tune.FailureConfig(max_failures=run.request.retries),
            verbose=0,
        ),
    )

"""All that is used of Ray beyond its public interface, each part in one function.

`PRIVATE` names the parts; a test says which of them a newer Ray has moved.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import ray

from search.record.checkpoints import newest_checkpoint, remove_checkpoints, trial_location
from search.record.run import Run
from search.record.storage import open_storage
from search.record.trial_record import NODE_LOST, TrialRecord
from trainable.common.errors import UserError
from trainable.config.trial_config import TrialConfig

SIGN_OF_LOST_NODE = "its node has died"  # in the error that Ray keeps of a trial
PRIVATE = {  # by module and name
    "ray.train._internal.session": ["_TrainingResult"],
    "ray._private.worker": ["_global_node"],
    "ray.tune.experiment.Trial": [
        "set_status",
        "init_local_path",
        "should_recover",
        "error_file",
        "trial_id",
        "max_failures",
        "storage.current_checkpoint_index",
        "run_metadata.num_failures",
        "run_metadata.checkpoint_manager.register_checkpoint",
    ],
}


def guarded(use: Callable[..., None]) -> Callable[..., None]:
    """The same, but a part that this Ray lacks is a UserError."""

    @wraps(use)
    def told(*arguments: Any) -> None:
        try:
            use(*arguments)
        except (AttributeError, ImportError) as error:
            raise UserError(
                f"Ray {ray.__version__} has moved what this project needs of it ({error}); "
                "install another version, such as 2.60, and resume"
            ) from error

    return told


def names_of(trial: Any) -> dict[str, str]:
    """A Ray trial's names in the record: its configuration's digest, and Tune's own."""
    return {"trial": TrialConfig.from_dict(trial.config).digest, "tune_trial": trial.trial_id}


def go_on_from_checkpoint(trial: Any, run: Run, record: TrialRecord) -> None:
    """Has a Ray trial that is new to its Tuner go on from the checkpoint that it has on disk.

    To Ray each session of a run is a new experiment, whose trials have no checkpoints yet. Others
    that a kill has left beside the newest are removed: Ray would write into one, and keep the rest.
    One of a trial's end, whose evaluation was not recorded, has nothing to go on from.
    """
    from trainable.trial.checkpoint import STATE

    filesystem, path = open_storage(trial_location(run, record))
    newest = newest_checkpoint(filesystem, path, STATE)
    remove_checkpoints(run, record, but=newest and newest[0])
    if newest is not None:
        _register_checkpoint(trial, *newest, filesystem)


@guarded
def _register_checkpoint(trial: Any, number: int, path: str, filesystem: Any) -> None:
    """Has a Ray trial's newest checkpoint be this one, with this number."""
    from ray.train._internal.session import _TrainingResult
    from ray.tune import Checkpoint

    trial.storage.current_checkpoint_index = number
    result = _TrainingResult(Checkpoint(path, filesystem=filesystem), {"training_iteration": 0})
    trial.run_metadata.checkpoint_manager.register_checkpoint(result)


@guarded
def pause_before_start(trial: Any) -> None:
    """Has a Ray trial that has not begun wait, as one that was paused."""
    from ray.tune.experiment import Trial

    trial.init_local_path()  # which Ray asks for, should it end without going on
    trial.set_status(Trial.PAUSED)


@guarded
def limit_retries(trial: Any, retries: int) -> None:
    """Has Ray restart a trial so many times more after a failure."""
    trial.max_failures = trial.run_metadata.num_failures + retries


def kill_at_shutdown() -> None:
    """Ray ends each of its processes with a SIGTERM, which `Interruption.shielded` has blocked for
    them, and kills it a second later. This skips that wait. With a Ray that has it otherwise, the
    shutdown takes those seconds."""
    with suppress(AttributeError, ImportError):
        from ray._private import worker

        node = worker._global_node
        kill: Callable[..., None] = node.kill_all_processes
        node.kill_all_processes = lambda **asked: kill(**{**asked, "allow_graceful": False})


def failure_reason(trial: Any) -> str:
    """What went wrong in one line, from the file where Ray keeps a trial's errors."""
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    last = text[text.rfind("\nFailure # ") + 1 :]  # Ray keeps those before it, too
    return NODE_LOST if SIGN_OF_LOST_NODE in last else error_message(last)


def error_message(error: str) -> str:
    """What an error says, from the text that Ray keeps of it.

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

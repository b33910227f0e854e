"""One session of a run: what has not ended is run, until it has or the session is interrupted."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.console import Console

from search.cluster import LOCAL, Places, cluster_size
from search.desk import open_remote
from search.disk import in_words, most_checkpoint_bytes
from search.display import make_display
from search.interruption import Interruption
from search.open_trials import OpenTrials
from search.record import ENDED, Run, TrialRecord
from search.recorder import Recorder
from search.remote_runs import where
from search.results import mend_results
from search.schedulers import SCHEDULERS
from search.strata import SchedulerSettings
from search.sweep import concurrency, make_tuner, resources_per_trial, start_ray
from search.tracking import Tracking
from search.tracking_modes import OFF
from trainable.environment import available_cores


def run_trials(
    run: Run, session: dict[str, Any], console: Console, interruption: Interruption
) -> None:
    """Runs what has not ended yet; `session` is its provenance.

    OSError where the disk fails, as for Ray's own files; where it fails a trial or the record,
    `interruption.problem` says how. The run can be resumed all the same.
    """
    run.append({"event": "session", "provenance": session})
    run.add_missing_seeds()
    mend_results(run)
    if not interruption.requested:
        with Tracking(run.folder, run.sweep.get("swanlab", OFF), console):
            _tune(run, console, interruption)
        mend_results(run)


def _tune(run: Run, console: Console, interruption: Interruption) -> None:
    """Runs the open trials: first beside others, then those that need a GPU for themselves."""
    sweep = run.sweep
    interruption.spare_children()
    address = sweep.get("address") or LOCAL
    cores, gpus = start_ray(available_cores(), torch.cuda.device_count(), address)
    interruption.hold()
    _tell_idle_gpus(address, gpus, console)
    remote = open_remote(run, console)
    for share, alone in ((sweep["trials_per_gpu"], False), (1, True)):
        places = _places(address, share, sweep["max_concurrent"], cores, gpus)
        resources = resources_per_trial(gpus, share)
        while not interruption.requested and _has_open(run, alone=alone):
            recorder = Recorder(
                run,
                make_display(console, places()),
                interruption,
                sharing=gpus > 0 and share > 1,
            )
            _announce(run, places(), console)
            scheduler = make_scheduler(run, places)
            make_tuner(
                run,
                resources=resources,
                searcher=_make_searcher(run, places, scheduler, interruption, alone=alone),
                scheduler=scheduler,
                callbacks=[recorder, *_study_writers(run, interruption)],
                remote=remote,
            ).fit()
            if not recorder.left_over:
                break


def _has_open(run: Run, *, alone: bool) -> bool:
    """Whether there is something to run, or to suggest: beside others, or alone on a GPU."""
    return bool(open_trials(run, alone=alone)) or (not alone and run.growing)


def _make_searcher(
    run: Run,
    places: Callable[[], int],
    scheduler: Any,
    interruption: Interruption,
    *,
    alone: bool,
) -> OpenTrials:
    growing = not alone and run.growing
    return OpenTrials(
        run,
        open_trials(run, alone=alone),
        places,
        _suggester(interruption) if growing else None,
        waiting=partial(getattr, scheduler, "waiting", 0),
    )


def _tell_idle_gpus(address: str, gpus: int, console: Console) -> None:
    """Trials train on the kind of device that this node has: it prepared them, and measured."""
    if address != LOCAL and not gpus and cluster_size(with_gpus=True)[1]:
        console.print("The cluster's GPUs stay idle: this node, where the sweep runs, has none.")


def _places(
    address: str, share: int, limit: int | None, cores: int, gpus: int
) -> Callable[[], int]:
    """How many trials run at a time, with so many cores and GPUs or in a cluster that changes."""
    if address == LOCAL:
        return lambda: concurrency(cores, gpus, share, limit)
    return Places(lambda: concurrency(*cluster_size(with_gpus=gpus > 0), share, limit))


def _suggester(interruption: Interruption) -> Callable[[Run], list[TrialRecord]]:
    """What adds the searcher's trials to the record; where that can't be written, it pauses."""
    from search.suggestions import extend_by_suggestion

    def more(run: Run) -> list[TrialRecord]:
        try:
            return extend_by_suggestion(run)
        except OSError as error:
            interruption.pause(str(error))
            return []

    return more


def _study_writers(run: Run, interruption: Interruption) -> list[Any]:
    if not run.searched:
        return []
    from search.study_writer import StudyWriter  # with Optuna, which takes a second to load

    return [StudyWriter(run, interruption)]


def open_trials(run: Run, *, alone: bool) -> list[TrialRecord]:
    """Trials that have not ended, in the order planned; those that are to be alone on their GPU,
    or the others."""
    trials = run.trials.values()
    return [trial for trial in trials if trial.outcome not in ENDED and trial.alone == alone]


def _announce(run: Run, places: int, console: Console) -> None:
    keep = run.sweep["keep"]
    most = in_words(most_checkpoint_bytes(run, places))
    console.print(
        f"Run {where(run.folder)}: {places} trial(s) at a time; their checkpoints and the "
        f"best {keep} student(s), which are kept, take at most {most}.",
        soft_wrap=True,
    )


def make_scheduler(run: Run, places: Callable[[], int] | None = None) -> Any:
    """The run's trial scheduler, for so many trials at a time."""
    settings = SchedulerSettings(
        evaluations=next(iter(run.trials.values())).config.evaluations,
        grace_evaluations=run.sweep["grace_evaluations"],
        compare_within=tuple(run.sweep["compare_within"]),
        run_folder=run.folder,
        places=places,
    )
    return SCHEDULERS[run.sweep["scheduler"]](settings)

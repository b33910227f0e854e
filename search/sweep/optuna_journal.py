"""The study of a searched run as Optuna's own journal file, for its dashboard."""

import warnings

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.policy.suggestions import study_of
from search.record.run import Run
from trainable.common.files import atomic_file

JOURNAL = "optuna-journal.log"  # in a searched run's folder


def write_study(run: Run) -> None:
    """Writes the study into the run's folder, for `optuna-dashboard` and `optuna.load_study`."""
    with atomic_file(run.folder / JOURNAL) as path:
        path.touch()
        study = study_of(run, JournalStorage(JournalFileBackend(str(path))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # naming may change in a later Optuna
            names = [f"best5_{run.plan.inputs.metric}", run.request.against]
            study.set_metric_names(names[: len(study.directions)])

"""The checkpoints of a run's trials, as Ray Tune keeps them: found, verified, removed."""

import re
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem, FileType, copy_files

from search.record.labels import labels_of
from search.record.run import Run
from search.record.storage import is_uri, join_name, location, open_storage, read_bytes
from search.record.trial_record import ENDED, WAITING, TrialRecord
from trainable.common.errors import count_of
from trainable.common.files import MANIFEST, parse_checked_json, verified_values

NAME = r"checkpoint_(\d{6})"


def newest_checkpoint(
    filesystem: FileSystem, trial_path: str, file: str = MANIFEST
) -> tuple[int, str] | None:
    """Number and path of the newest complete checkpoint of a trial, with this file in it; None
    where there is none.

    One that a kill cut short lacks a file of its manifest, or a part of one.
    """
    for number, path in sorted(_checkpoints(filesystem, trial_path).items(), reverse=True):
        there = filesystem.get_file_info(f"{path}/{file}").type == FileType.File
        if there and _is_complete(filesystem, path):
            return number, path
    return None


def _checkpoints(filesystem: FileSystem, trial_path: str) -> dict[int, str]:
    """The path of each checkpoint of a trial by its number, complete or not."""
    return {
        int(name[1]): entry.path
        for entry in filesystem.get_file_info(FileSelector(trial_path, allow_not_found=True))
        if entry.type == FileType.Directory and (name := re.fullmatch(NAME, entry.base_name))
    }


def _is_complete(filesystem: FileSystem, path: str) -> bool:
    try:
        manifest = parse_checked_json(read_bytes(filesystem, f"{path}/{MANIFEST}")) or {}
        sizes = dict(manifest["bytes"])
    except (KeyError, TypeError, ValueError):
        return False
    files = filesystem.get_file_info([f"{path}/{name}" for name in sizes])
    return all(file.size == size for file, size in zip(files, sizes.values(), strict=True))


def trial_location(run: Run, trial: TrialRecord) -> str:
    """Path or URI of the folder that Ray has for a trial."""
    return join_name(location(run.folder), trial.config.folder_name)


def kept_checkpoint(run: Run, trial: TrialRecord) -> Path | None:
    """A local folder with the newest complete checkpoint, fetched if the run lies at a URI.

    None if the trial has no checkpoint, CheckpointError if it has no complete one.
    """
    from trainable.engine.training_state import CheckpointError

    if not has_checkpoint(run, trial):
        return None
    where = trial_location(run, trial)
    filesystem, path = open_storage(where)
    if (newest := newest_checkpoint(filesystem, path)) is None:
        raise CheckpointError(f"damaged: {where}")
    folder = run.trial_folder(trial) / Path(newest[1]).name
    if is_uri(where) and verified_values(folder) is None:
        copy_files(newest[1], str(folder), source_filesystem=filesystem)
    return folder


def has_checkpoint(run: Run, trial: TrialRecord) -> bool:
    """Whether a trial has any, complete or not."""
    return bool(_checkpoints(*open_storage(trial_location(run, trial))))


def drop_damaged_checkpoints(run: Run) -> list[str]:
    """A line for each local checkpoint that can't be used, and for each trial under way without;
    one for all that wait without, which may have been in memory alone.

    A trial under way starts again then (its checkpoint is removed); one that has ended keeps its
    result.
    """
    from trainable.engine.training_state import CheckpointError
    from trainable.trial.checkpoint import STATE, check_checkpoint  # loads torch: seconds

    lines, waiting, describe = [], 0, labels_of(run)
    for trial in run.trials.values():
        where, ended = trial_location(run, trial), trial.outcome in ENDED
        if not has_checkpoint(run, trial):
            waiting += trial.outcome == WAITING
            if trial.evaluations and trial.outcome not in (*ENDED, WAITING):
                lines.append(f"No checkpoint, the trial starts again: {describe(trial)}")
            continue
        if is_uri(where):
            continue
        newest = newest_checkpoint(*open_storage(where), MANIFEST if ended else STATE)
        try:
            if newest is None:
                whole = newest_checkpoint(*open_storage(where))
                raise CheckpointError("cut short" if whole is None else "of a finished trial")
            check_checkpoint(Path(newest[1]), trial.config, run.plan.inputs)
        except CheckpointError as error:
            then = "its result stands" if ended else "the trial starts again"
            lines.append(f"Checkpoint {error}, {then}: {describe(trial)}")
            if not ended:
                remove_checkpoints(run, trial)
    if waiting:
        lines.append(f"No checkpoint of {count_of(waiting)} that wait: they start again to go on")
    return lines


def remove_checkpoints(run: Run, trial: TrialRecord, but: int | None = None) -> None:
    """All of a trial's, but the one of this number."""
    filesystem, path = open_storage(trial_location(run, trial))
    for number, checkpoint in _checkpoints(filesystem, path).items():
        if number != but:
            filesystem.delete_dir(checkpoint)


def checkpoint_count(run: Run) -> int:
    """How many trials have a checkpoint."""
    locations = (trial_location(run, trial) for trial in run.trials.values())
    return sum(newest_checkpoint(*open_storage(where)) is not None for where in locations)


def bytes_used(run: Run) -> int:
    """By all files of the run."""
    filesystem, path = open_storage(location(run.folder))
    selector = FileSelector(path, allow_not_found=True, recursive=True)
    return sum(entry.size or 0 for entry in filesystem.get_file_info(selector))

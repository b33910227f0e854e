"""A kept student found, made whole, and written as a folder that `transformers` loads."""

from dataclasses import replace
from pathlib import Path

import torch
from trainable.task import Task
from trainable.whole_student import WholeStudent, load_kept_tokenizer, load_whole_student
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from search.disk import best_trials
from search.export_check import (
    TIMED_SENTENCES,
    Check,
    check_folder,
    evaluation_texts,
    sentences_per_second,
)
from search.launch import make_console
from search.model_card import Exported, Size, model_card
from search.record import Run, TrialRecord
from search.remote_runs import cache_here, task_of
from search.request import Request
from search.resume import task_again
from search.trial_words import wording
from trainable.checkpoint import student_files
from trainable.environment import best_device, device_name
from trainable.errors import UserError
from trainable.folders import sealed_values
from trainable.tokens import load_split
from trainable.training_state import CheckpointError

WEIGHTS = "*.safetensors"


def choose_trial(run: Run, wanted: str | None) -> TrialRecord:
    """The trial asked for, or the best that ended; UserError where its student is not kept."""
    if wanted is not None:
        trial = find_trial(run, wanted)
        if not _is_kept(run, trial):
            there = [other.config.digest for other in run.trials.values() if _is_kept(run, other)]
            raise UserError(
                f"--trial {wanted}: its student is not kept, the run keeps the best "
                f"{run.sweep['keep']} (--keep); kept: {', '.join(there) or 'none'}"
            )
        return trial
    best = [trial for trial in best_trials(run) if _is_kept(run, trial)]
    if not best:
        raise UserError(
            f"RUN {run.folder.name}: no student of a trial that ended is kept; the run has --keep "
            f"{run.sweep['keep']}, and --resume {run.folder.name} --keep N keeps the best N of "
            "those still to end"
        )
    return best[0]


def _is_kept(run: Run, trial: TrialRecord) -> bool:
    return bool(student_files(run.trial_folder(trial)))


def find_trial(run: Run, wanted: str) -> TrialRecord:
    """By digest, the beginning of one, or folder; UserError for none and for several."""
    named = Path(wanted).name
    found = [
        trial
        for digest, trial in run.trials.items()
        if digest.startswith(wanted.lower()) or trial.config.folder_name == named
    ]
    if len(found) == 1:
        return found[0]
    words = wording(run)
    listed = "; ".join(f"{t.config.digest} ({words(t)})" for t in found)
    if found:
        raise UserError(f"--trial {wanted}: {len(found)} trials begin so: {listed}")
    raise UserError(
        f"--trial {wanted}: no such trial in {run.folder.name}; there: {', '.join(run.trials)}"
    )


def shared_task(run: Run) -> Task:
    """What the trials share, made again where the cache has lost teacher or tokens."""
    task = task_of(run)
    needed = (Path(task.tokens), Path(task.teacher.folder))
    if all(sealed_values(folder) is not None for folder in needed):
        return task
    return task_again(run, [], make_console(), f"RUN {run.folder.name}")


def load_student(run: Run, trial: TrialRecord, task: Task) -> WholeStudent:
    """The newest student in the trial's folder; UserError where it is damaged."""
    files = student_files(run.trial_folder(trial))
    file = max(files, key=lambda path: int(path.stem.partition("-")[2]))
    try:
        return load_whole_student(file, trial.config, task)
    except CheckpointError as error:
        raise UserError(
            f"RUN {run.folder.name}: the student {file} is {error}; --trial T exports another"
        ) from None


def write_folder(
    folder: Path, run: Run, trial: TrialRecord, student: WholeStudent, *, task: Task, check: bool
) -> Exported:
    """Everything that the folder holds; the card last, since it tells of the rest."""
    request = replace(Request.from_dict(run.sweep["requests"][0]), cache=str(cache_here(run)))
    tokenizer = load_kept_tokenizer(task, request.sized_preset.max_length)
    student.model.save_pretrained(folder)
    for weights in folder.glob(WEIGHTS):  # which the library keeps from other users
        weights.chmod((folder / "config.json").stat().st_mode)
    tokenizer.save_pretrained(folder)
    sizes, measured_on = _measure(folder, task)
    exported = Exported(
        run=run,
        trial=trial,
        evaluation=student.evaluation,
        labels=list(student.model.config.id2label.values()),
        rows=(student.rows_in_use, student.model.config.vocab_size),
        student=sizes["student"],
        teacher=sizes["teacher"],
        measured_on=measured_on,
        check=_check(folder, request, task, student) if check else "--no-check was given",
    )
    (folder / "README.md").write_text(model_card(exported), encoding="utf-8")
    return exported


def _check(folder: Path, request: Request, task: Task, student: WholeStudent) -> Check | str:
    """The folder scored by plain transformers, or why the sentences can't be had again."""
    try:
        texts = evaluation_texts(request, task)
    except (UserError, OSError) as error:
        return str(error)
    return check_folder(folder, texts, student.evaluation)


def _measure(folder: Path, task: Task) -> tuple[dict[str, Size], str]:
    """Student and teacher side by side, as anyone would load them, and on what they were timed."""
    folders, device = {"student": folder, "teacher": Path(task.teacher.folder)}, best_device()
    models = {
        name: AutoModelForSequenceClassification.from_pretrained(place, dtype=torch.float32)
        for name, place in folders.items()
    }
    split = load_split(Path(task.tokens), "evaluation")
    speeds = sentences_per_second(models, split, task.pad_id, device)
    sizes = {
        name: Size(_parameters(model), _weight_bytes(folders[name]), speeds[name])
        for name, model in models.items()
    }
    threads = f" with {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    batch = f"{TIMED_SENTENCES[device.type]} evaluation sentences of similar length at a time"
    return sizes, f"{device_name()}{threads}, in fp32, {batch}"


def _parameters(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(WEIGHTS))

"""What a run keeps on disk: checkpoints of trials under way, and the best students."""

from pathlib import Path
from statistics import fmean

from search.front import against, front_trials
from search.record import ENDED, FAILED, FINISHED, Run, TrialRecord
from search.units import most_seeds
from trainable.checkpoint import STATE, checkpoint_bytes, student_files
from trainable.task import Task


def prune(run: Run) -> None:
    """Removes what trials that ended need no more: their states, and all but the best students."""
    kept = {trial.config.digest for trial in kept_trials(run)}
    for trial in run.trials.values():
        if trial.outcome in ENDED:
            folder = run.trial_folder(trial)
            (folder / STATE).unlink(missing_ok=True)
            for student in student_files(folder) if trial.config.digest not in kept else ():
                student.unlink(missing_ok=True)


def kept_trials(run: Run) -> list[TrialRecord]:
    """Whose students are kept: the best, and those that nothing cheaper equals."""
    return [*best_trials(run)[: run.sweep["keep"]], *front_trials(run)]


def best_trials(run: Run) -> list[TrialRecord]:
    """Trials that ended well, best first: those run to the end before those stopped early.

    A recipe with several seeds stands where their mean belongs, its best seed first.
    """
    ended = [t for t in run.trials.values() if t.outcome in ENDED and t.outcome != FAILED]
    scores: dict[tuple[str, str], list[float]] = {}
    for trial in ended:
        scores.setdefault(_group(trial), []).append(trial.best5 or 0.0)
    means = {group: fmean(found) for group, found in scores.items()}

    def place(trial: TrialRecord) -> tuple[bool, float, float]:
        return trial.outcome != FINISHED, -means[_group(trial)], -(trial.best5 or 0.0)

    return sorted(ended, key=place)


def _group(trial: TrialRecord) -> tuple[str, str]:
    """What it shares with the other seeds of its recipe that ended as it did."""
    return trial.outcome, trial.config.recipe.digest


def kept_students(run: Run) -> list[Path]:
    """The students that are there, of all trials."""
    folders = [run.trial_folder(trial) for trial in run.trials.values()]
    return [file for folder in folders for file in student_files(folder)]


def bytes_used(run: Run) -> int:
    """By all files of the run."""
    return sum(path.lstat().st_size for path in run.folder.rglob("*") if path.is_file())


def most_checkpoint_bytes(run: Run, places: int) -> int:
    """What checkpoints take at most while so many trials run at a time.

    While a file is replaced, old and new stand side by side. Under ASHA no more recipes are begun
    than there are places, and all seeds but one of each may wait for it.
    """
    task = Task.from_dict(run.sweep["task"])
    shapes = {(t.config.student_layers, t.config.student_width): t for t in run.trials.values()}
    sizes = [checkpoint_bytes(trial.config, task) for trial in shapes.values()]
    state, student = max(size[0] for size in sizes), max(size[1] for size in sizes)
    keep = run.sweep["keep"] + (len(run.request.depths) if against(run) else 0)  # of the front
    asha = run.sweep.get("scheduler") == "asha"
    waiting = places * (most_seeds(run.trials.values()) - 1) if asha else 0
    return int((places * 2 + waiting) * (state + student) + keep * student)


def in_words(size: int) -> str:
    """`95 MB` or `1.7 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"

"""What a command prints at the end of a run or of one of its sessions."""

import shlex
import sys

from rich.console import Console

from search.exit_codes import FAILURES, INTERRUPTED
from search.plan.searchers import JOURNAL
from search.record.checkpoints import bytes_used, checkpoint_count
from search.record.run import Run
from search.record.run_folders import resume_command
from search.record.storage import location
from search.record.trial_record import FAILED
from search.results.confirmation_result import conclude, print_conclusion, write_conclusion
from search.results.leaderboard import print_leaderboard
from search.results.pareto import print_pareto_front
from search.results.progress import describe_bytes
from search.results.table import recipes_table, trials_table
from trainable.common.errors import count_of


def write_answers(run: Run) -> None:
    """Writes what a complete confirmation answers, and the study of a searched run, beside it."""
    if run.plan.confirms is not None and not run.unfinished:
        write_conclusion(conclude(run), run)
    if run.request.searched:
        from search.sweep.hooks.optuna_journal import write_study  # with Optuna: a second

        write_study(run)


def finish(run: Run, console: Console, problem: str = "") -> int:
    """Prints the leaderboard, where things are, and what to do next; returns the exit code.

    A complete confirmation prints its answers in place of the leaderboard.
    """
    if run.plan.confirms is not None and not run.unfinished:
        print_conclusion(conclude(run), console)
    else:
        recipes = recipes_table(run, trials_table(run))
        print_leaderboard(run, recipes, console)
        print_pareto_front(run, recipes, console)
    if run.exhausted:
        console.print("The searcher found no new configuration.")
    console.print(f"\nRun: {location(run.folder)} ({describe_disk(run)})", soft_wrap=True)
    journal = run.folder / JOURNAL
    if journal.is_file():  # of a searched run; else the session could not write it
        command = f"optuna-dashboard {shlex.quote(str(journal))}"
        console.print(f"Optuna study: {command}", soft_wrap=True)
    failed = sum(trial.outcome == FAILED for trial in run.trials.values())
    if failed:
        console.print(f"{count_of(failed)} failed; the leaderboard has the reasons.")
    if problem:
        print(f"error: {problem}", file=sys.stderr)
    if run.unfinished:
        console.print("Interrupted. Resume with:")
        console.print(resume_command(run.folder), soft_wrap=True)
        return FAILURES if problem else INTERRUPTED
    return FAILURES if failed or problem else 0


def describe_disk(run: Run) -> str:
    """`0.2 GB, 5 checkpoints; saving took 0.4% of the training time`."""
    text = f"{describe_bytes(bytes_used(run))}, {count_of(checkpoint_count(run), 'checkpoint')}"
    trials = run.trials.values()
    saving = sum(e["saving_seconds"] for trial in trials for e in trial.evaluations)
    training = sum(trial.seconds for trial in trials)
    return f"{text}; saving took {saving / training:.1%} of the training time" if training else text

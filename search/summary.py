"""What a command says at the end of a run or of one of its sessions."""

import shlex
import sys

from rich.console import Console

from search.checkpoints import bytes_used, checkpoint_count, describe_bytes
from search.conclusion import conclude, print_conclusion, write_conclusion
from search.exit_codes import FAILURES, INTERRUPTED
from search.leaderboard import print_leaderboard
from search.pareto import print_front
from search.record import FAILED, Run
from search.runs import resume_command
from search.storage import describe_location


def write_answers(run: Run) -> None:
    """Writes what a complete confirmation answers, and the study of a searched run, beside it."""
    if run.plan.confirms is not None and not run.interrupted:
        write_conclusion(conclude(run), run)
    if run.searched:
        from search.suggestions import write_study  # with Optuna, which takes a second

        write_study(run)


def finish(run: Run, console: Console, problem: str = "") -> int:
    """Prints the leaderboard, where things are, and what to do next; returns the exit code.

    Of a confirmation that is complete, its answers take the leaderboard's place.
    """
    if run.plan.confirms is not None and not run.interrupted:
        print_conclusion(conclude(run), console)
    else:
        print_leaderboard(run, console)
        print_front(run, console)
    if run.exhausted:
        console.print("The searcher found no configuration that is not in the run already.")
    console.print(f"\nRun: {describe_location(run.folder)} ({describe_disk(run)})", soft_wrap=True)
    if run.searched:
        _print_study(run, console)
    failed = sum(trial.outcome == FAILED for trial in run.trials.values())
    if failed:
        console.print(f"{failed} trial(s) failed; the reasons stand above.")
    if problem:
        print(f"error: {problem}", file=sys.stderr)
    if run.interrupted:
        console.print("Interrupted. Go on with:")
        console.print(resume_command(run.folder), soft_wrap=True)
        return FAILURES if problem else INTERRUPTED
    return FAILURES if failed or problem else 0


def _print_study(run: Run, console: Console) -> None:
    from search.suggestions import JOURNAL  # with Optuna, which takes a second

    journal = run.folder / JOURNAL
    if journal.is_file():  # else the session could not write it
        console.print(f"Its study: optuna-dashboard {shlex.quote(str(journal))}", soft_wrap=True)


def describe_disk(run: Run) -> str:
    """`0.2 GB, with the weights of 5 student(s); saving held training for 0.4%`."""
    text = f"{describe_bytes(bytes_used(run))}, with {checkpoint_count(run)} checkpoint(s)"
    evaluations = [e for trial in run.trials.values() for e in trial.evaluations]
    training = sum(e["training_seconds"] + e["evaluation_seconds"] for e in evaluations)
    saving = sum(e["saving_seconds"] for e in evaluations)
    return f"{text}; saving held training for {saving / training:.1%}" if training else text

"""What a command prints at the end of a run or of one of its sessions."""

import shlex
import sys
from contextlib import suppress

from rich.console import Console

from search.exit_codes import FAILURES, INTERRUPTED
from search.policy.progress import describe_bytes, unused_levers
from search.policy.still_to_come import is_complete, none_trains, too_short_to_search
from search.record.checkpoints import bytes_used, checkpoint_count
from search.record.run import Run
from search.record.run_folders import name_here, resume_command
from search.record.storage import location
from search.record.trial_record import FAILED
from search.results.best_trials import best_finished
from search.results.confirmation_result import conclude, print_conclusion, write_conclusion
from search.results.leaderboard import print_leaderboard
from search.results.pareto import print_pareto_front
from search.results.recommendation import recommendation
from search.results.table import recipes_table, trials_table
from search.sweep.optuna_journal import JOURNAL, write_study
from trainable.common.errors import UserError, count_of, error_line


def write_answers(run: Run) -> None:
    """Writes what a complete confirmation answers, and the study of a searched run, beside it."""
    if run.plan.confirms is not None and is_complete(run):
        write_conclusion(conclude(run), run)
    if run.request.searched:
        with suppress(UserError):  # of a space that was edited: resuming said so
            write_study(run)


def finish(run: Run, console: Console, problem: str = "") -> int:
    """Prints the leaderboard (the answers of a complete confirmation), where things are, and what
    to do next; returns the exit code."""
    if run.plan.confirms is not None and is_complete(run):
        print_conclusion(conclude(run), console)
    else:
        recipes = recipes_table(run, trials_table(run))
        print_leaderboard(run, recipes, console)
        for sentence in recommendation(run, recipes, unused_levers(run)):
            console.print(sentence)
        print_pareto_front(run, recipes, console)
    for line in run.damage:  # also of this session: what a checkpoint had of lost evaluations
        console.print(f"{line}.", soft_wrap=True)
    if run.exhausted and not too_short_to_search(run):
        console.print("The searcher found no new configuration.")
    console.print(f"\nRun: {location(run.folder)} ({describe_disk(run)})", soft_wrap=True)
    if (journal := run.folder / JOURNAL).is_file():  # of a searched run
        command = f"optuna-dashboard {shlex.quote(str(journal))}"
        console.print(f"Optuna study: {command}", soft_wrap=True)
    if failed := sum(trial.outcome == FAILED for trial in run.trials.values()):
        why = " So no more were tried; begin a new run once that is mended." * none_trains(run)
        console.print(f"{count_of(failed)} failed; the leaderboard has the reasons.{why}")
    if problem:
        print(error_line(problem), file=sys.stderr)
    if not is_complete(run):
        console.print("Interrupted. Resume with:")
        console.print(resume_command(run.folder), soft_wrap=True)
        return FAILURES if problem else INTERRUPTED
    if best_finished(run.trials.values()):
        of = run.plan.confirms["run"] if run.plan.confirms else run.folder.name
        name = name_here(run.folder.with_name(of))
        steps = ["report {0}", "confirm {0}", "export {0} {1}-student"]
        for step in steps[:: 2 if run.plan.confirms else 1]:
            console.print(f"Next: python -m search.{step.format(name, of)}", soft_wrap=True)
    return FAILURES if failed or problem else 0


def describe_disk(run: Run) -> str:
    """`0.2 GB, 5 checkpoints; saving took 0.4% of the training time, rungs and ends included`."""
    text = f"{describe_bytes(bytes_used(run))}, {count_of(checkpoint_count(run), 'checkpoint')}"
    trials = run.trials.values()
    saving = sum(e["saving_seconds"] for trial in trials for e in trial.evaluations)
    if training := sum(trial.seconds for trial in trials):
        share = f"{saving / training:.1%} of the training time"
        text += f"; saving took {share}, rungs and ends included"
    return text

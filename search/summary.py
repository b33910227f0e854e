"""Temporary."""
import sys

from search.exit_codes import FAILURES, INTERRUPTED
from search.record import FAILED
from search.runs import resume_command


def write_answers(run):
    if run.searched:
        from search.suggestions import write_study
        write_study(run)

def finish(run, console, problem=""):
    print(f"\nTeacher: {run.plan.inputs.teacher.accuracy:.4f}")
    for t in run.trials.values():
        console.print(t.config.words(), t.outcome, t.best5, t.reason, soft_wrap=True)
    print("last is the final")
    if run.searched:
        from search.suggestions import JOURNAL
        print(f"optuna-dashboard {run.folder/JOURNAL}")
    failed = sum(trial.outcome == FAILED for trial in run.trials.values())
    if failed: print(f"{failed} trial(s) failed; the reasons stand above.")
    if problem: print(f"error: {problem}", file=sys.stderr)
    if run.interrupted:
        console.print("Interrupted. Go on with:")
        console.print(resume_command(run.folder), soft_wrap=True)
        return FAILURES if problem else INTERRUPTED
    return FAILURES if failed or problem else 0

"""What every command that runs trials shares: a run begun, gone on with, and its exit code."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from search.exit_codes import describe_error, exit_code, make_console
from search.plan.plan import Plan
from search.policy.progress import progress_of
from search.policy.still_to_come import is_complete
from search.record.run import Run, create_run, read_run
from search.record.run_folders import refuse_existing, resume_command, run_lock
from search.record.storage import RecordCopy, fetched
from search.sweep.processes.signals import BEFORE_RUN, Interruption
from trainable.common.errors import UserError


@dataclass(frozen=True)
class Invocation:
    """One call of a command: what was typed, where it prints, and the signals it gets."""

    module: str
    arguments: Sequence[str]
    console: Console
    interruption: Interruption

    def provenance(self) -> dict[str, Any]:
        """How what it makes is made."""
        from search.record.provenance import provenance  # with torch, which takes seconds to load

        return provenance(self.arguments, self.module)


def run_command(
    command: Callable[[Invocation], int], module: str, argv: Sequence[str] | None
) -> int:
    """The exit code of a command: its own, or that of the error it ends in, as one line."""
    console = make_console()
    typed = sys.argv[1:] if argv is None else argv
    with Interruption(console) as interruption:  # whose end takes Ray's processes with it
        call = partial(command, Invocation(module, typed, console, interruption))
        there = any(word.startswith(("--resume", "--dry-run")) for word in typed)
        before = "interrupted; give the same command again" if there else BEFORE_RUN
        return exit_code(call, before, lambda: interruption.folder, resume_command)


def start_run(folder: Path, plan: Plan, invocation: Invocation) -> int:
    """A new run of a plan, to its end; returns the exit code."""
    with run_lock(folder):
        refuse_existing(folder)  # one of that name may have come up while the teacher was made
        with RecordCopy(folder) as copy:
            run = create_run(folder, plan)
            invocation.interruption.attach(folder)
            return _run_to_end(run, copy, lambda: None, invocation)


def resume_run(folder: Path, reopen: Callable[[Run], None], invocation: Invocation) -> int:
    """Goes on with a run once `reopen` has made it ready; a complete one shows its end again."""
    with run_lock(folder), RecordCopy(folder) as copy:
        run = read_run(fetched(folder))  # as the session left it that had it at a URI until now
        invocation.interruption.attach(folder)  # whose pause that may have been
        return _run_to_end(run, copy, partial(reopen, run), invocation)


def _run_to_end(
    run: Run, copy: RecordCopy, reopen: Callable[[], None], invocation: Invocation
) -> int:
    """Runs what is open, writes down what came of it, and prints it; returns the exit code.

    An error is printed, too: the run can be resumed.
    """
    from search.sweep.summary import finish, write_answers
    from search.sweep.swanlab import tracked

    interruption, begun = invocation.interruption, False
    try:
        reopen()
        with tracked(run, invocation.console, interruption):
            if not is_complete(run):
                from search.sweep.session import run_trials  # with Ray, which takes seconds to load

                resumes = any(event["event"] == "session" for event in run.events)
                run.append({"event": "session", "provenance": invocation.provenance()})
                if resumes:
                    line = f"Resuming {run.folder.name}: {progress_of(run).describe()}"
                else:
                    line = f"If interrupted: {resume_command(run.folder)}"
                invocation.console.print(line, soft_wrap=True)
                copy.copy()
                if begun := not interruption.requested:
                    run_trials(run, copy, invocation.console, interruption)
            else:
                invocation.console.print(f"{run.folder.name} is complete; nothing left to run.")
        write_answers(read_run(run.folder))
        copy.copy(*(path.name for path in run.folder.glob("[!.]*.*")))
    except Exception as error:
        if isinstance(error, UserError) and not begun:
            raise
        interruption.problem = interruption.problem or describe_error(error, run.folder)
    return finish(read_run(run.folder), invocation.console, interruption.problem)

"""What every command that runs trials shares: a run begun, gone on with, and its exit code."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search.arguments import KEEP, RETRIES
from search.cluster import LOCAL
from search.exit_codes import FAILURES, INTERRUPTED, USER_ERROR
from search.interruption import Interruption
from search.mirror import copied_to_storage
from search.record import Run, create_run, read_run
from search.runs import alone_with, refuse_existing
from search.tracking import Tracking
from search.tracking_modes import OFF
from trainable.errors import TrainingDivergedError, UserError

if TYPE_CHECKING:  # with torch, which takes seconds to load
    from search.preparation import PreparedSweep

PLAIN_WIDTH = 120  # columns


@dataclass(frozen=True)
class Session:
    """One call of a command: what was typed, where it prints, and the signals it gets."""

    module: str
    arguments: Sequence[str]
    console: Console
    interruption: Interruption

    def provenance(self) -> dict[str, Any]:
        """How what it makes is made."""
        from search.provenance import provenance  # with torch, which takes seconds to load

        return provenance(self.arguments, self.module)


def guarded(command: Callable[[Session], int], module: str, argv: Sequence[str] | None) -> int:
    """The exit code of a command: its own, or that of the error it ends in, told in one line."""
    console = make_console()
    typed = sys.argv[1:] if argv is None else argv
    try:
        with Interruption(console) as interruption:
            return command(Session(module, typed, console, interruption))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except (TrainingDivergedError, OSError) as error:  # of the teacher; of a full disk and the like
        print(f"error: {error}", file=sys.stderr)
        return FAILURES
    except KeyboardInterrupt:
        print("interrupted before the first trial; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def make_console() -> Console:
    """As wide as the terminal; where output goes elsewhere, wide enough for a trial's line."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def begin(
    folder: Path,
    plan: Mapping[str, Any],
    operation: Mapping[str, Any],
    prepared: "PreparedSweep",
    session: Session,
) -> int:
    """A new run of the prepared trials, of which `plan` says what they are.

    `operation` is how many run at once and the like, None where that is left open.
    """
    from search.session import run_trials
    from search.sharing import as_measured, settle_sharing

    sharing = settle_sharing(
        prepared.task,
        prepared.possible,
        Path(plan["requests"][0]["cache"]),
        asked=operation["trials_per_gpu"],
        max_concurrent=operation["max_concurrent"],
        console=session.console,
    )
    made, keep, retries = session.provenance(), operation["keep"], operation["retries"]
    sweep = {
        **made,
        **plan,
        **sharing,
        "max_concurrent": operation["max_concurrent"],
        "keep": KEEP if keep is None else keep,
        "retries": RETRIES if retries is None else retries,
        "swanlab": operation["swanlab"] or OFF,
        "address": operation["address"] or LOCAL,
        "evaluation_sentences": prepared.evaluation_sentences,
        "task": as_measured(prepared.task, sharing["gpu_sharing"], session.console).to_dict(),
    }
    with alone_with(folder):
        refuse_existing(folder)  # one of that name may have come up while the teacher was made
        session.interruption.attach(folder)
        run = create_run(folder, sweep, prepared.configs)
        work = partial(run_trials, run, made, session.console, session.interruption)
        return _in_step_with_storage(run, work, session)


def go_on(folder: Path, reopen: Callable[[Run], None], session: Session) -> int:
    """Goes on with a run once `reopen` has made it ready; a complete one shows its end again."""
    with alone_with(folder):
        session.interruption.attach(folder)
        run = read_run(folder)

        def work() -> None:
            reopen(run)
            if run.interrupted:
                from search.session import run_trials  # with Ray, which takes seconds to load

                run_trials(run, session.provenance(), session.console, session.interruption)
                return
            session.console.print(f"{run.folder.name} is complete; nothing left to run.")
            with Tracking(folder, run.sweep.get("swanlab", OFF), session.console):
                pass  # what no session has written yet

        return _in_step_with_storage(run, work, session)


def _in_step_with_storage(run: Run, work: Callable[[], None], session: Session) -> int:
    """Does this session's work, writes down what came of it, and says so; returns the exit code.

    Where the disk or the storage fails, that is said, too: the run can be gone on with.
    """
    from search.summary import finish, write_answers

    interruption = session.interruption
    try:
        with copied_to_storage(run.folder, session.console, interruption):
            work()
            write_answers(read_run(run.folder))
    except KeyboardInterrupt:
        pass  # while another session's lease was waited for: nothing has begun
    except OSError as error:
        interruption.problem = interruption.problem or str(error)
    return finish(read_run(run.folder), session.console, interruption.problem)

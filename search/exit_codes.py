"""What the commands return, and the errors that they end in as one line."""

import ctypes
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from signal import default_int_handler
from tempfile import mkstemp
from typing import NoReturn

import psutil
from rich.console import Console

from trainable.common.errors import TrainingDivergedError, UserError, error_line, first_line
from trainable.common.gpus import out_of_gpu_memory
from trainable.common.interrupts import end_quietly, replace_handler

FAILURES = 1  # trials failed for good, or the disk did
USER_ERROR = 2  # something given is unusable; nothing was changed
INTERRUPTED = 130  # can be resumed
EXPECTED = (UserError, TrainingDivergedError, OSError)  # OSError: a full disk and such


def leave(code: int) -> NoReturn:
    """Ends a process that had Ray in it, and all that it has started: with Ray's threads, Python's
    own end may abort."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, RuntimeError):  # a closed pipe; within another print
            stream.flush()
    end_all(children())
    os._exit(code)


def children() -> list[psutil.Process]:
    """The processes that this one has started, and that these have."""
    processes: list[psutil.Process] = psutil.Process().children(recursive=True)
    return processes


def end_all(processes: Iterable[psutil.Process]) -> None:
    """Kills what is left of them."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def make_console() -> Console:
    """As wide as the terminal; where output goes elsewhere, wide enough for a trial's line."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120  # columns
    return console


def adopt_orphans() -> None:
    """Makes this process the parent of what its children leave behind, so that `leave` ends that,
    too: Ray's agents outlive Ray by a minute. Linux only."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def exit_code(
    command: Callable[[], int],
    interrupted: str = "interrupted",
    folder: Callable[[], Path | None] = lambda: None,
    resume: Callable[[Path], str] = str,
) -> int:
    """The exit code of a command: its own, or that of the error it ends in, as one line.

    `folder` gives the run's, if there is one by then, and `resume` the command that continues it.
    """
    try:
        replace_handler(end_quietly, default_int_handler)
        return command()
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except SystemExit:  # what rich makes of a closed pipe
        return FAILURES
    except Exception as error:
        print(error_line(describe_error(error, folder())), file=sys.stderr)
        if isinstance(error, UserError):
            return USER_ERROR
        if run := folder():
            print(f"Resume with:\n{resume(run)}")
        return FAILURES


def describe_error(error: BaseException, folder: Path | None = None) -> str:
    """What an error says. One that nobody expected is named, and its traceback written to a file in
    this folder, or in that of temporary files."""
    text = "".join(traceback.format_exception(error))
    while error.__cause__ is not None and not isinstance(error, EXPECTED):  # Ray Tune wraps it
        error = error.__cause__
    if isinstance(error, EXPECTED) or out_of_gpu_memory(error):
        return str(error)
    line = f"{type(error).__name__}: {first_line(error)}"
    if line.endswith("(most recent call last):"):  # of a callback, as Ray Tune raises it
        line = str(error).strip().splitlines()[-1]
    with suppress(OSError):
        path = folder / "error.txt" if folder else Path(mkstemp("-error.txt")[1])
        path.write_text(text, encoding="utf-8")
        line += f" (traceback in {path})"
    return line

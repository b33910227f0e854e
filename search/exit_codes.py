"""What the commands return, and the errors that they end in as one line."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from rich.console import Console

from trainable.common.errors import TrainingDivergedError, UserError

FAILURES = 1  # trials failed for good, or the disk did
USER_ERROR = 2  # something given is unusable; nothing was changed
INTERRUPTED = 130  # can be resumed


def leave(code: int) -> NoReturn:
    """Ends a process that had Ray in it: with its threads, Python's own end may abort."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a closed pipe
            stream.flush()
    os._exit(code)


def make_console() -> Console:
    """As wide as the terminal; where output goes elsewhere, wide enough for a trial's line."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 120  # columns
    return console


def exit_code(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """The exit code of a command: its own, or that of the error it ends in, as one line."""
    try:
        return command()
    except (UserError, TrainingDivergedError, OSError) as error:  # OSError: a full disk and such
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR if isinstance(error, UserError) else FAILURES
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED

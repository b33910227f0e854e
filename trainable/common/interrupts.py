"""Ctrl-C while a command loads its modules: one line and exit code 130, no traceback."""

import os
import signal
from typing import Any


def end_quietly(*_: object) -> None:
    """Handles SIGINT where an exception would end in the midst of some import."""
    os.write(2, b"interrupted\n")
    os._exit(130)


def replace_handler(present: Any, wanted: Any) -> None:
    """Changes what SIGINT does, unless it is ignored, as under `nohup`, or a library's."""
    if signal.getsignal(signal.SIGINT) is present:
        signal.signal(signal.SIGINT, wanted)

"""Ctrl-C and its like: once, trials save where they are; twice, leave at once."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from search.exit_codes import INTERRUPTED
from search.record.run_folders import resume_command
from search.record.storage import request_pause, withdraw_pause

READER_GONE = (OSError, SystemExit)  # a closed terminal; what rich makes of a closed pipe
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Holds the signals of the whole command.

    Before there is a run they raise KeyboardInterrupt. From `attach` on the first asks the trials
    to save; a sweep that has a problem of its own asks for the same with `pause`. `requested` is
    true once the sweep is to end early, and `problem` says why where it was not a signal.
    """

    def __init__(self, console: Console) -> None:
        self.requested = False
        self.problem = ""
        self._console = console
        self._folder: Path | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.hold()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if self._folder is not None:
            withdraw_pause(self._folder)

    def hold(self) -> None:
        """Takes the signals, again where a library has taken them meanwhile.

        Not SIGHUP under `nohup`, which is there to have it ignored.
        """
        for number in SIGNALS:
            if number != signal.SIGHUP or self._before[number] != signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def shield_child_processes(self) -> None:
        """Has processes started from here until `hold` outlive what ends this one, to save first.

        A closed terminal signals all of them, and so do `timeout`, SLURM and systemd with SIGTERM,
        of which Ray's own would die before the trials have saved. Their signal masks are ours.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def attach(self, folder: Path) -> None:
        """From here on there is a run to go on with."""
        if self.requested:  # and a library has swallowed the KeyboardInterrupt
            raise KeyboardInterrupt
        self._folder = folder
        withdraw_pause(folder)  # of a session that was killed

    def pause(self, problem: str = "") -> None:
        """Asks the trials to save and stop; after a problem they may not be able to."""
        assert self._folder is not None
        self.requested, self.problem = True, self.problem or problem
        try:
            request_pause(self._folder)
        except OSError as error:
            self.problem = self.problem or str(error)

    def leave_loop(self) -> None:
        """Makes `Tuner.fit` return, from within one of its callbacks."""
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own signal; elsewhere it would end us

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._folder is None:
            self.requested = True
            raise KeyboardInterrupt
        if self.requested:
            self._leave_at_once(self._folder)
        self.pause()
        self._say(
            "\nInterrupted: running trials finish their step and save. Press Ctrl-C again to exit "
            "immediately."
        )

    def _leave_at_once(self, folder: Path) -> None:
        """Ends this process; Ray's see that it is gone and end within seconds."""
        with suppress(*READER_GONE, RuntimeError):
            self._console.show_cursor()
        self._say(f"\nExited. Resume with:\n{resume_command(folder)}")
        os._exit(INTERRUPTED)

    def _say(self, text: str) -> None:
        """Prints from within a signal's handler, which may come in the midst of another print."""
        with suppress(*READER_GONE):
            try:
                self._console.print(text, soft_wrap=True, markup=False, highlight=False)
                self._console.file.flush()
            except RuntimeError:  # Python's files let no print begin within another
                os.write(sys.stdout.fileno(), f"{text}\n".encode())

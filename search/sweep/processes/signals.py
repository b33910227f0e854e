"""Ctrl-C and its like: once, trials save where they are; twice, or too late, leave at once."""

import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from socket import socketpair
from threading import Event, Thread, Timer
from types import FrameType
from typing import Any

from rich.console import Console

from search.exit_codes import FAILURES, INTERRUPTED, leave
from search.record.run_folders import resume_command
from search.record.storage import request_pause, withdraw_pause
from trainable.common.errors import UserError, error_line

READER_GONE = (OSError, SystemExit)  # a closed terminal; what rich makes of a closed pipe
LEAVE_SECONDS = 18.0  # after the first signal; who sends SIGTERM kills after 20 to 90 s
UNWIND_SECONDS = 5.0  # the same where there is no run yet, and nothing to save
BEFORE_RUN = "interrupted before the first trial: there is no run yet, give the same command again"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Holds the signals of the whole command.

    Before there is a run they raise KeyboardInterrupt. From `attach` on the first asks the trials
    to save; a sweep that has a problem of its own asks for the same with `pause`. `requested` is
    true once the sweep is to end early, and `problem` says why where it was not a signal. What
    hangs then, such as Ray without its own processes, is left behind after LEAVE_SECONDS, and a
    library's call that hangs before there is a run after UNWIND_SECONDS.
    """

    def __init__(self, console: Console) -> None:
        self.requested = False
        self.problem = ""
        self._console = console
        self.folder: Path | None = None  # the run's, once there is one
        self._taken_over = False
        self._before: dict[int, Any] = {}
        self._deadline: Timer | None = None
        self._over = Event()
        self._heard, self._sending = socketpair()

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.hold()
        self._sending.setblocking(False)
        signal.set_wakeup_fd(self._sending.fileno(), warn_on_full_buffer=False)
        Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        self._sending.close()  # which ends the listening
        with suppress(OSError, UserError):  # of a storage, that may hang, too
            self._withdraw_pause()
        self._over.set()
        if self._deadline is not None:
            self._deadline.cancel()

    def hold(self) -> None:
        """Takes the signals, again where a library has taken them meanwhile.

        Not SIGHUP under `nohup`, which is there to have it ignored.
        """
        for number in SIGNALS:
            if number != signal.SIGHUP or self._before[number] != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def shielded(self, start: Callable[[], Any]) -> Any:
        """What `start` returns; processes that it starts outlive what ends this one, to save first.

        `timeout`, SLURM, systemd and a closed terminal signal all processes at once, and Ray's own
        would die before the trials have saved. They inherit the signals that their thread blocks;
        this thread goes on hearing them, even where `start` hangs.
        """
        outcome: Future[Any] = Future()

        def run() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
            try:
                outcome.set_result(start())
            except BaseException as error:
                outcome.set_exception(error)
            self._over.wait()  # Linux ends Ray's processes with the thread that started them

        Thread(target=run, daemon=True).start()
        try:
            return outcome.result()
        finally:
            self.hold()

    def attach(self, folder: Path) -> None:
        """From here on there is a run to go on with."""
        if self.requested:  # and a library has swallowed the KeyboardInterrupt
            raise KeyboardInterrupt
        self.folder = folder
        self._withdraw_pause()  # of a session that was killed

    def pause(self, problem: str = "", *, taken_over: bool = False) -> None:
        """Asks the trials to save and stop; after a problem they may not be able to, and where
        another session has taken the run over, it would be its trials that are asked."""
        assert self.folder is not None
        self.requested, self.problem = True, self.problem or problem
        self._taken_over = self._taken_over or taken_over
        self._set_deadline()
        try:
            if not self._taken_over:
                request_pause(self.folder)
        except (OSError, UserError) as error:
            self.problem = self.problem or str(error)

    def _withdraw_pause(self) -> None:
        if self.folder is not None and not self._taken_over:
            withdraw_pause(self.folder)

    def _set_deadline(self) -> None:
        if self._deadline is None:
            seconds = UNWIND_SECONDS if self.folder is None else LEAVE_SECONDS
            self._deadline = Timer(seconds, self._give_up)
            self._deadline.daemon = True
            self._deadline.start()

    def _give_up(self) -> None:
        if not self._over.is_set():
            self._leave_at_once()

    def _listen(self) -> None:
        """Sets the deadline also where the main thread hangs in a call that no handler interrupts,
        as Ray's do when its processes have died."""
        with self._heard as heard:
            while number := heard.recv(1):
                if number[0] in SIGNALS:
                    self._set_deadline()

    def leave_loop(self) -> None:
        """Makes `Tuner.fit` return, from within one of its callbacks."""
        os.kill(os.getpid(), signal.SIGUSR1)  # Tune's own signal; elsewhere it would end us

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self._leave_at_once()
        if self.folder is None:
            self.requested = True
            raise KeyboardInterrupt
        self.pause()
        self._say(
            "\nInterrupted: running trials finish their step and save. Press Ctrl-C again to exit "
            "immediately."
        )

    def _leave_at_once(self) -> None:
        """Ends this process and those that it has started."""
        if self.problem:
            print(error_line(self.problem), file=sys.stderr, flush=True)
        with suppress(*READER_GONE, RuntimeError):
            self._console.show_cursor()
        if self.folder is None:
            print(BEFORE_RUN, file=sys.stderr, flush=True)
        else:
            self._say(f"\nExited. Resume with:\n{resume_command(self.folder)}")
        leave(FAILURES if self.problem else INTERRUPTED)

    def _say(self, text: str) -> None:
        """Prints from within a signal's handler, which may come in the midst of another print."""
        with suppress(*READER_GONE):
            try:
                self._console.print(text, soft_wrap=True, markup=False, highlight=False)
                self._console.file.flush()
            except RuntimeError:  # Python's files let no print begin within another
                os.write(sys.stdout.fileno(), f"{text}\n".encode())

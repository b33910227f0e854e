"""`held_run.py EVENT COUNT MODULE ...`: `python -m MODULE ...`, whose sweep waits to be ended.

Once this session has recorded COUNT events of a kind it stands still until it is asked to pause, or
is killed: however fast the machine and however late the test, the moment is the same each time,
where trials run one at a time. Started as a script by `tests.sweeps.start_and_hold`.
"""

import os
import runpy
import sys
import time

from search.record.run import Run
from search.record.storage import RecordCopy
from trainable.common.pause import PAUSE, POLL_SECONDS


def hold_at(kind, count):
    """Has the sweep wait once so many events of a kind are recorded, evaluations in storage too."""
    append, copy, seen = Run.append, RecordCopy.copy, []

    def held_append(run, *given):
        event = append(run, *given)
        if event["event"] == kind:
            seen.append(event)
            if len(seen) == count and kind != "evaluation":
                wait_for_pause(run.folder)
        return event

    def held_copy(self, *names):
        copy(self, *names)
        if len(seen) == count and kind == "evaluation":
            seen.append(None)
            wait_for_pause(self.folder)

    Run.append, RecordCopy.copy = held_append, held_copy


def wait_for_pause(folder):
    """Until it is asked for, and trials, which wait for us meanwhile, see it at their next step."""
    started_by = os.getppid()
    while not (folder / PAUSE).exists():
        if os.getppid() != started_by:
            os._exit(1)  # nobody is left who could ask
        time.sleep(0.01)
    time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    kind, count, module, *typed = sys.argv[1:]
    hold_at(kind, int(count))
    sys.argv[1:] = typed
    runpy.run_module(module, run_name="__main__", alter_sys=True)

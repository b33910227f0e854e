"""`gated_run.py GATE ...`: `python -m search.run ...`, whose trials wait at a gate.

Each goes no further than its second evaluation, by which its first is sure to be reported, until
the file GATE is there. Started as a script by `test_two_nodes.py`.
"""

import sys
import time
from pathlib import Path

from trainable.trial import tune_function
from trainable.trial.training_loop import Trial
from trainable.trial.tune_function import train_student

PATIENCE = 300  # seconds


def train_gated(config, **arguments):
    """`train_student`, which waits at the gate."""
    advance = Trial.advance

    def gated_advance(trial):
        end = time.monotonic() + PATIENCE
        while len(trial.history) >= 2 and not GATE.exists():
            assert time.monotonic() < end, f"no {GATE} within {PATIENCE} seconds"
            time.sleep(0.05)
        return advance(trial)

    Trial.advance = gated_advance
    try:
        train_student(config, **arguments)
    finally:
        Trial.advance = advance


if __name__ == "__main__":
    GATE = Path(sys.argv.pop(1))
    tune_function.train_student = train_gated
    from search.run.__main__ import main

    sys.exit(main())

"""`python -m search.run` with trials that fail where told, on a GPU that only Ray believes in.

Started as a script by `test_failures.py`, with the command line of `search.run`. FAULTS in the
environment is JSON: initialisation -> kind of fault, which strikes at step FAULT_STEP. With
`"all": "not captured"` the sweep is planned for CUDA graphs and fused attention, and every
capture fails.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from ray import tune

from search.sweep import check_sweep
from trainable.config.names import GRAPH
from trainable.config.training_inputs import Execution
from trainable.engine import cuda_graph
from trainable.trial import tune_function
from trainable.trial.training_loop import Trial
from trainable.trial.tune_function import train_student

FAULT_STEP = 40
NOT_CAPTURED = {"all": "not captured"}


def strike(kind, trial, run_folder):
    """Fails the step as real trials do."""
    alone = tune.get_context().get_trial_resources().required_resources.get("GPU") == 1.0
    first = run_folder / f".struck-{trial.config.digest}"
    if kind == "memory" and not alone:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    if kind == "crash always" or (kind == "crash once" and not first.exists()):
        first.touch()
        raise ValueError("a bug in this trial")
    if kind == "diverges":
        for parameter in trial.student.parameters():
            parameter.data.fill_(float("nan"))
    if kind == "disk" and not first.exists():
        first.touch()
        raise OSError(28, "No space left on device")


class FailingCapture:
    """As CUDA refuses: what follows in this process is not to be trusted."""

    def __init__(self, device):
        pass

    def __call__(self, body):
        Path(os.environ["BROKEN"], str(os.getpid())).touch()
        raise RuntimeError("operation not permitted when stream is capturing")


def train_with_faults(config, sweep, **arguments):
    """`train_student`, failing."""
    os.environ["BROKEN"], faults = sweep.run, json.loads(os.environ["FAULTS"])
    advance, kind = Trial.advance, faults.get(config["initialisation"])
    cuda_graph.CudaGraphCapture = FailingCapture
    assert not Path(sweep.run, str(os.getpid())).exists(), "this process can't go on"

    def faulty_advance(trial):
        if trial.step == FAULT_STEP:
            time.sleep(0.5)  # the neighbours are under way, too
            strike(kind, trial, Path(sweep.run))
        return advance(trial)

    Trial.advance = faulty_advance
    try:
        train_student(config, sweep=sweep, **arguments)
    finally:
        Trial.advance = advance


if __name__ == "__main__":
    tune_function.train_student = train_with_faults
    torch.cuda.device_count = lambda: 1
    check_sweep.checked = lambda runtime, _: runtime  # it would find that no step can be captured
    if NOT_CAPTURED.items() <= json.loads(os.environ["FAULTS"]).items():
        prepare = check_sweep.prepare_inputs
        check_sweep.prepare_inputs = lambda *given: replace(
            prepare(*given), execution=Execution(GRAPH, flash_attention=True)
        )
    from search.run.__main__ import main

    sys.exit(main())

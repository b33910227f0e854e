"""Runs made up through the record's own API, for the tests of the report."""

import numpy as np

from search.plan.resolve import ResolvedRequest
from search.record.run import create_run
from search.record.trial_record import GIVE_UP
from tests.made_runs import (
    PROVENANCE,
    evaluated,
    failed,
    made_inputs,
    made_plan,
    pack_right,
    started,
)
from trainable.config.training_inputs import Teacher
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import mean_of_best5

EXAMPLES = 200
TEACHER = 0.95


def training_inputs(examples=EXAMPLES, full=None, whole_teacher=None):
    """Of a run on the reference study's own inputs, or on a subset of `full` examples."""
    counts = {"train": 1000, "evaluation": examples} | ({"full": full} if full else {})
    teacher = Teacher("", "teacherdigest", True, TEACHER, "", 40.0, whole_teacher)
    return made_inputs(teacher=teacher, data_digest="datadigest", examples=counts)


def plan(*configs, inputs=None, grace_evaluations=2, device="a device", **request):
    """A plan as `search.run` makes it."""
    asked = {"space": "schedules", "preset": "sst2", "searcher": "grid", "scheduler": "asha"}
    versions = {"python": "3.11.7", "ray": "2.60.0", "swanlab": None}
    made = {"provenance": PROVENANCE | {"versions": versions, "device": device}}
    made |= {"inputs": inputs or training_inputs(), "grace_evaluations": grace_evaluations}
    return made_plan(configs, ResolvedRequest(**asked | request), **made)


def answers(share, count=EXAMPLES, seed=0):
    """Bits of which exactly so many are right, on examples that `seed` draws."""
    bits = np.arange(count) < round(share * count)
    return np.random.default_rng(seed).permutation(bits)


def evaluation(number, correct, before=(), seconds=3.0, **more):
    """The `number`th evaluation of a trial whose earlier accuracies are `before`."""
    accuracy = float(np.mean(correct))
    times = {"training_seconds": seconds - 1.0, "evaluation_seconds": 1.0, "saving_seconds": 0.5}
    values = {"score": accuracy, "predictions": pack_right(correct), **times, **more}
    best5 = values.pop("best5", mean_of_best5([*before, accuracy]))
    return evaluated(TrialConfig(), number, best5, **values)["evaluation"]


def report_evaluations(run, config, shares, *, stop=False, seed=0):
    """Starts a trial and evaluates it with these shares right; ASHA stops it at the last."""
    run.append(started(config))
    count, before = run.plan.inputs.examples["evaluation"], []
    for number, share in enumerate(shares, start=1):
        values = evaluation(number, answers(share, count, seed), before)
        before.append(round(share * count) / count)
        decision = "stop" if stop and number == len(shares) else "continue"
        run.append({**evaluated(config, number, decision=decision), "evaluation": values})


def reported(folder, shares, stopped=(), **of_plan):
    """A run of these trials by shares right in each evaluation; some are stopped at the last."""
    run = create_run(folder, plan(*shares, **of_plan))
    for trial, of_trial in shares.items():
        report_evaluations(run, trial, of_trial, stop=trial in stopped)
    return run


def fail(run, config, reason="CUDA out of memory"):
    run.append(started(config))
    run.append(failed(config, GIVE_UP, reason))


def config(initialisation="teacher_spread", layers="1,2,3", **settings):
    """A trial of four evaluations; fixed alpha 0.5 unless a schedule is given."""
    usual = {"evaluations": 4} | ({} if "alpha_schedule" in settings else {"alpha": 0.5})
    chosen = {"initialisation": initialisation, "aligned_layers": layers, **usual, **settings}
    return TrialConfig(**chosen)

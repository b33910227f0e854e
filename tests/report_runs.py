"""Runs made up through the record's own API, for the tests of the report."""

from itertools import product

import numpy as np

from search.plan.resolve import ResolvedRequest
from search.record.run import create_run
from tests.made_runs import PROVENANCE, made_inputs, made_plan, pack_right
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


def plan(*configs, requests=(), inputs=None, grace_evaluations=2, device="a device", **request):
    """A plan as `search.run` makes it, of one request unless some are given."""
    asked = {"space": "schedules", "preset": "sst2", "searcher": "grid", "scheduler": "asha"}
    asked |= request
    versions = {"python": "3.11.7", "ray": "2.60.0", "swanlab": None}
    return made_plan(
        configs,
        requests=tuple(requests) or (ResolvedRequest(**asked),),
        provenance=PROVENANCE | {"versions": versions, "device": device},
        inputs=inputs or training_inputs(),
        grace_evaluations=grace_evaluations,
    )


def answers(share, count=EXAMPLES, seed=0):
    """Bits of which exactly so many are right, on examples that `seed` draws."""
    bits = np.arange(count) < round(share * count)
    return np.random.default_rng(seed).permutation(bits)


def evaluation(number, correct, before=(), seconds=3.0, **more):
    """The `number`th evaluation of a trial whose earlier accuracies are `before`."""
    accuracy = float(np.mean(correct))
    return {
        "evaluations": number,
        "score": accuracy,
        "best5": mean_of_best5([*before, accuracy]),
        "validation_loss": 0.5,
        "teacher_agreement": 0.5,
        "training_seconds": seconds - 1.0,
        "evaluation_seconds": 1.0,
        "saving_seconds": 0.5,
        "predictions": pack_right(correct),
        **more,
    }


def report_evaluations(run, config, shares, *, stop=False, seed=0):
    """Starts a trial and evaluates it with these shares right; ASHA stops it at the last."""
    run.append({"event": "start", "trial": config.digest})
    count, before = run.plan.inputs.examples["evaluation"], []
    for number, share in enumerate(shares, start=1):
        values = evaluation(number, answers(share, count, seed), before)
        before.append(round(share * count) / count)
        decision = "stop" if stop and number == len(shares) else "continue"
        event = {"event": "evaluation", "decision": decision, "evaluation": values}
        run.append({**event, "trial": config.digest})


def fail(run, config, reason="CUDA out of memory"):
    run.append({"event": "start", "trial": config.digest})
    run.append({"event": "failure", "reason": reason, "then": "give up", "trial": config.digest})


def config(initialisation="teacher_spread", layers="1,2,3", **settings):
    """A trial of four evaluations; fixed alpha 0.5 unless a schedule is given."""
    if "alpha_schedule" not in settings:
        settings = {"alpha": 0.5, **settings}
    return TrialConfig(
        initialisation=initialisation,
        aligned_layers=layers,
        evaluations=settings.pop("evaluations", 4),
        **settings,
    )


def many_trials(folder, count, evaluations=15, examples=872):
    """A finished run of so many trials, half of them stopped early by their seed's luck."""
    fixed = {"alpha": 0.5, "alpha_schedule": "fixed"}
    names = ("growth", "descent", "vshape", "^shape")
    shaped = product((f"cosine_{name}" for name in names), (0.5, 1.0, 2.0))
    schedules = [fixed, *({"alpha_schedule": name, "sharpness": k} for name, k in shaped)]
    starts, layers = ("random", "teacher_spread"), ("none", "1,2,3", "1,2,3,4,5,6")
    grid = product((2.0, 3.0), starts, layers, schedules)
    configs = [
        config(start, aligned, temperature=temperature, evaluations=evaluations, **schedule)
        for temperature, start, aligned, schedule in grid
    ][:count]
    inputs = training_inputs(examples)
    run = create_run(folder, plan(*configs, inputs=inputs, grace_evaluations=3))
    run.append({"event": "session", "provenance": {"command": "made up", "commit": "0" * 40}})
    generator = np.random.default_rng(0)
    for number, chosen in enumerate(configs):
        base = 0.82 if chosen.initialisation == "random" else 0.9
        shares = base + 0.01 * generator.standard_normal() + 0.02 * np.log1p(range(evaluations))
        shares = np.clip(shares / 1.03 + 0.004 * generator.standard_normal(evaluations), 0, 1)
        length = int(generator.choice([3, 6, 12, evaluations], p=[0.4, 0.2, 0.1, 0.3]))
        stop = length < evaluations
        report_evaluations(run, chosen, list(shares[:length]), stop=stop, seed=number)
    return run

"""Runs made up through the record's own API, for the tests of the report."""

from itertools import product

import numpy as np

from search.plan.resolve import ResolvedRequest
from search.record.events import TIMINGS
from search.record.run import create_run
from search.record.trial_record import GIVE_UP, GO, STOP
from tests.made_runs import evaluated, failed, made_inputs, made_plan, started
from trainable.config.training_inputs import Teacher
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import best5_accuracy, pack_bits

EXAMPLES = 200
TEACHER = 0.95
CONFIG = TrialConfig(alpha=0.5)


def training_inputs(examples=EXAMPLES, full=None, whole_teacher=None):
    """Of a run on the reference study's own inputs, or on a subset of `full` examples."""
    return made_inputs(
        label_names=["negative", "positive"],
        teacher=Teacher("", "teacherdigest", True, TEACHER, "", 40.0, whole_teacher),
        data_digest="datadigest",
        examples={"train": 1000, "evaluation": examples} | ({"full": full} if full else {}),
    )


def plan(*configs, requests=(), inputs=None, grace_evaluations=2, device="a device", **request):
    """A plan as `search.run` makes it, of one request unless some are given."""
    asked = {
        "space": "schedules",
        "preset": "sst2",
        "searcher": "grid",
        "scheduler": "asha",
    } | request
    versions = {"python": "3.11.7", "ray": "2.60.0", "swanlab": None}
    made = {"command": "python -m search.run --space schedules", "commit": "0123456789abcdef"}
    made |= {"started": "2026-11-24T10:00:00+00:00", "versions": versions, "device": device}
    return made_plan(
        configs,
        requests=tuple(requests) or (ResolvedRequest(**asked),),
        provenance=made,
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
    clocks = dict(zip(TIMINGS, (seconds - 1.0, 1.0, 0.5), strict=True))
    values = {"accuracy": accuracy, "correct": pack_bits(correct), **clocks, **more}
    return evaluated(CONFIG, number, best5_accuracy([*before, accuracy]), **values)["evaluation"]


def report_evaluations(run, config, shares, *, stop=False, seed=0):
    """Starts a trial and evaluates it with these shares right; ASHA stops it at the last."""
    run.append(started(config))
    for number, share in enumerate(shares, start=1):
        count = run.plan.inputs.examples["evaluation"]
        values = evaluation(number, answers(share, count, seed), shares_of(shares, number, count))
        decision = STOP if stop and number == len(shares) else GO
        run.append({**evaluated(config, number, decision=decision), "evaluation": values})


def shares_of(shares, number, count):
    """The accuracies before the `number`th evaluation."""
    return [round(share * count) / count for share in shares[: number - 1]]


def fail(run, config, reason="CUDA out of memory"):
    run.append(started(config))
    run.append(failed(config, GIVE_UP, reason))


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


def many_configs(count, evaluations=15):
    """Initialisation x layer set x schedule x sharpness x temperature, as many as asked for."""
    schedules = ("cosine_growth", "cosine_descent", "cosine_vshape", "cosine_^shape")
    grid = product(range(10), ("random", "teacher_spread"), ("none", "1,2,3", "1,2,3,4,5,6"))
    configs = []
    for more, initialisation, layers in grid:
        common = {"temperature": 2.0 + more, "evaluations": evaluations}
        configs.append(config(initialisation, layers, **common))
        for schedule, sharpness in product(schedules, (0.5, 1.0, 2.0)):
            configs.append(
                config(
                    initialisation, layers, alpha_schedule=schedule, sharpness=sharpness, **common
                )
            )
    return configs[:count]


def many_trials(folder, count, evaluations=15, examples=872):
    """A finished run of so many trials, half of them stopped early by their seed's luck."""
    configs = many_configs(count, evaluations)
    inputs = training_inputs(examples)
    run = create_run(folder, plan(*configs, inputs=inputs, grace_evaluations=3))
    run.append({"event": "session", "provenance": {"command": "made up", "commit": "0" * 40}})
    generator = np.random.default_rng(0)
    for number, chosen in enumerate(configs):
        base = 0.82 if chosen.initialisation == "random" else 0.9
        shares = base + 0.01 * generator.standard_normal() + 0.02 * np.log1p(range(evaluations))
        shares = np.clip(shares / 1.03 + 0.004 * generator.standard_normal(evaluations), 0, 1)
        length = int(generator.choice([3, 6, 12, evaluations], p=[0.4, 0.2, 0.1, 0.3]))
        report_evaluations(
            run, chosen, list(shares[:length]), stop=length < evaluations, seed=number
        )
    return run

"""Runs made of plain values, with no teacher or data behind them, and events of their trials."""

from dataclasses import asdict

import numpy as np

from search.plan.draws import starting_points
from search.plan.grid import plan_trials
from search.plan.plan import Plan
from search.plan.resolve import ResolvedRequest
from search.record.run import create_run, read_run
from trainable.config.training_inputs import Teacher, TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import pack_predictions, unpack_predictions

PROVENANCE = {
    "command": "python -m search.run --space baselines",
    "started": "2026-11-24T10:00:00+00:00",
    "commit": "0123456789",
    "uncommitted_changes": False,
    "versions": {"python": "3.11"},
    "device": "a processor",
}
SHAPES = ((3, 1.0), (2, 1.0))  # depths that scores are weighed against


def asked(**changes):
    """A request for the preset mini, of a space that is listed."""
    values = {"space": "baselines", "preset": "mini", "cache": "/cache", "searcher": "grid"}
    values |= {"scheduler": "asha"} | ({"shapes": SHAPES} if changes.get("against") else {})
    return ResolvedRequest(**values | changes)


def recipe(number, initialisation="random", **settings):
    """A configuration told apart by its learning rate."""
    values = {"initialisation": initialisation, "alpha": 0.5, "evaluations": 8, **settings}
    return TrialConfig(learning_rate=1e-5 * (number + 1), **values)


def of_two_strata(count, **settings):
    kinds = ("random", "teacher_spread")
    return [recipe(number, kinds[number % 2], **settings) for number in range(count)]


def pack_right(right):
    """Predictions that are right or not [N], packed, where all labels are 1: as in made runs."""
    return pack_predictions(np.asarray(right).astype(np.int64), 2)


def right_of(packed, labels):
    """Which predictions of two labels are right, [N]."""
    return unpack_predictions(packed, len(labels), 2) == np.asarray(labels)


def made_inputs(**changes):
    teacher = Teacher("/teacher", "teacher-digest", False, 0.9, "", 1.0)
    values = {"tokens": "/tokens", "outputs": {"logits": "/outputs/logits"}, "pad_id": 0}
    values |= {"teacher": teacher, "data_digest": "data-digest", "label_names": ["no", "yes"]}
    values |= {"device": "cpu", "examples": {"train": 96, "evaluation": 40}, **changes}
    counts = {name: count for name, count in values["examples"].items() if name != "train"}
    labels = {name: pack_right(np.ones(count)) for name, count in counts.items()}
    return TrainingInputs(**{"labels": labels, **values})


def made_plan(configs, request=None, **changes):
    values = {"requests": (asked() if request is None else request,), "provenance": PROVENANCE}
    values |= {"inputs": made_inputs(), "trials": tuple(configs), "grace_evaluations": 2}
    return Plan(**values | changes)


def made_run(folder, configs, request=None, **changes):
    """A new run of these trials in this folder."""
    return create_run(folder, made_plan(configs, request, **changes))


def searched_run(folder, request, configs=None, **changes):
    """A new run of what this request begins with, for a search with the draw of its first trial."""
    configs = configs or plan_trials(request)
    drawn = {configs[0].digest: starting_points(request)[0][1]} if request.searched else {}
    return made_run(folder, configs, request, parameters=drawn, **changes)


def evaluated(config, number, best5=0.5, decision="continue", **more):
    """The event of a trial's n-th evaluation."""
    values = {"evaluations": number, "step": 10 * number, "score": best5, "best5": best5}
    values |= {"validation_loss": 0.5, "teacher_agreement": 0.5, "predictions": "gA=="}
    values |= {"training_seconds": 2.0, "evaluation_seconds": 0.5, "saving_seconds": 0.25}
    values |= {"full_score": None, "full_predictions": None, **more}
    event = {"event": "evaluation", "decision": decision, "evaluation": values}
    return {**event, "trial": config.digest}


def started(config):
    return {"event": "start", "trial": config.digest}


def failed(config, then, reason="it broke"):
    return {"event": "failure", "reason": reason, "then": then, "trial": config.digest}


def told(folder):
    """The events on disk as they were appended, and the plans left out."""
    return [
        {key: value for key, value in event.items() if key not in ("number", "time")}
        for event in read_run(folder).events
        if event["event"] != "plan"
    ]


def suggested(config, parameters=None):
    event = {"event": "suggestion", "trial": config.digest, "parameters": parameters}
    return {**event, "config": asdict(config)}


def finish(run, config, best5=0.5):
    """All evaluations of a trial that have not been made."""
    for number in range(len(run.trials[config.digest].evaluations), config.evaluations):
        run.append(evaluated(config, number + 1, best5))

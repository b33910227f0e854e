"""What the tests that run real sweeps share."""

import random
import subprocess
import time
from pathlib import Path

import torch

from search.record.events import TIMINGS, read_log
from search.record.run import create_run, read_run
from tests.simulated_tune import play
from trainable.trial.training_loop import Trial

PATIENCE = 600  # seconds; a busy machine takes minutes for what is waited for
OPTIONS = ("--space", "baselines", "--max-concurrent", "1", "--set", "epochs=12")


def run(command, *more, **options):
    """The finished command, with what it printed."""
    options |= {"capture_output": True, "text": True, "timeout": PATIENCE}
    return subprocess.run([*command, *more], check=False, **options)


def timeless(evaluation):
    """An evaluation without its clocks."""
    return {key: value for key, value in evaluation.items() if key not in TIMINGS}


def history(run):
    """All that was evaluated and decided, in order, and how each trial ended, without clocks."""
    evaluations = [event for event in run.events if event["event"] == "evaluation"]
    found = [(e["trial"], e["decision"], timeless(e["evaluation"])) for e in evaluations]
    return found, {digest: trial.outcome for digest, trial in run.trials.items()}


def without_ray(run, folder):
    """The run that the same plan makes in this process, one trial at a time."""
    made = {}

    def evaluate(config, number):
        if config.digest not in made:
            trial = Trial.start(config, run.plan.inputs, torch.device("cpu"))
            made[config.digest] = [e.recorded() | {"saving_seconds": 0.0} for e in trial.run()]
        return made[config.digest][number - 1]

    return play(create_run(folder, run.plan), 1, random.Random(0), evaluate=evaluate)


def start_and_hold(command, folder, count, event="evaluation", **options):
    """The process of `python -m MODULE ...`, its sweep held at so many events of a kind."""
    python, _, *typed = command
    process = subprocess.Popen(
        [python, str(Path(__file__).parent / "scripts" / "held_run.py"), event, str(count), *typed],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        wait_for(folder, event, count, process)
    except BaseException:
        process.kill()
        raise
    return process


def wait_for(folder, event, count, process):
    """Until the record has so many events of a kind."""
    end = time.monotonic() + PATIENCE
    while [found["event"] for found in read_log(folder).events].count(event) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"not {count} times {event} within {PATIENCE} seconds"
        time.sleep(0.1)


def assert_evaluated_once(folder):
    """What was made again after a kill came out as before: else it would be a new evaluation."""
    found = [
        (event["trial"], event["evaluation"]["evaluations"])
        for event in read_run(folder).events
        if event["event"] == "evaluation"
    ]
    assert len(found) == len(set(found))


def assert_as_without_ray(run):
    """Each trial has finished, with the evaluations that it makes without Ray, bit for bit."""
    for trial in run.trials.values():
        started = Trial.start(trial.config, run.plan.inputs, torch.device("cpu"))
        expected = [e.recorded() for e in started.run()]
        assert trial.outcome == "finished"
        assert [timeless(e) for e in trial.evaluations] == [timeless(e) for e in expected]

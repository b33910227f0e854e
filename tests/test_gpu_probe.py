"""What is measured of which trial, kept where, and found again."""

import json
from dataclasses import replace

import pytest
import torch

from tests import probe_subjects
from tests.traced import Executors
from trainable import gpu_probe, probe_processes
from trainable.batches import padded_width
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.execution import Execution
from trainable.executor import GraphExecutor
from trainable.files import read_json
from trainable.gpu_probe import TrialSteps, probe_key, share_gpu, start_trial
from trainable.gpu_sharing import Measurement, Probe
from trainable.names import EAGER
from trainable.probe_processes import ProbeError, measure
from trainable.trial import Trial
from trainable.workbench import Workbench

GIGABYTE = 10**9


class Machine:
    """Answers for `measure`: sentences a second of so many trials at once, or how they fail."""

    def __init__(self, *rates):
        self.answers = dict(zip((1, 2, 4, 8), rates, strict=False))
        self.asked = []

    def measure(self, trials, start, config, task, *, steps=None):
        self.asked.append((trials, steps))
        answer = self.answers[trials]
        if not isinstance(answer, Measurement):
            answer = Measurement(
                trials, 50, 1600, trials * 1600 / answer, 2 * GIGABYTE, GIGABYTE, EAGER, "untried"
            )
        return Probe(20 * GIGABYTE, 24 * GIGABYTE, (answer,))


@pytest.fixture
def share(monkeypatch, task, tmp_path, make_config):
    """The decision for a tiny trial on this machine."""

    def decide_on(machine, *, most=8, mps=False, config=None):
        monkeypatch.setattr(gpu_probe, "measure", machine.measure)
        return share_gpu(config or make_config(), task, tmp_path, most=most, mps=mps)

    return decide_on


def failed(trials, *, out_of_memory=False):
    return Measurement(trials, error="it broke", out_of_memory=out_of_memory)


def test_numbers_are_doubled_on_the_same_steps(share):
    machine = Machine(1000, 1900, 2000)
    decision, probe = share(machine)
    assert decision.trials_per_gpu == 2
    assert machine.asked == [(1, None), (2, 50), (4, 50)]
    assert [m.trials for m in probe.measurements] == [1, 2, 4]


def test_nothing_is_measured_twice(share):
    first = share(Machine(1000, 1900, 2000))
    again = Machine()
    assert share(again) == first
    assert again.asked == []


def test_only_what_lacks_is_measured(share):
    assert share(Machine(1000), most=1)[0].trials_per_gpu == 1
    machine = Machine(None, 1900, 3600, 3700)
    assert share(machine, most=4)[0].trials_per_gpu == 4
    assert machine.asked == [(2, 50), (4, 50)]
    assert share(machine, most=8)[0].trials_per_gpu == 4
    assert machine.asked[2:] == [(8, 50)]
    assert share(machine, most=2)[0].trials_per_gpu == 2
    assert len(machine.asked) == 3


def test_running_out_of_memory_beside_others_is_an_answer_that_is_kept(share):
    for machine in (Machine(1000, failed(2, out_of_memory=True)), Machine()):
        decision, probe = share(machine)
        assert decision.trials_per_gpu == 1
        assert decision.why.endswith("; 2 ran out of GPU memory")
        assert probe.measurements[1].error == "it broke"


def test_another_failure_beside_others_is_told_and_tried_again(share):
    decision, probe = share(Machine(1000, failed(2)))
    assert decision.why.endswith("; 2 at once failed (it broke)")
    assert len(probe.measurements) == 2
    machine = Machine(None, 1900, 1900)
    assert share(machine)[0].trials_per_gpu == 2
    assert machine.asked == [(2, 50), (4, 50)]


def test_one_trial_that_does_not_fit_is_the_users_to_mend(share, tmp_path):
    with pytest.raises(UserError) as caught:
        share(Machine(failed(1, out_of_memory=True)))
    assert str(caught.value) == (
        "batch_size: 8 sentences a step do not fit the GPU's memory (20.0 GB free of 24.0), even "
        "in one trial alone; give a smaller --set batch_size= or --max-length, or use a bigger GPU"
    )
    assert share(Machine(1000), most=1)[0].trials_per_gpu == 1  # nothing of it was kept


def test_one_trial_that_fails_otherwise(share):
    with pytest.raises(ProbeError, match="it broke"):
        share(Machine(failed(1)))
    assert share(Machine(1000), most=1)[0].trials_per_gpu == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"free_bytes": 1}', "null"])
def test_damaged_cache_is_measured_anew(share, tmp_path, text):
    share(Machine(1000), most=1)
    (kept,) = (tmp_path / "gpu_sharing").iterdir()
    whole = read_json(kept)
    kept.write_text(text)
    machine = Machine(1000)
    share(machine, most=1)
    assert machine.asked == [(1, None)]
    assert read_json(kept) == whole


def test_with_and_without_mps_are_measured_apart(share):
    share(Machine(1000), most=1)
    machine = Machine(1000)
    share(machine, most=1, mps=True)
    assert machine.asked == [(1, None)]


# The key.

BASE = TrialConfig(alpha=0.5, aligned_layers="1,2")
OTHER_STEPS = [
    {"student_layers": 3},
    {"batch_size": 64},
    {"precision": "bf16"},
    {"hidden_pool": "tokens"},
    {"aligned_layers": "none"},
    {"aligned_layers": "none", "alpha": 1.0},
    {"initialisation": "random", "student_width": 64},
]
SAME_STEPS = [
    {"seed": 4},
    {"alpha": 0.3},
    {"alpha": None, "alpha_schedule": "cosine_growth", "sharpness": 2.0},
    {"epochs": 9, "evaluations": 2},
    {"initialisation": "random", "learning_rate": 1e-4},
    {"temperature": 3.0, "hidden_weight": 5.0},
]


def test_key_changes_with_all_that_decides_a_step(task):
    configs = [BASE, *(replace(BASE, **changes) for changes in OTHER_STEPS)]
    keys = {probe_key(config, task, mps=False) for config in configs}
    assert len(keys) == len(configs)
    assert all(len(key) == 16 for key in keys)


@pytest.mark.parametrize("changes", SAME_STEPS, ids=str)
def test_key_is_the_same_for_steps_that_are(task, changes):
    assert probe_key(replace(BASE, **changes), task, mps=False) == probe_key(BASE, task, mps=False)


def test_key_changes_with_data_teacher_and_execution(task):
    teacher = replace(task.teacher, digest="another")
    executions = [Execution("graph"), Execution("graph", flash_attention=True)]
    others = [replace(task, data_digest="another"), replace(task, teacher=teacher)]
    others += [replace(task, execution=execution) for execution in executions]
    keys = {probe_key(BASE, other, mps=False) for other in (task, *others)}
    assert len(keys) == 5


def test_key_changes_with_the_machine(task, monkeypatch):
    keys = [probe_key(BASE, task, mps=False), probe_key(BASE, task, mps=True)]
    changes = {
        "trainable.gpu_probe.device_name": lambda: "NVIDIA GeForce RTX 3090",
        "trainable.gpu_probe.gpu_bytes": lambda: 24 * GIGABYTE,
        "torch.__version__": "9.9",
    }
    for name, value in changes.items():
        monkeypatch.setattr(name, value)
        keys.append(probe_key(BASE, task, mps=False))
    assert len(set(keys)) == len(keys)


# The trial that is measured.


@pytest.fixture
def steps(task, make_config, cpu):
    return TrialSteps(Trial.start(make_config(), task, cpu))


def test_steps_are_the_trials_own(steps, monkeypatch):
    """The batches of an epoch, then again; each is a whole training step."""
    training, taken = steps.trial.apparatus.training, []
    monkeypatch.setattr(training, "step", lambda rows, rate: taken.append(rows))
    counts = [steps.step() for _ in range(24)]
    assert counts == [8] * 24
    rows = [tuple(batch) for batch in taken]
    assert sorted(row for batch in rows[:12] for row in batch) == list(range(96))
    assert rows[12:] == rows[:12]
    steps.longest_step()
    lengths = training.sentences.lengths
    assert sorted(lengths[taken[-1]]) == sorted(lengths)[-8:]


def test_steps_train_at_rate_0(steps):
    states = steps.trial.optimiser.state
    assert steps.step() == 8
    moments = [state["exp_avg"].abs().sum() for state in states.values()]
    assert all(torch.isfinite(moment) for moment in moments)
    assert sum(moments) > 0
    assert steps.longest_step() == 8
    assert (steps.execution, steps.reason) == ("eager", "")


def test_all_is_captured_before_it_steps(task, make_config, cpu):
    executors = Executors()
    captured = replace(task, execution=Execution("graph"))
    trial = Trial.start(make_config(), captured, cpu, Workbench(executors))
    steps = TrialSteps(trial)
    (capture,) = executors.captures
    before = capture.captured
    widths = {padded_width(n) for n in trial.apparatus.training.sentences.lengths}
    assert before >= len(widths)  # of steps, and of evaluations
    for _ in range(24):
        steps.step()
    steps.longest_step()
    trial.apparatus.evaluators["evaluation"].correct()
    assert capture.captured == before
    assert (steps.execution, steps.reason) == ("graph", "")


def test_a_capture_that_fails_is_said(task, make_config, cpu):
    def refuse(body):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    captured = replace(task, execution=Execution("graph"))
    bench = Workbench(lambda *_: GraphExecutor(refuse))
    steps = TrialSteps(Trial.start(make_config(), captured, cpu, bench))
    assert steps.execution == "eager"
    assert steps.reason == "operation not permitted when stream is capturing"


def test_started_from_plain_values(task, make_config):
    values = json.loads(json.dumps([make_config().to_dict(), task.to_dict()]))
    subject = start_trial(*values)
    assert subject.step() == 8


@pytest.mark.slow
def test_real_trials_in_real_processes(monkeypatch, task, make_config):
    """One and two at once, the steps of both the same."""
    monkeypatch.setattr(probe_processes, "device_memory", probe_subjects.pretended_memory)
    limits = probe_processes.TimeLimits(timed=0.2)
    values = make_config().to_dict(), task.to_dict()
    alone = measure(1, start_trial, *values, limits=limits).measurements[0]
    both = measure(2, start_trial, *values, steps=alone.steps, limits=limits).measurements[0]
    assert alone.error == both.error == ""
    assert (both.steps, both.sentences) == (alone.steps, alone.sentences)
    assert alone.sentences == 8 * alone.steps
    assert alone.execution == "eager"
    assert alone.sentences_per_second > 0
    assert [m.trials for m in (alone, both)] == [1, 2]
    assert alone.steps >= 3

"""How a sweep comes to its number of trials on a GPU: asked for, kept with the run, measured."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from search import sharing
from search.record import create_run, read_run
from search.remote_runs import SHARED
from search.run import main
from search.sharing import as_measured, most_at_once, settle_again, settle_sharing
from tests.sweeps import run
from trainable.arguments import default_cache
from trainable.errors import UserError
from trainable.execution import Execution
from trainable.files import write_json
from trainable.gpu_sharing import Decision, Measurement, Probe
from trainable.probe_processes import ProbeError

GIGABYTE = 10**9
DECISION = Decision(2, "1,900 sentences/s together, 1,000 alone; 4 reach 1,950")
MEASUREMENTS = (Measurement(1, 50, 400, 0.4), Measurement(2, 50, 400, 0.42))
PROBE = Probe(20 * GIGABYTE, 24 * GIGABYTE, MEASUREMENTS)
LINE = f"2 trials share the GPU: {DECISION.why}."


@pytest.fixture
def machine(monkeypatch):
    """One with a GPU, 16 cores and no MPS, whose probe gives DECISION; each can be changed."""

    class Machine:
        gpus, mps, answer = 1, False, (DECISION, PROBE)
        probed = []

        def share_gpu(self, config, task, cache, *, most, mps):
            self.probed.append((config, cache, most, mps))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    made = Machine()
    made.probed = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: made.gpus)
    monkeypatch.setattr(sharing, "available_cores", lambda: 16)
    monkeypatch.setattr(sharing, "mps_running", lambda: made.mps)
    monkeypatch.setattr(sharing, "share_gpu", made.share_gpu)
    return made


@pytest.fixture
def configs(make_config):
    return [make_config(seed=seed, batch_size=8 * (seed + 1)) for seed in range(3)]


@pytest.fixture
def settle(task, configs, tmp_path):
    """What a new sweep settles, and what it says."""

    def settle_with(*, asked=None, max_concurrent=None):
        console = Console(file=io.StringIO(), width=60)
        found = settle_sharing(
            task, configs, tmp_path, asked=asked, max_concurrent=max_concurrent, console=console
        )
        assert json.loads(json.dumps(found)) == found
        return found, console.file.getvalue()

    return settle_with


def test_measured_on_the_heaviest_trial_and_kept_with_all_measurements(
    settle, machine, configs, tmp_path
):
    found, said = settle()
    assert machine.probed == [(configs[2], tmp_path, 3, False)]
    assert found["trials_per_gpu"] == 2
    kept = found["gpu_sharing"]
    assert (kept["trials_per_gpu"], kept["why"], kept["asked"]) == (2, DECISION.why, False)
    assert (kept["mps"], kept["trial"]) == (False, configs[2].digest)
    assert [m["trials"] for m in kept["measurements"]] == [1, 2]
    assert kept["measurements"][0]["sentences_per_second"] == 1000.0
    assert (kept["free_bytes"], kept["total_bytes"]) == (20 * GIGABYTE, 24 * GIGABYTE)
    assert said == LINE + "\n"


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ((1, 1, False), "1 trial at a time on the GPU: "),
        ((1, 1, True), "1 trial at a time on the GPU: "),
        ((4, 1, True), "4 trials share the GPU, with MPS: "),
        ((4, 2, False), "4 trials share a GPU: "),
    ],
)
def test_the_line(settle, machine, of, said):
    count, machine.gpus, machine.mps = of
    machine.answer = Decision(count, "so it is"), PROBE
    assert settle()[1] == f"{said}so it is.\n"


def test_the_users_number_is_not_measured(settle, machine):
    found, said = settle(asked=5)
    assert machine.probed == []
    assert found["trials_per_gpu"] == found["gpu_sharing"]["trials_per_gpu"] == 5
    assert found["gpu_sharing"]["asked"] is True
    assert said == "5 trials share the GPU: asked for with --trials-per-gpu, nothing measured.\n"


@pytest.mark.parametrize(("asked", "number"), [(None, 1), (5, 5)])
def test_without_a_gpu_nothing_is_measured_or_said(settle, machine, asked, number):
    machine.gpus = 0
    found, said = settle(asked=asked)
    assert (found, said) == ({"trials_per_gpu": number, "gpu_sharing": None}, "")
    assert machine.probed == []


def test_a_probe_that_fails_leaves_one_trial_and_a_reason(settle, machine):
    machine.answer = ProbeError("a probing process was ended by SIGSEGV")
    found, said = settle()
    assert found["trials_per_gpu"] == 1
    assert found["gpu_sharing"]["key"] is None
    assert said == (
        "1 trial at a time on the GPU: how many could share it was not found out, "
        "a probing process was ended by SIGSEGV.\n"
    )


GRAPH_TASK = {"execution": Execution("graph", flash_attention=True)}
MEASURED = {"execution": "graph", "reason": "", "error": ""}
REFUSED = {"execution": "eager", "reason": "not permitted when capturing", "error": ""}
BROKEN = {"execution": "eager", "reason": "", "error": "out of memory"}


@pytest.mark.parametrize("settled", [None, {"asked": True}, {"measurements": [MEASURED, BROKEN]}])
def test_a_task_is_executed_as_it_was_planned(task, settled):
    console = Console(file=io.StringIO())
    captured = replace(task, **GRAPH_TASK)
    assert as_measured(captured, settled, console) is captured
    assert console.file.getvalue() == ""


def test_a_task_whose_capture_failed_is_executed_step_by_step(task):
    console, settled = Console(file=io.StringIO()), {"measurements": [REFUSED]}
    found = as_measured(replace(task, **GRAPH_TASK), settled, console)
    assert found == replace(task, execution=Execution("eager", flash_attention=False))
    assert console.file.getvalue() == (
        "Steps run one by one, capturing them failed: not permitted when capturing.\n"
    )
    assert as_measured(found, settled, console) is found  # said once


def test_trials_that_do_not_fit_are_refused(settle, machine):
    machine.answer = UserError("batch_size: 99")
    with pytest.raises(UserError, match="batch_size: 99"):
        settle()


@pytest.mark.parametrize(
    ("gpus", "trials", "max_concurrent", "expected"),
    [
        (1, 40, None, 16),
        (1, 3, None, 3),
        (1, 40, 2, 2),
        (2, 40, None, 8),
        (2, 40, 5, 3),
        (32, 9, 1, 1),
    ],
)
def test_most_at_once(machine, gpus, trials, max_concurrent, expected):
    machine.gpus = gpus
    assert most_at_once(trials, max_concurrent) == expected


# A run that goes on.


@pytest.fixture
def make_run(settle, task, configs, tmp_path):
    """A new run, planned on this machine."""

    def make(**asked):
        plan = {
            "requests": [{"cache": str(tmp_path)}],
            "max_concurrent": None,
            "task": task.to_dict(),
            **settle(**asked)[0],
        }
        return create_run(tmp_path / "runs" / "mine", plan, configs)

    return make


@pytest.fixture
def resume(task):
    """What resuming changes of the plan, and what it says."""

    def resume_with(run, more=(), **changes):
        console = Console(file=io.StringIO(), width=60)
        found = settle_again(read_run(run.folder), task, more, changes, console)
        return found, console.file.getvalue()

    return resume_with


def test_kept_decision_is_used(make_run, resume, machine):
    run = make_run()
    machine.probed.clear()
    machine.answer = AssertionError("nothing is to be measured")
    found, said = resume(run)
    assert found == {key: run.sweep[key] for key in ("trials_per_gpu", "gpu_sharing")}
    assert said == LINE + "\n"


def test_the_users_number_replaces_it_and_stays(make_run, resume, machine):
    run = make_run()
    found, said = resume(run, trials_per_gpu=7)
    assert found["trials_per_gpu"] == found["gpu_sharing"]["trials_per_gpu"] == 7
    assert said.startswith("7 trials share the GPU: asked for with --trials-per-gpu")
    run.replan(found, [])
    machine.probed.clear()
    assert resume(run) == (found, said)
    assert machine.probed == []


@pytest.mark.parametrize("change", ["device", "mps", "heavier", "more places", "failed"])
def test_measured_again_where_it_does_not_hold(make_run, resume, machine, monkeypatch, change):
    if change == "failed":
        machine.answer = ProbeError("it broke")
    run, more = make_run(), []
    (first, *_) = [trial.config for trial in run.trials.values()]
    machine.probed.clear()
    machine.answer = (Decision(4, "another"), PROBE)
    if change == "device":
        monkeypatch.setattr("trainable.gpu_probe.device_name", lambda: "another GPU")
    if change == "mps":
        machine.mps = True
    if change == "heavier":
        more = [replace(first, batch_size=64)]
    if change == "more places":
        more = [replace(first, seed=seed) for seed in (8, 9)]
    found, said = resume(run, more)
    assert len(machine.probed) == 1
    assert found["trials_per_gpu"] == 4
    assert said.endswith(": another.\n")


def test_on_another_machine_it_is_measured_into_that_ones_cache(
    make_run, resume, machine, monkeypatch, tmp_path
):
    run = make_run()
    run.sweep["requests"] = [{"cache": str(tmp_path / "of another machine")}]
    run.replan({}, [])
    write_json(run.folder / SHARED, {})
    machine.probed.clear()
    monkeypatch.setattr("trainable.gpu_probe.device_name", lambda: "another GPU")
    resume(run)
    assert [cache for _, cache, _, _ in machine.probed] == [default_cache()]


def test_fewer_at_once_are_decided_anew(make_run, resume, machine):
    run = make_run()
    machine.probed.clear()
    resume(run, max_concurrent=1)
    assert [most for _, _, most, _ in machine.probed] == [1]


def test_run_of_an_earlier_version_keeps_its_number(make_run, resume, machine):
    run = make_run()
    run.sweep.pop("gpu_sharing")
    run.replan({}, [])
    machine.probed.clear()
    assert resume(run) == ({}, "")
    assert machine.probed == []
    assert resume(run, trials_per_gpu=3)[0]["trials_per_gpu"] == 3


def test_resumed_without_a_gpu(make_run, resume, machine):
    run = make_run()
    machine.gpus = 0
    assert resume(run) == resume(run, trials_per_gpu=3) == ({}, "")


# The command.


@pytest.fixture
def prepared(monkeypatch, task, configs):
    """Whatever is asked for, these trials are prepared."""
    from search import preparation

    made = preparation.PreparedSweep(configs, configs, task, 40)
    monkeypatch.setattr(preparation, "prepare_sweep", lambda request, console: made)


def test_trials_that_do_not_fit_end_the_command_before_there_is_a_run(
    machine, prepared, tmp_path, capsys
):
    machine.answer = UserError("batch_size: too large; give a smaller --set batch_size=")
    argv = ["--space", "baselines", "--preset", "mini", "--name", "mine"]
    argv += ["--storage", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error == "error: batch_size: too large; give a smaller --set batch_size=\n"
    assert not (tmp_path / "runs" / "mine").exists()


@pytest.mark.slow
def test_a_sweep_measures_keeps_and_goes_on(make_command, tmp_path, repository):
    """A whole one on a pretended GPU: the probe's processes are real."""
    command = make_command(tmp_path)
    command[command.index("search.run")] = "tests.shared_gpu_run"
    folder = tmp_path / "runs" / "mine"
    new = run([*command, "--space", "baselines", "--name", "mine", "--samples", "2"])
    assert new.returncode == 0, new.stderr
    plan = read_run(folder).sweep
    kept = plan["gpu_sharing"]
    assert kept["trials_per_gpu"] == plan["trials_per_gpu"] in (1, 2)
    assert [m["trials"] for m in kept["measurements"]] == [1, 2]
    assert all(m["sentences_per_second"] > 0 for m in kept["measurements"])
    (line,) = [line for line in new.stdout.splitlines() if kept["why"] in line]
    assert line.startswith(("1 trial at a time on the GPU: ", "2 trials share the GPU: "))
    assert {trial.outcome for trial in read_run(folder).trials.values()} == {"finished"}

    more = ["--resume", str(folder), "--samples", "3", "--trials-per-gpu", "2"]
    grown = run([*command[:3], *more])
    assert grown.returncode == 0, grown.stderr
    assert "2 trials share the GPU: asked for with --trials-per-gpu" in grown.stdout
    assert read_run(folder).sweep["gpu_sharing"]["asked"] is True
    (measured,) = (tmp_path / "cache" / "gpu_sharing").iterdir()
    assert json.loads(measured.read_text())["measurements"] == kept["measurements"]

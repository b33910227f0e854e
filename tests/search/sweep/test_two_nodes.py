"""Sweeps that lose a machine: one of two Ray nodes, or the one that the sweep itself was on."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from search.record.events import RECORD
from search.record.run import read_run
from search.record.storage import SESSION_LOCK
from search.run.__main__ import main
from tests.clusters import REPOSITORY, Cluster, kill_tree, wait_until
from tests.sweeps import PATIENCE, assert_as_without_ray, assert_evaluated_once, start_and_hold
from tests.sweeps import run as run_command
from trainable.common.pause import PAUSE

pytestmark = pytest.mark.slow

OPTIONS = ["--space", "baselines", "--samples", "2", "--scheduler", "fifo", "--set", "epochs=2"]


def test_a_node_is_lost(make_command, tmp_path):
    """Two share a plain folder. Both are this machine, where each finds teacher and tokens in their
    places; on another they come from the folder (`test_resume.py`)."""
    run, gate = tmp_path / "runs" / "lost", tmp_path / "gate"
    with Cluster(tmp_path) as cluster:
        second = cluster.join("second")
        process = start_gated([*make_command(tmp_path), "--name", "lost"], gate, cluster)
        try:  # a node has one core, so each has one of the trials
            wait_until(lambda: process.poll() is not None or len(evaluated(run)) == 2, PATIENCE)
            kill_tree(second.pid)
            gate.touch()
            output = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
    assert process.returncode == 0, output

    ended = read_run(run)
    assert len(ended.trials) == 2
    assert_as_without_ray(ended)
    failures = [event for event in ended.events if event["event"] == "failure"]
    assert [(f["reason"], f["then"]) for f in failures] == [("its node was lost", "retry")]
    evaluations = Counter(e["trial"] for e in ended.events if e["event"] == "evaluation")
    assert set(evaluations.values()) == {8}
    assert_evaluated_once(run)


def test_a_run_in_a_storage_has_one_machine_at_a_time_and_goes_on_on_another(
    make_command, tmp_path, refusal_of, monkeypatch
):
    """A second is refused; a session that is taken over leaves the record alone. Then nothing is
    left of the first machine, neither the run's folder nor teacher and tokens."""
    uri, run = f"file://{tmp_path}/storage", tmp_path / "storage" / "cut"
    options = ["--space", "baselines", "--samples", "2", "--max-concurrent", "1", "--name", "cut"]
    options += ["--set", "epochs=2"]
    here = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "first")}
    command = [*make_command(tmp_path), *options, "--storage", uri]
    process = start_and_hold(command, run, 3, env=here)
    before = (run / RECORD).read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    refused = refusal_of(main, "--resume", f"{uri}/cut")
    assert refused.startswith(f"error: RUN {uri}/cut: process {process.pid} on ")
    other = {"session": "other", "host": "far", "pid": 7}
    (run / SESSION_LOCK).write_text(json.dumps(other))
    (copy,) = (tmp_path / "first").glob("distillation-search/runs/*/cut")
    (copy / PAUSE).touch()  # which lets the held session go on, and its trial knows nothing of it
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors == (
        f"error: {uri}/cut: another session has gone on with it, and this one takes nothing more "
        "there\n"
    )
    assert (run / RECORD).read_bytes() == before
    assert json.loads((run / SESSION_LOCK).read_text()) == other

    (run / SESSION_LOCK).unlink()
    for cache in ("first", "cache"):
        shutil.rmtree(tmp_path / cache)
    resumed = run_command([sys.executable, "-m", "search.run"], "--resume", f"{uri}/cut")
    assert resumed.returncode == 0, resumed.stderr
    assert "made again" not in resumed.stdout
    assert_as_without_ray(read_run(run))
    assert_evaluated_once(run)
    (copy,) = (tmp_path / "second").glob("distillation-search/runs/*/cut")
    assert (copy / RECORD).read_bytes() == (run / RECORD).read_bytes()
    assert len(list(run.glob("*/checkpoint_*/model.safetensors"))) == 2
    assert not list(run.glob("*/checkpoint_*/training_state*"))


def start_gated(command, gate, cluster):
    """The sweep's process on the cluster's head; see `gated_run.py`."""
    python, _, _, *typed = command
    script = REPOSITORY / "tests" / "scripts" / "gated_run.py"
    return subprocess.Popen(
        [python, str(script), str(gate), *typed, *OPTIONS, "--address", cluster.address],
        env=cluster.environment | {"XDG_CACHE_HOME": str(cluster.folder / "driver")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def evaluated(run):
    """The trials of which the record has an evaluation."""
    if not (run / RECORD).exists():
        return set()
    return {digest for digest, trial in read_run(run).trials.items() if trial.evaluations}

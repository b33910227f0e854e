"""A sweep that loses its machines: the one that it was on, then one of two Ray nodes."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from search.record.events import RECORD, read_log
from search.record.run import read_run
from search.record.storage import SESSION_LOCK
from search.run.__main__ import main
from tests.clusters import REPOSITORY, Cluster, kill_tree, wait_until
from tests.sweeps import PATIENCE, assert_as_without_ray, assert_evaluated_once, start_and_hold
from trainable.common.pause import PAUSE

pytestmark = pytest.mark.slow


def test_a_run_in_a_storage_has_one_machine_at_a_time_and_goes_on_on_others(
    make_command, tmp_path, refusal_of, monkeypatch
):
    """A second is refused; a session that is taken over leaves the record alone. Then nothing is
    left of the first machine, neither the run's folder nor teacher and tokens, and of two nodes
    that go on, a trial on each, one is lost."""
    uri, run = f"file://{tmp_path}/storage", tmp_path / "storage" / "cut"
    command = [*make_command(tmp_path), "--space", "baselines", "--samples", "2", "--name", "cut"]
    command += ["--storage", uri, "--set", "epochs=2"]
    command[(at := command.index("--grace-evaluations")) : at + 2] = ["--scheduler", "fifo"]
    here = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "first")}
    process = start_and_hold([*command, "--max-concurrent", "1"], run, 1, env=here)
    before = (run / RECORD).read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
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
    gate = tmp_path / "gate"
    with Cluster(tmp_path) as cluster:
        second = cluster.join("second")
        process = start_gated(f"{uri}/cut", gate, cluster)
        try:  # a node has one core, so each has one of the trials
            wait_until(lambda: process.poll() is not None or under_way(run) == 2, PATIENCE)
            kill_tree(second.pid)
            gate.touch()
            output = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert "made again" not in output

    ended = read_run(run)
    assert len(ended.trials) == 2
    assert_as_without_ray(ended)
    failures = [event for event in ended.events if event["event"] == "failure"]
    assert [(f["reason"], f["then"]) for f in failures] == [("its node was lost", "retry")]
    evaluations = Counter(e["trial"] for e in ended.events if e["event"] == "evaluation")
    assert set(evaluations.values()) == {8}
    assert_evaluated_once(run)
    (copy,) = (tmp_path / "driver").glob("distillation-search/runs/*/cut")
    assert (copy / RECORD).read_bytes() == (run / RECORD).read_bytes()
    assert len(list(run.glob("*/checkpoint_*/model.safetensors"))) == 2
    assert not list(run.glob("*/checkpoint_*/training_state*"))


def start_gated(run, gate, cluster):
    """The process that goes on with a run on the cluster's head; see `gated_run.py`."""
    script = REPOSITORY / "tests" / "scripts" / "gated_run.py"
    typed = ["--resume", run, "--address", cluster.address, "--max-concurrent", "2"]
    return subprocess.Popen(
        [sys.executable, str(script), str(gate), *typed],
        env=cluster.environment | {"XDG_CACHE_HOME": str(cluster.folder / "driver")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def under_way(run):
    """How many trials have reported an evaluation in the second session."""
    events = read_log(run).events
    sessions = [number for number, event in enumerate(events) if event["event"] == "session"]
    events = events[sessions[1] :] if len(sessions) > 1 else []
    return len({e["trial"] for e in events if e["event"] in ("evaluation", "repeated")})

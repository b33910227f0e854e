"""Sweeps that lose a machine: one of two Ray nodes, or the one that the sweep itself was on."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from search.record import RECORD, read_events, read_run
from tests.clusters import Cluster, kill_tree, wait_until
from tests.sweeps import PATIENCE, start_and_hold, timeless
from trainable.lease import LEASE
from trainable.task import Task
from trainable.trial import Trial

pytestmark = pytest.mark.slow

OPTIONS = ["--space", "baselines", "--samples", "2", "--scheduler", "fifo"]


def test_a_node_is_lost(make_command, tmp_path):
    run, gate = tmp_path / "storage" / "lost", tmp_path / "gate"
    with Cluster(tmp_path) as cluster:
        second = cluster.join("second")
        command = [*make_command(tmp_path), "--name", "lost"]
        command += ["--storage", f"file://{tmp_path}/storage"]
        process = start_gated(command, gate, cluster)
        try:
            wait_until(lambda: process.poll() is not None or each_has_one(run, tmp_path), PATIENCE)
            kill_tree(second.pid)
            on_second = {path.name for path in trial_folders(tmp_path / "second")}
            gate.touch()
            output = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
        on_head = {path.name for path in trial_folders(tmp_path / "head")}
    assert process.returncode == 0, output

    ended = read_run(run)
    assert len(ended.trials) == 2
    assert_as_if_left_alone(ended)
    failures = [event for event in read_events(run) if event["event"] == "failure"]
    assert [(f["reason"], f["then"]) for f in failures] == [("its node was lost", "retry")]
    moved = ended.trials[failures[0]["trial"]]
    assert moved.config.folder_name in on_second & on_head
    assert on_second | on_head == {trial.config.folder_name for trial in ended.trials.values()}
    evaluations = Counter(e["trial"] for e in read_events(run) if e["event"] == "evaluation")
    assert set(evaluations.values()) == {8}
    assert sum(trial.repeated for trial in ended.trials.values()) <= 1
    fetched_once(run)


def test_two_nodes_share_a_folder(make_command, tmp_path):
    """A plain one; teacher and tokens come to the other node by it, each into that node's cache."""
    run, gate = tmp_path / "runs" / "shared", tmp_path / "gate"
    with Cluster(tmp_path) as cluster:
        cluster.join("second")
        process = start_gated([*make_command(tmp_path), "--name", "shared"], gate, cluster)
        try:  # each waits before its third evaluation, and a node has one core
            wait_until(lambda: process.poll() is not None or len(evaluated(run)) == 2, PATIENCE)
            gate.touch()
            output = process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
    assert process.returncode == 0, output

    ended = read_run(run)
    assert len(ended.trials) == 2
    assert_as_if_left_alone(ended)
    shared = fetched_once(run)
    (cache,) = tmp_path.glob("*/distillation-search/fetched")
    assert {path.name for path in cache.iterdir()} == shared
    assert not list(tmp_path.glob("*/distillation-search/trials"))


def test_a_run_goes_on_on_another_machine(make_command, tmp_path):
    """Of the first nothing is left, neither the run's folder nor teacher and tokens."""
    uri, run = f"file://{tmp_path}/storage", tmp_path / "storage" / "cut"
    options = ["--space", "baselines", "--samples", "2", "--max-concurrent", "1", "--name", "cut"]
    process = start_and_hold(
        [*make_command(tmp_path), *options, "--storage", uri],
        run,
        3,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "first")},
    )
    process.kill()
    process.communicate(timeout=120)
    for cache in ("first", "cache"):
        shutil.rmtree(tmp_path / cache)

    resumed = resume_elsewhere(f"{uri}/cut", tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    waited = f"process {process.pid} on {socket.gethostname()} has not ended its session; waiting"
    assert f"{uri}/cut: {waited} up to 60 s" in resumed.stdout
    assert "made again" not in resumed.stdout
    ended = read_run(run)
    assert_as_if_left_alone(ended)
    assert sum(trial.repeated for trial in ended.trials.values()) == 0
    (copy,) = (tmp_path / "second").glob("distillation-search/runs/*/cut")
    assert (copy / "record.jsonl").read_bytes() == (run / "record.jsonl").read_bytes()
    students = [{path.name for path in at.glob("*/student-*")} for at in (copy, run)]
    assert students[0] == students[1] != set()
    assert not list(run.glob("*/state-*"))


def test_one_machine_at_a_time(make_command, tmp_path):
    """A second is refused; a session that is taken over, as it had stood still for long, leaves the
    record alone as well as what trials save."""
    uri, run = f"file://{tmp_path}/storage", tmp_path / "storage" / "taken"
    options = ["--space", "baselines", "--samples", "2", "--max-concurrent", "1"]
    options += ["--name", "taken", "--storage", uri]
    process = start_and_hold([*make_command(tmp_path), *options], run, 3)
    before = saved(run)
    refused = resume_elsewhere(f"{uri}/taken", tmp_path)
    assert (refused.returncode, refused.stderr) == (
        2,
        f"error: RUN {uri}/taken: process {process.pid} on {socket.gethostname()} is running it; "
        "wait for its end, or stop it first\n",
    )
    assert saved(run) == before
    other = {"session": "other", "host": "far", "pid": 7}
    (run / LEASE).write_text(json.dumps(other))
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors == (
        f"error: {uri}/taken: process 7 on far has gone on with it, and this session takes nothing "
        "more there\n"
    )
    assert saved(run) == before
    assert json.loads((run / LEASE).read_text()) == other


def start_gated(command, gate, cluster):
    """The sweep's process on the cluster's head, with a cache of its own; see `gated_run.py`."""
    python, _, _, *typed = command
    script = Path(__file__).with_name("gated_run.py")
    return subprocess.Popen(
        [python, str(script), str(gate), *typed, *OPTIONS, "--address", cluster.address],
        env=cluster.environment | {"XDG_CACHE_HOME": str(cluster.folder / "driver")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def fetched_once(run):
    """That the other node has fetched all that trials share, each once; gives the digests."""
    lines = [json.loads(line) for line in (run / "nodes.jsonl").read_text().splitlines()]
    (home,) = [line for line in lines if "shared" in line]
    fetched = [line for line in lines if "fetched" in line]
    assert len({line["node"] for line in fetched} - {home["node"]}) == 1
    assert sorted(line["fetched"] for line in fetched) == sorted(home["shared"])
    return set(home["shared"])


def resume_elsewhere(run, caches):
    """The command that resumes it on a machine which has nothing of it, when it has ended."""
    return subprocess.run(
        [sys.executable, "-m", "search.run", "--resume", run],
        env=os.environ | {"XDG_CACHE_HOME": str(caches / "second")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def saved(run):
    """A run's events, and the weights of its trials."""
    return {path: path.read_bytes() for path in [run / RECORD, *run.glob("*/*.safetensors")]}


def assert_as_if_left_alone(run):
    """Each trial has finished, with the evaluations that it makes without Ray, bit for bit."""
    task = Task.from_dict(run.sweep["task"])
    for trial in run.trials.values():
        alone = [e.to_dict() for e in Trial.start(trial.config, task, torch.device("cpu")).run()]
        assert trial.outcome == "finished"
        assert [timeless(e) for e in trial.evaluations] == [timeless(e) for e in alone]


def trial_folders(cache):
    """Of the trials that a node with this cache folder has had."""
    return [path for path in cache.glob("distillation-search/*/*/lost/*") if path.is_dir()]


def each_has_one(run, caches):
    """Whether each node has a trial of its own, and the record an evaluation of both."""
    on_nodes = [{path.name for path in trial_folders(caches / name)} for name in ("head", "second")]
    found = evaluated(run)
    return len(found) == 2 and all(on_nodes) and found == set.union(*on_nodes)


def evaluated(run):
    """The folders of trials of which the record has an evaluation."""
    return {trial.config.folder_name for trial in recorded(run) if trial.evaluations}


def recorded(run):
    """The trials, as far as the storage has the run."""
    return read_run(run).trials.values() if (run / "record.jsonl").exists() else ()

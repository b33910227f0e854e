"""A sweep on two Ray nodes, one of which is killed midway, ends as the one on this machine alone."""

import json
import os
import subprocess

import pytest

from search.record import read_events, read_run
from tests.clusters import Cluster, kill_tree, wait_until
from tests.sweeps import numbers, run

pytestmark = pytest.mark.slow

OPTIONS = ["--space", "baselines", "--scheduler", "fifo", "--retries", "0", "--set", "epochs=40"]


def evaluations_on(folder, node):
    """How many evaluations the run has of trials that this node has told of."""


def test_a_node_is_lost(make_command, tmp_path):
    alone = [*make_command(tmp_path), *OPTIONS, "--name", "alone"]
    done = run(alone)
    assert done.returncode == 0, done.stderr

    uri = f"file://{tmp_path}/storage"
    command = [*make_command(tmp_path), *OPTIONS, "--name", "lost", "--storage", uri]
    with Cluster(tmp_path) as cluster:
        second = cluster.join("second")
        environment = cluster.environment | {"XDG_CACHE_HOME": str(tmp_path / "driver")}
        process = subprocess.Popen(
            [*command, "--address", cluster.address],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        nodes = tmp_path / "storage" / "lost" / "nodes.jsonl"
        wait_until(lambda: nodes.exists() and len(fetches(nodes)) == 6 or process.poll() is not None, 120)
        kill_tree(second.pid)
        output = process.communicate(timeout=200)[0]
        print(output)
    assert process.returncode == 0, output


def fetches(path):
    return [line for line in map(json.loads, path.read_text().splitlines()) if "fetched" in line]

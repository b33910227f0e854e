"""A cluster that can't be joined, or has no use for the run, is refused in one line, in seconds."""

import os
import signal
import socket
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from rich.console import Console

from search.plan.request import LOCAL
from search.record.storage import local_runs
from search.run.__main__ import main
from search.sweep import extend
from search.sweep.processes import cluster
from search.sweep.processes.cluster import POLL_SECONDS, check_address, cluster_size, recounted
from tests.clusters import free_port
from tests.conftest import user_error
from tests.made_runs import asked, made_run
from trainable.common.errors import UserError
from trainable.config.trial_config import TrialConfig

RUNS = Path("/runs")  # not looked at


def refusal(address):
    start = time.monotonic()
    message = user_error(check_address, address, RUNS)
    assert time.monotonic() - start < 10
    assert message.startswith(f"--address {address}: ")
    return message


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_addresses_that_are_none(monkeypatch):
    monkeypatch.setattr(cluster, "join", None)  # would fail
    check_address(LOCAL, RUNS)
    assert "run this command on a node of the cluster" in refusal("ray://head:10001")
    for address in ("head", "head:", ":6379", "head:port", ""):
        assert "give auto, HOST:PORT or local" in refusal(address)
    assert "ray start --head" in refusal(f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Could not find any running Ray instance.\nMore."), "Could not find any"),
        (RuntimeError("Version mismatch: ..."), "Version mismatch"),
        (RuntimeError("InvalidAuthToken: missing"), "set RAY_AUTH_MODE=token"),
    ],
)
def test_what_ray_says_is_told_in_a_line(listening, monkeypatch, error, said):
    monkeypatch.setattr("ray.init", Mock(side_effect=error))
    assert said in refusal(listening)
    if isinstance(error, ConnectionError):
        assert "start one here (ray start --head), or give --address local" in refusal("auto")


def test_signals_stay_the_commands_own_after_the_check(listening, monkeypatch):
    def take_signals(**settings):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def ours(number, frame):
        pass

    seen = []
    monkeypatch.setattr("ray.init", take_signals)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    look = lambda address, runs: seen.append(signal.getsignal(signal.SIGTERM))  # noqa: E731
    monkeypatch.setattr(cluster, "_check_nodes", look)
    before = {number: signal.signal(number, ours) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        check_address(listening, RUNS)
        assert [*seen, *(signal.getsignal(number) for number in before)] == [ours] * 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Two that share no folder but `mount`; the second has a `trouble` with it, or none."""
    found = SimpleNamespace(mount=tmp_path / "mount", trouble=None)
    found.mount.mkdir()

    def answer(asked_of, timeout):
        name, question = asked_of
        if name != "second" or found.trouble is None:
            return question()
        if found.trouble == "lacks this package":
            return False, True
        with monkeypatch.context() as patched:
            if found.trouble == "read-only":
                patched.setattr("os.access", lambda path, mode: not mode & os.W_OK)
            else:
                patched.setattr("os.path.isfile", lambda path: False)
            return question()

    nodes = [
        {"NodeID": name, "NodeManagerHostname": f"the-{name}", "Alive": name != "third"}
        for name in ("first", "second", "third")
    ]
    monkeypatch.setattr(cluster, "join", lambda address: None)
    monkeypatch.setattr(cluster, "_on_node", lambda name, question: (name, question))
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.get", answer)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    return found


@pytest.mark.parametrize("trouble", ["out of sight", "read-only"])
def test_a_folder_that_a_node_does_not_share_is_refused_before_anything_is_prepared(
    hosts, trouble, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr("search.sweep.check_sweep.check_sweep", None)  # would fail
    monkeypatch.setattr(extend, "inputs_again", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runs = hosts.mount / "of" / "runs"
    check_address("auto", runs)
    hosts.trouble = trouble
    refused = (
        f"--storage {runs}: the-second does not see that folder of this machine, or can't write to "
        "it; give a URI (s3://...) or a folder that all nodes share, or --address local for this "
        "machine alone"
    )
    argv = ["--space", "baselines", "--preset", "mini", "--storage", str(runs)]
    assert main([*argv, "--address", "auto"]) == 2
    assert capsys.readouterr().err == f"error: {refused}\n"
    assert list(hosts.mount.iterdir()) == []
    run = made_run(runs / "mine", [TrialConfig(alpha=0.5)], asked(address="auto"))
    assert user_error(extend.extend, run, {}, [], Console()) == refused
    check_address("auto", local_runs(f"file://{hosts.mount}/storage"))  # needs no shared folder
    hosts.trouble = "lacks this package"
    with pytest.raises(UserError, match="the-second lacks this package; install it on every node"):
        check_address("auto", runs)


def test_slots_are_counted_again_every_few_seconds_and_gpus_where_trials_use_them(monkeypatch):
    now, counts, found = [100.0], iter([2, 4, 1]), []
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    slots = recounted(lambda: next(counts))
    for seconds in (0.0, POLL_SECONDS - 0.1, 0.1, 1.0, POLL_SECONDS):
        now[0] += seconds
        found.append(slots())
    assert found == [2, 2, 4, 4, 1]
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 6.0, "GPU": 2.0, "memory": 1e9})
    assert (cluster_size(with_gpus=True), cluster_size(with_gpus=False)) == ((6, 2), (6, 0))
    monkeypatch.setattr("ray.cluster_resources", dict)
    assert cluster_size(with_gpus=True) == (0, 0)


# Ray's own processes.


fail = Mock(side_effect=ConnectionError("GCS is gone"))


@pytest.mark.parametrize(
    ("nodes", "dies"),
    [
        (lambda: [{"Alive": False}, {"Alive": True}], False),
        (lambda: [{"Alive": False}], True),
        (fail, True),
        (lambda: time.sleep(3) or [{"Alive": True}], True),
    ],
    ids=["one lives", "none lives", "error", "no answer"],
)
def test_death_of_rays_own_processes_pauses_the_sweep(monkeypatch, nodes, dies):
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(cluster, "LIFE_SECONDS", 0.2)
    monkeypatch.setattr("ray.nodes", nodes)
    problems = []
    with cluster.watched(SimpleNamespace(pause=problems.append)):
        until = time.monotonic() + (3 if dies else 0.3)
        while not problems and time.monotonic() < until:
            time.sleep(0.01)
    assert problems == ([cluster.RAY_DIED] if dies else [])


@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_what_ends_after_the_sweep_is_no_death(monkeypatch, seconds):
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(cluster, "LIFE_SECONDS", 0.2)
    asked, problems = Event(), []
    monkeypatch.setattr("ray.nodes", lambda: asked.set() or time.sleep(seconds) or fail())
    with cluster.watched(SimpleNamespace(pause=problems.append)):
        assert asked.wait(3)
    time.sleep(0.5)
    assert problems == []

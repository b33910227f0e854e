"""A cluster that can't be joined is refused in one line, within seconds."""

import signal
import socket
import subprocess
import sys
import time

import pytest
from rich.console import Console

from search import cluster, resume
from search.cluster import LOCAL, LOOK_SECONDS, Places, check_address, cluster_size
from search.record import create_run
from tests.clusters import Cluster, free_port
from trainable.config import TrialConfig
from trainable.errors import UserError


def refusal(address):
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        check_address(address)
    assert time.monotonic() - start < 10
    message = str(error.value)
    assert message.startswith(f"--address {address}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("address", [None, LOCAL])
def test_this_machine_alone_needs_no_cluster(address, monkeypatch):
    monkeypatch.setattr(cluster, "join", None)  # would fail
    check_address(address)


def test_rays_client_is_refused_with_what_to_do_instead():
    assert "run this command on a node of the cluster" in refusal("ray://head:10001")


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port", "remote", ""])
def test_no_address(address):
    assert "give auto, HOST:PORT or local" in refusal(address)


def test_nobody_listens_there():
    assert "ray start --head" in refusal(f"127.0.0.1:{free_port()}")


def test_a_host_that_is_not_known(monkeypatch):
    def unknown(*asked):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a resolver may take its time
    assert "ray start --head" in refusal("no-such-host.invalid:6379")


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("Could not find any running Ray instance.\nMore."), "Could not find any"),
        (RuntimeError("Version mismatch: ..."), "Version mismatch"),
        (RuntimeError("InvalidAuthToken: missing"), "set RAY_AUTH_MODE=token"),
    ],
)
def test_what_ray_says_is_told_in_a_line(listening, monkeypatch, error, said):
    def fail(**settings):
        raise error

    monkeypatch.setattr("ray.init", fail)
    assert said in refusal(listening)


def test_where_no_cluster_runs_here_the_remedy_is_told(monkeypatch):
    """A resumed run may have been in a cluster: nobody has typed the flag then."""

    def fail(**settings):
        raise ConnectionError("Could not find any running Ray instance. Set a variable.\nMore.")

    monkeypatch.setattr("ray.init", fail)
    assert refusal("auto") == (
        "--address auto: Could not find any running Ray instance. Set a variable; start one here "
        "(ray start --head), or give --address local for this machine alone"
    )


def test_signals_stay_the_commands_own_after_the_check(listening, monkeypatch):
    def take_signals(**settings):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def during(address):
        seen.append(signal.getsignal(signal.SIGTERM))

    def ours(number, frame):
        pass

    seen = []
    monkeypatch.setattr("ray.init", take_signals)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr(cluster, "_check_nodes", during)
    before = {number: signal.signal(number, ours) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        check_address(listening)
        assert [signal.getsignal(number) for number in before] == [ours, ours]
        assert seen == [ours]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


CHECK = """
import sys
from search import cluster
cluster.PACKAGES = (*cluster.PACKAGES, *sys.argv[2:])
try:
    cluster.check_address(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_real_cluster(tmp_path, repository):
    """One that is well, one whose node lacks a package, and one that wants another token."""
    with Cluster(tmp_path) as nodes:

        def said(*packages, **environment):
            done = subprocess.run(
                [sys.executable, "-c", CHECK, nodes.address, *packages],
                cwd=repository,
                env=nodes.environment | environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert "Traceback" not in done.stderr
            return done.stdout

        assert said() == ""
        start = f"UserError --address {nodes.address}: "
        lacking = said("no_such_package")
        assert lacking.startswith(start)
        assert lacking.endswith(
            " lacks this package; install it on every node, with the same Python\n"
        )
        token = said(RAY_AUTH_MODE="disabled")
        assert token.startswith(start)
        assert token.endswith("it asks for a token: set RAY_AUTH_MODE=token here, too\n")
        assert token.count("\n") == 1


def test_places_are_counted_again_every_few_seconds(monkeypatch):
    now, counts = [100.0], iter([2, 4, 1])
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    places = Places(lambda: next(counts))
    found = []
    for seconds in (0.0, LOOK_SECONDS - 0.1, 0.1, 1.0, LOOK_SECONDS):
        now[0] += seconds
        found.append(places())
    assert found == [2, 2, 4, 4, 1]


def test_gpus_count_where_trials_use_them(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 6.0, "GPU": 2.0, "memory": 1e9})
    assert cluster_size(with_gpus=True) == (6, 2)
    assert cluster_size(with_gpus=False) == (6, 0)
    monkeypatch.setattr("ray.cluster_resources", dict)
    assert cluster_size(with_gpus=True) == (0, 0)


def test_a_run_whose_cluster_is_gone_says_so_before_anything_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "task_again", None)  # would fail
    address = f"127.0.0.1:{free_port()}"
    run = create_run(tmp_path / "run", {"address": address}, [TrialConfig(alpha=0.5)])
    with pytest.raises(UserError, match=f"--address {address}: .*, or local"):
        resume.extend(run, {}, [], Console())

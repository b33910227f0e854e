"""A cluster that can't be joined is refused in one line, within seconds."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from search.remote_runs import local_runs

from search import cluster, resume
from search.cluster import LOCAL, LOOK_SECONDS, Places, check_address, cluster_size
from search.record import create_run
from search.run import main
from tests.clusters import Cluster, free_port
from trainable.config import TrialConfig
from trainable.errors import UserError

RUNS = Path("/runs")  # not looked at


def refusal(address):
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        check_address(address, RUNS)
    assert time.monotonic() - start < 10
    message = str(error.value)
    assert message.startswith(f"--address {address}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("address", [None, LOCAL])
def test_this_machine_alone_needs_no_cluster(address, monkeypatch):
    monkeypatch.setattr(cluster, "join", None)  # would fail
    check_address(address, RUNS)


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

    def during(address, runs):
        seen.append(signal.getsignal(signal.SIGTERM))

    def ours(number, frame):
        pass

    seen = []
    monkeypatch.setattr("ray.init", take_signals)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.setattr(cluster, "_check_nodes", during)
    before = {number: signal.signal(number, ours) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        check_address(listening, RUNS)
        assert [signal.getsignal(number) for number in before] == [ours, ours]
        assert seen == [ours]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


CHECK = """
import sys
from pathlib import Path
from search import cluster
cluster.PACKAGES = (*cluster.PACKAGES, *sys.argv[3:])
try:
    cluster.check_address(sys.argv[1], Path(sys.argv[2]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_real_cluster(tmp_path, repository):
    """One that is well, one whose node lacks a package, and one that wants another token."""
    runs = tmp_path / "shared" / "runs"
    runs.parent.mkdir()
    with Cluster(tmp_path) as nodes:

        def said(*packages, **environment):
            done = subprocess.run(
                [sys.executable, "-c", CHECK, nodes.address, str(runs), *packages],
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
        assert list(runs.parent.iterdir()) == []
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


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Two that share no folder but `mount`; what changes that on the second is its `trouble`."""
    (tmp_path / "mount").mkdir()
    found = SimpleNamespace(mount=tmp_path / "mount", trouble=None)

    def answer(asked, timeout):
        name, question = asked
        with monkeypatch.context() as patched:
            if name == "second" and found.trouble is not None:
                with found.trouble(patched):
                    return question()
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

    @contextmanager
    def out_of_sight(patched):
        hidden = found.mount.rename(tmp_path / "hidden")
        yield
        hidden.rename(found.mount)

    @contextmanager
    def read_only(patched):
        patched.setattr("os.access", lambda path, mode: not mode & os.W_OK)
        yield

    found.troubles = {"out of sight": out_of_sight, "read-only": read_only}
    return found


def refusal_of(runs):
    return (
        f"--storage {runs}: the-second does not see that folder of this machine, or can't write to "
        "it; give a URI (s3://...) or a folder that all nodes share, or --address local for this "
        "machine alone"
    )


@pytest.mark.parametrize("trouble", ["out of sight", "read-only"])
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_a_node_does_not_share_is_refused(hosts, trouble, there):
    runs = hosts.mount / "of" / "runs"
    if there:
        runs.mkdir(parents=True)
    check_address("auto", runs)
    hosts.trouble = hosts.troubles[trouble]
    with pytest.raises(UserError) as error:
        check_address("auto", runs)
    assert str(error.value) == refusal_of(runs)
    assert list(runs.iterdir() if there else hosts.mount.iterdir()) == []


def test_a_storage_needs_no_folder_that_nodes_share(hosts, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(hosts.mount))
    hosts.trouble = hosts.troubles["out of sight"]
    check_address("auto", local_runs(f"file://{hosts.mount}/storage"))


def test_a_sweep_is_refused_before_anything_is_prepared(hosts, monkeypatch, capsys):
    monkeypatch.setattr("search.preparation.prepare_sweep", None)  # would fail
    hosts.trouble, runs = hosts.troubles["out of sight"], hosts.mount / "runs"
    argv = ["--space", "baselines", "--preset", "mini", "--storage", str(runs)]
    assert main([*argv, "--address", "auto"]) == 2
    assert capsys.readouterr().err == f"error: {refusal_of(runs)}\n"
    assert list(hosts.mount.iterdir()) == []


def test_a_run_that_goes_on_is_refused_so_too(hosts, monkeypatch):
    monkeypatch.setattr(resume, "task_again", None)  # would fail
    hosts.trouble, runs = hosts.troubles["out of sight"], hosts.mount / "runs"
    run = create_run(runs / "mine", {"address": "auto"}, [TrialConfig(alpha=0.5)])
    with pytest.raises(UserError) as error:
        resume.extend(run, {}, [], Console())
    assert str(error.value) == refusal_of(runs)


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

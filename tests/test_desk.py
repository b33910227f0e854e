"""What trials elsewhere are told of a run, from its folder."""

import io
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console
from search.desk import NODES, RunDesk, open_remote
from search.remote_runs import local_runs, task_of
from trainable.lease import LEASE

from search import desk
from search.record import create_run
from trainable.config import TrialConfig
from trainable.folders import sealed_values
from trainable.pause import PAUSE

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.75, 0.25)]


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "runs" / "mine", {"task": {"pad_id": 0}}, CONFIGS)


def test_a_pause_is_seen(run):
    desk = RunDesk(run.folder)
    assert not desk.paused()
    (run.folder / PAUSE).touch()
    assert desk.paused()


def test_recorded_evaluations_are_counted(run):
    desk, digest = RunDesk(run.folder), CONFIGS[1].digest
    for number in (1, 2):
        assert desk.recorded(digest) == number - 1
        values = {"evaluations": number, "accuracy": 0.5, "best5_accuracy": 0.5}
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append(event | {"trial": digest})
    assert (desk.recorded(digest), desk.recorded(CONFIGS[0].digest)) == (2, 0)


def test_what_nodes_did_is_kept_a_line_each(run):
    desk = RunDesk(run.folder)
    desk.note({"node": "a", "fetched": "1"})
    desk.note({"node": "b", "fetched": "1"})
    lines = [json.loads(line) for line in (run.folder / NODES).read_text().splitlines()]
    assert [(line["node"], line["fetched"]) for line in lines] == [("a", "1"), ("b", "1")]


@pytest.mark.parametrize("address", [{}, {"address": "local"}])
def test_a_run_of_this_machine_alone_needs_no_desk(tmp_path, address):
    run = create_run(tmp_path / "runs" / "mine", {"task": {"pad_id": 0}, **address}, CONFIGS)
    assert open_remote(run, None) is None


@pytest.fixture
def open_without_ray(monkeypatch):
    """Opens a run's remote as a cluster's driver does; gives it and what was said."""
    monkeypatch.setattr(desk, "open_desk", RunDesk)
    monkeypatch.setattr(desk, "note", RunDesk.note)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "a"))

    def open_it(run):
        console = Console(file=io.StringIO(), width=500)
        return open_remote(run, console), console.file.getvalue()

    return open_it


def test_nodes_that_share_a_clusters_folder_get_there_what_trials_share(
    open_without_ray, task, tmp_path, monkeypatch
):
    """The cache of the node that made it is out of their sight; also where a name is no URI's."""
    made = {str(f): str(tmp_path / "made" / f.name) for f in task.folders()}
    for at, place in made.items():
        shutil.copytree(at, place)
    plan = {"task": task.moved(made).to_dict(), "address": "auto"}
    run = create_run(tmp_path / "all runs, 100%" / "mine", plan, CONFIGS)
    remote, said = open_without_ray(run)
    assert said.startswith(f"What trials share is uploaded to {run.folder.parent}: ")
    assert open_without_ray(run)[1] == ""
    assert (remote.in_place, remote.at_home()) == (True, True)
    (tmp_path / "made").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    fetched = replace(remote, at_home=lambda: False).task_here(task.moved(made))
    assert all(folder.is_relative_to(tmp_path / "second") for folder in fetched.folders())
    assert [sealed_values(folder) for folder in fetched.folders()] == [
        sealed_values(folder) for folder in task.folders()
    ]
    assert task_of(run) == fetched  # as a session on that node finds it


def test_trials_of_a_storage_are_not_in_its_folder(open_without_ray, task, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    runs = local_runs(f"file://{tmp_path}/storage")
    run = create_run(runs / "mine", {"task": task.to_dict()}, CONFIGS)
    (run.folder / LEASE).write_text("this session")
    remote, _ = open_without_ray(run)
    assert (remote.storage, remote.in_place) == (f"file://{tmp_path}/storage", False)
    assert remote.session == "this session"  # they share while it has the run, and no longer

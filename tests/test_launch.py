"""A run that is gone on with: what a complete one still has to do."""

import io

import pytest
from rich.console import Console

from search.interruption import Interruption
from search.launch import Session, go_on
from search.record import RECORD, create_run
from search.remote_runs import local_runs
from trainable.config import TrialConfig

CONFIG = TrialConfig(alpha=0.5, evaluations=1)


@pytest.fixture
def session():
    console = Console(file=io.StringIO())
    with Interruption(console) as interruption:
        yield Session("search.run", [], console, interruption)


def test_what_of_a_complete_run_the_storage_lacks_is_taken_there(tmp_path, session, monkeypatch):
    """Its last session was killed, or could not reach the storage."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    monkeypatch.setattr("search.summary.finish", lambda run, console, problem: 0)
    run = create_run(local_runs(f"file://{tmp_path}/storage") / "mine", {"keep": 1}, [CONFIG])
    values = {"evaluations": 1, "accuracy": 0.5, "best5_accuracy": 0.5}
    event = {"event": "evaluation", "decision": "stop", "evaluation": values}
    run.append(event | {"trial": CONFIG.digest})
    there = tmp_path / "storage" / "mine"
    (there / CONFIG.folder_name).mkdir(parents=True)
    (there / CONFIG.folder_name / "student-1.safetensors").write_bytes(b"weights")

    assert go_on(run.folder, lambda run: None, session) == 0
    assert "complete; nothing left to run" in session.console.file.getvalue()
    assert (there / RECORD).read_bytes() == (run.folder / RECORD).read_bytes()
    assert (there / "sweep.json").is_file()
    assert (run.trial_folder(run.trials[CONFIG.digest]) / "student-1.safetensors").is_file()

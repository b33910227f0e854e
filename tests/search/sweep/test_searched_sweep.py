"""A searched sweep, killed while it searches, goes on as if nobody had touched it."""

import sys

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.plan.searchers import JOURNAL
from search.record.events import SUGGESTION
from search.record.run import read_run
from tests.sweeps import numbers, run, start_and_hold

pytestmark = pytest.mark.slow

SAMPLES = 9


@pytest.fixture
def command(teacher_folder, data_folder, tmp_path):
    """A search one trial at a time, so that its results come in one order only."""
    settings = ("student_layers=2", "batch_size=8", "epochs=2", "precision=fp32", "evaluations=6")
    return [
        *(sys.executable, "-m", "search.run", "--space", "recipe", "--samples", str(SAMPLES)),
        *("--preset", "mini", "--teacher", str(teacher_folder), "--dataset", str(data_folder)),
        "--allow-weak-teacher",
        *("--cache", str(tmp_path / "cache"), "--storage", str(tmp_path / "runs")),
        *("--max-concurrent", "1", "--seed", "3"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def test_killed_and_resumed_it_suggests_what_it_would_have(command, tmp_path):
    """Its trials wait at rungs, of which a kill finds some."""
    runs = tmp_path / "runs"
    whole = run([*command, "--name", "full"])
    assert whole.returncode == 0, whole.stderr
    killed = start_and_hold([*command, "--name", "killed"], runs / "killed", 2, SUGGESTION)
    killed.kill()
    killed.communicate(timeout=120)
    before = read_run(runs / "killed")
    assert before.unfinished
    assert 3 < len(before.trials) < SAMPLES
    resumed = run([*command[:3], "--resume", str(runs / "killed")])
    assert resumed.returncode == 0, resumed.stderr
    assert "Last result" not in resumed.stdout  # Ray's line for those that waited and are ended
    assert numbers(runs / "killed") == numbers(runs / "full")
    found = read_run(runs / "killed")
    assert len({trial.config.recipe for trial in found.trials.values()}) == SAMPLES
    suggested = [event["trial"] for event in found.events if event["event"] == SUGGESTION]
    assert len(suggested) == len(set(suggested)) == SAMPLES - 3  # less the starts
    assert "wait" in {event.get("decision") for event in found.events}
    storage = JournalStorage(JournalFileBackend(str(runs / "killed" / JOURNAL)))
    study = optuna.load_study(study_name="killed", storage=storage)
    assert [trial.user_attrs["trials"] for trial in study.trials] == [[d] for d in found.trials]
    assert [trial.value for trial in study.trials] == [t.best5 for t in found.trials.values()]
    assert f"optuna-dashboard {runs / 'killed' / JOURNAL}" in resumed.stdout

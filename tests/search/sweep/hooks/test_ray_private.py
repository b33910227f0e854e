"""What is used of Ray beyond its public interface, on Ray's own objects."""

from dataclasses import asdict
from operator import attrgetter
from pydoc import locate
from types import SimpleNamespace

import pytest
from ray._private import worker
from ray.train._internal.storage import StorageContext
from ray.tune import CheckpointConfig
from ray.tune.experiment import Trial

from search.sweep.hooks.ray_private import (
    PRIVATE,
    _register_checkpoint,
    go_on_from_checkpoint,
    kill_at_shutdown,
    limit_retries,
    pause_before_start,
)
from search.sweep.ray_setup import trial_folder
from tests.made_runs import made_run
from tests.search.record.test_checkpoints import make_checkpoint
from trainable.common.errors import UserError
from trainable.config.trial_config import TrialConfig
from trainable.trial.checkpoint import STATE

CONFIG = TrialConfig(alpha=0.5, evaluations=3)


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path / "runs" / "mine", [CONFIG])


@pytest.fixture
def trial(run, tmp_path, monkeypatch):
    """As a Tuner makes it; Ray, which would say where its session is, has not been started."""
    monkeypatch.setattr(StorageContext, "_get_session_path", lambda self: str(tmp_path / "session"))
    return Trial(
        "student",
        stub=True,
        config=asdict(CONFIG),
        storage=StorageContext(str(run.folder.parent), run.folder.name),
        checkpoint_config=CheckpointConfig(num_to_keep=1),
        trial_dirname_creator=trial_folder,
    )


@pytest.mark.parametrize("place", PRIVATE)
def test_what_is_used_of_rays_inside_is_there(trial, place):
    trial.init_local_path()
    inside = trial if place.endswith(".Trial") else locate(place)
    moved = []
    for name in PRIVATE[place]:
        try:
            attrgetter(name)(inside)
        except AttributeError:
            moved.append(f"{place}.{name}")
    assert not moved, f"this Ray has moved {', '.join(moved)}"


@pytest.mark.parametrize(
    "use",
    [
        pause_before_start,
        lambda trial: limit_retries(trial, 1),
        lambda trial: _register_checkpoint(trial, 1, "/checkpoint", None),
    ],
)
def test_what_a_ray_has_moved_is_told_in_a_line(use):
    with pytest.raises(UserError, match=r"^Ray \d\S+ has moved .*no attribute.*; install another"):
        use(SimpleNamespace())


def test_a_trial_goes_on_from_its_newest_whole_checkpoint_and_its_numbers_go_on(run, trial):
    folder = run.trial_folder(run.trials[CONFIG.digest])
    of = [(1, [STATE]), (4, [STATE]), (5, [STATE]), (6, [])]  # the last is of its end
    older, newest, cut, student = (make_checkpoint(folder, n, files=files) for n, files in of)
    (cut / "model").unlink()
    go_on_from_checkpoint(trial, run, run.trials[CONFIG.digest])
    assert (trial.checkpoint.path, trial.storage.current_checkpoint_index) == (str(newest), 4)
    there = [checkpoint.exists() for checkpoint in (older, newest, cut, student)]
    assert there == [False, True, False, False]


def test_a_trial_without_a_whole_checkpoint_begins_with_none_in_its_way(run, trial):
    folder = run.trial_folder(run.trials[CONFIG.digest])
    (make_checkpoint(folder, 0) / "model").unlink()
    go_on_from_checkpoint(trial, run, run.trials[CONFIG.digest])
    assert (trial.checkpoint, list(folder.iterdir())) == (None, [])
    assert trial.storage.current_checkpoint_index == -1


def test_rays_processes_are_killed_at_its_shutdown_and_not_asked_first(monkeypatch):
    asked = []
    node = SimpleNamespace(kill_all_processes=lambda **how: asked.append(how))
    monkeypatch.setattr(worker, "_global_node", node)
    kill_at_shutdown()
    node.kill_all_processes(check_alive=False, allow_graceful=True)  # as ray.shutdown has it
    assert asked == [{"check_alive": False, "allow_graceful": False}]
    monkeypatch.setattr(worker, "_global_node", None)
    kill_at_shutdown()  # of a Ray that has it otherwise

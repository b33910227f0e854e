"""The schedulers by name, and that naming them does not load Ray."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.record import create_run, read_run
from search.schedulers import SCHEDULERS
from search.session import make_scheduler
from search.strata import SchedulerSettings
from search.stratified_asha import StratifiedASHA
from trainable.config import TrialConfig


@pytest.fixture
def settings(tmp_path):
    return SchedulerSettings(8, 2, ("initialisation",), tmp_path)


def test_names_are_those_of_the_command_line():
    assert list(SCHEDULERS) == ["asha", "fifo"]


def test_asha_is_stratified(settings):
    assert type(SCHEDULERS["asha"](settings)) is StratifiedASHA


def test_fifo_is_rays_own(settings):
    assert type(SCHEDULERS["fifo"](settings)) is FIFOScheduler


def test_fifo_never_stops_a_trial(settings):
    scheduler = SCHEDULERS["fifo"](settings)
    for number in range(20):
        trial = SimpleNamespace(trial_id=str(number), config={"initialisation": "random"})
        result = {"training_iteration": 2, "best5_accuracy": 1.0 - number / 20}
        assert scheduler.on_trial_result(None, trial, result) == TrialScheduler.CONTINUE


def test_each_call_makes_a_scheduler_of_its_own(settings):
    assert SCHEDULERS["asha"](settings) is not SCHEDULERS["asha"](settings)


def test_settings_cannot_be_changed(settings):
    with pytest.raises(AttributeError):
        settings.evaluations = 3


@pytest.mark.parametrize(
    ("name", "compare_within"), [("asha", ["initialisation"]), ("asha", []), ("fifo", [])]
)
def test_scheduler_of_a_run_is_the_one_it_was_planned_with(tmp_path, name, compare_within):
    """In every session the same, whatever the command line of that session says."""
    sweep = {"scheduler": name, "compare_within": compare_within, "grace_evaluations": 3}
    run = create_run(tmp_path, sweep, [TrialConfig(alpha=0.5, evaluations=12)])
    scheduler = make_scheduler(read_run(run.folder))
    assert type(scheduler) is {"asha": StratifiedASHA, "fifo": FIFOScheduler}[name]
    if name == "asha":
        wanted = SchedulerSettings(12, 3, tuple(compare_within), tmp_path)
        assert scheduler._settings == wanted


def test_naming_schedulers_does_not_load_ray(repository):
    code = "import sys, search.arguments; print({'ray', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"

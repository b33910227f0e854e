"""How many trials run at once, on what, in which folders, and what Ray is told of them."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ray import tune

from search.record import create_run
from search.sweep import (
    _trainable,
    concurrency,
    count_recorded,
    make_tuner,
    resources_per_trial,
    trial_folder,
)
from trainable.config import TrialConfig

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.75, 0.25, 0.5)]


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "runs" / "mine", {"task": {"pad_id": 0}, "retries": 4}, CONFIGS)


@pytest.fixture
def told(monkeypatch):
    """What `make_tuner` hands to Ray: the trainable and the Tuner's keywords."""

    def make(run):
        with monkeypatch.context() as patched:
            patched.setattr(tune, "Tuner", lambda trainable, **keywords: (trainable, keywords))
            settings = {"searcher": "o", "scheduler": "s", "callbacks": ["r"]}
            return make_tuner(run, resources={"cpu": 1}, **settings)

    return make


@pytest.mark.parametrize(
    ("cores", "gpus", "share", "limit", "expected"),
    [
        (2, 0, 4, None, 2),
        (16, 0, 4, 3, 3),
        (16, 1, 4, None, 4),
        (16, 2, 4, None, 8),
        (16, 1, 1, None, 1),
        (2, 1, 4, None, 2),
        (1, 0, 4, 9, 1),
    ],
)
def test_concurrency(cores, gpus, share, limit, expected):
    assert concurrency(cores, gpus, share, limit) == expected


def test_resources():
    assert resources_per_trial(0, 4) == {"cpu": 1}
    assert resources_per_trial(1, 4) == {"cpu": 1, "gpu": 0.25}
    assert resources_per_trial(2, 1) == {"cpu": 1, "gpu": 1.0}


@pytest.mark.parametrize("share", range(1, 20))
def test_all_trials_that_share_a_gpu_fit(share):
    """Ray counts in ten-thousandths, and takes a third for no less than it is."""
    each = resources_per_trial(1, share)["gpu"]
    assert round(each * 10_000) * share <= 10_000
    assert each * (share + 1) > 1.0


def test_folder_is_readable_safe_and_the_same_in_every_session(make_config):
    config = make_config(alpha_schedule="cosine_^shape", alpha=None, sharpness=0.5)

    class Trial:
        def __init__(self, trial_id):
            self.trial_id, self.config = trial_id, config.to_dict()

    names = {trial_folder(Trial(name)) for name in ("abc12_00007", "def34_00000")}
    wanted = f"teacher_spread-layers-1-2-cosine_-shape-k=0.5-{config.digest}"
    assert names == {wanted} == {config.folder_name}
    assert re.fullmatch(r"[A-Za-z0-9.=_-]+", wanted)


def test_folders_of_trials_that_read_the_same_differ(make_config):
    """`words` leaves out what a space leaves constant; a run can be extended to differ in it."""
    configs = [make_config(), make_config(epochs=2), make_config(seed=1)]
    assert len({config.folder_name for config in configs}) == 3


def test_recorded_evaluations_are_counted_from_the_files(run):
    digest = CONFIGS[1].digest
    for n in (1, 2):
        assert count_recorded(run.folder, digest) == n - 1
        values = {"evaluations": n, "accuracy": 0.5, "best5_accuracy": 0.5}
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append(event | {"trial": digest})
    assert count_recorded(run.folder, digest) == 2
    assert count_recorded(run.folder, CONFIGS[0].digest) == 0


def test_tuner_writes_into_the_runs_folder_and_tries_again_as_often_as_asked(run, told):
    _, keywords = told(run)
    config, asked = keywords["run_config"], keywords["tune_config"]
    assert (config.storage_path, config.name) == (str(run.folder.parent), run.folder.name)
    assert config.failure_config.max_failures == 4
    assert config.callbacks == ["r"]
    assert (asked.scheduler, asked.search_alg, asked.num_samples) == ("s", "o", -1)
    assert asked.trial_dirname_creator is trial_folder
    assert "param_space" not in keywords  # the searcher hands out whole configurations


def test_trainable_knows_the_task_and_the_run(run, told):
    function, _ = told(run)
    keywords = function.keywords
    assert keywords["task_values"] == run.sweep["task"]
    assert keywords["run_folder"] == run.folder
    assert keywords["count_recorded"](CONFIGS[0].digest) == 0


def test_trials_of_a_run_in_a_storage_ask_its_desk(run, monkeypatch):
    remote = SimpleNamespace(recorded=lambda digest: 7)
    with monkeypatch.context() as patched:
        patched.setattr(tune, "with_resources", lambda function, resources: function)
        function = _trainable(run, {"cpu": 1}, remote)
    assert function.keywords["remote"] is remote
    assert function.keywords["count_recorded"](CONFIGS[0].digest) == 7


ASK_WORKER = """
import json, os, ray
from search.sweep import start_ray
start_ray(2, 1)
print(json.dumps(ray.get(ray.remote(num_gpus=0.5)(lambda: dict(os.environ)).remote())))
"""


@pytest.mark.slow
def test_trials_reach_the_mps_daemon_that_the_sweep_reaches(repository):
    """Its folder arrives in them, and they see the GPU by the number that it has there."""
    done = subprocess.run(
        [sys.executable, "-c", ASK_WORKER],
        cwd=repository,
        env=os.environ | {"CUDA_MPS_PIPE_DIRECTORY": "/tmp/some-mps"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    environment = json.loads(done.stdout.splitlines()[-1])
    assert environment["CUDA_MPS_PIPE_DIRECTORY"] == "/tmp/some-mps"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"

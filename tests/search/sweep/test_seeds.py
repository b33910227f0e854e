"""A sweep on two seeds a recipe as its user runs it: killed on the way, resumed with a third."""

import pytest

from search.record.recipes import by_recipe
from search.record.run import read_run
from tests.search.policy.test_seed_groups import check_against_the_rule
from tests.sweeps import assert_evaluated_once, run, start_and_hold

pytestmark = pytest.mark.slow


def test_seeds_end_together_though_the_sweep_is_killed_and_grows(make_command, tmp_path):
    command = [*make_command(tmp_path), "--space", "schedules", "--samples", "4", "--seeds", "2"]
    command += ["--set", "learning_rate=3e-3", "--set", "epochs=6", "--set", "evaluations=8"]
    folder = tmp_path / "runs" / "mine"
    process = start_and_hold([*command, "--name", "mine"], folder, 12)
    process.kill()
    process.communicate(timeout=120)
    resumed = run(command[:3], "--resume", str(folder), "--seeds", "3")
    assert resumed.returncode == 0, resumed.stderr
    swept = read_run(folder)
    assert not swept.unfinished
    check_against_the_rule(swept)
    for trials in by_recipe(swept.trials.values()).values():
        assert len(trials) == 3
        assert len({(trial.outcome, len(trial.evaluations)) for trial in trials}) == 1
    assert_evaluated_once(folder)
    assert "wait" in {event.get("decision") for event in read_run(folder).events}

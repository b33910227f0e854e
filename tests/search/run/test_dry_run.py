"""A dry run refuses what a sweep refuses, says what that would take, and leaves nothing behind."""

import re
import shlex
from dataclasses import replace
from itertools import count

import pytest
import torch

from search.plan.grid import plan_trials
from search.run import dry_run
from search.run.__main__ import main
from search.sweep import step_time
from tests.made_runs import asked, finish, made_run
from trainable.config.names import GRAPH
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig
from trainable.engine.cuda_graph import Executor
from trainable.engine.training_step import TrainingStep
from trainable.trial.preparation import Preparation

# Minutes: 96 examples in batches of 8 twice are 24 steps; 8 evaluations of 40 are a third of 40
# more.
TRIAL = 2.0 * (24 + 40 / 3) / 60


@pytest.fixture
def typed(make_command, tmp_path):
    """The words of the command line after `python -m search.run`."""
    return [*make_command(tmp_path)[3:], "--max-length", "16"]


@pytest.fixture
def two_cores(monkeypatch):
    """On which a step of any shape takes 2 seconds."""
    monkeypatch.setattr(dry_run, "step_seconds", lambda *arguments: 2.0)
    monkeypatch.setattr(dry_run, "available_cores", lambda: 2)


def tree(folder):
    """All that is there, but for data that was loaded."""
    found = [path for path in folder.rglob("*") if "cache" not in path.parts]
    return {path: path.is_file() and path.read_bytes() for path in found}


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (["--max-train-samples", "8"], "evaluations: 8"),
        (["--dataset", "nowhere at all"], "--dataset nowhere at all"),
    ],
)
def test_what_can_not_be_run_is_refused_in_the_same_words(
    typed, mistake, said, tmp_path, refusal_of
):
    command = [*typed, *mistake, "--space", "baselines"]
    errors = [refusal_of(main, *command, *flags) for flags in ([], ["--dry-run"])]
    assert errors[0] == errors[1]
    assert said in errors[0]
    assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize(
    ("asked_for", "last", "minutes", "trials"),
    [
        # The finals of a search take twice as long as its other trials.
        ("baselines", "5  ", 5 * TRIAL / 2, 5),
        ("recipe --samples 10 --seeds 2", "and 9 more, sug", 3 * 10 * TRIAL / 2, 10),
        ("recipe --time-budget 1h", "and more, as time allows, sug", 60, 1 + 16),
        # A third of it for 16 trials of 75 s, two at a time: 30 minutes.
        ("recipe --time-budget 20m", "and 2 more that the space begins", 20, 1 + 2),
        ("recipe --samples 2 --time-budget 20m", "and 1 more that the space begins", 20, 1 + 1),
        ("recipe --time-budget 90s", "and no more: to search, a third", 1.5, 1),
    ],
)
@pytest.mark.usefixtures("two_cores", "three_starts")
def test_new_sweep_is_described_and_nothing_is_left_behind(
    *, typed, asked_for, last, minutes, trials, tmp_path, capsys, monkeypatch
):
    before, counts, expected = tree(tmp_path), [], dry_run.expected_bytes
    monkeypatch.setattr(dry_run, "expected_bytes", lambda *a: counts.append(a[3]) or expected(*a))
    command = [*typed, "--space", *asked_for.split(), "--dry-run"]
    assert main(command) == 0
    assert tree(tmp_path) == before
    assert not (tmp_path / "cache").exists()
    text = capsys.readouterr().out
    for line in ("1  ", last):
        assert any(found.lstrip().startswith(line) for found in text.splitlines()), text
    too_short = "that the space begins" in last or "and no more" in last
    assert ("so give about 30 min or more" in " ".join(text.split())) is too_short
    assert f"About {minutes:.0f} min of training, 2 trials at a time" in text
    assert re.search(r"take up to about \d+ MB, \d+ MB at the end;", text)
    assert counts == [trials]
    assert f"are free at {tmp_path / 'runs'}." in text
    assert f"The teacher's outputs take 0 MB in {tmp_path / 'cache'}, where " in text
    assert shlex.split(text.splitlines()[-1]) == ["python", "-m", "search.run", *command[:-1]]


def test_what_is_left_of_a_run_is_described_and_it_stays_as_it_is(
    typed, tmp_path, capsys, teacher_folder, data_folder
):
    """With a step that is really measured."""
    configs = [
        TrialConfig(alpha=1.0, student_layers=2, batch_size=8, epochs=2, evaluations=8, seed=seed)
        for seed in (0, 1)
    ]
    given = {"teacher": str(teacher_folder), "dataset": str(data_folder), "max_length": 16}
    given["cache"] = str(tmp_path / "cache")
    run = made_run(tmp_path / "runs" / "mine", configs, asked(keep=1, **given))
    finish(run, configs[0])
    before = tree(tmp_path)
    resume = ["--resume", str(run.folder), "--dry-run"]
    assert main(resume) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()[:1]] == ["1"]
    assert "seed 1" in text
    assert re.search(r"About \d+ s of training, \d trials? at a time", text)
    assert tree(tmp_path) == before
    assert main([*resume, "--set", "evaluations=4"]) == 2
    assert "start a new run" in capsys.readouterr().err
    finish(run, configs[1])
    assert main(resume) == 0
    assert "complete; nothing left to run" in capsys.readouterr().out


@pytest.mark.usefixtures("two_cores")
def test_what_a_complete_search_is_asked_for_more_is_described(
    tmp_path, capsys, teacher_folder, data_folder, monkeypatch
):
    monkeypatch.setattr("search.record.run.clock", count().__next__)
    tiny = (("student_layers", 2), ("batch_size", 8), ("epochs", 1), ("evaluations", 2))
    given = {"teacher": str(teacher_folder), "dataset": str(data_folder), "max_length": 16}
    given |= {"cache": str(tmp_path / "cache"), "overrides": tiny, "finals": 0}
    request = asked(space="recipe", searcher="random", samples=1, **given)
    (config,) = plan_trials(request)
    run = made_run(tmp_path / "mine", [config], request, parameters={config.digest: {}})
    finish(run, config)
    for more, said in (
        ([], "complete; nothing left to run"),
        (["--seeds", "2"], "Nothing was run. Start it with"),
        (["--finals", "2"], "the default and up to 2 of the best"),
    ):
        assert main(["--resume", str(run.folder), "--dry-run", *more]) == 0
        assert said in capsys.readouterr().out
    # A search that has begun goes on, whatever a step would take here.
    begun = replace(request, finals=2, samples=None, time_budget=600.0)
    run = made_run(tmp_path / "begun", [config], begun, parameters={config.digest: {}})
    finish(run, config)
    assert main(["--resume", str(run.folder), "--dry-run"]) == 0
    assert "and more, as time allows, suggested by random" in capsys.readouterr().out


def test_what_is_timed_is_what_the_sweep_will_run(loaded, inputs, make_config, monkeypatch):
    """Captured steps with fused attention, if trials have these, without warm-up and capture."""
    now, captured, fused = [0.0], [], []

    def capture(body):
        now[0] += 60.0
        captured.append(body)
        return lambda: now.append(now.pop() + 0.5) or body()

    def warm_up(step, parts):
        now[0] += 0.0 if captured else 90.0
        return body(step, parts)

    body = TrainingStep.body
    monkeypatch.setattr(TrainingStep, "body", warm_up)
    monkeypatch.setattr(step_time, "make_executor", lambda *_: Executor(capture))
    monkeypatch.setattr(step_time, "fuse_attention", lambda *of: fused.append(of))
    monkeypatch.setattr(step_time.time, "perf_counter", lambda: now[0])
    arguments, before = (Preparation.load(loaded), make_config()), torch.get_rng_state()
    fastest = Execution(GRAPH, flash_attention=True)
    assert step_time.step_seconds(*arguments, fastest) == 0.5
    assert (len(captured), len(fused)) == (1, 1)
    step_time.step_seconds(*arguments, Execution(GRAPH))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(fused) == 1

"""What a run keeps on disk: counted by hand, and against files that trials really wrote."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from search.disk import (
    best_trials,
    bytes_used,
    in_words,
    kept_students,
    kept_trials,
    most_checkpoint_bytes,
    prune,
)

from search.record import GIVE_UP, RETRY, RETRY_ALONE, create_run, read_run
from search.request import Request
from trainable.checkpoint import HEADER_BYTES, STATE, checkpoint_bytes, save_checkpoint
from trainable.config import TrialConfig
from trainable.trial import Trial

NAMES = ["best", "good", "poor", "stopped", "stopped early", "failed", "running", "pending"]
NAMES += ["tried again", "waits to be alone"]
CONFIGS = {
    name: TrialConfig(alpha=0.5, evaluations=3, seed=number) for number, name in enumerate(NAMES)
}


def evaluated(name, n, best5, decision="continue"):
    values = {"evaluations": n, "accuracy": best5, "best5_accuracy": best5}
    event = {"event": "evaluation", "decision": decision, "evaluation": values}
    return event | {"trial": CONFIGS[name].digest}


def failed(name, then):
    return {"event": "failure", "reason": "x", "then": then, "trial": CONFIGS[name].digest}


STORY = [
    *(evaluated("poor", n, 0.3) for n in (1, 2, 3)),
    *(evaluated("best", n, 0.7) for n in (1, 2, 3)),
    *(evaluated("good", n, 0.6) for n in (1, 2, 3)),
    evaluated("stopped early", 1, 0.8, "stop"),
    evaluated("stopped", 1, 0.9),
    evaluated("stopped", 2, 0.9, "stop"),
    evaluated("failed", 1, 0.95),
    failed("failed", GIVE_UP),
    evaluated("running", 1, 0.1),
    evaluated("tried again", 1, 0.2),
    failed("tried again", RETRY),
    evaluated("waits to be alone", 1, 0.2),
    failed("waits to be alone", RETRY_ALONE),
]
ENDED = ["best", "good", "poor", "stopped", "stopped early"]  # best first
OPEN = ["running", "pending", "tried again", "waits to be alone"]
STUDENT = "student-1.safetensors"


@pytest.fixture
def make_run(tmp_path):
    """A run with every outcome, each trial with a state, a student and a file of its own."""

    def make(keep):
        run = create_run(tmp_path / "run", {"keep": keep}, list(CONFIGS.values()))
        for event in STORY:
            run.append(event)
        for config in CONFIGS.values():
            folder = run.folder / config.folder_name
            folder.mkdir(exist_ok=True)
            for file in (STATE, STUDENT, "result.json"):
                (folder / file).write_text("x" * 100)
        return run

    return make


def trials_with(run, file):
    return {name for name, config in CONFIGS.items() if (folder_of(run, config) / file).exists()}


def folder_of(run, config):
    return run.folder / config.folder_name


def test_finished_trials_come_before_stopped_ones_each_by_falling_best5(make_run):
    found = [trial.config for trial in best_trials(make_run(0))]
    assert found == [CONFIGS[name] for name in ENDED]


@pytest.mark.parametrize("keep", range(7))
def test_exactly_the_best_students_are_kept(make_run, keep):
    run = make_run(keep)
    prune(run)
    assert trials_with(run, STUDENT) == {*ENDED[:keep], *OPEN}
    assert len(kept_students(run)) == min(keep, 5) + len(OPEN)


def test_seeds_stand_where_their_mean_belongs(tmp_path):
    """However lucky the best seed of another recipe was."""
    lucky, steady = (
        [replace(TrialConfig(alpha=alpha, evaluations=1), seed=seed) for seed in (0, 1)]
        for alpha in (0.25, 0.75)
    )
    run = create_run(tmp_path / "run", {"keep": 2}, [*lucky, *steady])
    for config, best5 in zip([*lucky, *steady], (0.95, 0.75, 0.89, 0.9), strict=True):
        values = {"evaluations": 1, "accuracy": best5, "best5_accuracy": best5}
        event = {"event": "evaluation", "decision": "stop", "evaluation": values}
        run.append(event | {"trial": config.digest})
    found = [trial.config for trial in best_trials(run)]
    assert found == [steady[1], steady[0], lucky[0], lucky[1]]


@pytest.mark.parametrize("keep", [0, 3])
def test_states_of_trials_that_ended_are_removed_and_no_others(make_run, keep):
    run = make_run(keep)
    prune(run)
    assert trials_with(run, STATE) == set(OPEN)


def test_nothing_but_checkpoints_is_removed(make_run):
    run = make_run(0)
    before = {path for path in run.folder.rglob("*") if path.suffix != ".safetensors"}
    prune(run)
    assert {p for p in run.folder.rglob("*") if p.suffix != ".safetensors"} == before
    assert read_run(run.folder) == run


def test_pruning_again_changes_nothing(make_run):
    run = make_run(2)
    prune(run)
    before = sorted(run.folder.rglob("*"))
    prune(run)
    assert sorted(run.folder.rglob("*")) == before


def test_student_is_removed_when_a_better_trial_ends(make_run):
    run = make_run(1)
    prune(run)
    assert trials_with(run, STUDENT) == {"best", *OPEN}
    for n in (2, 3):
        run.append(evaluated("running", n, 0.75))
    prune(run)
    assert trials_with(run, STUDENT) == {"running", *OPEN}
    assert "running" not in trials_with(run, STATE)


def test_trials_without_files_are_no_error(make_run):
    run = make_run(1)
    for config in CONFIGS.values():
        for file in (STATE, STUDENT):
            (folder_of(run, config) / file).unlink()
    prune(run)
    assert kept_students(run) == []


def test_of_equal_scores_the_first_planned_is_kept(tmp_path):
    run = create_run(tmp_path, {"keep": 1}, [CONFIGS["best"], CONFIGS["good"]])
    for name in ("good", "best"):
        for n in (1, 2, 3):
            run.append(evaluated(name, n, 0.5))
    assert [trial.config for trial in best_trials(run)] == [CONFIGS["best"], CONFIGS["good"]]


def test_bytes_are_those_of_all_files_and_no_link_is_followed(tmp_path):
    run = create_run(tmp_path / "run", {"keep": 0}, [])
    written = sum(path.stat().st_size for path in run.folder.iterdir())
    (run.folder / "a" / "b").mkdir(parents=True)
    (run.folder / "a" / "b" / ".hidden").write_bytes(bytes(12345))
    (tmp_path / "large").write_bytes(bytes(10**6))
    link = run.folder / "link"
    link.symlink_to(tmp_path / "large")
    assert bytes_used(run) == written + 12345 + link.lstat().st_size


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 MB"),
        (94_600_000, "95 MB"),
        (999_000_000, "999 MB"),
        (10**9, "1.0 GB"),
        (1_740_000_000, "1.7 GB"),
    ],
)
def test_sizes_in_words(size, words):
    assert in_words(size) == words


KINDS = {
    "shallow": {"student_layers": 1, "aligned_layers": "1"},
    "deep": {"student_layers": 4},
    "narrow": {"initialisation": "random", "student_width": 16},
}


@pytest.fixture
def run_of(task, tmp_path):
    def make(*configs, keep=0):
        return create_run(tmp_path / "run", {"keep": keep, "task": task.to_dict()}, list(configs))

    return make


@pytest.fixture
def start(task, cpu):
    """A trial before its first step."""
    return lambda config: Trial.start(config, task, cpu)


def tensor_bytes(path, without=()):
    """Of the tensors in a file, but for those whose names begin so."""
    tensors = load_file(path)
    return sum(t.nbytes for name, t in tensors.items() if not name.startswith(without))


@pytest.mark.parametrize("kind", KINDS)
def test_state_and_student_are_as_large_as_said_but_for_headers(
    task, make_config, start, tmp_path, kind
):
    """The narrow student has projections to the teacher's width, which are trained, too."""
    config = make_config(**KINDS[kind])
    trial = start(config)
    next(iter(trial.run()))
    save_checkpoint(trial, tmp_path)
    (student,) = tmp_path.glob("student-*")
    small = ("random.", "means.", "optimiser.step.")
    trained = tensor_bytes(tmp_path / STATE, without=small), tensor_bytes(student)
    assert trained[1] == sum(4 * weight.numel() for weight in trial.student.parameters())
    assert checkpoint_bytes(config, task) == tuple(size + HEADER_BYTES for size in trained)
    for path, size in zip((tmp_path / STATE, student), trained, strict=True):
        assert size < path.stat().st_size < size + HEADER_BYTES


def test_most_bytes_by_hand(task, make_config, run_of):
    """Old and new state, old and new student a place, and the students kept."""
    deep, shallow = (make_config(**KINDS[kind]) for kind in ("deep", "shallow"))
    run = run_of(shallow, deep, replace(deep, seed=1), keep=5)
    state, student = checkpoint_bytes(deep, task)  # the largest counts
    for places in (1, 4):
        most = most_checkpoint_bytes(run, places)
        assert most == places * 2 * (state + student) + 5 * student
    run.sweep["keep"] = 0
    assert most_checkpoint_bytes(run, 3) == 6 * (state + student)
    run.sweep["scheduler"] = "asha"  # then one seed may wait for the other in each of three places
    assert most_checkpoint_bytes(run, 3) == 9 * (state + student)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_at_rest_are_below_the_most(make_config, start, run_of, kind):
    config = make_config(**KINDS[kind])
    run, trial = run_of(config), start(config)
    folder = run.folder / config.folder_name
    for _ in trial.run():
        save_checkpoint(trial, folder)
        written = sum(path.stat().st_size for path in folder.iterdir())
        assert written <= most_checkpoint_bytes(run, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_being_replaced_are_below_the_most(
    make_config, start, run_of, monkeypatch, kind
):
    """Old and new stand side by side; that is when a disk gets full."""
    config = make_config(**KINDS[kind])
    run, trial = run_of(config), start(config)
    folder, replace_file, sizes = run.folder / config.folder_name, Path.replace, []

    def measured(path, target):
        sizes.append(sum(file.stat().st_size for file in folder.iterdir()))
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", measured)
    for evaluation in trial.run():
        better = replace(evaluation, accuracy=evaluation.evaluations / 10)
        trial.history[-1] = better  # so that each has a new student
        save_checkpoint(trial, folder)
    assert len(sizes) == 6
    assert max(sizes) <= most_checkpoint_bytes(run, 1)


def test_students_on_the_front_are_kept_beside_the_best(tmp_path):
    """The cheapest has the lowest score, and nothing can replace it."""
    configs = [TrialConfig(alpha=0.5, evaluations=1, student_layers=n) for n in (3, 2, 1)]
    request = Request("schedules", "mini", cache="", against="depth")
    plan = {"keep": 1, "requests": [request.to_dict()]}
    run = create_run(tmp_path / "run", plan, [*configs, replace(configs[2], seed=1)])
    for trial, best5 in zip(run.trials.values(), (0.9, 0.7, 0.75, 0.8), strict=True):
        values = {"evaluations": 1, "accuracy": best5, "best5_accuracy": best5}
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append(event | {"trial": trial.config.digest})
    assert [trial.best5 for trial in kept_trials(run)] == [0.9, 0.8, 0.9]
    run.sweep["requests"] = []
    assert [trial.best5 for trial in kept_trials(run)] == [0.9]

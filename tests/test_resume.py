"""A run opened again: what it is asked for more, what is said of damage, what is refused."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from search.arguments import parse_arguments
from search.draws import starting_draws
from search.plan import plan_trials, possible_trials
from search.record import GIVE_UP, PARAMETERS, RECORD, SWEEP, create_run, read_run
from search.remote_runs import SHARED, local_runs
from search.request import Request
from search.resume import reopen
from trainable.checkpoint import STATE, save_checkpoint
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.files import write_json
from trainable.remote import share_folder
from trainable.storage import Storage
from trainable.task import Task
from trainable.teacher_outputs import ARRAY
from trainable.trial import Trial

TINY = {"student_layers": 2, "batch_size": 8, "precision": "fp32"}
SCHEDULES = Request("schedules", "mini", cache="cache", overrides=TINY)
WHOLE = plan_trials(SCHEDULES)
DRAWN = WHOLE[:3]


def unexpected(request, configs, console):
    raise AssertionError("nothing is missing")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """One without a GPU, and nothing to be prepared unless a test says so."""
    monkeypatch.setattr("trainable.environment.best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("search.preparation.prepare_again", unexpected)


@pytest.fixture
def prepare_again(monkeypatch, task):
    """Lets the task be made again, as this one if any; returns the calls."""

    def allow(task=task):
        calls = []

        def prepare(request, configs, console):
            calls.append((request, list(configs)))
            return task

        monkeypatch.setattr("search.preparation.prepare_again", prepare)
        return calls

    return allow


@pytest.fixture
def make_run(tmp_path, task):
    """A new run of what this request asks for, with the tiny task."""

    def make(request=SCHEDULES, configs=None, of=task, runs=tmp_path / "runs"):
        sweep = {
            "requests": [request.to_dict()],
            "max_concurrent": None,
            "trials_per_gpu": 4,
            "keep": 5,
            "retries": 2,
            "task": of.to_dict(),
        }
        configs = configs or plan_trials(request)
        if request.searched:
            sweep[PARAMETERS] = starting_draws(request, configs)
        return read_run(create_run(runs / "mine", sweep, configs).folder)

    return make


def resume(run, *argv):
    """Opens the run again as the command line does; returns it and the lines said."""
    console = Console(file=io.StringIO(), width=60, highlight=False, markup=False)
    opened = read_run(run.folder)
    reopen(opened, parse_arguments(["--resume", "mine", *argv]), console)
    found = read_run(run.folder)
    assert (found.trials, found.next_number) == (opened.trials, opened.next_number)
    assert found.sweep == json.loads(json.dumps(opened.sweep))
    return found, console.file.getvalue().splitlines()


def refused(run, *argv):
    """The one line of the user's error that resuming must end in; the run stays as it was."""
    before = files(run.folder)
    with pytest.raises(UserError) as caught:
        resume(run, *argv)
    assert files(run.folder) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluate(run, config, n=1, *, decision="continue"):
    values = {"evaluations": n, "accuracy": 0.5, "best5_accuracy": 0.5}
    event = {"event": "evaluation", "decision": decision, "evaluation": values}
    run.append(event | {"trial": config.digest})


def end(run, *, of=None):
    for config in of or [trial.config for trial in run.trials.values()]:
        evaluate(run, config, decision="stop")


def configs_of(run):
    return [trial.config for trial in run.trials.values()]


# What is asked for beyond the plan.


def test_run_that_is_whole_is_left_as_it_is(make_run):
    run = make_run()
    before = files(run.folder)
    found, said = resume(run)
    assert (found, said) == (run, [])
    assert files(run.folder) == before


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize(
    ("flag", "key"),
    [
        ("--max-concurrent", "max_concurrent"),
        ("--trials-per-gpu", "trials_per_gpu"),
        ("--keep", "keep"),
        ("--retries", "retries"),
    ],
)
def test_flags_of_operation_are_kept_in_the_plan(make_run, flag, key, ended):
    run = make_run()
    if ended:
        end(run)
    found, said = resume(run, flag, "7")
    assert said == []
    assert found.sweep == {**run.sweep, key: 7, "revision": 1}
    assert found.trials == run.trials
    assert json.loads((run.folder / SWEEP).read_text())[key] == 7
    before = files(run.folder)
    assert resume(run, flag, "7")[0] == found
    assert resume(run)[0] == found
    assert files(run.folder) == before


def test_tracking_can_be_turned_on_and_off(make_run):
    run = make_run()
    assert resume(run, "--swanlab", "offline")[0].sweep["swanlab"] == "offline"
    assert resume(run)[0].sweep["swanlab"] == "offline"
    assert resume(run, "--swanlab", "off")[0].sweep["swanlab"] == "off"


@pytest.mark.parametrize("flag", ["--keep", "--retries"])
def test_nought_is_a_value(make_run, flag):
    found, _ = resume(make_run(), flag, "0")
    assert found.sweep[flag.removeprefix("--")] == 0


def with_seed(configs, *seeds):
    return [replace(config, seed=seed) for seed in seeds for config in configs]


def of_logits(initialisation, temperature):
    rate = {"random": 1e-4, "teacher_spread": 5e-5}[initialisation]
    sizes = TINY | {"epochs": 2, "evaluations": 8, "learning_rate": rate}
    return TrialConfig(initialisation=initialisation, alpha=0.5, temperature=temperature, **sizes)


@pytest.mark.parametrize(
    ("argv", "new"),
    [
        (["--seeds", "3"], with_seed(DRAWN, 1, 2)),
        (["--samples", "5"], WHOLE[3:5]),
        (["--samples", "2"], []),
        (["--seeds", "1"], []),
        (["--samples", "4", "--seeds", "2"], [WHOLE[3], *with_seed(WHOLE[:4], 1)]),
        (["--set", "temperature=4"], [replace(config, temperature=4.0) for config in DRAWN]),
        (
            ["--space", "logits"],
            [of_logits(i, t) for i in ("random", "teacher_spread") for t in (1.0, 2.0, 4.0)],
        ),
        (["--space", "schedules"], []),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_only_what_the_run_lacks_is_added_at_its_end(make_run, prepare_again, argv, new):
    run = make_run(replace(SCHEDULES, samples=3))
    prepare_again()
    evaluate(run, DRAWN[0])
    found, said = resume(run, *argv)
    assert configs_of(found)[:3] == DRAWN
    assert set(configs_of(found)[3:]) == set(new)
    assert len(found.trials) == 3 + len(new)
    assert said[0] == f"{len(new)} more trial(s); those already in the run are not run again."
    assert {digest: found.trials[digest] for digest in run.trials} == run.trials
    again, said = resume(run, *argv)
    assert said[0].startswith("0 more trial(s)")
    assert again.trials == found.trials


@pytest.mark.parametrize(
    ("argv", "count"),
    [
        (["--add", "sharpness=5"], 2 * 4),
        (["--add", "sharpness=5", "--add", "sharpness=4"], 2 * 4 * 2),
        (["--add", "alpha=0.25"], 2),
        (["--add", "initialisation=teacher_lower"], 9),
        (["--add", "sharpness=3"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_added_values_add_their_trials(make_run, prepare_again, argv, count):
    run = make_run()
    prepare_again()
    before = set(run.trials)
    found, _ = resume(run, *argv)
    assert len(found.trials) == 18 + count
    keys = {pair.partition("=")[0] for pair in argv[1::2]}
    for config in configs_of(found)[18:]:
        values = [f"{key}={config.to_dict()[key]}".removesuffix(".0") for key in keys]
        assert set(values) <= set(argv)
    assert set(found.trials) >= before
    again, said = resume(run, *argv)
    assert again.trials == found.trials
    assert said[0].startswith("0 more trial(s)")


def test_additions_add_up_over_sessions(make_run, prepare_again):
    """Sharpness 5 first, then another initialisation, which then takes sharpness 5, too."""
    run = make_run()
    prepare_again()
    resume(run, "--add", "sharpness=5")
    found, _ = resume(run, "--add", "initialisation=teacher_lower")
    product = {(c.initialisation, c.alpha_schedule, c.sharpness) for c in configs_of(found)}
    assert len(product) == len(found.trials) == 3 * (1 + 4 * 3)


def test_another_space_does_not_take_the_last_ones_additions_and_samples(make_run, prepare_again):
    run = make_run(replace(SCHEDULES, samples=3, additions=(("sharpness", 5.0),)))
    before = len(run.trials)
    prepare_again()
    found, _ = resume(run, "--space", "baselines")
    assert len(found.trials) == before + 5
    assert Request.from_dict(found.sweep["requests"][-1]) == replace(SCHEDULES, space="baselines")


def test_seeds_are_for_all_that_was_asked_for(make_run, prepare_again):
    run = make_run(replace(SCHEDULES, samples=2))
    prepare_again()
    resume(run, "--space", "baselines")
    found, said = resume(run, "--seeds", "2")
    assert said[0].startswith("7 more trial(s)")
    once = [config for config in configs_of(found) if config.seed == 0]
    assert [config for config in configs_of(found) if config.seed] == with_seed(once, 1)


def test_more_trials_after_the_run_was_complete_are_all_that_is_open(make_run, prepare_again):
    run = make_run(replace(SCHEDULES, samples=2))
    prepare_again()
    end(run)
    found, _ = resume(run, "--seeds", "2")
    outcomes = [trial.outcome for trial in found.trials.values()]
    assert outcomes == ["stopped", "stopped", "pending", "pending"]


def test_asking_twice_leaves_the_plan_as_it_is(make_run, prepare_again):
    run = make_run(replace(SCHEDULES, samples=2))
    prepare_again()
    found, _ = resume(run, "--samples", "3")
    before = files(run.folder)
    assert resume(run, "--samples", "3")[0] == found
    assert files(run.folder) == before


def test_more_trials_have_the_runs_precision(make_run, prepare_again):
    """It was measured, or else decides the teacher's outputs that all trials share."""
    overrides = {key: value for key, value in TINY.items() if key != "precision"}
    request = replace(SCHEDULES, samples=2, overrides=overrides)
    run = make_run(request, [replace(c, precision="bf16") for c in plan_trials(request)])
    prepare_again()
    found, _ = resume(run, "--samples", "4", "--seeds", "2")
    assert {config.precision for config in configs_of(found)} == {"bf16"}
    assert len(found.trials) == 8


def test_another_precision_is_not_passed_over_in_silence(make_run, prepare_again):
    run = make_run(replace(SCHEDULES, samples=2))
    prepare_again()
    assert "precision" in refused(run, "--set", "precision=bf16")


def test_another_number_of_evaluations_is_refused(make_run):
    run = make_run(replace(SCHEDULES, samples=2))
    message = refused(run, "--set", "evaluations=4")
    assert message.startswith("evaluations: 4, ")
    assert "8 each" in message
    assert "mine" in message


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--set", "epoch=1"], "did you mean epochs?"),
        (["--set", "epochs"], "--set epochs: give KEY=VALUE"),
        (["--set", "sharpness=2"], "--set sharpness=2.0: the space schedules sets it itself"),
        (["--add", "epochs=3"], "--add epochs=3: the space schedules does not vary it"),
        (["--add", "sharpness=-1"], "sharpness: -1.0 must be above 0.0"),
        (["--space", "baselines", "--set", "temperature=4"], "changes nothing in any trial"),
    ],
)
def test_mistake_is_refused_and_the_run_stays_as_it_was(make_run, argv, said):
    assert said in refused(make_run(replace(SCHEDULES, samples=2)), *argv, "--keep", "1")


@pytest.mark.parametrize("flag", ["--set", "--add"])
def test_a_depth_whose_latency_was_not_measured_is_refused(make_run, flag):
    """A trial of it would have no place on the front: the run could not be read any more."""
    settings = {"overrides": {"batch_size": 8, "precision": "fp32"}, "samples": 2}
    run = make_run(Request("baselines", "mini", cache="cache", against="latency", **settings))
    message = refused(run, flag, "student_layers=1")
    assert message.startswith(f"{flag} student_layers=1: --against latency tries 3, 2, ")


def assert_completed(found, task, made, cache):
    """The run's task is this one, but for these outputs, made in the cache with the same values."""
    again = Task.from_dict(found.sweep["task"])
    assert again == replace(task, outputs={**task.outputs, **{k: again.outputs[k] for k in made}})
    for kind in made:
        assert Path(again.outputs[kind]).is_relative_to(cache)
        arrays = [np.load(Path(of.outputs[kind]) / ARRAY) for of in (again, task)]
        np.testing.assert_array_equal(*arrays)


def test_a_pool_that_only_the_new_trials_need_is_made_of_the_teacher_there_is(
    make_run, task, tmp_path
):
    outputs = {kind: task.outputs[kind] for kind in ("logits", "cls")}
    request = replace(SCHEDULES, samples=2, cache=str(tmp_path / "anew"))
    run = make_run(request, of=replace(task, outputs=outputs))
    found, _ = resume(run, "--set", "hidden_pool=mean")
    assert {config.hidden_pool for config in configs_of(found)} == {"cls", "mean"}
    whole = replace(task, outputs={**outputs, "mean": task.outputs["mean"]})
    assert_completed(found, whole, {"mean"}, tmp_path / "anew")


def test_what_cannot_be_trained_on_what_is_there_adds_nothing(make_run):
    message = refused(make_run(replace(SCHEDULES, samples=2)), "--set", "batch_size=64")
    assert message.startswith("evaluations: 8 are more than the trial's 4 steps; ")


def test_what_prepare_refuses_adds_nothing(make_run, own_task, monkeypatch):
    def refuse(request, configs, console):
        raise UserError("--dataset somewhere: no such file or folder")

    monkeypatch.setattr("search.preparation.prepare_again", refuse)
    damage(Path(own_task.tokens), "missing")
    message = refused(make_run(replace(SCHEDULES, samples=2), of=own_task), "--seeds", "2")
    assert message == "--dataset somewhere: no such file or folder"


# What the trials share.


@pytest.fixture
def own_task(task, tmp_path):
    """The task with folders of its own, which may be damaged."""
    folders = {
        "tokens": Path(task.tokens),
        "teacher": Path(task.teacher.folder),
        "logits": Path(task.outputs["logits"]),
    }
    own = {n: str(shutil.copytree(f, tmp_path / "cache" / n)) for n, f in folders.items()}
    return replace(
        task,
        tokens=own["tokens"],
        teacher=replace(task.teacher, folder=own["teacher"]),
        outputs={**task.outputs, "logits": own["logits"]},
    )


def damage(folder, how):
    if how == "missing":
        shutil.rmtree(folder)
    elif how == "changed":
        path = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        next(iter(folder.glob("*.json"))).unlink()


@pytest.mark.parametrize("how", ["missing", "changed", "incomplete"])
@pytest.mark.parametrize("what", ["tokens", "teacher"])
def test_damaged_folder_is_made_again(make_run, prepare_again, own_task, what, how):
    run = make_run(replace(SCHEDULES, samples=2), of=own_task)
    calls = prepare_again()
    folder = Path(own_task.tokens).with_name(what)
    damage(folder, how)
    found, said = resume(run)
    assert said == [f"{folder} is missing or damaged: made again."]
    assert calls == [(replace(SCHEDULES, samples=2), configs_of(run))]
    assert found.sweep["task"] != run.sweep["task"]
    assert Task.from_dict(found.sweep["task"]).tokens != own_task.tokens
    assert found.trials == run.trials


@pytest.mark.parametrize("how", ["missing", "changed", "incomplete"])
def test_damaged_outputs_are_made_again_of_the_teacher_there_is(
    make_run, own_task, task, tmp_path, how
):
    run = make_run(replace(SCHEDULES, cache=str(tmp_path / "anew")), of=own_task)
    folder = Path(own_task.outputs["logits"])
    damage(folder, how)
    found, said = resume(run)
    assert said[0] == f"{folder} is missing or damaged: made again."
    whole = replace(own_task, outputs={**own_task.outputs, "logits": task.outputs["logits"]})
    assert_completed(found, whole, {"logits"}, tmp_path / "anew")
    assert found.trials == run.trials


def test_task_made_again_in_its_place_changes_no_plan(make_run, prepare_again, own_task, tmp_path):
    run = make_run(of=own_task)
    prepare_again(own_task)
    damage(tmp_path / "cache" / "tokens", "missing")
    before = files(run.folder)
    assert resume(run)[0] == run
    assert files(run.folder) == before


@pytest.mark.parametrize("what", ["data", "teacher"])
def test_what_cannot_be_made_again_is_refused(make_run, prepare_again, own_task, tmp_path, what):
    run = make_run(of=own_task)
    damage(tmp_path / "cache" / "tokens", "missing")
    other = "0123456789" * 6 + "0123"
    if what == "data":
        prepare_again(replace(own_task, data_digest=other))
        was = own_task.data_digest
    else:
        prepare_again(replace(own_task, teacher=replace(own_task.teacher, digest=other)))
        was = own_task.teacher.digest
    message = refused(run, "--keep", "1")
    assert message.startswith(f"--resume mine: its {what} (digest {was[:8]})")
    assert "01234567;" in message


@pytest.fixture
def make_elsewhere(make_run, task, tmp_path, monkeypatch):
    """A run in a storage as a second machine has it, where nothing of the first can be reached."""

    def make(of=task):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
        (tmp_path / "first").touch()  # a file: no cache can be made under it
        request = replace(
            SCHEDULES,
            samples=2,
            cache=str(tmp_path / "first" / "cache"),
            dataset=str(tmp_path / "first" / "data"),
        )
        uri = f"file://{tmp_path}/storage"
        places = {str(folder): f"{tmp_path}/first/{folder.name}" for folder in of.folders()}
        run = make_run(request, of=of.moved(places), runs=local_runs(uri))
        shared = {place: share_folder(Storage(uri), Path(at))[0] for at, place in places.items()}
        write_json(run.folder / SHARED, shared)
        return run, tmp_path / "second" / "distillation-search"

    return make


def test_trials_are_added_on_another_machine_with_what_is_fetched_there(make_elsewhere):
    run, cache = make_elsewhere()
    found, said = resume(run, "--seeds", "2")
    assert said == ["2 more trial(s); those already in the run are not run again."]
    assert [trial.config.seed for trial in found.trials.values()] == [0, 0, 1, 1]
    folders = Task.from_dict(found.sweep["task"]).folders()
    assert {folder.relative_to(cache).parts[::2] for folder in folders} == {("fetched", "content")}


def test_another_machine_makes_only_what_lacks_and_in_its_own_cache(make_elsewhere, task):
    outputs = {kind: task.outputs[kind] for kind in ("logits", "cls")}
    run, cache = make_elsewhere(replace(task, outputs=outputs))
    found, _ = resume(run, "--set", "hidden_pool=mean")
    fetched = Task.from_dict(found.sweep["task"])
    whole = replace(fetched, outputs={**fetched.outputs, "mean": task.outputs["mean"]})
    assert_completed(found, whole, {"mean"}, cache / "outputs")
    assert Path(fetched.teacher.folder).is_relative_to(cache / "fetched")


def test_another_machine_prepares_in_its_own_cache_what_the_storage_has_lost(
    make_elsewhere, prepare_again, tmp_path
):
    run, cache = make_elsewhere()
    shutil.rmtree(tmp_path / "storage")
    calls = prepare_again()
    resume(run, "--seeds", "2")
    assert [request.cache for request, _ in calls] == [str(cache)]


def test_complete_run_needs_nothing_of_its_task(make_run, own_task, tmp_path):
    run = make_run(of=own_task)
    end(run)
    shutil.rmtree(tmp_path / "cache")
    assert resume(run, "--keep", "2")[1] == []


def test_run_of_a_gpu_is_refused_where_there_is_none(make_run, task):
    message = refused(make_run(of=replace(task, device="cuda")))
    assert message == "--resume mine: its trials train on cuda, which is not here"


def test_run_of_a_processor_is_refused_where_a_gpu_would_take_over(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr("trainable.environment.best_device", lambda: torch.device("cuda"))
    message = refused(run)
    assert message.startswith("--resume mine: its trials train on the CPU; ")
    assert "CUDA_VISIBLE_DEVICES=" in message


# Damage that is said.


@pytest.mark.parametrize("file", [SWEEP, RECORD])
def test_mended_file_is_said_in_a_line(make_run, file):
    run = make_run()
    end(run)
    (run.folder / file).write_text("")
    _, said = resume(run)
    assert said
    assert all(file in line for line in said)
    assert resume(run)[1] == []


@pytest.fixture
def begun(make_run, task, cpu):
    """A run of two trials; the first has a checkpoint and its evaluation, the second nothing."""
    run = make_run(replace(SCHEDULES, samples=2))
    config = configs_of(run)[0]
    trial = Trial.start(config, task, cpu)
    next(iter(trial.run()))
    evaluate(run, config)
    save_checkpoint(trial, run.folder / config.folder_name)
    return run


def state_of(run, number=0):
    return run.folder / configs_of(run)[number].folder_name / STATE


def student_of(run):
    (student,) = state_of(run).parent.glob("student-*")
    return student


def test_whole_checkpoint_is_not_spoken_of(begun):
    assert resume(begun)[1] == []


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_checkpoint_cut_short_is_said_in_one_line(begun, share):
    content = state_of(begun).read_bytes()
    state_of(begun).write_bytes(content[: int(len(content) * share)])
    words = configs_of(begun)[0].words()
    assert resume(begun)[1] == [f"Checkpoint cut short or not a checkpoint, starts again: {words}."]


def test_missing_checkpoint_of_an_evaluated_trial_is_said(begun):
    state_of(begun).unlink()
    words = configs_of(begun)[0].words()
    assert resume(begun)[1] == [f"Checkpoint missing, starts again: {words}."]


def test_checkpoint_of_another_trial_is_said(begun):
    """Copied there by hand, or left by a version of another format."""
    shutil.copytree(state_of(begun).parent, state_of(begun, 1).parent)
    words = configs_of(begun)[1].words()
    assert resume(begun)[1] == [f"Checkpoint of another config, starts again: {words}."]


def test_checkpoint_of_another_teacher_is_said(begun, task):
    sweep = {**begun.sweep["task"]["teacher"], "digest": "0" * 64}
    begun.replan({"task": {**begun.sweep["task"], "teacher": sweep}}, [])
    words = configs_of(begun)[0].words()
    assert resume(begun)[1] == [f"Checkpoint of another teacher, starts again: {words}."]


def test_trial_that_ended_needs_no_checkpoint(begun):
    config = configs_of(begun)[0]
    state_of(begun).unlink()
    begun.append({"event": "failure", "reason": "x", "then": GIVE_UP, "trial": config.digest})
    assert resume(begun)[1] == []


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("ended", [True, False])
def test_student_cut_short_is_said_and_its_result_stands(begun, share, ended):
    if ended:
        end(begun, of=configs_of(begun)[:1])
    student = student_of(begun)
    content = student.read_bytes()
    student.write_bytes(content[: int(len(content) * share)])
    found, said = resume(begun)
    assert said == [f"Student cut short or not a checkpoint, its result stands: {student}."]
    assert found.trials == begun.trials


def test_each_damage_has_a_line_of_its_own(begun):
    for path in (state_of(begun), student_of(begun), begun.folder / SWEEP):
        path.write_bytes(b"")
    _, said = resume(begun)
    assert [line.split()[0] for line in said] == [SWEEP, "Checkpoint", "Student"]


# Searched runs.


SEARCHED = Request("recipe", "mini", cache="cache", overrides=TINY, searcher="random", samples=4)


def test_a_searched_run_goes_on_for_more_samples(make_run, prepare_again):
    calls, run = prepare_again(), make_run(SEARCHED)
    end(run)
    assert not run.interrupted
    found, _ = resume(run, "--samples", "6")
    assert (found.interrupted, found.to_suggest, len(found.trials)) == (True, 2, 4)
    assert found.request == replace(SEARCHED, samples=6)
    assert calls == []  # what its trials share is there, for all that may be suggested


def test_what_a_searched_run_shares_is_made_again_for_all_that_it_may_suggest(
    make_run, prepare_again, task, tmp_path
):
    gone = replace(task, tokens=str(tmp_path / "gone"))
    calls, run = prepare_again(), make_run(SEARCHED, of=gone)
    resume(run)
    ((_, configs),) = calls
    assert configs == [*plan_trials(SEARCHED), *possible_trials(SEARCHED)]


@pytest.mark.parametrize("flag", ["--time-budget=1h", "--time-budget=90s"])
def test_a_searched_run_goes_on_for_longer(make_run, flag):
    run = make_run(replace(SEARCHED, samples=None, time_budget=60.0))
    run.append({"event": "session", "provenance": {}, "time": run.last_time})
    run.append({"event": "other", "time": run.last_time + 61.0})
    end(run)
    assert not read_run(run.folder).growing
    found, _ = resume(run, flag)
    assert found.growing


def test_more_seeds_of_a_searched_run_come_on_each_of_its_configurations(make_run):
    run = make_run(SEARCHED)
    end(run)
    found, _ = resume(run, "--seeds", "2")
    assert found.interrupted
    found.add_missing_seeds()  # as a session does, after its first event: the night before it is
    found = read_run(found.folder)  # nobody's time
    assert [t.config.seed for t in found.trials.values()] == [0] * 4 + [1] * 4
    assert [t.parameters for t in found.trials.values()] == 2 * list(
        found.sweep[PARAMETERS].values()
    )
    assert found.to_suggest == 0
    again, _ = resume(found, "--seeds", "2")
    assert list(again.trials) == list(found.trials)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--space", "study"], "--space: mine is searched"),
        (["--set", "epochs=1"], "--set: mine is searched"),
        (["--add", "alpha=1"], "--add: mine is searched"),
    ],
)
def test_the_space_of_a_searched_run_stays(make_run, argv, said):
    assert refused(make_run(SEARCHED), *argv).startswith(said)


@pytest.mark.parametrize("argv", [["--space", "recipe"], ["--time-budget", "1h"]])
def test_nothing_can_be_suggested_in_a_listed_run(make_run, argv):
    said = refused(make_run(), *argv)
    assert said.startswith("--resume mine: its trials are listed")
    assert "--space recipe" in said


@pytest.mark.parametrize(
    ("before", "argv", "after"),
    [
        ({"time_budget": 60.0}, ["--samples", "9"], (9, None)),
        ({"samples": 9}, ["--time-budget", "1h"], (None, 3600.0)),
        ({"samples": 9}, ["--samples", "12", "--time-budget", "1h"], (12, 3600.0)),
        ({"samples": 9}, ["--seeds", "2"], (9, None)),
    ],
)
def test_a_limit_that_is_given_takes_the_place_of_the_other(make_run, before, argv, after):
    run = make_run(replace(SEARCHED, **{"samples": None, "time_budget": None, **before}))
    found, _ = resume(run, *argv)
    assert (found.request.samples, found.request.time_budget) == after

"""A run opened again: what it is asked for more, what is printed of damage, what is refused."""

import io
import json
import shutil
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import spaces
from search.plan.grid import plan_trials, possible_trials
from search.policy.still_to_come import finals_or_race_open, is_complete, to_suggest
from search.record.plan_file import SWEEP
from search.record.run import read_run
from search.record.storage import local_runs
from search.run.__main__ import parse_arguments
from search.sweep.extend import asked_changes, extend
from search.sweep.processes.shared_inputs import share_inputs
from search.sweep.summary import write_answers
from spaces import file_digest
from tests.conftest import contents, user_error
from tests.made_runs import asked, evaluated, searched_run, suggested
from trainable.common.files import (
    read_checked_json,
    verified_values,
    write_checked_json,
    write_manifest,
)
from trainable.teacher.outputs import ARRAY
from trainable.trial.checkpoint import STATE, write_checkpoint
from trainable.trial.training_loop import Trial

TINY = (("student_layers", 2), ("batch_size", 8), ("precision", "fp32"))
SCHEDULES = asked(space="schedules", cache="/nowhere", overrides=TINY, scheduler="fifo")
SEARCHED = replace(SCHEDULES, space="recipe", searcher="random", samples=1)
WHOLE = plan_trials(SCHEDULES)
DRAWN = WHOLE[:3]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """One without a GPU, and nothing to be prepared unless a test says so."""

    monkeypatch.setattr("trainable.engine.devices.best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("search.sweep.check_sweep.prepare_again", None)


@pytest.fixture
def prepare_again(monkeypatch, inputs):
    """Lets the inputs be made again, as these if any; returns the calls."""

    def allow(made=inputs):
        calls = []

        def prepare(request, configs, console):
            calls.append((request, list(configs)))
            return made

        monkeypatch.setattr("search.sweep.check_sweep.prepare_again", prepare)
        return calls

    return allow


@pytest.fixture
def make_run(tmp_path, inputs):
    """A new run of what this request asks for, with the tiny inputs."""

    def make(request=SCHEDULES, configs=None, of=inputs, runs=tmp_path / "runs"):
        return read_run(searched_run(runs / "mine", request, configs, inputs=of).folder)

    return make


def resume(run, *argv):
    """Opens the run again as the command line does; returns it and the lines printed."""
    console = Console(file=io.StringIO(), width=60, highlight=False, markup=False)
    opened = read_run(run.folder)
    arguments = parse_arguments(["--resume", "mine", *argv])
    extend(opened, *asked_changes(opened, arguments, console), console)
    found = read_run(run.folder)
    assert (found.plan, found.trials, found.next_number) == (
        opened.plan,
        opened.trials,
        opened.next_number,
    )
    return found, console.file.getvalue().splitlines()


def refused(run, *argv):
    """The one line of the user's error that resuming must end in; the run stays as it was."""
    before, said = contents(run.folder), user_error(resume, run, *argv)
    assert contents(run.folder) == before
    return said


def evaluate(run, config, n=1, *, decision="continue"):
    run.append(evaluated(config, n, decision=decision, predictions="AA=="))


def end(run):
    for config in configs_of(run):
        evaluate(run, config, decision="stop")


def configs_of(run):
    return [trial.config for trial in run.trials.values()]


def with_seed(configs, *seeds):
    return [replace(config, seed=seed) for seed in seeds for config in configs]


# What is asked for beyond the plan.


@pytest.mark.parametrize("ended", [True, False])
def test_options_of_operation_are_kept_in_the_plan(make_run, ended):
    run = make_run()
    if ended:
        end(run)
    argv = ["--max-concurrent", "7", "--trials-per-gpu", "7", "--keep", "0", "--retries", "0"]
    found, printed = resume(run, *argv, "--swanlab", "offline")
    assert printed == []
    options = {"max_concurrent": 7, "trials_per_gpu": 7, "keep": 0, "retries": 0}
    assert found.request == replace(run.request, **options, swanlab="offline")
    assert found.plan.revision == 1
    assert json.loads((run.folder / SWEEP).read_text())["requests"][0]["keep"] == 0
    before = contents(run.folder)
    assert resume(run, *argv)[0] == resume(run)[0] == found
    assert contents(run.folder) == before


@pytest.mark.parametrize(
    ("argv", "new"),
    [
        (["--seeds", "3"], with_seed(DRAWN, 1, 2)),
        (["--samples", "5"], WHOLE[3:5]),
        (["--samples", "2"], []),
        (["--samples", "4", "--seeds", "2"], [WHOLE[3], *with_seed(WHOLE[:4], 1)]),
        (["--set", "temperature=4"], [replace(config, temperature=4.0) for config in DRAWN]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_only_what_the_run_lacks_is_added_at_its_end(make_run, argv, new):
    run = make_run(replace(SCHEDULES, samples=3))
    evaluate(run, DRAWN[0])
    found, printed = resume(run, *argv)
    assert configs_of(found)[:3] == DRAWN
    assert Counter(configs_of(found)[3:]) == Counter(new)
    assert printed[0] == f"{len(new)} new trials; existing ones are not rerun."
    assert found.trials[DRAWN[0].digest].evaluations
    before = contents(run.folder)
    again, printed = resume(run, *argv)
    assert printed[0].startswith("0 new trials")
    assert again == found
    assert contents(run.folder) == before


def test_additions_add_up_over_sessions_but_not_over_spaces(make_run):
    """Sharpness 5 first, then another initialisation, which then takes sharpness 5, too."""
    run = make_run()
    resume(run, "--add", "sharpness=5")
    found, _ = resume(run, "--add", "initialisation=teacher_lower")
    product = {(c.initialisation, c.alpha_schedule, c.sharpness) for c in configs_of(found)}
    assert len(product) == len(found.trials) == 3 * (1 + 4 * 3)
    other, _ = resume(run, "--space", "baselines")
    assert len(other.trials) == len(found.trials) + 5
    assert other.request == replace(SCHEDULES, space="baselines")
    seeded, printed = resume(run, "--seeds", "2")  # of all that was asked for
    assert printed[0].startswith(f"{len(other.trials)} new trials")
    assert len(seeded.trials) == 2 * len(other.trials)


def test_more_trials_have_the_runs_precision_and_no_other(make_run):
    """It is the device's, or else decides the teacher's outputs that all trials share."""
    overrides = tuple(pair for pair in TINY if pair[0] != "precision")
    request = replace(SCHEDULES, samples=2, overrides=overrides)
    run = make_run(request, [replace(c, precision="bf16") for c in plan_trials(request)])
    found, _ = resume(run, "--samples", "4")
    assert {config.precision for config in configs_of(found)} == {"bf16"}
    assert "precision" in refused(run, "--set", "precision=fp32")


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["--set", "evaluations=4"], "evaluations: 4, but the trials of mine have 8 each"),
        (["--add", "sharpness=-1"], "sharpness: -1.0 must be above 0.0"),
        (["--set", "batch_size=64"], "evaluations: 8 are more than the trial's 4 steps; "),
        (["--space", "recipe"], "--resume mine: a grid run cannot be extended"),
        (["--time-budget", "1h"], "--resume mine: a grid run cannot be extended"),
    ],
)
def test_mistake_is_refused_and_the_run_stays_as_it_was(make_run, argv, error):
    assert error in refused(make_run(replace(SCHEDULES, samples=2)), *argv, "--keep", "1")


def test_a_depth_whose_latency_was_not_measured_is_refused(make_run):
    """A trial of it would have no place on the front: the run could not be read any more."""
    shapes = ((3, 1.0), (2, 1.0))
    settings = {"overrides": TINY[1:], "samples": 2, "against": "latency", "shapes": shapes}
    run = make_run(replace(SCHEDULES, space="baselines", **settings))
    message = refused(run, "--set", "student_layers=1")
    assert message.startswith("--set student_layers=1: the space baselines sets student_layers")


# Spaces whose file was edited.

GRID = """
from ray import tune

def grid():
    return {"initialisation": tune.grid_search(["random", "teacher_lower"]),
            "alpha": tune.grid_search([0.25, 0.5])}

def drawn(trial):
    trial.suggest_float("alpha", 0.25, 0.75)
    trial.suggest_categorical("initialisation", ["random", "teacher_spread"])
"""


@pytest.mark.parametrize(
    ("name", "old", "new", "argv", "count"),
    [
        ("grid", "0.25, 0.5", "0.25, 0.9", [], 4),
        ("grid", "def grid", "def gird", [], 4),
        ("grid", "def grid", "# tried\ndef grid", ["--seeds", "2"], 8),
        ("grid", "0.25, 0.5", "0.25, 0.5, 0.9", ["--seeds", "2"], 12),
        ("grid", "0.25, 0.5", "0.25, 0.9", ["--seeds", "2"], None),
        ("grid", "0.25, 0.5", "0.25, 0.9", ["--set", "temperature=3"], None),
        ("grid", "def grid", "def gird", ["--seeds", "2"], None),
        ("drawn", "0.25, 0.75", "0.25, 0.80", ["--samples", "2"], 1),
        ("drawn", "0.25, 0.75", "0.85, 0.95", [], 1),  # all are suggested
        ("drawn", "def drawn", "def other", [], 1),
        ("drawn", "0.25, 0.75", "0.85, 0.95", ["--samples", "2"], None),
        ("drawn", "0.25, 0.75", "0.85, 0.95", ["--seeds", "2"], None),
    ],
)
def test_an_edited_space_is_mentioned_and_grows_only_if_it_still_gives_the_trials(
    make_run, tmp_path, name, old, new, argv, count
):
    (path := tmp_path / "mine.py").write_text(GRID)
    space = f"{path}:{name}"
    searched = {"searcher": "random", "samples": 1} if name == "drawn" else {}
    of_file = {"space": space, "space_digest": file_digest(space), **searched}
    run = make_run(replace(SCHEDULES, **of_file))
    assert resume(run)[1] == []
    path.write_text(GRID.replace(old, new))
    spaces._load_file.cache_clear()
    if count is None:
        message = f"--resume mine: {space} has changed and no longer gives the trials "
        assert refused(run, *argv).startswith(message)
    else:
        found, printed = resume(run, *argv)
        line = f"{space} has changed or is gone; the trials planned stay as they are."
        assert (printed[0], len(found.trials)) == (line, count)
        write_answers(run)


# Searched runs.


def test_a_searched_run_goes_on_for_more_samples_seeds_or_time(make_run):
    run = make_run(SEARCHED)
    end(run)
    assert is_complete(run)
    found, _ = resume(run, "--samples", "5")
    assert (is_complete(found), to_suggest(found), len(found.trials)) == (False, 4, 1)
    found, _ = resume(run, "--time-budget", "1h")  # which takes the other's place
    assert (found.request.samples, found.request.time_budget) == (None, 3600.0)
    for argv in (("--samples", "1", "--seeds", "2"), ("--seeds", "1", "--finals", "1")):
        found, printed = resume(run, *argv)
        said = "--samples takes the place of the time budget; give both to keep it."
        assert (said in printed) == ("--samples" in argv)
        assert finals_or_race_open(found)
        assert (to_suggest(found), is_complete(found)) == (0, False)


def test_more_that_is_asked_for_is_looked_for_whatever_was_decided_before(make_run):
    """Also where the event of the first plan is lost, and nobody knows what that asked for."""
    run = make_run(replace(SEARCHED, samples=1))
    plan = asdict(run.plan)
    more = asdict(replace(run.plan, requests=(replace(run.request, samples=9),)))
    for lost, asked_now, stays in ((0, plan, True), (1, plan, False), (0, more, False)):
        found = read_run(run.folder)
        found.decided, found.exhausted, found.lost = True, True, lost
        found.events = [e for e in found.events if not lost or e["event"] != "plan"]
        found.apply({"event": "plan", "plan": asked_now})
        assert (found.decided, found.exhausted) == (stays, stays)


def test_finals_do_not_go_with_two_objectives_on_resume_either(make_run):
    run = make_run(replace(SEARCHED, against="depth", finals=0, samples=1))
    said = user_error(resume, run, "--finals", "2")
    assert said == "--finals 2: does not go with --against depth"


def test_more_finals_alone_are_refused_where_there_were_some(make_run, tmp_path):
    run = make_run(replace(SEARCHED, finals=1, samples=1))
    final = replace(run.any_config, max_steps=50)
    run.append(suggested(final))
    said = f"--finals 3: {run.folder.name} has had its finals; give more --samples or --time-budget"
    assert user_error(resume, run, "--finals", "3").startswith(said)
    assert to_suggest(resume(run, "--finals", "3", "--samples", "4")[0]) == 3


@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2)])
def test_short_trials_stay_as_they_are_where_finals_are_added_or_given_up(
    make_run, inputs, before, after
):
    made = replace(inputs, examples={**inputs.examples, "transfer": 96})
    run = make_run(replace(SEARCHED, finals=before, transfer="augment", samples=3), of=made)
    default = run.default_recipe
    assert default.transfer_share == (0.0 if before else 4.0)
    found, _ = resume(run, "--finals", str(after))
    assert found.default_recipe == default
    assert found.request.finals == after
    again, _ = resume(found, "--finals", "2") if before else (found, None)
    assert again.default_recipe == default
    assert again.request.transfer_share == 4.0


def test_finals_that_are_wanted_again_have_no_texts_where_none_were_asked_for(make_run, inputs):
    made = replace(inputs, examples={**inputs.examples, "transfer": 96})
    overrides = (*SEARCHED.overrides, ("transfer_share", 0.0))
    run = make_run(replace(SEARCHED, finals=2, transfer="augment", overrides=overrides), of=made)
    for finals in ("0", "2"):
        run, _ = resume(run, "--finals", finals)
    assert run.request.overrides == overrides


@pytest.mark.parametrize(
    "argv", [["--space", "study"], ["--set", "epochs=1"], ["--add", "alpha=1"]]
)
def test_the_space_of_a_searched_run_stays(make_run, argv):
    assert refused(make_run(SEARCHED), *argv).startswith(f"{argv[0]}: mine is searched")


def test_what_a_searched_run_shares_is_made_for_all_that_it_may_suggest(
    make_run, prepare_again, inputs, tmp_path
):
    gone = replace(inputs, tokens=str(tmp_path / "gone"))
    for samples in (1, 2):
        wanted, calls = replace(SEARCHED, samples=samples), prepare_again()
        resume(make_run(wanted, of=gone, runs=tmp_path / str(samples)))
        ((_, configs),) = calls
        planned = plan_trials(wanted)  # of one there is nothing more to suggest
        assert configs == (planned if samples == 1 else possible_trials(wanted, planned))


# What the trials share.


@pytest.fixture
def own_inputs(inputs, tmp_path):
    """The inputs with folders of their own, which may be damaged."""
    own = {"tokens": inputs.tokens, "teacher": inputs.teacher.folder}
    own |= {"logits": inputs.outputs["logits"]}
    places = {str(folder): str(folder) for folder in inputs.folders()}
    copies = {f: shutil.copytree(f, tmp_path / "cache" / name) for name, f in own.items()}
    return inputs.moved(places | {place: str(copy) for place, copy in copies.items()})


def damage(folder, how):
    if how == "missing":
        shutil.rmtree(folder)
    else:
        path = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("how", ["missing", "changed"])
@pytest.mark.parametrize("what", ["tokens", "teacher"])
def test_damaged_folder_is_made_again(make_run, prepare_again, own_inputs, what, how):
    request = replace(SCHEDULES, samples=2)
    own_inputs = replace(own_inputs, outputs_seconds=40.0)  # which the budget has counted
    run, calls = make_run(request, of=own_inputs), prepare_again()
    folder = Path(own_inputs.tokens).with_name(what)
    damage(folder, how)
    found, printed = resume(run)
    assert printed == [f"{folder} is missing or damaged: made again."]
    assert calls == [(request, configs_of(run))]
    assert found.plan.inputs.tokens != own_inputs.tokens
    assert (found.plan.inputs.outputs_seconds, found.seconds) == (40.0, 40.0)
    assert found.trials == run.trials


def test_outputs_are_made_of_the_teacher_there_is(make_run, inputs, own_inputs, tmp_path):
    request = replace(SCHEDULES, samples=2, cache=str(tmp_path / "anew"))
    damage(Path(own_inputs.outputs["logits"]), "changed")
    again = resume(make_run(request, of=own_inputs))[0].plan.inputs
    made = again.outputs["logits"]
    assert again == replace(own_inputs, outputs={**own_inputs.outputs, "logits": made})
    assert Path(made).is_relative_to(tmp_path / "anew")
    arrays = [np.load(Path(place.outputs["logits"]) / ARRAY) for place in (again, inputs)]
    np.testing.assert_array_equal(*arrays)


@pytest.mark.parametrize("what", ["data", "teacher"])
def test_what_cannot_be_made_again_is_refused(make_run, prepare_again, own_inputs, tmp_path, what):
    run = make_run(of=own_inputs)
    damage(tmp_path / "cache" / "tokens", "missing")
    other = "0123456789" * 6 + "0123"
    if what == "data":
        prepare_again(replace(own_inputs, data_digest=other))
        was = own_inputs.data_digest
    else:
        teacher = replace(own_inputs.teacher, digest=other)
        prepare_again(replace(own_inputs, teacher=teacher))
        was = own_inputs.teacher.digest
    message = refused(run, "--keep", "1")
    assert message.startswith(f"--resume mine: its {what} (digest {was[:8]})")
    assert "01234567;" in message


def test_another_machine_fetches_what_the_storage_has(make_run, inputs, tmp_path, monkeypatch):
    """A run in a storage, on a machine where nothing of the first can be reached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    uri = f"file://{tmp_path}/storage"
    request = replace(SCHEDULES, samples=2, cache="/proc/no/cache/here")
    run = make_run(request, of=inputs, runs=local_runs(uri))
    share_inputs(run, Console(file=io.StringIO()))
    places = {str(folder): f"/proc/gone/{folder.name}" for folder in inputs.folders()}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    there = make_run(request, of=inputs.moved(places), runs=local_runs(uri))
    digests = read_checked_json(run.folder / "shared.json")
    moved = {places[path]: digest for path, digest in digests.items()}
    write_checked_json(there.folder / "shared.json", moved)
    found, _ = resume(there, "--seeds", "2")
    assert [trial.config.seed for trial in found.trials.values()] == [0, 0, 1, 1]
    cache = tmp_path / "second" / "distillation-search" / "fetched"
    for mine, theirs in zip(found.plan.inputs.folders(), inputs.folders(), strict=True):
        assert mine.is_relative_to(cache)
        here, there = ({p.name: b for p, b in contents(f).items()} for f in (mine, theirs))
        assert here == there


def test_a_run_of_another_device_is_refused(make_run, inputs, monkeypatch):
    message = refused(make_run(of=replace(inputs, device="cuda")))
    assert message == "--resume mine: its trials train on cuda, which is not here"
    monkeypatch.setattr("trainable.engine.devices.best_device", lambda: torch.device("cuda"))
    message = refused(make_run(runs=Path(make_run().folder).with_name("other")))
    assert message.startswith("--resume mine: its trials train on the CPU; ")


# Damage that is printed.


@pytest.fixture
def begun(make_run, inputs, cpu):
    """A run of two trials; the first has a checkpoint and its evaluation, the second nothing."""
    run = make_run(replace(SCHEDULES, samples=2))
    config = configs_of(run)[0]
    trial = Trial.start(config, inputs, cpu)
    next(iter(trial.run()))
    evaluate(run, config)
    folder = checkpoint_of(run)
    folder.mkdir(parents=True)
    write_checkpoint(trial, folder)
    return run


def checkpoint_of(run, number=0):
    return run.folder / configs_of(run)[number].folder_name / "checkpoint_000000"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("folder", "No checkpoint, the trial starts again"),
        ("events", "Checkpoint of a finished trial, the trial starts again"),
        ("other trial", "Checkpoint of another config, the trial starts again"),
        ("ended", "Checkpoint cut short, its result stands"),
    ],
)
def test_a_checkpoint_that_is_lost_or_not_the_trials_is_one_line(begun, what, said):
    first, second = configs_of(begun)
    folder = checkpoint_of(begun)
    if what == "folder":
        shutil.rmtree(folder.parent)
    elif what == "events":  # it had finished
        values = verified_values(folder)
        (folder / STATE).unlink()
        write_manifest(folder, values)
    elif what == "other trial":
        shutil.copytree(folder.parent, checkpoint_of(begun, 1).parent)
    else:
        evaluate(begun, first, 2, decision="stop")
        (folder / "model.safetensors").unlink()
    found, printed = resume(begun)
    label = (second if what == "other trial" else first).label()
    assert [line for line in printed if "damaged" not in line] == [f"{said}: {label}."]
    assert what != "ended" or found.trials == begun.trials


def test_trials_that_wait_without_a_checkpoint_are_one_line(make_run):
    run = make_run(replace(SCHEDULES, samples=3))
    for config in configs_of(run)[:2]:
        evaluate(run, config, decision="wait")
    assert resume(run)[1] == ["No checkpoint of 2 trials that wait: they start again to go on."]


def test_a_lost_student_of_the_best_is_one_line(make_run):
    run = make_run(replace(SCHEDULES, samples=1))
    (config,) = configs_of(run)
    for number in range(config.evaluations):
        evaluate(run, config, number + 1)
    said = f"No student is left to export, its result stands: {config.label()}."
    assert resume(run)[1] == [said]

"""`python -m search.confirm`: its command line, what it refuses, and whole confirmations."""

import io
import json
import shutil
import signal
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from search import confirm as confirm_module
from search.arguments import OPERATION
from search.confirm import (
    check_asked,
    choose,
    expected_seconds,
    main,
    make_parser,
    operation_of,
    parse_arguments,
    used_seeds,
)
from search.finalists import Confirmation
from search.mirror import Mirror
from search.plan import plan_trials
from search.record import CONFIRMS, READABLE, SWEEP, create_run, read_run
from search.remote_runs import SHARED, fetch_run, local_runs, open_storage
from search.request import Request
from tests.sweeps import numbers, run, start_and_hold
from trainable.arguments import default_cache
from trainable.errors import UserError
from trainable.files import write_json
from trainable.task import Task

REQUEST = Request("schedules", "mini", cache="cache", overrides={"precision": "fp32"})
CONFIGS = plan_trials(REQUEST)


@pytest.fixture
def source(tmp_path, task):
    """A run whose first four trials finished, of falling best5; the others were not begun."""
    sweep = {
        "started": "2026-11-24T10:00:00+00:00",
        "requests": [REQUEST.to_dict()],
        "scheduler": "asha",
        "compare_within": ["initialisation"],
        "grace_evaluations": 2,
        "trials_per_gpu": 1,
        "gpu_sharing": None,
        "max_concurrent": 1,
        "keep": 0,
        "retries": 3,
        "evaluation_sentences": 40,
        "task": task.to_dict(),
    }
    made = create_run(tmp_path / "runs" / "mine", sweep, CONFIGS)
    for rank, config in enumerate(CONFIGS[:4]):
        for number in range(1, config.evaluations + 1):
            finish_evaluation(made, config, number, 0.9 - rank / 100)
    return read_run(made.folder)


def finish_evaluation(of, config, number, accuracy):
    values = {
        "evaluations": number,
        "accuracy": accuracy,
        "best5_accuracy": accuracy,
        "training_seconds": 2.0,
        "evaluation_seconds": 1.0,
    }
    event = {"event": "evaluation", "decision": "continue", "evaluation": values}
    of.append(event | {"trial": config.digest})


def arguments(*more):
    return parse_arguments(["mine", *more])


@pytest.fixture
def refuse(tmp_path, capsys, monkeypatch):
    """Runs a command that must be refused in one line, with nothing written; returns the line."""
    monkeypatch.chdir(tmp_path)

    def refused(*argv):
        before = sorted(tmp_path.rglob("*"))
        try:
            code = main(argv)
        except SystemExit as stopped:
            code = stopped.code
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1), error
        assert error.startswith("error: ")
        assert [p for p in sorted(tmp_path.rglob("*")) if p.name != ".lock"] == before
        return error

    return refused


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], ["RUN"]),
        (["mine", "--seeds", "1"], ["--seeds", "'1'", "at least 2"]),
        (["mine", "--seeds", "x"], ["--seeds", "'x'"]),
        (["mine", "--top", "0"], ["--top", "'0'", "at least 1"]),
        (["mine", "--top", "2", "--trial", "abc"], ["--top 2: not beside --trial"]),
        (["mine", "--name", "a/b"], ["--name a/b"]),
        (["mine", "--keep", "-1"], ["--keep"]),
        (["mine", "--storage", "nowhere://x"], ["--storage nowhere://x"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_flag(refuse, argv, said):
    error = refuse(*argv)
    assert [words for words in said if words not in error] == []


def test_unknown_run_lists_those_there_are(source, refuse):
    assert "RUN nothing: no such run in" in (error := refuse("nothing"))
    assert error.strip().endswith("there: mine")


def test_run_without_a_finished_trial(tmp_path, refuse):
    create_run(tmp_path / "runs" / "mine", {"started": ""}, CONFIGS)
    assert "RUN mine: no trial of it has finished" in refuse("mine")


def test_run_of_another_format(source, refuse):
    plan = json.loads((source.folder / SWEEP).read_text())
    for path in source.folder.glob("**/record.jsonl"):
        path.unlink()
    (source.folder / SWEEP).write_text(json.dumps(plan | {"format": READABLE[0] - 1}))
    error = refuse("mine")
    assert f"written by an older version (format {READABLE[0] - 1}" in error


def test_unknown_trial(source, refuse):
    assert "--trial zzz: no such trial in the run" in refuse("mine", "--trial", "zzz")


@pytest.fixture
def lost(source, tmp_path):
    """The run's tokens: they must be made again."""
    source.replan({"task": source.sweep["task"] | {"tokens": str(tmp_path / "gone")}}, [])


@pytest.mark.usefixtures("lost")
def test_inputs_that_are_gone_are_refused(refuse, monkeypatch):
    def gone(request, configs, console):
        raise UserError("--dataset somewhere: no such file or folder")

    monkeypatch.setattr("search.preparation.prepare_again", gone)
    assert "--dataset somewhere" in refuse("mine")


@pytest.mark.usefixtures("lost")
def test_inputs_that_are_others_now_are_refused(task, refuse, monkeypatch):
    other = Task.from_dict(task.to_dict() | {"data_digest": "0123456789"})
    monkeypatch.setattr("search.preparation.prepare_again", lambda *given: other)
    error = refuse("mine")
    assert f"RUN mine: its data (digest {task.data_digest[:8]}) can't be made again" in error


def test_on_another_machine_it_looks_at_the_cluster_first_and_has_that_machines_cache(
    source, monkeypatch, tmp_path
):
    """The run is one that nodes share."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    write_json(source.folder / SHARED, {})
    source.replan({"address": "auto"}, [])
    folder, done = source.folder.with_name("confirmation"), []
    monkeypatch.setattr(confirm_module, "check_address", lambda *asked: done.append(asked))
    monkeypatch.setattr("search.resume.task_again", lambda *given: Task(**source.sweep["task"]))
    monkeypatch.setattr(confirm_module, "begin", lambda folder, plan, *more: done.append(plan))
    session = Namespace(console=Console(file=io.StringIO()))
    confirm_module.begin_confirmation(source, folder, arguments(), session)
    asked, plan = done
    assert asked == ("auto", tmp_path / "runs")
    (request,) = plan["requests"]
    assert request == REQUEST.to_dict() | {"cache": str(default_cache())}


def test_run_of_a_gpu_is_refused_where_there_is_none(source, refuse):
    if source.sweep["task"]["device"] == "cpu":
        source.replan({"task": source.sweep["task"] | {"device": "cuda"}}, [])
        assert "RUN mine: its trials train on cuda, which is not here" in refuse("mine")


def test_finalists_are_the_best_and_seeds_fresh(source):
    made = choose(source, arguments())
    assert [config.recipe for config in made.finalists] == [c.recipe for c in CONFIGS[:3]]
    assert made.scores == pytest.approx((0.90, 0.89, 0.88))
    assert (made.seeds, made.asked, made.top, made.named) == ((1, 2, 3, 4, 5), (5,), 3, False)
    assert not set(made.seeds) & {config.seed for config in CONFIGS}
    assert len(choose(source, arguments("--top", "9")).finalists) == 4
    assert choose(source, arguments("--seeds", "2")).seeds == (1, 2)


def test_trials_can_be_named_instead(source):
    made = choose(source, arguments("--trial", CONFIGS[7].digest, "--trial", CONFIGS[3].digest))
    assert made.finalists == (CONFIGS[3], CONFIGS[7])
    assert made.scores == (pytest.approx(0.87), None)
    assert made.named


def plan_of(confirmation):
    return {CONFIRMS: confirmation.to_dict(), "started": ""}


def test_seeds_of_earlier_confirmations_are_not_fresh(source):
    first = choose(source, arguments("--seeds", "2"))
    folder = source.folder.parent
    create_run(folder / "mine-confirm", plan_of(first), first.trials())
    assert used_seeds(source) == {0, 1, 2}
    assert choose(source, arguments("--seeds", "2")).seeds == (3, 4)
    other = Confirmation.from_dict(first.to_dict() | {"run": "other", "seeds": [7]})
    create_run(folder / "other-confirm", plan_of(other), other.trials())
    (folder / "damaged").mkdir()
    (folder / "damaged" / SWEEP).write_text("{")
    assert used_seeds(source) == {0, 1, 2}


def test_operation_is_the_runs_where_nothing_is_given(source):
    kept = {"max_concurrent": 1, "keep": 0, "retries": 3}
    kept |= dict.fromkeys(("trials_per_gpu", "swanlab", "address"))
    assert operation_of(source, arguments()) == kept
    given = arguments("--max-concurrent", "4", "--keep", "2", "--trials-per-gpu", "8")
    assert operation_of(source, given) == kept | {
        "max_concurrent": 4,
        "keep": 2,
        "trials_per_gpu": 8,
    }
    source.sweep |= {"gpu_sharing": {"asked": True}, "trials_per_gpu": 4}
    assert operation_of(source, arguments())["trials_per_gpu"] == 4


def test_expected_time_is_the_runs_own(source):
    """An evaluation took 3 s."""
    each = 3.0 * CONFIGS[0].evaluations
    assert expected_seconds(source, CONFIGS[:10], 1) == pytest.approx(10 * each)
    assert expected_seconds(source, CONFIGS[:10], 4) == pytest.approx(2.5 * each)
    for trial in source.trials.values():
        trial.evaluations = []
    assert expected_seconds(source, CONFIGS[:10], 1) is None


@pytest.fixture
def confirmed(source):
    """The confirmation of the run, planned."""
    made = choose(source, arguments("--seeds", "2"))
    return create_run(source.folder.parent / "mine-confirm", plan_of(made), made.trials())


@pytest.mark.parametrize("more", [[], ["--top", "3"], ["--seeds", "9"]])
def test_the_same_is_asked_for(source, confirmed, more):
    assert check_asked(source, arguments(*more), confirmed).seeds == (1, 2)


def test_the_same_trials_are_asked_for(source, confirmed):
    named = [part for config in CONFIGS[2::-1] for part in ("--trial", config.digest)]
    assert check_asked(source, arguments(*named), confirmed).finalists == tuple(CONFIGS[:3])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--top", "2"], "--top 2: mine-confirm has the best 3; give another --name"),
        (["--trial", CONFIGS[0].digest], "mine-confirm has other finalists; give another --name"),
    ],
)
def test_other_finalists_are_refused(source, confirmed, more, said):
    with pytest.raises(UserError) as caught:
        check_asked(source, arguments(*more), confirmed)
    assert said in str(caught.value)


def test_confirmation_of_an_earlier_run_of_that_name_is_refused(source, confirmed):
    source.sweep["started"] = "later"
    with pytest.raises(UserError, match="--name mine-confirm: confirms mine, started 2026"):
        check_asked(source, arguments(), confirmed)


def test_run_that_is_no_confirmation_is_refused(source, refuse):
    create_run(source.folder.parent / "other", {"started": ""}, CONFIGS)
    assert "--name other: a run of its own" in refuse("mine", "--name", "other")


def test_confirmation_of_a_confirmation_is_refused(confirmed, refuse):
    assert "RUN mine-confirm: a confirmation itself, of mine" in refuse("mine-confirm")


def test_folder_that_is_no_run_is_refused(source, refuse):
    (source.folder.parent / "mine-confirm").mkdir()
    (source.folder.parent / "mine-confirm" / "notes.txt").touch()
    assert "mine-confirm exists" in refuse("mine")


def test_confirmation_goes_on_as_the_storage_has_it(source, tmp_path, monkeypatch):
    """On the machine that began it, after it went on on another; and on a third."""
    uri = f"file://{tmp_path}/storage"

    def on_machine(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    def take_there(folder):
        there = open_storage(uri).below(folder.name)
        lease = SimpleNamespace(lost="", check=lambda: None)
        Mirror(folder, there, Console(quiet=True), lease).sync()

    def gone_on(folder, reopen, session):
        return [len(trial.evaluations) for trial in read_run(folder).trials.values()][:2]

    monkeypatch.setattr(confirm_module, "go_on", gone_on)
    monkeypatch.setattr(confirm_module, "begin_confirmation", None)  # would fail
    on_machine("first")
    made = choose(source, arguments("--seeds", "2"))
    begun = create_run(local_runs(uri) / "mine-confirm", plan_of(made), made.trials())
    folders = shutil.copytree(source.folder, local_runs(uri) / "mine"), begun.folder
    for folder in folders:
        take_there(folder)
    on_machine("second")
    there = read_run(fetch_run(uri, "mine-confirm"))
    finish_evaluation(there, made.trials()[0], 1, 0.9)
    take_there(there.folder)
    for machine in ("first", "third"):
        on_machine(machine)
        given = parse_arguments([f"{uri}/mine"])
        assert confirm_module.confirm(given, None) == [1, 0]


def test_every_flag_has_help_and_is_of_use():
    used = {"run", "top", "trials", "seeds", "name", "storage", *OPERATION}
    assert set(vars(arguments())) == used
    assert all(action.help for action in make_parser()._actions)


def test_default_namespace_leaves_the_run_its_choice():
    found = arguments()
    assert found == Namespace(
        run="mine",
        top=None,
        trials=[],
        seeds=None,
        name=None,
        storage="runs",
        **dict.fromkeys(OPERATION),
    )


# Whole confirmations, as a user runs them.


@pytest.fixture(scope="module")
def swept(make_command, tmp_path_factory):
    """A small sweep, looked at through a sample, and the command that confirms it."""
    folder = tmp_path_factory.mktemp("swept")
    options = ["--space", "schedules", "--samples", "6", "--scheduler", "fifo", "--keep", "0"]
    options += ["--search-sentences", "30", "--max-concurrent", "1", "--set", "epochs=8"]
    done = run([*make_command(folder), *options, "--name", "mine"])
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "mine"


def confirm_command(folder, *more):
    return [sys.executable, "-m", "search.confirm", str(folder), "--top", "2", *more]


@pytest.fixture(scope="module")
def confirmed_whole(swept):
    """A confirmation that nothing interrupts: what it printed, and its run."""
    done = run(confirm_command(swept, "--seeds", "3", "--name", "whole"))
    assert done.returncode == 0, done.stderr
    return done.stdout, read_run(swept.with_name("whole"))


@pytest.mark.slow
def test_everything_is_trained_to_the_end_on_fresh_seeds(swept, confirmed_whole):
    _, found = confirmed_whole
    source, made = read_run(swept), Confirmation.from_dict(found.sweep[CONFIRMS])
    assert {trial.outcome for trial in found.trials.values()} == {"finished"}
    assert [trial.config for trial in found.trials.values()] == made.trials()
    assert {trial.config.seed for trial in found.trials.values()} == {1, 2, 3}
    assert set(made.finalists) <= {trial.config for trial in source.trials.values()}
    for key in ("evaluation_sentences", "task"):
        assert found.sweep[key] == source.sweep[key]
    assert found.sweep["scheduler"] == "fifo"
    assert found.sweep["command"].startswith("python -m search.confirm ")


@pytest.mark.slow
def test_first_line_and_answers(confirmed_whole):
    printed, found = confirmed_whole
    made = Confirmation.from_dict(found.sweep[CONFIRMS])
    recipes = len(made.recipes)
    assert printed.startswith(
        f"Confirming mine: 2 finalist(s) and {recipes - 2} baseline(s) on 3 fresh seeds, "
        f"{3 * recipes} trials, about "
    )
    values = json.loads((found.folder / "confirm.json").read_text())
    assert len(values["comparisons"]) == len(made.pairs)
    for comparison in values["comparisons"]:
        assert f"- {comparison['sentence']}\n" in printed
        assert comparison["sentence"] in (found.folder / "confirm.md").read_text()
        assert comparison["difference"]["sentences"] == 40  # the whole split, not the sample
    for recipe, row in zip(made.recipes, values["recipes"], strict=True):
        trials = [t for t in found.trials.values() if t.config.recipe == recipe]
        whole = [trial.evaluations[-1]["whole_accuracy"] for trial in trials]
        assert row["last"] == pytest.approx(sum(whole) / 3)


@pytest.mark.slow
def test_complete_it_answers_again_from_either_command(confirmed_whole, swept):
    printed, found = confirmed_whole
    answers = printed[printed.index("\nConfirmation of mine") : printed.index("\nRun: ")]
    before = numbers(found.folder)
    for command in (
        confirm_command(swept, "--name", "whole"),
        [sys.executable, "-m", "search.run", "--resume", str(found.folder)],
    ):
        again = run(command)
        assert again.returncode == 0, again.stderr
        assert answers in again.stdout
        assert "whole is complete; nothing left to run." in again.stdout
    assert numbers(found.folder) == before
    more = run([sys.executable, "-m", "search.run", "--resume", str(found.folder), "--seeds", "9"])
    assert more.returncode == 2
    assert "a confirmation of mine, to which only seeds can be added" in more.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_interrupted_and_resumed_equals_uninterrupted(swept, confirmed_whole, how):
    """Interrupted with two seeds asked for, gone on with for three."""
    _, whole = confirmed_whole
    storage = shutil.copytree(swept, swept.parent.with_name(how) / "mine").parent
    folder = storage / "mine-confirm"
    process = start_and_hold(confirm_command(storage / "mine", "--seeds", "2"), folder, 11)
    process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    if how == "interrupt":
        assert process.returncode == 130, errors
        last = output.strip().splitlines()[-1]
        assert last == f"python -m search.run --resume {folder}"
        assert "not shown" not in output
    assert read_run(folder).interrupted
    resumed = run(confirm_command(storage / "mine", "--seeds", "3"))
    assert resumed.returncode == 0, resumed.stderr
    assert numbers(folder) == numbers(whole.folder)
    assert json.loads((folder / "sweep.json").read_text())[CONFIRMS]["asked"] == [2, 3]
    compared = [
        json.loads((Path(place) / "confirm.json").read_text())["comparisons"]
        for place in (folder, whole.folder)
    ]
    assert compared[0] == compared[1]
    assert "Seeds were added on the way (2, then 3)" in (folder / "confirm.md").read_text()

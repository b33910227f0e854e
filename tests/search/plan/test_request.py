"""The command line of a sweep: every flag arrives, and a mistake is one line and exit code 2."""

import ast
from dataclasses import fields

import pytest

from search.plan.request import EXTENSION, OPERATION, TRIALS, Request, names_of_kind
from search.run.__main__ import main, make_parser, parse_arguments
from spaces import SPACE_NAMES
from tests.made_runs import asked, made_run
from trainable.config.fields import given
from trainable.config.options import InputOptions
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TrialConfig

SPACE = ["--space", "schedules"]
# Every flag but --help and --dry-run: what is typed and the request's value, or the value alone if
# that is typed; first those that change a run.
CHANGES = {"--space": "study", "--samples": 7, "--seeds": 3, "--finals": 1, "--keep": 0}
CHANGES |= {"--max-concurrent": 3, "--trials-per-gpu": 2, "--retries": 0, "--address": "auto"}
CHANGES |= {"--swanlab": "offline", "--time-budget": ("1.5h", 5400.0)}
CHANGES["--set"] = ("learning-rate=3e-5", (("learning_rate", 3e-5),))
CHANGES["--add"] = ("sharpness=5", (("sharpness", 5.0),))
STAYS = {"--searcher": "random", "--against": "depth", "--seed": 4, "--scheduler": "fifo"}
STAYS |= {"--compare-within": "init,temperature", "--preset": "mini", "--teacher": "some/teacher"}
STAYS |= {"--student": "some/student", "--transfer": ("rest, augment", "rest,augment")}
STAYS |= {"--augment": ("drop=0", (("drop", "0"),)), "--grace-evaluations": 3, "--metric": "mcc"}
STAYS |= {"--dataset": "nyu-mll/glue:sst2", "--max-latency": ("3ms", 3.0), "--cache": "/tmp"}
STAYS |= {"--max-parameters": ("20M", 20.0), "--runtime": "onnx-int8", "--test": "some/data"}
STAYS |= {"--text-column": "first,second", "--label-column": "stars", "--executor": "eager"}
STAYS |= {"--allow-weak-teacher": (None, True), "--max-train-samples": 100, "--max-length": 32}
STAYS |= {"--max-eval-samples": 50, "--eval-subset": 20}
OF_A_REQUEST = {
    flag: value if isinstance(value, tuple) else (str(value), value)
    for flag, value in (CHANGES | STAYS).items()
}


def words(flag):
    """The flag as it is typed."""
    text, _ = OF_A_REQUEST[flag]
    return [flag] if text is None else [flag, text]


def dest(flag):
    (found,) = [a.dest for a in make_parser()._actions if flag in a.option_strings]
    return found


def test_every_field_of_a_request_has_a_flag_and_every_flag_is_known_here():
    flags = {flag for action in make_parser()._actions for flag in action.option_strings}
    beside = {"-h", "--help", "--resume", "--name", "--storage", "--dry-run", "--no-dry-run"}
    assert flags == {*beside, *OF_A_REQUEST, "--no-allow-weak-teacher"}
    found = {"depth", "width", "examples"}  # of the teacher and of the data
    names = {about.name for about in fields(Request)} - found
    assert {dest(flag) for flag in OF_A_REQUEST} == names
    inputs = [about.name for about in fields(InputOptions) if about.name not in found]
    assert sorted([*names_of_kind(EXTENSION, TRIALS, OPERATION), *inputs]) == sorted(names)
    assert {dest(flag) for flag in STAYS} == names - {*names_of_kind(EXTENSION, OPERATION)}


def test_every_flag_is_read_by_some_code(repository):
    """As an attribute, which a flag that nothing reads would not be."""
    read = {
        node.attr
        for package in ("search", "trainable")
        for path in (repository / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert {action.dest for action in make_parser()._actions} - read == {"help"}


def parsed(*argv):
    return Request(**given(parse_arguments(argv), Request))


@pytest.mark.parametrize("flag", OF_A_REQUEST)
def test_flag_arrives_in_its_type(flag):
    _, wanted = OF_A_REQUEST[flag]
    beside = ["--resume", "mine"] if flag not in STAYS else SPACE
    value = given(parse_arguments([*beside, *words(flag)]), Request)[dest(flag)]
    assert (value, type(value)) == (wanted, type(wanted))


def test_what_is_not_asked_for_is_left_open_or_to_the_preset():
    assert parsed(*SPACE) == Request(space="schedules")
    assert parse_arguments(SPACE).__dict__.keys().isdisjoint({"overrides", "additions"})
    for preset in PRESETS:
        assert asked(preset=preset, grace_evaluations=1).effective_preset == PRESETS[preset]
    sized = asked(max_train_samples=11, eval_subset=12, max_length=13).effective_preset
    assert (sized.max_train_samples, sized.eval_subset, sized.max_length) == (11, 12, 13)


@pytest.mark.parametrize("flag", STAYS)
def test_flag_that_a_run_keeps_is_refused_beside_resume(refuse, flag):
    error = refuse("--resume", "mine", *words(flag))
    assert error.startswith(f"error: {flag} ")
    assert "--resume" in error


def test_request_means_the_same_in_another_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "mine.py").write_text("def grid(): return {}")
    monkeypatch.chdir(tmp_path)
    typed = ["--space", "mine.py:grid", "--dataset", "data", "--teacher", "./data", "--cache", "c"]
    request = parsed(*typed)
    assert (request.dataset, request.teacher) == (str(tmp_path / "data"),) * 2
    assert request.cache == str(tmp_path / "c")
    assert request.space == f"{tmp_path}/mine.py:grid"


# Mistakes.


@pytest.fixture
def refuse(tmp_path, refusal_of, monkeypatch):
    """Runs a command that must be refused; returns the one line it wrote to stderr."""

    def files():
        paths = [path for path in tmp_path.rglob("*") if path.name != ".lock"]
        return {path: path.read_bytes() if path.is_file() else None for path in paths}

    monkeypatch.setattr("trainable.data.sources.load_sources", None)
    monkeypatch.setattr("search.sweep.check_sweep.load_sources", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        before = files()
        error = refusal_of(main, *argv)
        assert error.startswith("error: ")
        assert files() == before
        return error

    return run


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--space schedule", "did you mean schedules?"),
        ("--searcher optunna", "did you mean optuna?"),
        ("--max-concurrent 0", "at least 1"),
        ("--time-budget 2h30", "30m or 2h"),
        ("--compare-within initialization", "did you mean initialisation?"),
        ("--compare-within init,", "''"),
        ("--set epochs", "KEY=VALUE"),
        ("--set seed=5", "--set: seed=5: give --seed"),
        ("--transfer rest,", "'rest,': give sources"),
        ("--transfer none,augment", "or none alone"),
        ("--set epoch=1", "did you mean epochs?"),
        ("--set epochs=1.5", "'1.5' is not a whole number"),
        ("--set =1", "''"),
        ("--name a/b", "letters, digits"),
        ("--cache /dev/null", "cannot be written to (Not a directory)"),
        ("--no-such-flag 1", "--no-such-flag"),
    ],
)
def test_bad_flag(refuse, typed, said):
    flag, value = typed.split(" ")
    error = refuse("--space", "baselines", flag, value)
    assert flag in error
    assert said in error


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("study --time-budget 2h", ["--time-budget", "study", "recipe"]),
        ("study --searcher optuna", ["--searcher optuna", "study", "recipe"]),
        ("recipe --searcher grid", ["--searcher grid", "recipe", "optuna"]),
        ("recipe --add alpha=1", ["--add alpha=1", "recipe", "--samples"]),
        ("logits --set temperature=3", ["--set temperature=3.0", "logits", "--add temperature"]),
        ("baselines --storage file:///proc/runs", ["--storage file:///proc/runs: "]),
    ],
)
def test_what_can_not_be_run_is_refused_before_anything_is_loaded(refuse, typed, said):
    error = refuse("--preset", "mini", "--space", *typed.split(" "))
    assert [words for words in said if words not in error] == []


@pytest.mark.parametrize("run", [SPACE, ["--resume", "mine"]])
def test_a_setting_that_is_set_to_two_values_is_refused(refuse, run):
    twice = parsed(*SPACE, *["--set", "epochs=2"] * 2, "--add", "alpha=1", "--add", "alpha=0.5")
    assert dict(twice.overrides) == {"epochs": 2}
    assert twice.additions == (("alpha", 1.0), ("alpha", 0.5))
    error = refuse(*run, "--set", "epochs=1", "--set", "alpha=1", "--set", "epochs=2")
    assert error == "error: --set epochs=1 --set epochs=2: give one of them\n"
    error = refuse(*run, "--augment", "drop=0", "--augment", "drop=0.2")
    assert error == "error: --augment drop=0 --augment drop=0.2: give one of them\n"


def test_name_that_exists_and_run_that_does_not(refuse, tmp_path):
    folder = made_run(tmp_path / "runs" / "mine", [TrialConfig(alpha=0.5)]).folder
    error = refuse("--space", "baselines", "--preset", "mini", "--name", "mine")
    assert f"--name mine: {folder} exists" in error
    assert f"python -m search.run --resume {folder}" in error
    assert f"runs in {folder.parent}: mine" in refuse("--resume", "yours")
    missing = refuse()
    assert [name for name in (*SPACE_NAMES, "--resume") if name not in missing] == []

"""The sweep's command line: a mistake gets one line and exit code 2, before anything is loaded."""

from pathlib import Path

import pytest
from search.arguments import (
    EXTENSION,
    KEEP,
    OPERATION,
    RETRIES,
    default_strata,
    make_parser,
    parse_arguments,
    parse_strata,
    storage_folder,
)
from trainable.locks import LOCK

from search.record import RECORD, create_run
from search.request import parse_additions, parse_overrides
from search.run import main
from spaces import SPACES
from trainable.config import TrialConfig
from trainable.errors import UserError

BASELINES = ["--space", "baselines"]


def unexpected(*arguments, **settings):
    raise AssertionError("inputs were loaded")


def files(folder):
    """All files with their contents; a lock that nobody holds means nothing."""
    found = [path for path in folder.rglob("*") if path.name != LOCK]
    return {path: path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture
def refuse(tmp_path, capsys, monkeypatch):
    """Runs a command that must be refused; returns the one line it wrote to stderr."""
    monkeypatch.setattr("search.preparation.load_inputs", unexpected)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        before = files(tmp_path)
        try:
            code = main(argv)
        except SystemExit as stopped:
            code = stopped.code
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1), error
        assert error.startswith("error: ")
        assert files(tmp_path) == before
        return error

    return run


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--space", "schedule"], ["--space", "'schedule'", "did you mean schedules?"]),
        (["--space", "nothing-near"], ["--space", "'nothing-near'", *SPACES]),
        ([*BASELINES, "--preset", "minni"], ["--preset", "'minni'", "did you mean mini?"]),
        ([*BASELINES, "--scheduler", "asah"], ["--scheduler", "'asah'", "did you mean asha?"]),
        ([*BASELINES, "--max-concurrent", "0"], ["--max-concurrent", "'0'", "at least 1"]),
        ([*BASELINES, "--max-concurrent", "-1"], ["--max-concurrent", "-1"]),
        ([*BASELINES, "--trials-per-gpu", "half"], ["--trials-per-gpu", "'half'", "at least 1"]),
        ([*BASELINES, "--train-sentences", "1e3"], ["--train-sentences", "'1e3'"]),
        ([*BASELINES, "--search-sentences", "0"], ["--search-sentences", "'0'", "at least 1"]),
        ([*BASELINES, "--seed", "x"], ["--seed", "'x'"]),
        ([*BASELINES, "--seed", "-1"], ["--seed", "'-1'", "at least 0"]),
        ([*BASELINES, "--seed", "1.5"], ["--seed", "'1.5'", "at least 0"]),
        ([*BASELINES, "--seeds", "0"], ["--seeds", "'0'", "at least 1"]),
        ([*BASELINES, "--samples", "0"], ["--samples", "'0'", "at least 1"]),
        ([*BASELINES, "--samples", "half"], ["--samples", "'half'", "at least 1"]),
        ([*BASELINES, "--keep", "-1"], ["--keep", "'-1'", "at least 0"]),
        ([*BASELINES, "--keep", "all"], ["--keep", "'all'", "at least 0"]),
        ([*BASELINES, "--retries", "-1"], ["--retries", "'-1'", "at least 0"]),
        ([*BASELINES, "--retries", "0.5"], ["--retries", "'0.5'", "at least 0"]),
        ([*BASELINES, "--swanlab", "ofline"], ["--swanlab", "did you mean offline?"]),
        ([*BASELINES, "--no-such-flag"], ["--no-such-flag"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_flag(refuse, argv, said):
    error = refuse(*argv)
    assert [words for words in said if words not in error] == []


def test_missing_space_lists_those_there_are(refuse):
    error = refuse()
    assert "--space: missing" in error
    assert all(name in error for name in SPACES)
    assert "--resume" in error


RESUME = ["--resume", "mine"]
BESIDE_RESUME = {
    "--storage": "elsewhere",
    "--max-concurrent": "3",
    "--trials-per-gpu": "2",
    "--keep": "0",
    "--retries": "0",
    "--swanlab": "offline",
    "--address": "auto",
    "--space": "study",
    "--set": "epochs=1",
    "--add": "sharpness=5",
    "--seeds": "2",
    "--samples": "4",
    "--time-budget": "90s",
}
NOT_BESIDE_RESUME = {
    "--preset": "mini",
    "--teacher": "some/teacher",
    "--dataset": "some/data",
    "--train-sentences": "100",
    "--evaluation-sentences": "100",
    "--search-sentences": "100",
    "--max-length": "32",
    "--cache": "elsewhere",
    "--executor": "eager",
    "--seed": "1",
    "--name": "yours",
    "--scheduler": "fifo",
    "--compare-within": "all",
    "--searcher": "random",
    "--against": "depth",
}


def test_each_flag_is_allowed_beside_resume_or_not():
    flags = {action.option_strings[-1] for action in make_parser()._actions}
    assert flags == {"--help", "--resume", "--dry-run", *BESIDE_RESUME, *NOT_BESIDE_RESUME}
    named = {action.option_strings[-1]: action.dest for action in make_parser()._actions}
    assert {named[flag] for flag in BESIDE_RESUME} == {"storage", *OPERATION, *EXTENSION}


def test_dry_run_goes_with_a_new_run_and_with_one_that_is_resumed():
    assert parse_arguments(["--space", "study", "--dry-run"]).dry_run
    assert parse_arguments([*RESUME, "--dry-run"]).dry_run
    assert not parse_arguments(RESUME).dry_run


@pytest.mark.parametrize("flag", BESIDE_RESUME)
def test_flag_beside_resume_arrives(flag):
    found = vars(parse_arguments([*RESUME, flag, BESIDE_RESUME[flag]]))
    (name,) = [a.dest for a in make_parser()._actions if flag in a.option_strings]
    wanted = BESIDE_RESUME[flag]
    wanted = [wanted] if flag in ("--set", "--add") else int(wanted) if wanted.isdigit() else wanted
    wanted = 90.0 if flag == "--time-budget" else wanted
    assert found[name] == wanted


@pytest.mark.parametrize("flag", NOT_BESIDE_RESUME)
def test_flag_that_a_run_keeps_is_refused_by_its_name(refuse, tmp_path, flag):
    create_run(tmp_path / "runs" / "mine", {}, [])
    error = refuse(*RESUME, flag, NOT_BESIDE_RESUME[flag])
    assert error.startswith(f"error: {flag} ")
    assert NOT_BESIDE_RESUME[flag] in error
    assert "--resume" in error


def test_what_resume_leaves_to_the_run_is_none():
    found = vars(parse_arguments(RESUME))
    assert {key: found[key] for key in (*OPERATION, "space", "seeds", "samples")} == dict.fromkeys(
        (*OPERATION, "space", "seeds", "samples")
    )
    assert (found["overrides"], found["additions"]) == ([], [])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("temperature=-1", ["temperature", "-1.0", "above 0"]),
        ("learning_rate=abc", ["learning_rate", "'abc'", "a number"]),
        ("learning-rate=abc", ["learning_rate", "'abc'", "a number"]),
        ("learning_rate=nan", ["learning_rate", "nan", "above 0"]),
        ("learning_rate=inf", ["learning_rate", "inf", "finite"]),
        ("epochs=1.5", ["epochs", "'1.5'", "a whole number"]),
        ("epochs=0", ["epochs", "0", "at least 1"]),
        ("evaluations=-3", ["evaluations", "-3", "at least 1"]),
        ("warmup_share=1", ["warmup_share", "1.0", "below 1"]),
        ("hidden_pool=clss", ["hidden_pool", "'clss'", "did you mean cls?"]),
        ("epoch=1", ["'epoch'", "did you mean epochs?"]),
        ("epochs", ["--set epochs", "KEY=VALUE"]),
        ("=1", ["''"]),
        ("student_width=100", ["student_width", "100", "initialisation random"]),
    ],
)
def test_bad_setting(refuse, space, pair, said):
    if space == "logits" and pair.startswith("temperature"):
        said = ["--set temperature", "logits"]
    error = refuse("--space", space, "--set", pair)
    assert [words for words in said if words not in error] == []


@pytest.mark.parametrize(
    ("space", "pair", "said"),
    [
        ("baselines", "temperature=0", ["temperature", "0.0", "above 0"]),
        ("baselines", "sharpness=0", ["sharpness", "0.0", "above 0"]),
        ("layers", "sharpness=-2", ["sharpness", "-2.0", "above 0"]),
        ("logits", "sharpness=1", ["sharpness", "1.0", "fixed has none"]),
    ],
)
def test_bad_setting_that_some_spaces_vary(refuse, space, pair, said):
    error = refuse("--space", space, "--set", pair)
    assert [words for words in said if words not in error] == []


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alpha_schedule", "cosine_grwoth"),
        ("alpha", "1.5"),
        ("alpha", "-0.1"),
        ("initialisation", "random"),
        ("aligned_layers", "1,9"),
    ],
)
def test_setting_that_the_space_varies(refuse, space, key, value):
    error = refuse("--space", space, "--set", f"{key}={value}")
    assert f"--set {key}" in error
    assert space in error


def test_value_of_a_setting_that_the_space_varies_is_said(refuse):
    error = refuse(*BASELINES, "--set", "alpha_schedule=cosine_grwoth")
    assert "cosine_grwoth" in error


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (
            "alpha_schedule=cosine_grwoth",
            "'cosine_grwoth' is not known; did you mean cosine_growth",
        ),
        ("alpha=1.5", "alpha: 1.5 must be at most 1"),
        ("alpha=-0.1", "alpha: -0.1 must be at least 0"),
        ("aligned_layers=1,9", "layer 9 is outside the student, whose layers are 1 to 6"),
        ("initialisation=teacher_spred", "did you mean teacher_spread"),
    ],
)
def test_bad_value_of_a_setting_that_all_spaces_vary(pair, said):
    for values in (parse_overrides([pair]), dict(parse_additions([pair]))):
        with pytest.raises(UserError, match=said):
            TrialConfig.from_dict({"alpha": 0.5} | values)


@pytest.mark.parametrize(
    ("space", "pair", "said"),
    [
        ("schedules", "sharpness", ["--add sharpness", "KEY=VALUE"]),
        ("schedules", "sharpness=much", ["sharpness", "'much'", "a number"]),
        ("schedules", "sharpness=0", ["sharpness", "0.0", "above 0"]),
        ("schedules", "sharpnes=5", ["'sharpnes'", "did you mean sharpness?"]),
        ("schedules", "initialisation=teacher_spred", ["did you mean teacher_spread?"]),
        ("schedules", "epochs=3", ["--add epochs=3", "schedules", "--set epochs=3"]),
        ("layers", "temperature=4", ["--add temperature=4.0", "layers"]),
        ("baselines", "sharpness=5", ["--add sharpness=5.0", "baselines"]),
        ("layers", "aligned_layers=1,9", ["layer 9 is outside the student"]),
    ],
)
def test_bad_addition(refuse, space, pair, said):
    error = refuse("--space", space, "--preset", "mini", "--add", pair)
    assert [words for words in said if words not in error] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("initialization", ["'initialization'", "did you mean initialisation?"]),
        ("init,temprature", ["'temprature'", "did you mean temperature?"]),
        ("", ["''", "init", "all"]),
        ("init,", ["''", "init"]),
        ("init, temperature", ["' temperature'", "temperature"]),
    ],
)
def test_bad_compare_within(refuse, text, said):
    error = refuse(*BASELINES, "--compare-within", text)
    assert [words for words in ["--compare-within", *said] if words not in error] == []


@pytest.mark.parametrize(
    ("space", "against", "within"),
    [
        ("schedules", None, "init"),
        ("recipe", None, "all"),
        ("schedules", "depth", "init,student_layers"),
        ("recipe", "latency", "student_layers"),
    ],
)
def test_trials_compete_with_those_that_answer_the_same_question(space, against, within):
    assert default_strata(space, against) == within


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400)])
def test_time_budget_in_seconds(text, seconds):
    found = parse_arguments(["--space", "recipe", "--time-budget", text])
    assert found.time_budget == seconds


@pytest.mark.parametrize("text", ["90", "2 h", "h", "0m", "-1h", "1d", "1e3s", ""])
def test_time_budget_in_no_known_form_is_refused(refuse, text):
    error = refuse("--space", "recipe", f"--time-budget={text}")
    assert [words for words in ("--time-budget", "30m", "2h") if words not in error] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--space", "study", "--time-budget", "2h"], ["--time-budget", "study", "recipe"]),
        (["--space", "study", "--searcher", "optuna"], ["--searcher optuna", "study", "recipe"]),
        (["--space", "recipe", "--searcher", "grid"], ["--searcher grid", "recipe", "optuna"]),
        (["--space", "recipe", "--searcher", "optunna"], ["optunna", "optuna", "random", "grid"]),
        (["--space", "recipe", "--set", "alpha=2"], ["alpha", "at most 1"]),
        (["--space", "recipe", "--add", "alpha=1"], ["--add alpha=1", "recipe", "--samples"]),
        (["--space", "recipe", "--against", "size"], ["--against", "depth", "latency"]),
    ],
)
def test_what_a_space_cannot_do_is_refused_before_anything_is_loaded(refuse, given, said):
    error = refuse(*given, "--preset", "mini")
    assert [words for words in said if words not in error] == []


@pytest.mark.parametrize("argv", [BASELINES, ["--resume", "mine"]], ids=["new", "resume"])
def test_storage_uri_of_no_known_file_system(refuse, argv):
    assert "--storage nowhere://bucket/runs: " in refuse(
        *argv, "--storage", "nowhere://bucket/runs"
    )


def test_storage_uri_that_cannot_be_written(refuse):
    assert "--storage file:///proc/runs: " in refuse(*BASELINES, "--storage", "file:///proc/runs")


def test_storage_that_is_a_file(refuse, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--storage" in refuse(*BASELINES, "--storage", str(tmp_path / "file"))


def test_name_that_exists(refuse, tmp_path):
    folder = create_run(tmp_path / "runs" / "mine", {}, []).folder
    error = refuse(*BASELINES, "--name", "mine")
    assert "--name mine: " in error
    assert f"python -m search.run --resume {folder}" in error


def test_resume_of_an_unknown_run_lists_those_there_are(refuse, tmp_path):
    for name in ("mine", "another"):
        create_run(tmp_path / "runs" / name, {}, [])
    error = refuse("--resume", "yours")
    assert "--resume yours: " in error
    assert "another, mine" in error


def test_resume_where_there_is_no_run(refuse, tmp_path):
    assert "there: none" in refuse("--resume", "yours", "--storage", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("version", [1, 99])
def test_resume_of_another_format(refuse, tmp_path, version):
    folder = create_run(tmp_path / "runs" / "mine", {}, []).folder
    (folder / RECORD).unlink()
    (folder / "sweep.json").write_text(f'{{"format": {version}, "trials": []}}')
    assert f"format {version}" in refuse("--resume", "mine")


def test_resume_of_a_run_whose_plan_is_lost(refuse, tmp_path):
    folder = create_run(tmp_path / "runs" / "mine", {}, []).folder
    for name in ("sweep.json", RECORD):
        (folder / name).write_text('{"format')
    error = refuse("--resume", "mine")
    assert str(folder) in error
    assert "put one of them back" in error


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("init", ("initialisation",)),
        ("initialisation", ("initialisation",)),
        ("all", ()),
        ("init,aligned_layers", ("initialisation", "aligned_layers")),
        ("temperature", ("temperature",)),
    ],
)
def test_strata_of_the_flag(text, settings):
    assert parse_strata(text) == settings


def test_storage_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert storage_folder("runs") == tmp_path / "runs"
    assert storage_folder("~/runs") == tmp_path / "home" / "runs"
    assert storage_folder(str(tmp_path)) == tmp_path


def test_defaults():
    found = parse_arguments(["--space", "study"])
    assert (found.space, found.preset, found.storage) == ("study", "auto", "runs")
    assert (found.scheduler, found.compare_within, found.searcher) == ("asha", None, None)
    assert (found.time_budget, found.against) == (None, None)
    assert (found.seed, found.overrides, found.resume, found.name) == (0, [], None, None)
    assert (found.additions, found.seeds, found.samples) == ([], None, None)
    assert [getattr(found, name) for name in OPERATION] == [None] * len(OPERATION)


def test_flags_arrive():
    given = ["--space", "study", "--name", "n", "--seed", "4", "--max-concurrent", "3"]
    given += ["--set", "epochs=1", "--set", "alpha=1", "--trials-per-gpu", "2", "--cache", "c"]
    given += ["--add", "sharpness=5", "--add", "alpha=1", "--seeds", "3", "--samples", "9"]
    given += ["--keep", "0", "--retries", "0"]
    found = parse_arguments(given)
    assert (found.additions, found.seeds, found.samples) == (["sharpness=5", "alpha=1"], 3, 9)
    assert (found.keep, found.retries) == (0, 0)
    assert (found.name, found.seed, found.max_concurrent, found.trials_per_gpu) == ("n", 4, 3, 2)
    assert (found.overrides, found.cache) == (["epochs=1", "alpha=1"], Path("c").resolve())


def test_help_explains_every_flag(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for action in make_parser()._actions:
        assert action.help
        assert action.option_strings[-1] in text
    assert all(name in text for name in SPACES)


@pytest.mark.parametrize(
    ("flag", "default"),
    [
        ("--keep", KEEP),
        ("--retries", RETRIES),
        ("--swanlab", "off"),
        ("--address", "local"),
        ("--seed", 0),
        ("--seeds", 1),
        ("--samples", "all; 40 where it is searched"),
        ("--searcher", "optuna"),
        ("--storage", "runs"),
        ("--scheduler", "asha"),
        (
            "--compare-within",
            "init, all where the space is searched; with --against also student_layers",
        ),
        ("--max-concurrent", "one a core, or --trials-per-gpu on each GPU"),
        ("--trials-per-gpu", "measured"),
        ("--name", "space, preset and time"),
    ],
)
def test_help_ends_with_the_default(flag, default):
    parser = make_parser()
    (action,) = [a for a in parser._actions if flag in a.option_strings]
    text = action.help % {"default": action.default}
    assert text.endswith(f"({default})")


@pytest.mark.parametrize("flag", ["--set", "--add"])
def test_parsing_leaves_no_trace_in_the_next_parsing(flag):
    parse_arguments(["--space", "study", flag, "epochs=1"])
    found = parse_arguments(["--space", "study"])
    assert (found.overrides, found.additions) == ([], [])

"""Command-line pieces: types, presets, settings, and mistakes in one line with exit code 2."""

import subprocess
import sys
from argparse import ArgumentTypeError
from dataclasses import fields, replace
from pathlib import Path

import pytest
from trainable.arguments import (
    SIZES,
    OneLineParser,
    add_input_arguments,
    add_setting_arguments,
    choose_preset,
    default_cache,
    given_settings,
    one_of,
    parse_setting,
    positive,
)

from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.presets import PRESETS


@pytest.fixture
def parser():
    made = OneLineParser(prog="trial")
    add_input_arguments(made)
    add_setting_arguments(made)
    return made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "sst3"],
            "--preset: 'sst3' is not known; did you mean sst2? valid: auto, sst2, imdb, mini",
        ),
        (
            ["--train-sentences", "0"],
            "--train-sentences: '0' is not a whole number of at least 1",
        ),
        (["--max-length", "long"], "--max-length: 'long' is not a whole number of at least 1"),
        (["--alpha"], "--alpha: expected one argument"),
        (["--alpa", "1"], "unrecognized arguments: --alpa 1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(parser, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_one_of():
    parse = one_of(name for name in ("grid", "optuna"))
    assert [parse("grid"), parse("optuna")] == ["grid", "optuna"]
    for _ in range(2):  # a generator of names is not used up
        with pytest.raises(ArgumentTypeError, match="did you mean grid\\? valid: grid, optuna"):
            parse("grd")


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("64", 64), ("007", 7)])
def test_positive(text, number):
    assert positive(text) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", " 1", "1e3", "²", "1_000"])
def test_what_is_not_positive(text):
    with pytest.raises(ArgumentTypeError, match="is not a whole number of at least 1"):
        positive(text)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"XDG_CACHE_HOME": "/big/disk"}, "/big/disk/distillation-search"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/me"}, "/home/me/.cache/distillation-search"),
        ({"HOME": "/home/me"}, "/home/me/.cache/distillation-search"),
    ],
)
def test_the_default_cache_is_in_the_users_cache_folder(monkeypatch, variables, folder):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_cache() == Path(folder)


def test_input_arguments_and_their_defaults(parser):
    plain = parser.parse_args([])
    assert (plain.preset, plain.teacher, plain.dataset) == ("auto", None, None)
    assert {getattr(plain, size) for size in SIZES} == {None}
    line = "--preset mini --teacher a/b --dataset c.tsv --train-sentences 5 --cache /tmp/c"
    given = parser.parse_args(line.split())
    assert (given.preset, given.teacher, given.dataset) == ("mini", "a/b", "c.tsv")
    assert (given.train_sentences, given.cache) == (5, Path("/tmp/c"))


@pytest.mark.parametrize(
    ("preset", "cuda", "name", "why"),
    [
        ("auto", True, "sst2", "a CUDA GPU is visible"),
        ("auto", False, "mini", "no CUDA GPU is visible"),
        ("imdb", False, "imdb", "chosen with --preset"),
        ("mini", True, "mini", "chosen with --preset"),
    ],
)
def test_which_preset_and_why(parser, preset, cuda, name, why):
    arguments = parser.parse_args(["--preset", preset])
    assert choose_preset(arguments, cuda) == (name, PRESETS[name], why)


@pytest.mark.parametrize(
    ("flag", "setting"),
    [
        ("--train-sentences", "train_sentences"),
        ("--evaluation-sentences", "evaluation_sentences"),
        ("--search-sentences", "search_sentences"),
        ("--max-length", "max_length"),
    ],
)
def test_given_sizes_go_before_the_presets_and_leave_it_alone(parser, flag, setting):
    before = replace(PRESETS["mini"])
    _, chosen, _ = choose_preset(parser.parse_args(["--preset", "mini", flag, "17"]), cuda=False)
    assert chosen == replace(before, **{setting: 17})
    assert PRESETS["mini"] == before


def test_there_is_a_flag_for_every_setting(parser):
    flags = set(parser.format_help().split())
    assert {"--" + setting.name.replace("_", "-") for setting in fields(TrialConfig)} <= flags


def test_help_says_every_setting_and_its_choices(parser):
    text = " ".join(parser.format_help().split())
    for setting in fields(TrialConfig):
        assert " ".join(setting.metadata["help"].split()) in text
        assert ", ".join(setting.metadata["choices"]) in text


def test_no_setting_is_given_unless_asked_for(parser):
    assert given_settings(parser.parse_args([])) == {}


def test_settings_come_in_their_types(parser):
    line = (
        "--alpha-schedule cosine_^shape --sharpness 3 --student-layers 4 --student-width 128 "
        "--learning-rate 1e-4 --aligned-layers 1,2 --initialisation random --seed 0"
    )
    settings = given_settings(parser.parse_args(line.split()))
    assert settings == {
        "alpha_schedule": "cosine_^shape",
        "sharpness": 3.0,
        "student_layers": 4,
        "student_width": 128,
        "learning_rate": 1e-4,
        "aligned_layers": "1,2",
        "initialisation": "random",
        "seed": 0,
    }
    assert type(settings["sharpness"]) is float
    assert TrialConfig.from_dict(settings).to_dict().items() >= settings.items()


def test_a_negative_number_reaches_the_check_of_its_bounds(parser):
    settings = given_settings(parser.parse_args(["--alpha", "-1"]))
    with pytest.raises(UserError, match=r"^alpha: -1\.0 must be at least 0"):
        TrialConfig.from_dict(settings)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("alpha", "half", "alpha: 'half' is not a number"),
        ("learning_rate", "", "learning_rate: '' is not a number"),
        ("batch_size", "3.5", "batch_size: '3.5' is not a whole number"),
        ("student_width", "wide", "student_width: 'wide' is not a whole number"),
    ],
)
def test_text_that_is_no_number(name, text, message):
    with pytest.raises(UserError) as caught:
        parse_setting(name, text)
    assert str(caught.value) == message


def test_an_unknown_setting_gets_the_nearest_one():
    with pytest.raises(UserError, match=r"^setting: 'temprature' .* did you mean temperature\?"):
        parse_setting("temprature", "2")


def test_neither_torch_nor_ray_is_loaded(repository):
    script = "import sys, trainable.arguments; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "trainable.arguments" in loaded
    assert not loaded & {"torch", "ray", "transformers", "datasets"}

"""Frozen dataclasses whose fields are flags: checks, conversion, help, mistakes in one line."""

from dataclasses import dataclass, fields

import pytest

from search.bench.options import BenchOptions
from search.confirm.options import ConfirmOptions
from search.plan.request import Request
from tests.conftest import user_error
from trainable.common.errors import UserError
from trainable.config.fields import (
    OneLineParser,
    add_flags,
    check_fields,
    described,
    field_help,
    field_types,
    flag_of,
    given,
)
from trainable.config.options import InputOptions, users_cache
from trainable.config.trial_config import TrialConfig


def pair(text):
    """KEY=VALUE in two."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{text}: give KEY=VALUE")
    return key, value


@dataclass(frozen=True)
class Cake:
    """Everything that a field can be."""

    kind: str = described("sort, 100% of it", "plain", choices=("plain", "cheese"))
    eggs: int = described("how many", 2, low=1, high=12)
    sugar: float | None = described("grams", None, above=0.0, below=500.0, metavar="G")
    extras: tuple[tuple[str, str], ...] = described("more", (), parse=pair, flag="add")
    baker: str = "nobody"  # no flag

    def __post_init__(self):
        check_fields(self)


def parsed(*arguments, cls=Cake):
    """What a command line gives of a cake, or of another class."""
    parser = OneLineParser(prog="bake")
    add_flags(parser, cls)
    return given(parser.parse_args(arguments), cls)


@pytest.fixture
def mistake(capsys):
    """The one line in which a command line is refused, with exit code 2."""

    def refusal(*arguments, cls=Cake):
        with pytest.raises(SystemExit) as caught:
            parsed(*arguments, cls=cls)
        out, err = capsys.readouterr()
        assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
        return err

    return refusal


def test_a_mistake_is_one_line_and_exit_code_2(mistake):
    for arguments, message in (
        (("--kind", "chese"), "--kind: 'chese' is not known; did you mean cheese? choose from p"),
        (("--eggs", "0"), "--eggs: 0 must be at least 1"),
        (("--eggs", "13"), "--eggs: 13 must be at most 12"),
        (("--eggs", "many"), "--eggs: 'many' is not a whole number of at least 1"),
        (("--eggs", "²"), "--eggs: '²' is not a whole number"),
        (("--sugar", "0"), "--sugar: 0.0 must be above 0.0"),
        (("--sugar", "500"), "--sugar: 500.0 must be below 500.0"),
        (("--sugar", "nan"), "--sugar: nan must be "),
        (("--sugar", ""), "--sugar: '' is not a number"),
        (("--add", "nuts"), "--add: nuts: give KEY=VALUE"),
        (("--egs", "1"), "unrecognized arguments: --egs 1"),
        (("--baker", "me"), "unrecognized arguments: --baker me"),
        (("--eggs",), "--eggs: expected one argument"),
    ):
        assert mistake(*arguments).startswith(f"error: {message}")


def test_an_instance_is_checked_when_it_is_made():
    for values, message in (
        ({"eggs": 3.0}, "eggs: 3.0 is not of type int"),
        ({"eggs": True}, "eggs: True is not of type int"),
        ({"kind": None}, "kind: None is not of type str"),
        ({"sugar": float("inf")}, "sugar: inf must be a finite number"),
        ({"kind": "chees"}, "kind: 'chees' is not known; did you mean cheese? "),
    ):
        assert Cake(sugar=None, baker=3).baker == 3  # a field that is not described may be anything
        assert user_error(Cake, **values).startswith(message)


def test_help_says_the_sentence_the_bounds_and_the_default():
    kind, eggs, sugar, extras, _ = fields(Cake)
    assert field_help(kind) == "sort, 100% of it; plain, cheese; default plain"
    assert field_help(eggs) == "how many; at least 1, at most 12; default 2"
    assert field_help(sugar) == "grams; above 0, below 500"
    assert [flag_of(about) for about in (eggs, extras)] == ["--eggs", "--add"]
    parser = OneLineParser(prog="bake")
    add_flags(parser, Cake, names=["kind", "sugar"])
    text = parser.format_help()
    assert "sort, 100% of it" in text
    assert "--sugar G" in text
    assert "--eggs" not in text


def test_the_cache_is_in_the_users_cache_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for base, folder in (("/big/disk", "/big/disk"), ("", "/home/me/.cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert users_cache() == InputOptions().cache == f"{folder}/distillation-search"


def test_places_are_written_out_since_trials_run_in_other_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert InputOptions(cache="here").cache == str(tmp_path / "here")
    assert InputOptions(cache="~/here").cache == str(tmp_path / "home" / "here")
    line = ["--cache", "here", "--dataset", "some/hub-id"]
    wanted = {"cache": f"{tmp_path.resolve()}/here", "dataset": "some/hub-id"}
    assert parsed(*line, cls=InputOptions) == wanted


def test_a_yes_or_no_is_two_flags_of_which_the_last_holds(mistake):
    yes, no = "--allow-weak-teacher", "--no-allow-weak-teacher"
    for typed, wanted in (([], None), ([yes], True), ([no], False), ([yes, no], False)):
        found = parsed(*typed, cls=InputOptions)
        assert found.get("allow_weak_teacher") is wanted
        assert InputOptions(**found).allow_weak_teacher is bool(wanted)
    for typed in ([f"{yes}=1"], [yes, "1"]):
        assert mistake(*typed, cls=InputOptions).startswith("error: ")
    with pytest.raises(UserError, match="allow_weak_teacher: 1 is not of type bool"):
        InputOptions(allow_weak_teacher=1)


NEEDED = {Request: {"space": "logits"}, TrialConfig: {"alpha": 0.5}}
DESCRIBED = (Request, InputOptions, TrialConfig, BenchOptions, ConfirmOptions)
NUMERIC = [
    (cls, about)
    for cls in DESCRIBED
    for about in fields(cls)
    if "help" in about.metadata and field_types(cls)[about.name][0] in (int, float)
]


def test_no_number_of_a_command_may_be_huge_or_no_number(mistake):
    """In a Python file no more than on a command line."""
    for text in ("1" + 20 * "0", "1" + 400 * "0", "nan", "inf", "-inf"):
        assert len(NUMERIC) > 35
        for cls, about in NUMERIC:
            assert mistake(flag_of(about), text, cls=cls).startswith(f"error: {flag_of(about)}: ")
            if cls is not BenchOptions:  # which its command line alone makes
                kind = field_types(cls)[about.name][0] if text.isdecimal() else float
                said = user_error(cls, **{**NEEDED.get(cls, {}), about.name: kind(text)})
                assert said.startswith(f"{about.name}: ")

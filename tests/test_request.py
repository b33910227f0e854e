"""What a sweep was asked for: plain values that mean the same in another folder and session."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from search.arguments import parse_arguments
from trainable.arguments import SIZES

from search.request import Request, parse_additions, parse_overrides
from trainable.errors import UserError
from trainable.presets import PRESETS

NEW = ["--space", "schedules", "--cache", "/cache"]
FULL = [
    *("--teacher", "some/teacher", "--dataset", "nyu-mll/glue:sst2"),
    *("--train-sentences", "100", "--evaluation-sentences", "50", "--max-length", "32"),
    *("--search-sentences", "20"),
    *("--set", "epochs=2", "--set", "temperature=3", "--add", "sharpness=5"),
    *("--add", "aligned-layers=1,2", "--seed", "4", "--seeds", "3", "--samples", "7"),
]


def asked(*argv):
    return Request.from_arguments(parse_arguments([*NEW, *argv]), "mini")


def test_all_that_is_asked_for_is_in_the_request():
    assert asked(*FULL) == Request(
        space="schedules",
        preset="mini",
        teacher="some/teacher",
        dataset="nyu-mll/glue:sst2",
        train_sentences=100,
        evaluation_sentences=50,
        search_sentences=20,
        max_length=32,
        cache="/cache",
        overrides={"epochs": 2, "temperature": 3.0},
        additions=(("sharpness", 5.0), ("aligned_layers", "1,2")),
        seed=4,
        seeds=3,
        samples=7,
    )


def test_what_is_not_asked_for_is_left_to_the_preset():
    found = asked()
    assert found == Request("schedules", "mini", cache="/cache")
    assert (found.seed, found.seeds, found.samples) == (0, 1, None)
    assert (found.overrides, found.additions) == ({}, ())


@pytest.mark.parametrize(("preset", "depths"), [("sst2", (6, 4, 3)), ("mini", (3, 2))])
def test_a_run_that_kept_no_depths_has_those_of_its_presets_teacher(preset, depths):
    """As runs had them before their teachers were looked at."""
    values = Request("recipe", preset, cache="", against="depth").to_dict()
    del values["depths"]
    assert Request.from_dict(values).depths == depths
    del values["against"]
    assert Request.from_dict(values).depths == ()


def test_depths_come_back_through_json():
    request = Request("recipe", "mini", cache="", against="depth", depths=(12, 6))
    assert Request.from_dict(json.loads(json.dumps(request.to_dict()))) == request


@pytest.mark.parametrize("argv", [[], FULL], ids=["least", "most"])
def test_round_trip_through_json(argv):
    request = asked(*argv)
    values = request.to_dict()
    assert set(values) == {setting.name for setting in fields(Request)}
    for found in (values, json.loads(json.dumps(values))):
        assert Request.from_dict(found) == request


@pytest.mark.parametrize("argv", [[], FULL], ids=["least", "most"])
def test_dictionary_is_plain_json(argv):
    """So what a run was asked for can be compared with what it is asked for now."""
    values = asked(*argv).to_dict()
    assert json.loads(json.dumps(values)) == values


def test_additions_keep_their_order_and_types_through_json():
    request = asked("--add", "sharpness=5", "--add", "alpha=1", "--add", "sharpness=4")
    found = Request.from_dict(json.loads(json.dumps(request.to_dict())))
    assert found.additions == (("sharpness", 5.0), ("alpha", 1.0), ("sharpness", 4.0))
    assert [type(value) for _, value in found.additions] == [float] * 3


@pytest.mark.parametrize("flag", ["--teacher", "--dataset"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_local_paths_become_absolute(tmp_path, monkeypatch, flag, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for given in (kind, f"./{kind}", f"folder/../{kind}", f"~/{kind}", str(tmp_path / kind)):
        request = asked(flag, given)
        found = getattr(request, flag.removeprefix("--"))
        assert found == str(tmp_path / kind)
    monkeypatch.chdir("/")
    assert Path(found).exists()


@pytest.mark.parametrize("source", ["microsoft/deberta-v3-base", "nyu-mll/glue:sst2", "imdb"])
@pytest.mark.parametrize("flag", ["--teacher", "--dataset"])
def test_hub_ids_stay_as_they_are(tmp_path, monkeypatch, flag, source):
    monkeypatch.chdir(tmp_path)
    assert getattr(asked(flag, source), flag.removeprefix("--")) == source


def test_cache_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert asked("--cache", "there").cache == str(tmp_path / "there")


@pytest.mark.parametrize("preset", PRESETS)
def test_sizes_replace_the_presets_where_given(preset):
    plain = Request("study", preset, cache="")
    assert plain.sized_preset == PRESETS[preset]
    for number, size in enumerate(SIZES, start=11):
        changed = replace(plain, **{size: number}).sized_preset
        assert changed == replace(PRESETS[preset], **{size: number})


def test_request_is_not_changed_by_its_dictionary():
    request = asked(*FULL)
    request.to_dict()["overrides"]["epochs"] = 99
    assert request.overrides["epochs"] == 2


def test_overrides_in_their_types():
    found = parse_overrides(
        ["epochs=2", "learning-rate=3e-5", "alpha=1", "hidden_pool=mean", "aligned_layers=1,2"]
    )
    assert found == {
        "epochs": 2,
        "learning_rate": 3e-5,
        "alpha": 1.0,
        "hidden_pool": "mean",
        "aligned_layers": "1,2",
    }
    assert [type(value) for value in found.values()] == [int, float, float, str, str]


def test_of_two_overrides_of_a_key_the_last_holds():
    assert parse_overrides(["epochs=2", "epochs=4"]) == {"epochs": 4}


def test_of_two_additions_to_a_key_both_hold():
    found = parse_additions(["sharpness=4", "sharpness=5"])
    assert found == (("sharpness", 4.0), ("sharpness", 5.0))


@pytest.mark.parametrize(
    ("parse", "pair", "said"),
    [
        (parse_overrides, "epochs", ["--set epochs", "KEY=VALUE", "epochs=1"]),
        (parse_additions, "sharpness", ["--add sharpness", "KEY=VALUE", "sharpness=5"]),
        (parse_overrides, "epoch=1", ["'epoch'", "did you mean epochs?"]),
        (parse_additions, "sharpnes=1", ["'sharpnes'", "did you mean sharpness?"]),
        (parse_additions, "sharpness=much", ["sharpness", "'much'", "a number"]),
        (parse_overrides, "epochs=1.5", ["epochs", "'1.5'", "a whole number"]),
        (parse_additions, "=1", ["''"]),
    ],
)
def test_bad_pair_is_refused_in_one_line(parse, pair, said):
    with pytest.raises(UserError) as caught:
        parse([pair])
    message = str(caught.value)
    assert "\n" not in message
    assert [words for words in said if words not in message] == []

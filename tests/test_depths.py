"""Depths that fit the teacher, chosen once for a run, and what is said where there are none."""

from dataclasses import replace

import pytest
from transformers import BertConfig

from search.depths import with_depths
from search.plan import plan_trials
from search.record import read_run
from search.request import Request
from tests.sweeps import run
from trainable.errors import UserError


@pytest.fixture
def teacher_of(tmp_path):
    """A folder with the configuration of a teacher of so many layers, which is all that counts."""

    def make(layers):
        folder = tmp_path / f"of-{layers}"
        BertConfig(num_hidden_layers=layers).save_pretrained(folder)
        return str(folder)

    return make


def asked(teacher=None, preset="mini", space="baselines", **more):
    more = {"against": "depth", **more}
    return with_depths(Request(space, preset, cache="", teacher=teacher, **more))


def refusal(teacher, **more):
    with pytest.raises(UserError) as error:
        asked(teacher, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("preset", ["mini", "sst2"])
@pytest.mark.parametrize(
    ("layers", "tried"), [(24, (12, 8, 6)), (12, (6, 4, 3)), (8, (4, 2)), (6, (3, 2))]
)
def test_a_half_a_third_and_a_quarter_of_the_teachers_whatever_the_preset(
    teacher_of, preset, layers, tried
):
    assert asked(teacher_of(layers), preset).depths == tried


def test_of_the_presets_own_teacher():
    assert asked().depths == (3, 2)


@pytest.mark.parametrize(
    ("layers", "deepest", "tried"),
    [(12, 12, (12, 6)), (12, 4, (4, 3, 2)), (12, 3, (3, 2)), (6, 6, (6, 3)), (4, 4, (4, 2))],
)
@pytest.mark.parametrize("space", ["baselines", "layers", "recipe"])
def test_the_deepest_can_be_set(teacher_of, layers, deepest, tried, space):
    given = {"student_layers": deepest, "epochs": 1}
    searcher = "optuna" if space == "recipe" else "grid"
    found = asked(teacher_of(layers), space=space, searcher=searcher, overrides=given)
    assert found.depths == tried
    assert {config.student_layers for config in plan_trials(found)} == set(tried)
    assert {config.epochs for config in plan_trials(found)} == {1}
    assert given == {"student_layers": deepest, "epochs": 1}


def test_where_nothing_is_weighed_the_teacher_is_not_looked_at():
    request = Request("baselines", "mini", cache="", teacher="no/such", overrides={"epochs": 1})
    assert with_depths(request) is request


@pytest.mark.parametrize(("given", "layers"), [(5, 12), (2, 12), (1, 12), (24, 12), (0, 12)])
def test_what_is_not_the_deepest_of_two_names_those_that_are(teacher_of, given, layers):
    message = refusal(teacher_of(layers), overrides={"student_layers": given})
    assert message.startswith(f"--set student_layers={given}: with --against depth ")
    assert message.endswith("the teacher's 12 layers; valid: 12, 6, 4, 3")


@pytest.mark.parametrize(("layers", "valid"), [(4, "4"), (10, "10"), (35, "7")])
def test_a_teacher_whose_half_has_no_second_depth_names_the_way_out(teacher_of, layers, valid):
    message = refusal(teacher_of(layers))
    assert message.startswith("--against depth: fewer than two of a half, a third and a quarter")
    assert message.endswith(f"--set student_layers=N, valid: {valid}")
    for deepest in valid.split(", "):
        assert len(asked(teacher_of(layers), overrides={"student_layers": int(deepest)}).depths) > 1


@pytest.mark.parametrize("layers", [1, 2, 7, 9])
@pytest.mark.parametrize("given", [{}, {"student_layers": 1}])
def test_a_teacher_without_two_depths(teacher_of, layers, given):
    message = refusal(teacher_of(layers), overrides=given)
    assert message.startswith(f"--against depth: a teacher of {layers} layers has no two students")
    assert message.endswith("leave it out, or give another --teacher")


def test_a_teacher_that_cannot_be_had_is_named(tmp_path):
    message = refusal(str(tmp_path))
    assert message.startswith(f"--teacher {tmp_path}: no usable model; ")


@pytest.mark.parametrize(("flag", "key"), [("--set", "overrides"), ("--add", "additions")])
@pytest.mark.parametrize(("space", "searcher"), [("layers", "grid"), ("recipe", "optuna")])
def test_a_depth_beside_those_of_a_run_is_refused_with_what_is_taken(flag, key, space, searcher):
    given = {"overrides": {"student_layers": 1}, "additions": (("student_layers", 1),)}[key]
    if (flag, space) == ("--add", "recipe"):
        return  # where nothing can be added
    run = asked(space=space, searcher=searcher, against="latency")
    with pytest.raises(UserError) as error:
        plan_trials(replace(run, **{key: given}))
    assert str(error.value) == (
        f"{flag} student_layers=1: --against latency tries 3, 2, chosen once for a run; a new one "
        "takes the deepest from --set student_layers=N"
    )


@pytest.mark.slow
def test_a_run_of_set_depths_goes_on_and_stays_whole(make_command, tmp_path):
    """Of a teacher of 4 layers; another depth, of which no latency is known, is refused."""
    command = [*make_command(tmp_path), "--space", "baselines", "--name", "mine"]
    few = ["--samples", "4", "--set", "student_layers=4", "--against", "latency"]
    done = run(command, *few)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "mine"
    found = read_run(folder)
    assert set(found.sweep["latency"]) == {"4", "2"}
    resume = [*command[:3], "--resume", str(folder)]
    other = run(resume, "--set", "student_layers=1")
    assert (other.returncode, other.stdout.count("\n")) == (2, 0)
    assert other.stderr.startswith("error: --set student_layers=1: --against latency tries 4, 2,")
    assert read_run(folder) == found
    more = run(resume, "--samples", "10")
    assert more.returncode == 0, more.stderr
    trials = read_run(folder).trials.values()
    assert len(trials) == 10
    assert {trial.config.student_layers for trial in trials} == {4, 2}

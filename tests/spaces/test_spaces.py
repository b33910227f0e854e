"""The spaces: what each enumerates, written out here a second time, and a user's own."""

import os
import sys
from collections import Counter
from dataclasses import replace
from itertools import product

import optuna
import pytest
from optuna.samplers import RandomSampler
from ray.tune.search.variant_generator import generate_variants

import spaces
from search.plan.draws import config_of_draw, random_draws, starting_points
from search.plan.grid import plan_trials, possible_trials
from search.run.__main__ import main
from spaces import SEARCHED, SPACE_NAMES, Inputs
from spaces.recipe import POINTS_TO_EVALUATE, recipe
from spaces.study import STUDY_ROWS
from tests.conftest import user_error
from tests.made_runs import asked, made_inputs
from trainable.common.errors import UserError
from trainable.config.alpha_schedules import ALPHA_SCHEDULES
from trainable.config.fields import merged
from trainable.config.initialisations import INITIALISATIONS
from trainable.config.options import complete_config
from trainable.config.presets import PRESETS

BOTH = ("random", "teacher_spread")
SHAPES = ("cosine_growth", "cosine_descent", "cosine_vshape", "cosine_^shape")
KEYS = ("initialisation", "aligned_layers", "alpha_schedule", "alpha", "sharpness", "temperature")
CE, HALF = ("fixed", 1.0, None), ("fixed", 0.5, None)


def grid_of(*parts, temperatures=(None,)):
    """The product of initialisations, layer sets and alphas, with each temperature."""
    return {(i, s, *a, t) for i, s, a, t in product(*parts, temperatures)}


def schedules(sharpness):
    return [HALF, *((shape, None, k) for shape in SHAPES for k in sharpness)]


FIXED = [("fixed", alpha, None) for alpha in (0.0, 0.25, 0.5, 0.75)]
FULL = {
    "baselines": grid_of(INITIALISATIONS, ["none"], [CE]),
    "logits": grid_of(BOTH, ["none"], FIXED, temperatures=(1.0, 2.0, 4.0, 8.0)),
    "layers": grid_of(BOTH, ["none", "all", "lower", "upper", "even", "odd"], [HALF]),
    "schedules": grid_of(BOTH, ["none", "lower", "all"], schedules([0.5, 1.0, 2.0])),
    "study": grid_of(BOTH, ["none"], [CE, HALF])
    | grid_of(["random"], ["all", "upper", "lower", "even", "odd"], [HALF])
    | grid_of(["teacher_spread"], ["all"], [HALF])
    | grid_of(BOTH, ["lower"], [(shape, None, 1.0) for shape in SHAPES]),
}
COARSE = {
    **FULL,
    "logits": grid_of(BOTH, ["none"], [HALF], temperatures=(1.0, 2.0, 4.0)),
    "schedules": grid_of(BOTH, ["lower"], schedules([1.0, 3.0])),
}


def variants(space):
    """As `tune.Tuner(param_space=space)` makes them."""
    return [variant["config"] for _, variant in generate_variants({"config": space})]


@pytest.mark.parametrize("name", sorted({*SPACE_NAMES} - {*SEARCHED}))
def test_space_is_a_tune_search_space_of_exactly_its_grid(name):
    """Each variant is a configuration as `trainable.student` is given it, without a translation."""
    space = getattr(spaces, name)  # not the module of that name, which was imported before
    preset = PRESETS["sst2"]
    given = {"constants": dict(preset.trial), "learning_rates": dict(preset.learning_rates)}
    inputs = made_inputs(outputs={"logits": "/l", "cls": "/c"}, **given)
    configs = {inputs.config(variant) for variant in variants(space())}
    assert configs == set(plan_trials(asked(space=name, preset="sst2")))
    assert len(configs) == len(FULL[name])
    coarse = space(Inputs(coarse=True)) if COARSE[name] != FULL[name] else space()
    for grid, wanted in ((space(), FULL[name]), (coarse, COARSE[name])):
        points = [merged(variant) for variant in variants(grid)]
        assert len(points) == len(wanted)
        assert {tuple(point.get(key) for key in KEYS) for point in points} == wanted
    assert len(plan_trials(asked(space=name))) == len(COARSE[name])


def test_study_has_the_figures_of_its_tables():
    """Their sum weighted by position changes with any digit and any two that are swapped."""
    tables = [row.table for row in STUDY_ROWS]
    assert tables == ["baseline"] * 2 + ["logits"] * 2 + ["layers"] * 6 + ["schedules"] * 8
    figures = [row.accuracy for row in STUDY_ROWS]
    assert sum(n * figure for n, figure in enumerate(figures, 1)) == pytest.approx(146.3023)


# The searched space.


def searched(**changes):
    return asked(space="recipe", searcher="random", **changes)


def test_every_draw_is_another_valid_configuration_and_draws_only_what_matters():
    """And each initialisation and schedule is drawn."""
    study = optuna.create_study(sampler=RandomSampler(seed=3))
    trials = [study.ask() for _ in range(400)]
    points = [recipe(trial) for trial in trials]
    for key, values in (("initialisation", INITIALISATIONS), ("alpha_schedule", ALPHA_SCHEDULES)):
        assert {point[key] for point in points} == set(values)
    configs = [config_of_draw(searched(), trial.params) for trial in trials]
    assert len({config.recipe for config in configs}) == len(trials)
    for config, trial, point in zip(configs, trials, points, strict=True):
        assert not config.inactive_settings & set(trial.params)
        assert ("sharpness" in point) == (config.alpha_schedule != "fixed")
        assert {type(value) for value in trial.params.values()} <= {str, float}


@pytest.mark.parametrize("name", ["mini", "sst2"])
def test_the_first_start_is_what_the_preset_does_if_nothing_is_searched(name):
    preset = PRESETS[name]
    default = complete_config({**preset.trial, "seed": 0}, preset.learning_rates, {})
    first, *others = (config for config, _ in starting_points(searched(preset=name)))
    assert first == default
    assert others == [replace(default, initialisation="teacher_lower")]


def test_starts_are_on_the_first_seed():
    found = starting_points(searched())
    for (_, values), point in zip(found, POINTS_TO_EVALUATE, strict=True):
        assert values.items() <= point.items()
    (first,) = plan_trials(searched(seeds=2, seed=5))  # the others are suggested, or raced for
    assert first == replace(found[0][0], seed=5)
    assert {config for config, _ in found} <= {*possible_trials(searched(), [])}
    assert [config.seed for config, _ in starting_points(searched(seed=5))] == [5] * 2


def test_the_rate_is_drawn_as_a_factor_of_the_initialisations_unless_it_is_set():
    usual = PRESETS["mini"].learning_rates
    for config, values in random_draws(searched()):
        factor = values["learning_rate_factor"]
        assert 0.25 <= factor <= 4.0
        assert config.learning_rate == usual[config.initialisation] * factor
    request = searched(overrides=(("learning_rate", 3e-3),))
    for config, values in [*random_draws(request), *starting_points(request)]:
        assert config.learning_rate == 3e-3
        assert config_of_draw(request, values) == config


def test_what_is_set_is_not_drawn_and_starts_it_makes_alike_are_one(monkeypatch):
    overrides = (("alpha_schedule", "cosine_growth"), ("initialisation", "teacher_upper"))
    request = searched(overrides=overrides)
    for config, values in [*random_draws(request), *starting_points(request)]:
        assert (config.alpha_schedule, config.initialisation) == ("cosine_growth", "teacher_upper")
        assert not {"alpha_schedule", "initialisation"} & set(values)
        assert config_of_draw(request, values) == config
    upper, student = "teacher_upper, logits only, cosine_growth k=1", "pretrained, logits only, "
    assert [c.label() for c, _ in starting_points(request)] == [upper]
    joined = starting_points(searched(student="some/student", pretrained=(("student_layers", 2),)))
    assert [config.label() for config, _ in joined[2:]] == [f"{student}fixed 0.5"]
    found = possible_trials(searched(against="depth"), [])  # as may be suggested
    assert {config.student_layers for config in found} == {3, 2}
    with pytest.raises(UserError, match=r"--set hidden_weight=9\.0: has no effect"):
        plan_trials(searched(overrides=(("hidden_weight", 9.0),)))
    monkeypatch.delattr(sys.modules[recipe.__module__], "POINTS_TO_EVALUATE")
    assert starting_points(searched()) == random_draws(searched(), 1)


# A user's own.

START = {"alpha": 0.5, "initialisation": "random"}

MINE = """
from __future__ import annotations
from dataclasses import dataclass
from ray import tune

POINTS_TO_EVALUATE = [{"alpha": 0.5, "initialisation": "random", "temperature": 3.0}]
PRIORS = {"alpha": (0.5, 0.1), "initialisation": {"random": 4, "pretrained": 2.5}}
loads = open(__file__ + ".loads", "a").write("x")

def grid():
    return {"initialisation": tune.grid_search(["random", "teacher_lower"]), "epochs": 4,
            "alpha": {"alpha_schedule": "fixed", "alpha": tune.grid_search([0.25, 0.5])}}

def drawn():
    return {"alpha": tune.grid_search([0.25, 0.5, 0.75]),
            "temperature": tune.uniform(1, 4), "learning_rate": tune.loguniform(1e-5, 1e-3),
            "batch_size": tune.choice([8, 16]), "epochs": tune.randint(1, 4)}

def widened(inputs, factor=2.0):
    return {"alpha": 0.5, "temperature": factor + inputs.coarse}

def searched(trial):
    trial.suggest_float("alpha", 0.25, 0.75)
    start = trial.suggest_categorical("initialisation", ["random", "teacher_spread"])
    if start == "random":
        trial.suggest_float("temperature", 1.0, 4.0)
    return {"epochs": 2}

def counted(trial, inputs):
    trial.suggest_int("batch_size", 8, 24, step=8)
    return {"alpha": 0.5, "temperature": 3.0 * inputs.coarse}

def typo(): return {"alpha": 0.5, "temprature": 2.0}
def no_dict(): return [0.5]
def broken(): raise RuntimeError("of my own\\nand more")
def drawn_typo(trial): return {"alpha": trial.suggest_float("alpha", 0, 1), "temprature": 2.0}
def drawn_broken(trial): return {"alpha": trial.suggest_float("alpha", 0, 1) / 0}
def other_words(t, coarse): return {"alpha": t.suggest_float("alpha", 0, 1)}
def reports(trial): trial.report(0.5, 1)
def leaves(): raise SystemExit(0)
def own_seeds(): return {"alpha": 0.5, "seed": tune.grid_search([0, 1])}
@dataclass
class Rate: factor: float = 0.5
def of_class(): return {"alpha": Rate().factor}
def huge():
    values = tune.grid_search([1.0 + number for number in range(3000)])
    return {"alpha": 0.5, "temperature": values, "hidden_weight": values}
"""


@pytest.fixture
def mine(tmp_path):
    """A request for a space of a user's file, to which lines may be added."""

    def ask(name, *lines, **changes):
        (tmp_path / "mine.py").write_text("\n".join([MINE, *lines]))
        spaces._load_file.cache_clear()
        return asked(space=f"{tmp_path}/mine.py:{name}", **changes)

    return ask


def test_users_grid_with_groups_and_constants(mine):
    found = plan_trials(mine("grid"))
    pairs = {(c.initialisation, c.alpha): (c.epochs, c.learning_rate) for c in found}
    rates = {"random": 1e-4, "teacher_lower": 5e-5}
    assert pairs == {(i, a): (4, rates[i]) for i in rates for a in (0.25, 0.5)}
    assert len(found) == 4
    assert [c.temperature for c in plan_trials(mine("widened"))] == [3.0]  # its default stands


def test_a_users_file_may_have_dataclasses_of_annotations_that_are_strings(mine):
    assert [config.alpha for config in plan_trials(mine("of_class"))] == [0.5]


def test_users_random_domains_are_drawn_anew_for_each_sample(mine):
    found = plan_trials(mine("drawn", samples=7))
    assert Counter(config.alpha for config in found[:6]) == {0.25: 2, 0.5: 2, 0.75: 2}
    assert len({config.temperature for config in found}) == len(found) == 7
    assert {c.batch_size for c in found} == {8, 16}
    assert all(1e-5 <= c.learning_rate <= 1e-3 and c.epochs in (1, 2, 3) for c in found)
    assert plan_trials(mine("drawn", samples=7)) == found
    assert plan_trials(mine("drawn", samples=20))[:7] == found  # more samples lose none
    assert plan_trials(mine("drawn", samples=7, seed=1)) != found
    with pytest.raises(UserError, match=r"--space .*mine.py:drawn: draws values .* --samples N"):
        plan_trials(mine("drawn"))


def test_users_searched_space_is_define_by_run_and_its_file_read_once(mine, tmp_path):
    request = mine("searched", searcher="random")
    for config, values in random_draws(request):
        assert (config.alpha, config.initialisation) == (values["alpha"], values["initialisation"])
        assert ("temperature" in values) == (config.initialisation == "random")
        assert config.epochs == 2
    ((config, values),) = starting_points(request)
    assert (config.initialisation, config.alpha, config.temperature) == ("random", 0.5, 3.0)
    assert (tmp_path / "mine.py.loads").read_text() == "x"
    counted = random_draws(mine("counted", searcher="random"))
    assert {(c.batch_size, c.temperature) for c, _ in counted} == {(8, 3), (16, 3), (24, 3)}


def test_what_is_set_goes_before_a_users_starts(mine):
    """What they lack then is drawn."""
    points = [{"alpha": 0.5, "initialisation": "teacher_spread"}, {"alpha": 0.75, "temperature": 2}]
    given = {"searcher": "random", "overrides": (("initialisation", "random"),)}
    request = mine("searched", f"POINTS_TO_EVALUATE = {points}", **given)
    assert [config.alpha for config, _ in starting_points(request)] == [0.5, 0.75]


def test_a_file_edited_within_a_second_is_not_taken_for_the_one_before(tmp_path, monkeypatch):
    """Python takes bytecode for that of a file of the same time and size."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, found = tmp_path / "mine.py", []
    for alpha in ("0.25", "0.75"):
        path.write_text(f"def listed():\n    return {{'alpha': {alpha}}}\n")
        os.utime(path, (1, 1))
        spaces._load_file.cache_clear()
        found += [config.alpha for config in plan_trials(asked(space=f"{path}:listed"))]
    assert found == [0.25, 0.75]


def test_what_is_wrong_with_a_users_space_is_one_line(mine, tmp_path, refusal_of):
    for space, said in (
        ("mine.py:grids", "no function grids there; it has grid, drawn"),
        ("yours.py:grid", "no such file"),
        ("wrong.py:grid", "SyntaxError"),
        ("mine.py:typo", "did you mean temperature?"),
        ("mine.py:no_dict", "Tuner(param_space=...), but returned [0.5]"),
        ("mine.py:broken", "its function raised RuntimeError: of my own"),
        ("mine.py:drawn_typo", "did you mean temperature?"),
        ("mine.py:drawn_broken", "ZeroDivisionError"),
        ("mine.py:other_words", "its parameters are t, coarse, but a space takes `trial`"),
        ("mine.py:reports", "AttributeError: 'SpaceTrial' object has no attribute 'report'"),
        ("mine.py:leaves", "SystemExit: 0"),
        ("leaves.py:grid", "SystemExit: 0"),
        ("mine.py:own_seeds", "sets seed itself; leave it out; --seeds N trains each recipe on N"),
        ("mine.py:huge", "9,000,000 configurations, and a grid has at most 10,000; "),
    ):
        mine("")
        (tmp_path / "wrong.py").write_text("def grid(: pass")
        (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
        error = refusal_of(main, "--space", f"{tmp_path}/{space}", "--preset", "mini")
        assert error.startswith(f"error: --space {tmp_path}/{space}: ")
        assert said in error


POINTS, PRIORS = "POINTS_TO_EVALUATE", "PRIORS"


def test_a_users_impossible_start_or_prior_is_refused(mine):
    for name, value, said in (
        (POINTS, [7], "[7] is not a list of dicts"),
        (POINTS, [{**START, "temprature": 3.0}], "'temprature' is not known; did you mean temp"),
        (POINTS, [{**START, "alpha": 1.5, "temperature": 3.0}], "The value 1.5 of parameter 'alp"),
        (POINTS, [{**START, "initialisation": "teacher_spred"}], "'teacher_spred' not in ('random"),
        (PRIORS, [7], "'[7]' is not a dict"),
        (PRIORS, {"temprature": (3.0, 2.0)}, "'temprature' is not known; did you mean temperatu"),
        (PRIORS, {"alpha": (0.8, 0.1)}, "(0.8, 0.1) is not (centre from 0.25 to 0.75, spread abo"),
        (
            PRIORS,
            {"alpha": (0.5, 0)},
            "(0.5, 0) is not (centre from 0.25 to 0.75, spread above 0.0005",
        ),
        (PRIORS, {"alpha": 0.5}, "alpha: 0.5 is not (centre from"),
        (PRIORS, {"alpha": {"x": 1, "y": 2}}, "alpha: {'x': 1, 'y': 2} is not (centre from"),
        (PRIORS, {"initialisation": {"spread": 2}}, "{'spread': 2} is not a dict of weights abov"),
        (PRIORS, {"initialisation": {"random": 0}}, "for any of random, teacher_spread, pretrain"),
        (PRIORS, {"initialisation": (1, 2)}, "initialisation: (1, 2) is not a dict of weights"),
    ):
        request = mine("searched", f"{name} = {value}", searcher="random")
        error = user_error(plan_trials, request)
        assert error.startswith(f"--space {request.space}: {name}: ")
        assert said in error


def test_recipe_is_as_rays_optuna_searcher_takes_it():
    from ray.tune.search.optuna import OptunaSearch

    points = POINTS_TO_EVALUATE
    searcher = OptunaSearch(space=recipe, points_to_evaluate=points, metric="a", mode="max")
    found = [searcher.suggest(str(number)) for number in range(8)]
    rates = {"teacher_spread": 3e-4, "teacher_lower": 2e-4}
    inputs = made_inputs(outputs={"logits": "/o"}, learning_rates=rates)
    for suggested, point in zip(found, points, strict=False):
        assert merged(suggested).items() <= point.items()
    configs = [inputs.config(point) for point in found]
    assert len(set(configs)) == 8
    assert [config.learning_rate for config in configs[:2]] == [3e-4, 2e-4]

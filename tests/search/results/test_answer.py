"""Which recipe is recommended, and its gain over the default."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from search.confirm.options import ConfirmOptions, choose
from search.policy.policy import Policy
from search.results.answer import recommendation, recommended
from search.results.best_trials import kept_trials
from search.results.leaderboard import leaderboard_cells
from search.results.statistics import SEED_SD
from search.results.table import recipes_table, trials_table
from tests.made_runs import asked, made_inputs, made_run, recipe
from tests.search.policy.test_final_round import EXAMPLES, searched, short_evaluation


def with_finals(folder, shares, final_shares):
    """A searched run and its finals, 600 steps long, of the recipes in the same order."""
    run = searched(folder, shares)
    short = [trial.config for trial in run.trials.values()]
    for config, share in zip(short, final_shares, strict=True):
        add_final(run, replace(config, max_steps=600), share)
    return run


def add_final(run, final, share):
    event = {"event": "suggestion", "trial": final.digest, "parameters": None}
    run.append({**event, "config": asdict(final)})
    for number in (1, 2):
        run.append(short_evaluation(final, number, share))


def answer(run):
    """Temperature and steps of what is recommended, and the gain."""
    found = recommended(run)
    config = found.trials[0].config
    return config.temperature, config.max_steps, found.gain


def test_a_final_that_is_clearly_better_is_recommended_with_its_gain(tmp_path):
    temperature, steps, gain = answer(with_finals(tmp_path / "run", [0.8, 0.82], [0.83, 0.9]))
    assert (temperature, steps) == (3.0, 600)
    # Right answers are nested: a share of 0.1 differs, all to one side.
    half = 1.959964 * np.sqrt(2 * SEED_SD**2 + 0.1 * 0.9 / (EXAMPLES - 1))
    assert (gain.estimate, gain.high - gain.estimate) == pytest.approx((0.1, half), rel=1e-6)


def test_the_default_trained_as_long_is_recommended_where_none_is_clearly_better(tmp_path):
    temperature, steps, gain = answer(with_finals(tmp_path / "run", [0.8, 0.82], [0.89, 0.895]))
    assert (temperature, steps) == (2.0, 600)
    assert gain.estimate == pytest.approx(0.09)


@pytest.mark.parametrize(("shares", "made"), [((0.88, 0.885), 1.0), ((0.885, 0.88), 0.25)])
def test_of_two_finals_of_the_default_the_one_that_scores_higher_is(tmp_path, shares, made):
    """They have as many steps and differ in the made texts alone; none is clearly better."""
    run = searched(tmp_path / "run", [0.8, 0.82])
    default = next(iter(run.trials.values())).config
    for share, transfer_share in zip(shares, (0.25, 1.0), strict=True):
        add_final(run, replace(default, max_steps=600, transfer_share=transfer_share), share)
    assert recommended(run).trials[0].config.transfer_share == made


def test_finals_clearly_worse_than_the_default_trained_once_are_not_recommended(tmp_path):
    run = with_finals(tmp_path / "run", [0.9, 0.8], [0.84, 0.85])
    assert answer(run) == (2.0, None, None)


def test_without_finals_the_default_stands_unless_another_is_clearly_better(tmp_path):
    assert answer(searched(tmp_path / "tie", [0.8, 0.805], finals=0)) == (2.0, None, None)
    assert answer(searched(tmp_path / "gap", [0.8, 0.9], finals=0))[:2] == (3.0, None)


def test_table_and_recommendation_say_the_gain_over_the_default(tmp_path):
    run = with_finals(tmp_path / "run", [0.8, 0.82], [0.83, 0.9])
    recipes = recipes_table(run, trials_table(run))
    cells = leaderboard_cells(run, recipes)
    column = cells.headers.index("over default")
    assert [row[column] for row in cells.rows] == ["+10.00", "+3.00", "+2.00", "default"]
    outcome = cells.headers.index("outcome")
    assert [row[outcome] for row in cells.rows] == ["recommended", *["finished"] * 3]
    text = recommendation(run, recipes)
    assert "Recommended: teacher_spread, logits only, fixed 0.5, T=3," in text
    assert ": +10.00 points over the default in the last evaluation (95% interval +7.8" in text
    # 600 steps of 16 examples are 100 passes over 96; no texts were given.
    assert text.endswith(" (--transfer), which teach more than made ones.")


def test_a_confirmation_compares_the_best_with_the_default(tmp_path):
    run = with_finals(tmp_path / "run", [0.8, 0.82], [0.83, 0.9])
    confirmation = choose(run, ConfirmOptions(top=1))
    (best,) = confirmation.finalists
    assert (best.temperature, best.max_steps) == (3.0, 600)
    assert (best.recipe, run.default_recipe) in confirmation.pairs


def test_a_run_whose_settings_fit_no_default_has_none(tmp_path):
    """`--set sharpness=2` with a space that lists schedules alone."""
    configs = [recipe(n, alpha=None, alpha_schedule="cosine_growth", sharpness=2.0) for n in (0, 1)]
    request = asked(overrides=(("sharpness", 2.0),))
    inputs = made_inputs(examples={"train": 96, "evaluation": EXAMPLES})
    run = made_run(tmp_path / "run", configs, request, inputs=inputs)
    for config in configs:
        for number in range(1, 9):
            run.append(short_evaluation(config, number, 0.8) | {"decision": "continue"})
    assert run.default_recipe is None
    assert Policy(run).complete
    assert recommended(run).gain is None
    assert (
        "over default" not in leaderboard_cells(run, recipes_table(run, trials_table(run))).headers
    )


@pytest.mark.parametrize(("keep", "kept"), [(1, {(3.0, None), (2.0, 600), (3.0, 600)}), (0, set())])
def test_the_students_of_finals_are_kept_whichever_score_higher(tmp_path, keep, kept):
    run = with_finals(tmp_path / "run", [0.8, 0.95], [0.83, 0.9])
    run.plan = replace(run.plan, requests=(replace(run.request, keep=keep),))
    assert {(t.config.temperature, t.config.max_steps) for t in kept_trials(run)} == kept

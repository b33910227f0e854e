"""Which recipe is recommended, and its gain over the default."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from search.confirm.options import ConfirmOptions, choose
from search.policy.progress import unused_levers
from search.policy.still_to_come import is_complete
from search.results.best_trials import kept_trials
from search.results.leaderboard import leaderboard_cells
from search.results.recommendation import recommendation, recommended
from search.results.statistics import SEED_SD
from search.results.table import recipes_table, trials_table
from tests.made_runs import asked, made_inputs, made_run, pack_right, recipe, suggested
from tests.search.policy import test_final_round
from tests.search.policy.test_final_round import EXAMPLES, searched, short_evaluation

RUNS = 200  # of a simulation


def sentences_of(run):
    recipes = recipes_table(run, trials_table(run))
    return " ".join(recommendation(run, recipes, unused_levers(run)))


def with_finals(folder, shares, final_shares):
    """A searched run and its finals, 600 steps long, of the recipes in the same order."""
    run = searched(folder, shares, finals=len(final_shares))
    for trial, share in zip([*run.trials.values()], final_shares, strict=False):
        add_final(run, replace(trial.config, max_steps=600), share)
    run.append({"event": "decided"})
    return run


def add_final(run, final, share):
    run.append(suggested(final))
    for number in (1, 2):
        run.append(short_evaluation(final, number, share))


def leaderboard(run):
    return leaderboard_cells(run, recipes_table(run, trials_table(run)))


@pytest.mark.parametrize(
    ("shares", "final_shares", "recipe", "gain"),
    [
        ([0.8, 0.82], [0.83, 0.9], (3.0, 600), 0.1),  # a final that is clearly better
        ([0.8, 0.82], [0.89, 0.895], (2.0, 600), 0.09),  # none is: the default trained as long
        ([0.9, 0.8], [0.84, 0.85], (2.0, None), None),  # all clearly worse than the default
        ([0.8, 0.805], [], (2.0, None), None),
        ([0.8, 0.9], [], (3.0, None), 0.1),
        ([0.8, 0.816], [], (3.0, None), 0.016),
        ([0.8, 0.816, *[0.7] * 7], [], (2.0, None), None),  # the highest of nine may be by luck
    ],
)
def test_recommended_is_what_is_clearly_better_or_the_default(
    *, tmp_path, shares, final_shares, recipe, gain
):
    """By temperature and steps, with the gain over the default trained once."""
    answer = recommended(with_finals(tmp_path / "run", shares, final_shares))
    assert (answer.trials[0].config.temperature, answer.trials[0].config.max_steps) == recipe
    if gain is None:
        assert answer.gain is None
    else:  # right answers are nested: that share of examples differs, all to one side
        half = 1.959964 * np.sqrt(2 * SEED_SD**2 + gain * (1 - gain) / (EXAMPLES - 1))
        found = answer.gain.estimate, answer.gain.high - answer.gain.estimate
        assert found == pytest.approx((gain, half), rel=1e-6)


@pytest.mark.parametrize(("share", "ema"), [(0.805, 0.0), (0.9, 0.98)])
def test_a_variant_of_the_default_that_no_final_trained_has_to_be_clearly_better(
    tmp_path, share, ema
):
    run = searched(tmp_path / "run", [0.8], samples=2, finals=0)
    default = next(iter(run.trials.values())).config
    add_final(run, averaged := replace(default, ema_decay=0.98), share)
    run.trials[averaged.digest] = replace(run.trials[averaged.digest], final=False)
    assert not run.trials[averaged.digest].final
    assert recommended(run).trials[0].config.ema_decay == ema


@pytest.mark.parametrize("lost", [0, 1])
def test_a_default_is_left_only_where_its_own_results_are_lost(tmp_path, lost):
    run = searched(tmp_path / "run", [0.6, 0.8], finals=0)
    trials = [*run.trials.values()]
    trials[lost].evaluations[-1]["predictions"] = ""
    assert recommended(run).trials == (trials[1 - lost],)


@pytest.mark.parametrize(("shares", "made"), [((0.88, 0.885), 1.0), ((0.885, 0.88), 0.25)])
def test_of_two_finals_of_the_default_the_one_that_scores_higher_is(tmp_path, shares, made):
    """They have as many steps and differ in the made texts alone; none is clearly better."""
    run = searched(tmp_path / "run", [0.8, 0.82])
    default = next(iter(run.trials.values())).config
    for share, transfer_share in zip(shares, (0.25, 1.0), strict=True):
        add_final(run, replace(default, max_steps=600, transfer_share=transfer_share), share)
    assert recommended(run).trials[0].config.transfer_share == made


def test_table_recommendation_and_confirmation_have_the_gain_over_the_default(tmp_path):
    run = with_finals(tmp_path / "run", [0.8, 0.82], [0.83, 0.9])
    cells = leaderboard(run)
    columns = dict(zip(cells.headers, zip(*cells.rows, strict=True), strict=True))
    assert columns["over default"] == ("+10.00", "+3.00", "+2.00", "default")
    assert columns["outcome"] == ("recommended", *["finished"] * 3)
    of_equal_length = trials_table(run)["common_best5"].notna()  # finals say nothing of settings
    assert of_equal_length.tolist() == [True, True, False, False]
    text = sentences_of(run)
    assert "Recommended: teacher_spread, logits only, fixed 0.5, T=3," in text
    assert ": in the last evaluation +10.00 points over the default (95% interval +7.8" in text
    assert ") and +7.00 points over the default trained as long (95% interval +5.0" in text
    # 12 steps of 16 examples are 2 passes over 96, 3,000 are 500; no texts were given.
    more = (
        "more time: the longest trial passed over the examples 2 times, and up to 500 have gained."
    )
    assert text.endswith(f" (--transfer), which teach more than made ones; {more}")
    confirmation = choose(run, ConfirmOptions(top=1))
    (best,) = confirmation.finalists
    assert (best.temperature, best.max_steps) == (3.0, 600)
    assert (best.recipe, run.default_recipe) in confirmation.pairs


def test_the_gain_of_the_default_trained_longer_is_told_as_one_of_length(tmp_path):
    run = with_finals(tmp_path / "run", [0.8, 0.82], [0.89, 0.895])
    text = sentences_of(run)
    said = "steps 600, the default trained longer: in the last evaluation +9.00 points over"
    assert f"{said} a single short trial of it (95% interval +6.9" in text


def test_the_choice_among_many_is_allowed_for(tmp_path):
    """Nine recipes: each of eight comparisons has an eighth of the level, z = 2.73."""
    run = searched(tmp_path / "run", [0.8, 0.9, *[0.7] * 7], finals=0)
    half = norm.isf(0.05 / 16) * np.sqrt(2 * SEED_SD**2 + 0.1 * 0.9 / (EXAMPLES - 1))
    found = recommended(run)
    assert found.gain.high - found.gain.estimate == pytest.approx(half)
    text = sentences_of(run)
    assert ", of which the intervals allow for the choice among 9" in text


def drawn_evaluations(rng, recipes, examples):
    """Answers of equal recipes at an accuracy of 0.9 in two evaluations, [recipes, 2, examples]:
    most of what decides one is the example's, the rest the recipe's and the evaluation's; and
    recipes, of a seed each, differ by SEED_SD."""
    level = norm.ppf(0.9 + SEED_SD * rng.standard_normal((recipes, 1, 1)))
    shares = {(1, 1): 0.94, (recipes, 1): 0.042, (recipes, 2): 0.018}
    parts = (np.sqrt(s) * rng.standard_normal((*shape, examples)) for shape, s in shares.items())
    return sum(parts) + level > 0


@pytest.mark.simulation
@pytest.mark.parametrize("count", [3, 18])
def test_of_equal_recipes_another_than_the_default_is_hardly_ever_recommended(
    tmp_path, monkeypatch, capsys, count
):
    """`python -m pytest -m simulation -s tests/search/results/test_recommendation.py` measured 4
    and 3 of 200 runs, with 3 and 18 recipes."""
    rng, claimed = np.random.default_rng(0), 0
    for number in range(RUNS):
        answers = drawn_evaluations(rng, count, EXAMPLES)

        def drawn(config, evaluation, share, answers=answers):
            right = answers[round(config.temperature) - 2, evaluation - 1]
            event = short_evaluation(config, evaluation, float(right.mean()))
            event["evaluation"]["predictions"] = pack_right(right)
            return event

        monkeypatch.setattr(test_final_round, "short_evaluation", drawn)
        run = searched(tmp_path / str(number), [0.0] * count, finals=0)
        claimed += not recommended(run).is_default
    with capsys.disabled():
        print(f"\n{count} equal recipes: another is recommended in {claimed} of {RUNS}")
    assert claimed <= 0.025 * RUNS + 2 * np.sqrt(0.025 * RUNS)


def test_what_is_left_to_try_is_said_once_no_finals_are_to_come(tmp_path):
    """Here there is no time for any."""
    run = searched(tmp_path / "run", [0.8, 0.8], time_budget=1.0)
    for decided in (False, True):
        text = sentences_of(run)
        assert (
            text.endswith("up to 500 have gained.")
            == (", the default. Left to try: " in text)
            == decided
        )
        run.append({"event": "decided"})
    first = next(iter(run.trials.values()))
    needed = f"about {16 * 3 * first.seconds / 60:.0f} min or more are needed"
    assert f"; a search: the time was too short, {needed}; more time" in text


def test_a_run_whose_settings_fit_no_default_has_none(tmp_path):
    """`--set sharpness=2` with a space that lists schedules alone."""
    configs = [recipe(n, alpha=None, alpha_schedule="cosine_growth", sharpness=2.0) for n in (0, 1)]
    request = asked(overrides=(("sharpness", 2.0),))
    inputs = made_inputs(examples={"train": 96, "evaluation": EXAMPLES})
    run = made_run(tmp_path / "run", configs, request, inputs=inputs)
    for config in configs:
        for number in range(1, 9):
            run.append(short_evaluation(config, number, 0.8) | {"decision": "continue"})
    assert (run.default_recipe, recommended(run).gain) == (None, None)
    assert is_complete(run)
    assert "over default" not in leaderboard(run).headers


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, {(3.0, None), (2.0, 600), (3.0, 600), (2.0, None)}), (0, set())]
)
def test_the_students_of_finals_and_of_the_default_are_kept_whichever_score_higher(
    tmp_path, keep, kept
):
    run = with_finals(tmp_path / "run", [0.8, 0.95], [0.83, 0.9])
    run.plan = replace(run.plan, requests=(replace(run.request, keep=keep),))
    assert {(t.config.temperature, t.config.max_steps) for t in kept_trials(run)} == kept

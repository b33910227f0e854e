"""A report's leaderboard where recipes ran on several seeds: by hand, and as the terminal's."""

import pytest

from search.board import SEEDS, board_table, trials_behind
from search.leaderboard import leaderboard
from search.record import create_run, read_events
from search.report_contents import gather
from search.report_data import early_stops, rung_counts
from search.report_page import render_html, render_markdown
from search.table import trials_table
from tests.report_runs import TEACHER, config, fail, report_evaluations, sweep

RECIPES = {"best": 0.5, "near": 0.25, "far": 0.75, "short": 0.1}


def on_seeds(name):
    return [config(alpha=RECIPES[name], seed=seed) for seed in (0, 1)]


@pytest.fixture
def run(tmp_path):
    """Four recipes on two seeds: the best single seed is of the second best recipe."""
    configs = [seeded for name in RECIPES for seeded in on_seeds(name)]
    run = create_run(tmp_path / "run", sweep(), configs)
    for name, shares in {"best": (0.86, 0.87), "near": (0.88, 0.83), "far": (0.5, 0.6)}.items():
        for number, (one, share) in enumerate(zip(on_seeds(name), shares, strict=True)):
            report_evaluations(run, one, (share,) * 4, seed=number)
    for one, share in zip(on_seeds("short"), (0.8, 0.9), strict=True):
        report_evaluations(run, one, (share,) * 2, stop=True)
    return run


def unit(name):
    return on_seeds(name)[0].recipe.digest


def test_rows_are_the_leaderboards(run):
    board = board_table(run, trials_table(run)).set_index("digest")
    (rows,) = leaderboard(run).values()
    assert len(board) == len(rows) == 4
    for row in rows:
        of_board = board[board["words"] == row.words].iloc[0]
        assert of_board["best5"] == row.best5
        assert (of_board["low"], of_board["high"]) == row.interval
        assert of_board["last"] == row.last
        assert of_board[SEEDS] == row.seeds == "2"
        assert of_board["outcome"] == row.outcome
    assert board.loc[unit("best"), "best5"] == pytest.approx(0.865)
    assert board.loc[unit("best"), "of_teacher"] == pytest.approx(0.865 / TEACHER)
    assert board.loc[unit("short"), "training_seconds"] == pytest.approx(2 * 2 * 2.0)


def test_ties_are_of_means(run):
    board = board_table(run, trials_table(run)).set_index("digest")
    tied = board["tied"]
    assert [bool(tied[unit(name)]) for name in ("best", "near", "far")] == [True, True, False]
    assert tied.isna()[unit("short")]


def test_a_run_of_one_seed_each_is_left_as_it_is(tmp_path):
    run = create_run(tmp_path / "run", sweep(), [on_seeds(name)[0] for name in RECIPES])
    table = trials_table(run)
    assert board_table(run, table) is table


def test_a_recipe_with_a_seed_that_failed_has_the_scores_of_the_other(run):
    fail(run, on_seeds("best")[1])
    row = board_table(run, trials_table(run)).set_index("digest").loc[unit("best")]
    assert (row["outcome"], row[SEEDS], row["best5"]) == ("finished", "1 of 2", 0.86)


def test_units_stand_in_the_table_of_trials(run):
    table = trials_table(run).set_index("digest")
    for name in RECIPES:
        assert {table.loc[one.digest, "unit"] for one in on_seeds(name)} == {unit(name)}


def test_trials_behind_rows_come_best_first(run):
    table = trials_table(run)
    assert trials_behind(table, [unit("near")]) == [one.digest for one in on_seeds("near")]
    assert trials_behind(table, [unit("far")]) == [one.digest for one in on_seeds("far")[::-1]]


def test_report_leads_with_the_recipe_of_the_highest_mean(run):
    report = gather(run, read_events(run.folder))
    assert report.leaders == {"teacher_spread": unit("best")}
    assert report.leading_trials == {"teacher_spread": on_seeds("best")[1].digest}
    assert report.tied == {unit("best"), unit("near")}
    assert report.tied_trials == {one.digest for name in ("best", "near") for one in on_seeds(name)}
    assert "fixed 0.5 leads: best5 0.8650" in report.summary.headline
    said = " ".join(report.summary.open)
    assert "the 1 recipe that ASHA stopped early" in said
    assert "confirm compares the finalists on fresh seeds" in said
    assert "each recipe ran once" not in said


def test_pages_have_a_row_a_recipe_and_say_what_the_interval_covers(run):
    report = gather(run, read_events(run.folder))
    markdown, page = render_markdown(report, []), render_html(report, {})
    assert markdown.count("| 2 | first | 0.8650 |") == 1
    assert "other\nseeds and other sentences than these 200" in markdown
    assert page.count("<small>2 seeds</small>") == 4
    assert "4 recipes" in page


def test_asha_is_reported_as_it_decided(run):
    (stop,) = early_stops(run)
    assert (stop.words, stop.evaluations) == ("teacher_spread, layers 1,2,3, fixed 0.1", 2)
    assert (stop.best5, stop.rank, stop.among) == (pytest.approx(0.85), 3, 4)
    assert stop.median == pytest.approx((0.85 + 0.855) / 2)
    assert [(r.evaluations, r.reached, r.stopped) for r in rung_counts(run)] == [(2, 4, 1)]

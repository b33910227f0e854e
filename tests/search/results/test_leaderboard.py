"""What a reader finds in the printed leaderboard; the rows themselves are `test_table`'s."""

import io

import pytest
from rich.console import Console

from search.record.trial_record import TrialRecord
from search.results.leaderboard import print_leaderboard
from search.results.recommendation import recommendation
from search.results.table import recipes_table, trials_table
from tests.report_runs import config as of_study
from tests.search.results.test_table import config, evaluations, finished, make_run


def printed(run, width=120):
    """As it stands there, and with single spaces for all white space."""
    file = io.StringIO()
    print_leaderboard(run, recipes_table(run, trials_table(run)), Console(file=file, width=width))
    text = file.getvalue()
    return text, " ".join(text.split())


@pytest.fixture
def mixed():
    return make_run(
        TrialRecord(config(temperature=1.0), "failed", "size [3, 4] at [bold]"),
        finished(800, 780),
        finished(796, 790, initialisation="teacher_upper"),
        TrialRecord(config(temperature=3.0), "stopped", evaluations=evaluations(850)),
        TrialRecord(config(temperature=4.0), "running", evaluations=evaluations(860)),
        TrialRecord(config(temperature=5.0), "pending"),
    )


def test_all_initialisations_stand_in_one_table_with_their_numbers(mixed):
    text, words = printed(mixed)
    assert text.startswith("\nTeacher accuracy: 0.9500 on the 1,000 validation examples.\n")
    assert "\nIn all rows: logits only, fixed 0.5.\n" in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("all as above ", "T="))]
    best, second, stopped, running, pending, failed = rows
    numbers = ["0.7930", "0.766", "to", "0.818", "83.5%", "0.7900"]
    assert best == ["all", "as", "above", "teacher_upper", *numbers, "recommended"]
    assert second[3:5] == ["random", "~0.7900"]
    assert stopped[2:3] + stopped[-2:] == ["*0.8500", "stopped", "1/15"]  # not comparable
    assert running[-2:] == ["unfinished", "1/15"]
    assert pending[-6:] == ["-", "-", "-", "-", "not", "started"]
    assert failed[-5:] == ["failed:", "size", "[3,", "4]", "at"]
    assert "~: not significantly different from the best, which does not mean equal." in words
    assert "*: not comparable, neither better nor worse" in words
    assert "one label" not in words


@pytest.mark.parametrize(("planned", "said"), [(4, False), (6, True), (9, True), (10, False)])
def test_that_best5_counts_early_evaluations_is_said_where_it_does(planned, said):
    """Where there are fewer than five, it is the mean of all, which is said anyway."""
    trials = [finished(800, evaluations=planned, alpha=alpha) for alpha in (0.3, 0.5)]
    _, words = printed(make_run(*trials))
    assert (f"best5 of {planned} evaluations counts early ones" in words) == said


@pytest.mark.parametrize(
    ("right", "one_label", "said"), [(500, False, True), (799, False, False), (500, True, False)]
)
def test_what_no_mark_means_is_said_where_a_row_has_none(right, one_label, said):
    second = finished(right, temperature=3.0)
    second.evaluations[0]["one_label"] = one_label
    _, words = printed(make_run(finished(800), second))
    assert ("No mark after the first: significantly worse." in words) == said


@pytest.mark.parametrize("width", [120, 80])
def test_rows_of_a_searched_space_stay_on_one_line(width):
    """With what `recipe` draws; numbers are whole, and what has no room is named."""
    drawn = {"initialisation": "teacher_embeddings", "aligned_layers": "1,2,3", "student_layers": 3}
    drawn |= {"hidden_pool": "tokens", "hidden_weight": 1234.5, "alpha": None, "sharpness": 0.2345}
    drawn |= {"alpha_schedule": "cosine_growth", "temperature": 3.4567, "ema_decay": 0.995}
    trials = [finished(800 + n, **drawn, learning_rate=0.000123 + n * 1e-6) for n in range(3)]
    trials.append(TrialRecord(config(temperature=9.0), "stopped", evaluations=evaluations(850)))
    trials.append(finished(790, temperature=9.0, ema_decay=0.98, initialisation="random"))
    run = make_run(*trials, searcher="random", scheduler="promotion")
    text, words = printed(run, width)
    label = "layers 1-3, tokens, w=1234, growth k=0.234, T=3.46, ema 0.995, lr 0.000124"
    assert (label in text) == (width == 120)
    assert max(map(len, text.splitlines())) <= width
    assert "0.8020" in text
    assert "In the report, too: " in words


def test_what_only_some_runs_have_is_shown():
    one_label, scored = finished(700, temperature=3.0), finished(800, 780)
    one_label.evaluations[0]["one_label"] = True
    scored.evaluations[-1]["full_score"] = 0.7746
    seeds = [finished(right, seed=seed) for seed, right in enumerate((860, 880))]
    seeds.append(TrialRecord(config(seed=2), "failed", "loss is nan"))
    row = TrialRecord(of_study("random", "1,2,3"), "finished", evaluations=evaluations(800))
    shared = "In all rows: initialisation random, logits only, fixed 0.5. of recipe best5 "
    both = "0.9500 on the validation subset of 1,000, 0.9000 on all 25,000."
    for run, parts in (
        (make_run(finished(800), one_label), (shared, "!0.7000", "!: one label only, the same fo")),
        (make_run(scored, full=25_000), (both, " 0.7800 0.7746 finished")),
        (make_run(*seeds), (" random 2 of 3 0.8700 ", "finished: seed 2 failed, loss is nan")),
        (make_run(row, space="study"), ("reference", " 0.8362 ")),
    ):
        _, words = printed(run, width=160)
        assert [part for part in parts if part not in words] == []
    assert "reference" not in printed(make_run(row, space="schedules"))[1]


@pytest.mark.parametrize(
    ("rate", "note"),
    [(1e-4, "5e-05 for teacher_spread; 0.0001 for random, teacher_embeddings"), (5e-5, None)],
)
def test_where_only_initialisation_and_rate_differ_no_column_of_recipes_says_so(rate, note):
    """As in the space `baselines`."""
    rates = {"random": rate, "teacher_embeddings": rate, "teacher_spread": 5e-5}
    trials = [
        finished(800, initialisation=name, alpha=1.0, learning_rate=of_name)
        for name, of_name in rates.items()
    ]
    text, words = printed(make_run(*trials))
    assert "\ninitialisation " in text
    assert ("Learning rates" in words) == (note is not None)
    assert note is None or f"Learning rates differ with the initialisation: {note}" in words
    for others in ([], [*trials[1:], finished(700, learning_rate=3e-3)]):  # alone, or with its like
        _, words = printed(make_run(trials[0], *others))
        assert "recipe initialisation" in words
        assert "cross-entropy only" in words
        assert "Learning rates" not in words


def test_numbers_are_whole_and_no_word_is_lost_on_a_narrow_terminal(mixed):
    words = [f"word{number}" for number in range(40)]
    failed = TrialRecord(config(temperature=9.0), "failed", " ".join(words))
    text, _ = printed(make_run(*mixed.trials.values(), failed), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert {"0.7930", "teacher_upper", *words} <= set(text.split())
    assert "0.766 to 0.818" in text


def test_the_first_is_told_to_be_lucky_and_another_recommended_where_it_is_expected_to_be_better():
    others = [finished(right, temperature=n + 2.0) for n, right in enumerate(range(860, 872, 2))]
    lucky = finished(881, temperature=1.0)
    steady = [finished(880, temperature=1.5, seed=seed) for seed in range(9)]
    run, alone = make_run(lucky, *steady, *others), make_run(lucky)
    recipes = recipes_table(run, trials_table(run))
    first, second = recipes["expected"][:2]
    assert recipes["best5"][0] - 0.004 < first < second < 0.8805
    luck = f"{100 * (0.881 - first):.2f}"
    assert recommendation(run, recipes, []) == [
        f"As the highest of 8, best5 0.8810 is expected to be {luck} points too high (the choice "
        "of its five best evaluations not counted).",
        "Recommended: random, logits only, fixed 0.5, T=1.5.",
    ]
    assert recommendation(alone, recipes_table(alone, trials_table(alone)), []) == []

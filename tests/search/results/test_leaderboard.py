"""What a reader finds in the printed leaderboard; the rows themselves are `test_table`'s."""

import io

import pytest
from rich.console import Console

from search.record.trial_record import FAILED, FINISHED, PENDING, RUNNING, STOPPED, TrialRecord
from search.results.answer import recommendation
from search.results.leaderboard import print_leaderboard
from search.results.table import recipes_table, trials_table
from tests.report_runs import config as of_study
from tests.search.results.test_table import config, evaluations, finished, make_run


def printed(run, width=120):
    file = io.StringIO()
    print_leaderboard(run, recipes_table(run, trials_table(run)), Console(file=file, width=width))
    return file.getvalue()


def cells(text, label):
    """The one printed line that begins with this label, cut where columns are."""
    (line,) = [line for line in text.splitlines() if line.startswith(label)]
    return line.removeprefix(label).split()


@pytest.fixture
def mixed():
    return make_run(
        TrialRecord(config(temperature=1.0), FAILED, "size [3, 4] at [bold]"),
        finished(800, 780),
        finished(796, 790, initialisation="teacher_upper"),
        TrialRecord(config(temperature=3.0), STOPPED, evaluations=evaluations(850)),
        TrialRecord(config(temperature=4.0), RUNNING, evaluations=evaluations(860)),
        TrialRecord(config(temperature=5.0), PENDING),
    )


def test_all_initialisations_stand_in_one_table_with_their_numbers(mixed):
    text = printed(mixed)
    assert text.startswith("\nTeacher accuracy: 0.9500 on the 1,000 validation examples.\n")
    assert "\nIn all rows: logits only, fixed 0.5.\n" in text
    lines = [
        line.rstrip() for line in text.splitlines() if line.startswith(("all as above ", "T="))
    ]
    best, second, stopped, running, pending, failed = lines
    assert best.split() == [
        *("all", "as", "above", "teacher_upper", "0.7930", "0.766", "to", "0.818"),
        *("83.5%", "0.7900", "recommended"),
    ]
    assert second.split()[3:5] == ["random", "~0.7900"]
    assert stopped.split()[2] == "*0.8500"  # not worse: not comparable
    assert stopped.split()[-2:] == ["stopped", "1/15"]
    assert running.split()[-2:] == ["unfinished", "1/15"]
    assert pending.split()[-6:] == ["-", "-", "-", "-", "not", "started"]
    assert failed.endswith("failed: size [3, 4] at")
    notes = " ".join(text.split())
    assert "~: not significantly different from the best, which does not mean equal." in notes
    assert "*: not comparable, neither better nor worse" in notes
    assert "one label" not in notes


@pytest.mark.parametrize("width", [120, 80])
def test_rows_of_a_searched_space_stay_on_one_line(width):
    """With what `recipe` draws; numbers are whole, and what has no room is named."""
    drawn = {"initialisation": "teacher_embeddings", "aligned_layers": "1,2,3", "student_layers": 3}
    drawn |= {"hidden_pool": "tokens", "hidden_weight": 1234.5, "alpha": None, "sharpness": 0.2345}
    drawn |= {"alpha_schedule": "cosine_growth", "temperature": 3.4567, "ema_decay": 0.995}
    trials = [finished(800 + n, **drawn, learning_rate=0.000123 + n * 1e-6) for n in range(3)]
    trials.append(TrialRecord(config(temperature=9.0), STOPPED, evaluations=evaluations(850)))
    trials.append(finished(790, temperature=9.0, ema_decay=0.98, initialisation="random"))
    text = printed(make_run(*trials, searcher="random", scheduler="promotion"), width=width)
    label = "layers 1-3, tokens, w=1234, growth k=0.234, T=3.46, ema 0.995, lr 0.000124"
    assert (label in text) == (width == 120)
    assert max(map(len, text.splitlines())) <= width
    assert "0.8020" in text
    assert "In the report, too: " in " ".join(text.split())


def test_one_label_is_marked_and_what_all_rows_share_stands_above_them():
    one = finished(700, temperature=3.0)
    one.evaluations[0]["one_label"] = True
    text = printed(make_run(finished(800), one))
    assert "!0.7000" in text
    assert "!: one label only, the same for every example." in " ".join(text.split())
    assert "In all rows: initialisation random, logits only, fixed 0.5." in text
    assert "\nrecipe" in text
    assert "initialisation " not in text.partition("\nrecipe")[2]


@pytest.mark.parametrize(("space", "shown"), [("study", True), ("schedules", False)])
def test_accuracy_of_the_reference_study_stands_beside_its_rows_where_asked_for(space, shown):
    trial = TrialRecord(of_study("random", "1,2,3"), FINISHED, evaluations=evaluations(800))
    text = printed(make_run(trial, space=space))
    assert ("reference" in text) == ("0.8362" in text) == shown


def test_score_on_the_full_split_stands_beside_the_subsets():
    trial = finished(800, 780)
    trial.evaluations[-1]["full_score"] = 0.7746
    text = printed(make_run(trial, full=25_000))
    assert "0.9500 on the validation subset of 1,000, 0.9000 on all 25,000." in text
    assert cells(text, "logits only, fixed 0.5")[-3:] == ["0.7800", "0.7746", FINISHED]


def test_seeds_are_counted():
    trials = [finished(right, seed=seed) for seed, right in enumerate((860, 880))]
    failed = TrialRecord(config(seed=2), FAILED, "loss is nan")
    text = printed(make_run(*trials, failed), width=160)
    assert cells(text, "logits only, fixed 0.5")[:5] == ["random", "2", "of", "3", "0.8700"]
    assert "finished: seed 2 failed," in text
    assert "loss is nan" in text


@pytest.mark.parametrize(
    ("rates", "note"),
    [
        ((1e-4, 1e-4, 5e-5), "5e-05 for teacher_spread; 0.0001 for random, teacher_embeddings"),
        ((5e-5, 5e-5, 5e-5), None),
    ],
)
def test_where_only_initialisation_and_rate_differ_they_are_told_without_a_column_of_recipes(
    rates, note
):
    """As in the space `baselines`."""
    names = ("random", "teacher_embeddings", "teacher_spread")
    trials = [
        finished(800, initialisation=name, alpha=1.0, learning_rate=rate)
        for name, rate in zip(names, rates, strict=True)
    ]
    lines = printed(make_run(*trials)).splitlines()
    header = next(line for line in lines if line.startswith("initialisation"))
    assert header.split()[:2] == ["initialisation", "best5"]
    text = " ".join(" ".join(lines).split())
    assert ("Learning rates" in text) == (note is not None)
    assert note is None or f"Learning rates differ with the initialisation: {note}" in text
    for others in ([], [*trials[1:], finished(700, learning_rate=3e-3)]):  # alone, or with its like
        text = " ".join(printed(make_run(trials[0], *others)).split())
        assert "recipe initialisation" in text
        assert "cross-entropy only" in text
        assert "Learning rates" not in text


def test_numbers_are_whole_and_no_word_is_lost_on_a_narrow_terminal(mixed):
    words = [f"word{number}" for number in range(40)]
    failed = TrialRecord(config(temperature=9.0), FAILED, " ".join(words))
    text = printed(make_run(*mixed.trials.values(), failed), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert {"0.7930", "teacher_upper", *words} <= set(text.split())
    assert "0.766 to 0.818" in text


def test_the_first_is_told_to_be_lucky_and_another_recommended_where_it_is_expected_to_be_better():
    others = [finished(right, temperature=n + 2.0) for n, right in enumerate(range(860, 872, 2))]
    lucky = finished(881, temperature=1.0)
    steady = [finished(880, temperature=1.5, seed=seed) for seed in range(9)]
    run = make_run(lucky, *steady, *others)
    recipes = recipes_table(run, trials_table(run))
    first, second = recipes["expected"][:2]
    assert recipes["best5"][0] - 0.004 < first < second < 0.8805
    sentence = (
        f"As the highest of 8, best5 0.8810 is expected to be {100 * (0.881 - first):.2f} points "
        "too high. Recommended: random, logits only, fixed 0.5, T=1.5."
    )
    assert recommendation(run, recipes) == sentence
    alone = make_run(lucky)
    assert recommendation(alone, recipes_table(alone, trials_table(alone))) == ""

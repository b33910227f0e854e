"""The leaderboard: its rows by value, and what a reader finds in the printed tables."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from search.leaderboard import INTERRUPTED, leaderboard, print_leaderboard
from search.plan import plan_trials
from search.record import FAILED, FINISHED, PENDING, RUNNING, STOPPED, WAITING, Run, TrialRecord
from search.request import Request
from search.statistics import best5_scores, seeds_interval, sentence_interval
from spaces.study import STUDY_ROWS
from trainable.config import TrialConfig
from trainable.layers import resolve_layer_set
from trainable.metrics import best5_accuracy, pack_bits
from trainable.presets import PRESETS

SENTENCES = 1000
TEACHER = 0.9


def evaluations(*rights):
    """Evaluations of which the first so many of 1,000 sentences are right."""
    made = []
    for right in rights:
        accuracies = [e["accuracy"] for e in made] + [right / SENTENCES]
        made.append(
            {
                "evaluations": len(accuracies),
                "accuracy": accuracies[-1],
                "best5_accuracy": best5_accuracy(accuracies),
                "correct": pack_bits(np.arange(SENTENCES) < right),
                "training_seconds": 2.0,
                "evaluation_seconds": 1.0,
            }
        )
    return made


def config(initialisation="random", **settings):
    return TrialConfig(initialisation=initialisation, **({"alpha": 0.5} | settings))


def make_run(*trials, spaces=("logits",), compare_within=("initialisation",)):
    sweep = {
        "requests": [{"space": space} for space in spaces],
        "compare_within": list(compare_within),
        "evaluation_sentences": SENTENCES,
        "task": {"teacher": {"accuracy": TEACHER}},
    }
    return Run(None, sweep, {trial.config.digest: trial for trial in trials})


def planned_study(preset, seed=0):
    return plan_trials(Request("study", preset, cache="", seed=seed))


@pytest.fixture
def mixed():
    """Every outcome among the random ones, in the order planned; one better from the teacher."""
    return make_run(
        TrialRecord(
            config(temperature=1.0), FAILED, "CUDA out of memory", evaluations=evaluations(990)
        ),
        TrialRecord(config(temperature=1.5), PENDING),
        TrialRecord(config(temperature=2.0), FINISHED, evaluations=evaluations(700, 720, 710)),
        TrialRecord(config(temperature=2.5), STOPPED, evaluations=evaluations(850)),
        TrialRecord(config(temperature=3.0), FINISHED, evaluations=evaluations(800, 780)),
        TrialRecord(config(temperature=3.5), RUNNING, evaluations=evaluations(860)),
        TrialRecord(config(temperature=4.0), STOPPED, evaluations=evaluations(840, 855)),
        TrialRecord(config(temperature=5.0), RUNNING),
        TrialRecord(config("teacher_spread"), FINISHED, evaluations=evaluations(995)),
    )


def printed(run, width=120):
    file = io.StringIO()
    print_leaderboard(run, Console(file=file, width=width))
    return file.getvalue()


def line_with(text, words):
    """The one printed line that holds these words."""
    (line,) = [line for line in text.splitlines() if words in line]
    return line


def test_rows_run_to_the_end_come_first_then_by_falling_best5(mixed):
    rows = leaderboard(mixed)["random"]
    assert [(row.outcome, row.best5) for row in rows] == [
        (FINISHED, pytest.approx(0.79)),
        (FINISHED, pytest.approx(0.71)),
        (STOPPED, pytest.approx(0.85)),
        (STOPPED, pytest.approx(0.8475)),
        (INTERRUPTED, pytest.approx(0.86)),
        (INTERRUPTED, None),
        (PENDING, None),
        (FAILED, pytest.approx(0.99)),
    ]


def test_strata_by_falling_best_score(mixed):
    assert list(leaderboard(mixed)) == ["teacher_spread", "random"]


@pytest.mark.parametrize(
    ("compare_within", "sizes"),
    [
        ((), {"all trials": 9}),
        (("initialisation",), {"random": 8, "teacher_spread": 1}),
        (("alpha",), {"alpha=0.5": 9}),
    ],
)
def test_strata_are_those_of_the_sweep(mixed, compare_within, sizes):
    mixed.sweep["compare_within"] = list(compare_within)
    assert {name: len(rows) for name, rows in leaderboard(mixed).items()} == sizes


def test_row_of_a_trial_by_hand():
    made = evaluations(500, 900, 910, 920, 930, 940, 905)
    run = make_run(TrialRecord(config(), FINISHED, evaluations=made))
    (row,) = leaderboard(run)["random"]
    assert (row.evaluations, row.last) == (7, 0.905)
    assert row.best5 == pytest.approx((0.91 + 0.92 + 0.93 + 0.94 + 0.905) / 5)
    assert (row.words, row.reason, row.study) == ("random, logits only, fixed 0.5", "", None)


def test_interval_is_over_the_sentences_of_the_five_best():
    run = make_run(
        TrialRecord(config(), FINISHED, evaluations=evaluations(100, 900, 900, 900, 900, 900))
    )
    (row,) = leaderboard(run)["random"]
    half = 1.96 * np.sqrt(0.9 * 0.1 / SENTENCES)
    np.testing.assert_allclose(row.interval, (0.9 - half, 0.9 + half), rtol=0, atol=0.002)


def test_interval_is_the_same_each_time(mixed):
    assert leaderboard(mixed) == leaderboard(mixed)


def test_sentences_that_do_not_fill_a_byte_are_counted_right():
    run = make_run(TrialRecord(config(), FINISHED, evaluations=evaluations(1000)))
    (row,) = leaderboard(run)["random"]
    assert row.interval == (1.0, 1.0)
    run.sweep["evaluation_sentences"] = 997  # of 1,000 packed bits, all right
    assert leaderboard(run)["random"][0].interval == (1.0, 1.0)


def test_trial_without_evaluation_has_no_numbers():
    (row,) = leaderboard(make_run(TrialRecord(config())))["random"]
    assert (row.best5, row.interval, row.last, row.evaluations) == (None, None, None, 0)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("number", range(18))
def test_each_row_of_the_study_finds_its_figure(preset, number):
    _, initialisation, layer_set, alpha, figure = STUDY_ROWS[number]
    planned = planned_study(preset, seed=4)
    wanted = {"alpha": None, "sharpness": None, **alpha, "initialisation": initialisation}
    wanted["aligned_layers"] = resolve_layer_set(layer_set, planned[0].student_layers)
    (found,) = [c for c in planned if wanted.items() <= c.to_dict().items()]
    ((row,),) = leaderboard(make_run(TrialRecord(found), spaces=("study",))).values()
    assert row.study == figure


def test_study_figure_only_in_the_study():
    found = planned_study("sst2")[0]
    ((row,),) = leaderboard(make_run(TrialRecord(found), spaces=("schedules", "layers"))).values()
    assert row.study is None


@pytest.mark.parametrize("spaces", [("study", "schedules"), ("schedules", "study")])
def test_run_that_was_extended_has_the_studys_figures_where_one_request_was_the_study(spaces):
    """A sweep of `schedules` to which the study was added, or the other way round."""
    of_study = config(
        aligned_layers="1,2,3", alpha=None, alpha_schedule="cosine_growth", sharpness=1.0
    )
    (rows,) = leaderboard(make_run(TrialRecord(of_study), spaces=spaces)).values()
    assert rows[0].study == 0.8431


def test_recipe_outside_the_study_has_no_figure():
    run = make_run(TrialRecord(config(alpha=0.25)), spaces=("study",))
    assert leaderboard(run)["random"][0].study is None


def test_printed_row_has_the_numbers(mixed):
    line = line_with(printed(mixed), "T=3 ")
    interval = leaderboard(mixed)["random"][0].interval
    for part in ("0.7900", "{:.3f} - {:.3f}".format(*interval), "87.8%", "0.7800", " 2 ", FINISHED):
        assert part in line


def test_printed_rows_stand_in_order_below_their_stratum(mixed):
    text = printed(mixed)
    wanted = ["Teacher: 0.9000 on the 1,000 evaluation sentences", "teacher_spread", "0.9950"]
    wanted += ["\nrandom", "0.7900", "0.7100", "0.8500", "0.8475", "0.8600", "0.9900"]
    places = [text.index(words) for words in wanted]
    assert places == sorted(places)


def test_stratum_is_not_said_again_in_each_row(mixed):
    assert "random, logits only" not in printed(mixed)
    mixed.sweep["compare_within"] = []
    assert printed(mixed).count("random, logits only") == 8


def test_trial_without_evaluation_is_printed_with_dashes(mixed):
    line = line_with(printed(mixed), PENDING)
    assert line.split()[-6:] == ["-", "-", "-", "-", "0", PENDING]


def test_reason_of_a_failure_is_printed(mixed):
    assert "failed: CUDA out of memory" in line_with(printed(mixed), FAILED)


@pytest.mark.parametrize(
    "reason",
    [
        "[enforce fail at alloc_cpu.cpp:117] not enough memory",
        "no such file [/tmp/x]",
        "[Errno 28] No space left on device",
        "size [3, 4] at [bold]",
    ],
)
def test_brackets_in_a_reason_are_printed_as_they_are(reason):
    text = printed(make_run(TrialRecord(config(), FAILED, reason)), width=200)
    assert f"failed: {reason}" in text


def test_long_reason_loses_no_word():
    words = [f"word{number}" for number in range(40)]
    text = printed(make_run(TrialRecord(config(), FAILED, " ".join(words))))
    assert all(word in text.split() for word in words)


def test_study_column_stands_only_in_the_study():
    planned = planned_study("mini")
    trials = [TrialRecord(c, FINISHED, evaluations=evaluations(800)) for c in planned]
    lines = printed(make_run(*trials, spaces=("study",))).splitlines()
    headers = [line for line in lines if line.startswith("trial ")]
    assert len(headers) == 2
    assert all("study" in line for line in headers)
    for figure in {row[-1] for row in STUDY_ROWS}:
        assert any(f"{figure:.4f}" in line for line in lines)
    other = make_run(*trials, spaces=("schedules", "layers"))
    assert "study" not in printed(other)


def test_all_numbers_of_the_study_fit_a_line_of_120():
    planned = planned_study("sst2")
    trials = [TrialRecord(c, FINISHED, evaluations=evaluations(*[800] * 15)) for c in planned]
    lines = printed(make_run(*trials, spaces=("study",))).splitlines()
    assert sum(FINISHED in line and "0.8000" in line for line in lines) == 18
    assert max(len(line) for line in lines) <= 120


@pytest.fixture
def sampled():
    """1,000 sentences looked at of 25,000, on all of which the finished trials were scored."""
    trials = [
        TrialRecord(config(temperature=1.0), FINISHED, evaluations=evaluations(700, 720)),
        TrialRecord(config(temperature=3.0), FINISHED, evaluations=evaluations(800, 780)),
        TrialRecord(config(temperature=4.0), STOPPED, evaluations=evaluations(850)),
        TrialRecord(config(temperature=5.0), PENDING),
    ]
    for trial, whole in zip(trials, (0.7123, 0.7746, None), strict=False):
        for evaluation in trial.evaluations:
            evaluation |= {"whole_accuracy": None, "whole_correct": None}
        trial.evaluations[-1]["whole_accuracy"] = whole
    run = make_run(*trials)
    run.sweep["task"] = {
        "teacher": {"accuracy": TEACHER, "whole_accuracy": 0.8765},
        "sentences": {"train": 25_000, "evaluation": SENTENCES, "whole": 25_000},
    }
    return run


def test_score_on_the_whole_split_stands_beside_the_last(sampled):
    rows = leaderboard(sampled)["random"]
    assert [(row.best5, row.last, row.whole) for row in rows] == [
        (pytest.approx(0.79), 0.78, 0.7746),
        (pytest.approx(0.71), 0.72, 0.7123),
        (pytest.approx(0.85), 0.85, None),
        (None, None, None),
    ]
    text = printed(sampled)
    header = line_with(text, "best5  ").split()
    assert header[header.index("last") + 1] == "whole"
    assert line_with(text, "T=3 ").split()[-5:] == ["87.8%", "0.7800", "0.7746", "2", FINISHED]
    assert line_with(text, "T=4 ").split()[-4:] == ["0.8500", "-", "1", STOPPED]
    assert line_with(text, "T=5 ").split()[-6:] == ["-", "-", "-", "-", "0", PENDING]


def test_what_each_number_is_taken_on_is_said(sampled):
    lines = printed(sampled).splitlines()
    place = lines.index(
        "Teacher: 0.9000 on the 1,000 evaluation sentences of the sample, 0.8765 on all 25,000."
    )
    assert lines[place + 1] == (
        "best5 and last: 1,000 sentences drawn from the 25,000, the same for every trial; "
        "whole: all 25,000, once, at the end."
    )


@pytest.mark.parametrize("sentences", [None, {}, {"train": 2048, "evaluation": SENTENCES}])
def test_without_a_whole_split_nothing_is_said_of_one(mixed, sentences):
    plain = printed(mixed)
    if sentences is not None:
        mixed.sweep["task"]["sentences"] = sentences
    for trial in mixed.trials.values():
        for evaluation in trial.evaluations:
            evaluation |= {"whole_accuracy": None, "whole_correct": None}
    assert printed(mixed) == plain
    assert "whole" not in plain
    assert plain.startswith("\nTeacher: 0.9000 on the 1,000 evaluation sentences.\n")


def test_numbers_of_the_study_with_those_on_the_whole_fit_a_line_of_120(sampled):
    made = [evaluations(*[800] * 15) for _ in STUDY_ROWS]
    for found in made:
        found[-1]["whole_accuracy"] = 0.8123
    trials = [
        TrialRecord(planned, FINISHED, evaluations=found)
        for planned, found in zip(planned_study("imdb"), made, strict=True)
    ]
    run = make_run(*trials, spaces=("study",))
    run.sweep["task"] = sampled.sweep["task"]
    lines = printed(run).splitlines()
    assert sum(FINISHED in line and "0.8123" in line for line in lines) == 18
    assert max(len(line) for line in lines) <= 120


def test_footnote_says_what_the_numbers_are(mixed):
    text = " ".join(printed(mixed).split())
    assert "mean of the five best evaluations" in text
    assert "95 % interval" in text


def test_trial_that_waits_to_be_alone_is_printed_as_pending_with_what_went_wrong():
    waiting = TrialRecord(config(), PENDING, "out of memory", True, evaluations(800))
    line = line_with(printed(make_run(waiting)), "pending")
    assert "pending: out of memory" in line
    assert "0.8000" in line


def test_printing_leaves_the_run_as_it_was(mixed):
    before = {digest: replace(trial) for digest, trial in mixed.trials.items()}
    printed(mixed)
    assert mixed.trials == before


# Several seeds a recipe.


@pytest.fixture
def seeded():
    """Two recipes that finished, one that failed on a seed, one stopped, one under way."""
    return make_run(
        TrialRecord(config(temperature=1.0), FINISHED, evaluations=evaluations(800, 820)),
        TrialRecord(config(temperature=1.0, seed=1), FINISHED, evaluations=evaluations(880, 900)),
        TrialRecord(config(temperature=1.5), FINISHED, evaluations=evaluations(860, 870)),
        TrialRecord(config(temperature=1.5, seed=1), FAILED, "loss is nan"),
        TrialRecord(config(temperature=2.5), STOPPED, evaluations=evaluations(950)),
        TrialRecord(config(temperature=2.5, seed=1), STOPPED, evaluations=evaluations(930)),
        TrialRecord(config(temperature=3.5), WAITING, evaluations=evaluations(960, 970)),
        TrialRecord(config(temperature=3.5, seed=1), RUNNING, evaluations=evaluations(940)),
        TrialRecord(config(temperature=4.5), PENDING),
        TrialRecord(config(temperature=4.5, seed=1), PENDING),
    )


def test_one_row_a_recipe_with_means_over_the_seeds_that_came_furthest(seeded):
    (rows,) = leaderboard(seeded).values()
    found = [(row.outcome, row.seeds, row.evaluations, row.reason) for row in rows]
    assert found == [
        (FINISHED, "1 of 2", 2, "seed 1 failed, loss is nan"),
        (FINISHED, "2", 2, ""),
        (STOPPED, "2", 1, ""),
        (INTERRUPTED, "1 of 2", 2, ""),
        (PENDING, "2", 0, ""),
    ]
    assert [row.best5 for row in rows] == [
        *(pytest.approx(value) for value in (0.865, 0.85, 0.94, 0.965)),
        None,
    ]
    assert [row.last for row in rows[:3]] == [pytest.approx(v) for v in (0.87, 0.86, 0.94)]
    assert not any("seed" in row.words for row in rows)


def test_interval_is_over_seeds_and_sentences_where_there_are_several(seeded):
    (rows,) = leaderboard(seeded).values()
    alone, two, *_ = rows
    scores = [
        best5_scores([np.arange(SENTENCES) < right for right in rights])
        for rights in ((800, 820), (880, 900))
    ]
    assert two.interval == pytest.approx(np.clip(seeds_interval(np.array(scores)), 0, 1))
    assert two.interval[0] < 0.6  # two seeds that differ by 8 points say little
    single = best5_scores([np.arange(SENTENCES) < right for right in (860, 870)])
    assert alone.interval == sentence_interval(single, np.random.default_rng(0))


def test_printed_table_of_seeds_says_what_the_interval_covers(seeded):
    text = printed(seeded, width=160)
    assert "seeds" in line_with(text, "95 % interval  of")
    assert " 1 of 2  0.8650 " in line_with(text, "T=1.5")
    assert line_with(text, "T=1.5").rstrip().endswith("finished: seed 1 failed, loss is nan")
    assert "over other sentences and other seeds" in " ".join(text.split())


def test_a_recipe_all_of_whose_seeds_failed_says_why():
    run = make_run(
        *(TrialRecord(config(seed=seed), FAILED, f"reason {seed}") for seed in (0, 1)),
        TrialRecord(config(temperature=3.0), FINISHED, evaluations=evaluations(800)),
    )
    (rows,) = leaderboard(run).values()
    assert [row.outcome for row in rows] == [FINISHED, FAILED]
    assert rows[1].reason == "seed 0 failed, reason 0; seed 1 failed, reason 1"
    assert rows[0].seeds == "1"


def test_one_seed_each_has_no_such_column(mixed):
    (rows, _) = leaderboard(mixed).values()
    assert {row.seeds for row in rows} == {None}
    assert "seeds " not in printed(mixed).partition("best5 is")[0]

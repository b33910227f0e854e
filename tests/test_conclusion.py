"""What a confirmation answers: its numbers by hand, and the three ways in which it is told."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import t as student_t

from search.conclusion import (
    JSON,
    MARKDOWN,
    Row,
    conclude,
    print_conclusion,
    seeds_words,
    write_conclusion,
)
from search.finalists import Confirmation
from search.record import CONFIRMS, FAILED, FINISHED, Run, TrialRecord
from trainable.config import TrialConfig
from trainable.metrics import pack_bits

SENTENCES, WHOLE = 200, 1000
GROWTH = TrialConfig(alpha_schedule="cosine_growth", sharpness=2.0, aligned_layers="1,2,3")
FIXED = TrialConfig(alpha=0.5, aligned_layers="1,2,3")
CE_ONLY = TrialConfig(alpha=1.0)
RIGHTS = {GROWTH: (180, 184, 182), FIXED: (170, 171, 172), CE_ONLY: (160, 165, 161)}


def evaluations(last, best5, whole=None):
    """A poor first one, and the last with so many of the first sentences right."""
    first = {
        "accuracy": 0.5,
        "best5_accuracy": 0.5,
        "correct": pack_bits(np.zeros(SENTENCES, bool)),
    }
    final = {
        "accuracy": last / SENTENCES,
        "best5_accuracy": best5,
        "correct": pack_bits(np.arange(SENTENCES) < last),
        "whole_correct": None if whole is None else pack_bits(np.arange(WHOLE) < whole),
    }
    return [first, final]


def make_run(folder, whole=None, asked=(3,), failed=()):
    """Three recipes on seeds 4, 5 and 6; `whole` has how many of the whole split each got right."""
    confirmation = Confirmation("mine", "then", (GROWTH,), (0.95,), False, 1, (4, 5, 6), asked)
    sentences = {"train": 1, "evaluation": SENTENCES} | ({"whole": WHOLE} if whole else {})
    sweep = {
        CONFIRMS: confirmation.to_dict(),
        "evaluation_sentences": SENTENCES,
        "task": {"sentences": sentences},
    }
    trials = {}
    for config in confirmation.trials():
        recipe, place = config.recipe, config.seed - 4
        right = RIGHTS[recipe][place]
        found = evaluations(right, right / SENTENCES + 0.01, whole and whole[recipe][place])
        trial = TrialRecord(config, FINISHED, evaluations=found)
        if (recipe, config.seed) in failed:
            trial = TrialRecord(config, FAILED, "loss is nan", evaluations=found[:1])
        trials[config.digest] = trial
    return Run(folder, sweep, trials)


def printed(conclusion):
    file = io.StringIO()
    print_conclusion(conclusion, Console(file=file, width=120))
    return file.getvalue()


def test_rows_by_hand(tmp_path):
    rows = conclude(make_run(tmp_path)).rows
    half = student_t.ppf(0.975, 2) * 0.01 / np.sqrt(3)  # 0.90, 0.92, 0.91 deviate by 0.01
    assert rows[0] == Row(
        "cosine_growth with sharpness 2",
        pytest.approx(0.91),
        (pytest.approx(0.91 - half), pytest.approx(0.91 + half)),
        pytest.approx(0.92),
        0.95,
        3,
    )
    assert [row.recipe for row in rows[1:]] == ["fixed alpha 0.5", "cross-entropy only"]
    assert [(row.last, row.chosen) for row in rows[1:]] == [
        (pytest.approx(0.855), None),
        (pytest.approx(0.81), None),
    ]


def test_last_evaluation_counts_and_not_best5(tmp_path):
    run = make_run(tmp_path)
    first = conclude(run).verdicts
    assert [v.difference.estimate for v in first] == pytest.approx([0.055, 0.1])
    for trial in run.trials.values():
        trial.evaluations[-1]["best5_accuracy"] = 0.1
        trial.evaluations[0]["correct"] = pack_bits(np.ones(SENTENCES, bool))
    assert conclude(run).verdicts == first


def test_whole_split_counts_where_there_is_one(tmp_path):
    """There the order of the recipes is another."""
    whole = {GROWTH: (800, 801, 802), FIXED: (810, 811, 812), CE_ONLY: (700, 701, 702)}
    conclusion = conclude(make_run(tmp_path, whole))
    assert [row.last for row in conclusion.rows] == pytest.approx([0.801, 0.811, 0.701])
    assert [v.difference.estimate for v in conclusion.verdicts] == pytest.approx([-0.01, 0.1])
    assert {v.difference.sentences for v in conclusion.verdicts} == {WHOLE}
    assert conclusion.sentences == WHOLE
    assert "on all 1,000 evaluation sentences (best5: the sample of 200)" in conclusion.notes[0]


def test_without_a_whole_split_nothing_is_said_of_one(tmp_path):
    conclusion = conclude(make_run(tmp_path))
    assert conclusion.sentences == SENTENCES
    assert "on the 200 evaluation sentences;" in conclusion.notes[0]
    assert "sample" not in " ".join(conclusion.notes)


def test_printed_and_written_say_the_same(tmp_path):
    run = make_run(tmp_path)
    conclusion = conclude(run)
    write_conclusion(conclusion, run)
    text, markdown = printed(conclusion), (tmp_path / MARKDOWN).read_text()
    for verdict in conclusion.verdicts:
        assert f"- {verdict.sentence()}\n" in text
        assert f"- {verdict.sentence()}\n" in markdown
    for note in conclusion.notes:
        assert note in " ".join(text.split())
        assert f"- {note}\n" in markdown
    assert (
        "Confirmation of mine on 3 fresh seeds (4-6) and 200 sentences; "
        "all teacher_spread, layers 1,2,3.\n" in text
    )
    (line,) = [line for line in text.splitlines() if line.startswith("cosine_growth")]
    assert line.split()[4:] == ["0.9100", "0.8852", "-", "0.9348", "0.9200", "0.9500", "3"]
    row = "| cosine_growth with sharpness 2 | 0.9100 | 0.8852 - 0.9348 | 0.9200 | 0.9500 | 3 |"
    assert row in markdown.splitlines()
    assert max(len(line) for line in text.splitlines() if not line.startswith("- ")) <= 120


def test_json_has_every_number(tmp_path):
    run = make_run(tmp_path)
    conclusion = conclude(run)
    write_conclusion(conclusion, run)
    values = json.loads((tmp_path / JSON).read_text())
    assert Confirmation.from_dict(values["confirms"]) == conclusion.confirmation
    assert [row["last"] for row in values["recipes"]] == pytest.approx([0.91, 0.855, 0.81])
    for found, verdict in zip(values["comparisons"], conclusion.verdicts, strict=True):
        recipes = tuple(TrialConfig.from_dict(found[side]) for side in ("first", "second"))
        assert recipes == verdict.pair
        assert found["difference"]["estimate"] == verdict.difference.estimate
        assert found["adjusted_p_value"] == verdict.adjusted
        assert (found["shown"], found["sentence"]) == (verdict.shown, verdict.sentence())


def test_failed_trials_are_told_and_the_rest_is_compared(tmp_path):
    failed = [(FIXED, 5), (CE_ONLY, 4), (CE_ONLY, 6)]
    conclusion = conclude(make_run(tmp_path, failed=failed))
    assert [row.seeds for row in conclusion.rows] == [3, 2, 1]
    assert conclusion.rows[2].interval is None
    assert conclusion.verdicts[0].difference.estimate == pytest.approx((182 - 171) / SENTENCES)
    assert conclusion.verdicts[1].sentence().endswith(": 1 seed of one finished.")
    assert len(conclusion.failures) == 3
    assert "failed: teacher_spread, cross-entropy only, seed 4: loss is nan\n" in printed(
        conclusion
    )
    assert "all 1 comparison(s)" in conclusion.notes[2]


def test_where_all_failed_there_is_nothing_to_compare(tmp_path):
    failed = [(recipe, seed) for recipe in RIGHTS for seed in (4, 5, 6)]
    run = make_run(tmp_path, failed=failed)
    conclusion = conclude(run)
    assert [v.difference for v in conclusion.verdicts] == [None, None]
    write_conclusion(conclusion, run)
    assert "0 seeds of one finished" in printed(conclusion)


def test_seeds_added_on_the_way_are_told(tmp_path):
    assert "added" not in " ".join(conclude(make_run(tmp_path)).notes)
    (note,) = [n for n in conclude(make_run(tmp_path, asked=(2, 3))).notes if "added" in n]
    assert "(2, then 3)" in note
    assert "p-values are too small" in note


def test_order_of_trials_changes_nothing(tmp_path):
    run = make_run(tmp_path)
    turned = replace(run, trials=dict(reversed(run.trials.items())))
    assert conclude(turned).verdicts[0].difference.estimate == pytest.approx(0.055)
    assert conclude(turned).verdicts[0].adjusted == pytest.approx(
        conclude(run).verdicts[0].adjusted
    )


@pytest.mark.parametrize(
    ("seeds", "words"),
    [((1, 2, 3, 4, 5), "1-5"), ((3, 4), "3, 4"), ((1, 2, 5), "1, 2, 5"), ((7, 8, 9), "7-9")],
)
def test_seeds_in_words(seeds, words):
    assert seeds_words(seeds) == words

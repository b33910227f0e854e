"""A run as a table: values by hand, runs in any state, no Ray and no torch, fast enough."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from search.leaderboard import leaderboard
from search.record import (
    FAILED,
    FINISHED,
    PENDING,
    RECORD,
    RUNNING,
    STOPPED,
    SWEEP,
    Run,
    TrialRecord,
    create_run,
)
from search.table import SETTINGS, correct_bits, trials_table
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.metrics import best5_accuracy, pack_bits

SENTENCES = 1000
TEACHER = 0.9


def evaluations(*rights, seconds=2.0):
    """Evaluations of which the first so many of 1,000 sentences are right."""
    return evaluations_of([np.arange(SENTENCES) < right for right in rights], seconds)


def evaluations_of(correct, seconds=2.0):
    accuracies = [float(bits.mean()) for bits in correct]
    return [
        {
            "evaluations": n + 1,
            "accuracy": accuracies[n],
            "best5_accuracy": best5_accuracy(accuracies[: n + 1]),
            "correct": pack_bits(bits),
            "training_seconds": seconds,
            "evaluation_seconds": 0.5,
            "saving_seconds": 0.25,
        }
        for n, bits in enumerate(correct)
    ]


def config(initialisation="random", **settings):
    return TrialConfig(initialisation=initialisation, **({"alpha": 0.5} | settings))


def sweep_values(sentences=SENTENCES, compare_within=("initialisation",)):
    return {
        "requests": [{"space": "logits"}],
        "compare_within": list(compare_within),
        "evaluation_sentences": sentences,
        "task": {"teacher": {"accuracy": TEACHER}},
    }


def make_run(*trials, **values):
    return Run(None, sweep_values(**values), {t.config.digest: t for t in trials})


@pytest.fixture
def mixed():
    """Every outcome; the finished ones with three evaluations."""
    return make_run(
        TrialRecord(config(temperature=1.0), FAILED, "out of memory"),
        TrialRecord(config(temperature=1.5), PENDING),
        TrialRecord(config(temperature=2.0), FINISHED, evaluations=evaluations(700, 720, 710)),
        TrialRecord(config(temperature=2.5), STOPPED, evaluations=evaluations(690, 600)),
        TrialRecord(config(temperature=3.0), FINISHED, evaluations=evaluations(800, 780, 796)),
        TrialRecord(config(temperature=3.5), RUNNING, evaluations=evaluations(860)),
        TrialRecord(config(temperature=4.0), FINISHED, evaluations=evaluations(798, 792, 789)),
        TrialRecord(config("teacher_spread"), FINISHED, evaluations=evaluations(600, 600, 600)),
    )


def test_row_by_hand():
    made = evaluations(500, 900, 910, 920, 930, 940, 905)
    made[-1]["whole_accuracy"] = 0.876
    trial = TrialRecord(config(alpha=0.25), FINISHED, evaluations=made, repeated=2)
    (row,) = trials_table(make_run(trial)).to_dict("records")
    best5 = (0.91 + 0.92 + 0.93 + 0.94 + 0.905) / 5
    wanted = {
        "initialisation": "random",
        "alpha": 0.25,
        "sharpness": None,
        "planned_evaluations": 15,
        "digest": trial.config.digest,
        "words": "random, logits only, fixed 0.25",
        "folder": trial.config.folder_name,
        "idle_settings": "hidden_pool,hidden_weight",
        "stratum": "random",
        "outcome": FINISHED,
        "reason": "",
        "evaluations": 7,
        "repeated": 2,
        "best5": pytest.approx(best5),
        "of_teacher": pytest.approx(best5 / 0.9),
        "last": 0.905,
        "last_minus_best5": pytest.approx(0.905 - best5),
        "whole": 0.876,
        "tied": True,
        "common_best5": pytest.approx(best5),
        "training_seconds": 14.0,
        "evaluation_seconds": 3.5,
        "saving_seconds": 1.75,
    }
    assert {key: row[key] for key in wanted} == wanted


def test_every_setting_is_a_column_with_its_value():
    settings = {"sharpness": 2.5, "alpha": None, "alpha_schedule": "cosine_^shape", "epochs": 7}
    trial = TrialRecord(config(**settings, student_width=128, seed=3), PENDING)
    table = trials_table(make_run(trial))
    values = trial.config.to_dict()
    assert len(SETTINGS) == len(values)
    for column, value in zip(SETTINGS, values.values(), strict=True):
        found = table[column][0]
        assert found == value or (value is None and pd.isna(found))


def test_interval_is_the_leaderboards(mixed):
    table = trials_table(mixed).set_index("words")
    for rows in leaderboard(mixed).values():
        for row in rows:
            if row.interval is not None:
                found = table.loc[row.words]
                assert (found["low"], found["high"]) == row.interval


def test_one_row_a_trial_in_the_order_planned(mixed):
    table = trials_table(mixed)
    assert list(table["digest"]) == list(mixed.trials)
    assert list(table["outcome"]) == [trial.outcome for trial in mixed.trials.values()]
    assert list(table["evaluations"]) == [0, 0, 3, 2, 3, 1, 3, 3]


def test_without_evaluations_accuracies_are_missing(mixed):
    table = trials_table(mixed)
    for column in ("best5", "low", "high", "of_teacher", "last", "whole", "optimism", "tied"):
        assert table[column].isna()[:2].all(), column


def test_tied_are_finished_trials_of_a_stratum_only(mixed):
    tied = trials_table(mixed)["tied"]
    assert tied.dtype == "boolean"
    # 0.710 against 0.792 and 0.793 on nested sentences; alone in its stratum the last one
    assert tied.tolist() == [pd.NA, pd.NA, False, pd.NA, True, pd.NA, True, True]


def test_trials_of_other_numbers_of_evaluations_are_not_compared():
    short = TrialRecord(config(evaluations=1), FINISHED, evaluations=evaluations(500))
    long = TrialRecord(config(evaluations=2), FINISHED, evaluations=evaluations(900, 900))
    assert trials_table(make_run(short, long))["tied"].tolist() == [True, True]


def test_common_best5_is_after_equally_many_evaluations(mixed):
    found = trials_table(mixed)["common_best5"].tolist()
    wanted = [np.nan, np.nan, 0.71, 0.645, 0.79, np.nan, 0.795, 0.6]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_before_any_trial_has_ended_nothing_is_common():
    run = make_run(TrialRecord(config(), RUNNING, evaluations=evaluations(800)))
    table = trials_table(run)
    assert table["common_best5"].isna().all()
    assert table["tied"].isna().all()
    assert table["best5"].tolist() == [0.8]


def test_all_failed():
    trials = [TrialRecord(config(temperature=t), FAILED, "nan") for t in (1.0, 2.0)]
    table = trials_table(make_run(*trials))
    assert table["reason"].tolist() == ["nan", "nan"]
    assert table["best5"].isna().all()


def test_run_without_trials_is_an_empty_table_with_columns(mixed):
    table = trials_table(make_run())
    assert len(table) == 0
    assert list(table.columns) == list(trials_table(mixed).columns)


def test_records_of_before_saving_was_timed():
    made = evaluations(800)
    del made[0]["saving_seconds"]
    trial = TrialRecord(config(), RUNNING, evaluations=made)
    assert trials_table(make_run(trial))["saving_seconds"].tolist() == [0.0]


def test_correct_bits_are_those_packed(mixed):
    trials = list(mixed.trials.values())
    bits = correct_bits(trials[2], mixed)
    assert bits.shape == (3, SENTENCES)
    assert bits.dtype == bool
    assert bits.sum(axis=1).tolist() == [700, 720, 710]
    assert correct_bits(trials[0], mixed).shape == (0, SENTENCES)


def test_same_table_each_time_and_the_run_left_alone(mixed):
    before = repr(mixed)
    pd.testing.assert_frame_equal(trials_table(mixed), trials_table(mixed))
    assert repr(mixed) == before


@pytest.fixture
def written(tmp_path):
    """A run on disk: one trial finished, one interrupted, one pending."""
    configs = [config(temperature=t, evaluations=2) for t in (1.0, 2.0, 3.0)]
    run = create_run(tmp_path / "mine", sweep_values(), configs)
    for trial, rights in zip(configs, [(800, 810), (700,), ()], strict=False):
        for values in evaluations(*rights):
            event = {"event": "evaluation", "decision": "continue", "evaluation": values}
            run.append({**event, "trial": trial.digest})
    return run


@pytest.mark.parametrize("kind", [Path, str])
def test_a_folder_is_read(written, kind):
    found = trials_table(kind(written.folder))
    pd.testing.assert_frame_equal(found, trials_table(written))
    assert found["outcome"].tolist() == [FINISHED, RUNNING, PENDING]


@pytest.mark.parametrize("lost", [RECORD, SWEEP])
def test_a_damaged_run_is_read_from_its_copies(written, lost):
    wanted = trials_table(written)
    path = written.folder / lost
    path.write_bytes(path.read_bytes()[:100])
    pd.testing.assert_frame_equal(trials_table(written.folder), wanted)


def test_a_lost_plan_is_the_users_to_hear_of(tmp_path):
    with pytest.raises(UserError, match="RUN"):
        trials_table(tmp_path)


def test_neither_ray_nor_torch_is_loaded(repository, written):
    code = (
        "import sys; from search.table import trials_table; import search.importance as i; "
        f"t = trials_table({str(written.folder)!r}); i.importance_by_stratum(t); "
        "print([m for m in ('torch', 'ray', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_200_trials_in_10_seconds():
    """15 evaluations on 872 sentences; 3.3 s alone on a core. The processor's time, not others'."""
    generator = np.random.default_rng(0)
    truth = generator.random(872) < 0.9
    trials = [
        TrialRecord(
            config(sharpness=1.0 + k, alpha=None, alpha_schedule="cosine_growth"),
            FINISHED,
            evaluations=evaluations_of([truth ^ (generator.random(872) < 0.05) for _ in range(15)]),
        )
        for k in range(200)
    ]
    run = make_run(*trials, sentences=872)
    start = time.process_time()
    table = trials_table(run)
    assert time.process_time() - start < 10
    assert table["tied"].notna().all()

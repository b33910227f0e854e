"""Replayed schedulers against sweeps worked out by hand."""

from itertools import takewhile
from statistics import median

import numpy as np
import pytest

from search.record.trial_record import GO, STOP
from search.replay.__main__ import main
from search.replay.curves import Curves, curves_of
from search.replay.strategies import Strategy, compare, every_strategy, replay
from tests.made_runs import asked, evaluated, made_plan, made_run, of_two_strata, pack_right, recipe

LENGTH = 9


@pytest.fixture
def curves():
    """Of 24 trials in two strata; the signal `true` knows the end from the first evaluation on."""
    generator = np.random.default_rng(0)
    final = generator.uniform(0.7, 0.9, 24)
    noisy = final[:, None] + generator.normal(0, 0.05, (24, LENGTH))
    return Curves(
        plan=made_plan(of_two_strata(24, evaluations=LENGTH)),
        signals={"last": noisy, "true": np.repeat(final[:, None], LENGTH, axis=1)},
        score=final,
        final=final,
    )


def by_the_rule(arrived, number, score, longest):
    """ASHA: at each rung a trial below the median of those before it there is stopped."""
    before = arrived.get(number, [])
    stopped = number >= longest or (bool(before) and score < median(before))
    before.append(score)
    return STOP if stopped else GO


def stopped_by_rule(curves, order, grace):
    """Evaluations made where one trial after the other comes to its end by ASHA's rule."""
    of_strata, made = {}, 0
    for k in order:
        stratum, scores = curves.plan.trials[k].initialisation, curves.signals["last"][k]
        arrived = of_strata.setdefault(stratum, {grace * 2**n: [] for n in range(9)})
        decisions = (by_the_rule(arrived, n + 1, scores[n], LENGTH) for n in range(LENGTH))
        made += 1 + sum(1 for _ in takewhile(GO.__eq__, decisions))
    return made


def halved(curves, order, grace, signal="last"):
    """Evaluations made where one in three of each stratum goes on at the grace and its triples."""
    made = 0
    for stratum in ("random", "teacher_spread"):
        left, at = [k for k in order if curves.plan.trials[k].initialisation == stratum], 0
        for rung in [n for n in (grace, 3 * grace, 9 * grace) if n < LENGTH]:
            made += len(left) * (rung - at)
            ranked = sorted(left, key=lambda k: -curves.signals[signal][k, rung - 1])
            left, at = ranked[: max(1, len(left) // 3)], rung
        made += len(left) * (LENGTH - at)
    return made


@pytest.mark.parametrize("grace", [1, 2, 3, 9])
def test_stopping_is_asha_trial_by_trial(curves, grace):
    order = np.random.default_rng(grace).permutation(24).tolist()
    work, regret = replay(Strategy("asha", "last", 2, grace), curves, order, 1)
    assert work * 24 * LENGTH == pytest.approx(stopped_by_rule(curves, order, grace))
    assert grace < LENGTH or (work, regret) == (1.0, 0.0)


@pytest.mark.parametrize("slots", [1, 5])
@pytest.mark.parametrize("grace", [1, 2, 4])
def test_promotion_is_halving_whatever_the_slots(curves, grace, slots):
    order = np.random.default_rng(grace).permutation(24)[:17].tolist()
    work, _ = replay(Strategy("promotion", "last", 3, grace), curves, order, slots)
    assert work * 17 * LENGTH == pytest.approx(halved(curves, order, grace))
    assert replay(Strategy("promotion", "true", 3, grace), curves, order, slots)[1] == 0.0


def test_all_strategies_are_compared_on_the_same_draws(curves):
    strategies = [Strategy("asha", "last", 2, 2), *every_strategy(curves)]
    table = compare(strategies, curves, draws=2, slots=1)
    assert len(table) == 1 + 2 * 2 * 3 * 5  # schedulers, signals, factors, graces
    twin = table.index[1:][table["strategy"][1:] == str(strategies[0])].tolist()
    assert table.loc[[0, *twin], ["work", "regret", "less", "low", "high"]].nunique().max() == 1
    assert table.loc[0, ["less", "low", "high"]].tolist() == [0.0, 0.0, 0.0]
    for _, row in table[table["front"]].iterrows():
        assert not ((table["work"] <= row["work"]) & (table["regret"] < row["regret"])).any()


@pytest.fixture
def run(tmp_path):
    """Of four finished trials on 40 examples, and one that has one evaluation to make."""
    configs = of_two_strata(5, evaluations=LENGTH)
    run = made_run(tmp_path / "mine", configs, asked(scheduler="fifo"))
    for number, config in enumerate(configs):
        for n in range(1, LENGTH + (number < 4)):
            right = np.arange(40) < 20 + number + n
            more = {"predictions": pack_right(right), "score": right.mean()}
            more |= {"validation_loss": 1 / n, "teacher_agreement": 1 / (1 + n)}
            more |= {"full_score": 0.5 + number / 100} if n == LENGTH else {}
            run.append(evaluated(config, n, 0.5, **more))
    return run


def test_signals_are_those_of_the_record(run):
    curves, n = curves_of(run), np.arange(1, LENGTH + 1)
    last = (20 + np.arange(4)[:, None] + n) / 40
    wanted = {
        "last": last,
        "mean of last two": (last + np.c_[last[:, 0], last[:, :-1]]) / 2,
        "validation loss": np.tile(-1 / n, (4, 1)),
        "agreement": np.tile(1 / (1 + n), (4, 1)),
        "rung score": (last + 1 / (1 + n)) / 2 - 1e-6 / n,
        "best5": np.full((4, LENGTH), 0.5),
    }
    assert curves.signals.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(curves.signals[name], values, atol=1e-12)
    np.testing.assert_allclose(curves.final, 0.5 + np.arange(4) / 100)


def test_command_writes_table_and_figure(run, capsys):
    assert main([str(run.folder), "--draws", "2"]) == 0
    assert "asha, best5, factor 2, grace 2" in capsys.readouterr().out
    assert len((run.folder / "replay.csv").read_text().splitlines()) == 1 + 2 * 6 * 3 * 5
    assert (run.folder / "replay.svg").read_text().count("<svg") == 1


def test_a_run_without_whole_curves_is_refused_in_one_line(tmp_path, refusal_of):
    mixed = made_run(tmp_path / "mixed", [recipe(n, evaluations=n // 3 + 1) for n in range(6)])
    for config in mixed.plan.trials:
        for number in range(config.evaluations):
            mixed.append(evaluated(config, number + 1))
    assert "its trials have 1 to 2 evaluations; give" in refusal_of(main, str(mixed.folder))
    few = made_run(tmp_path / "few", [recipe(n, evaluations=1) for n in range(5)])
    for config in few.plan.trials[:3]:
        few.append(evaluated(config, 1))
    assert refusal_of(main, str(few.folder)).startswith(
        "error: RUN few: 3 trials finished; give a run of 4 or more (with --scheduler fifo all fin"
    )
    cut = made_run(tmp_path / "cut", [recipe(n, evaluations=2) for n in range(6)])
    for number, config in enumerate(cut.plan.trials):
        for n in range(1, 2 + (number < 4)):
            cut.append(evaluated(config, n, decision="continue" if number < 4 else "stop"))
    assert refusal_of(main, str(cut.folder)) == (
        "error: RUN cut: 2 trials stopped early, whose ends nobody knows; give a run made with "
        "--scheduler fifo\n"
    )

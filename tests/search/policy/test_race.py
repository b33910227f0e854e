"""Seeds as a race: who gets another one, by hand and in simulated sweeps."""

import os
from dataclasses import replace

import numpy as np
import pytest

from search.record.recipes import by_recipe
from search.record.run import read_run
from search.record.trial_record import GIVE_UP
from search.sweep.scheduling import growth
from search.policy.race import grow, not_worse
from tests.made_runs import asked, evaluated, failed, made_inputs, made_run
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import pack_bits

EXAMPLES = 1000


def recipe(number, seed=0):
    rate = 1e-5 * (number + 1)
    return TrialConfig(alpha=0.5, evaluations=1, learning_rate=rate, seed=seed)


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(growth, "write_study", lambda run: None)  # these are no real draws

    def make(count, seeds, name="mine"):
        request = asked(space="recipe", searcher="random", samples=count, seeds=seeds)
        configs = [recipe(number) for number in range(count)]
        inputs = made_inputs(examples={"train": 9, "evaluation": EXAMPLES})
        drawn = {config.digest: {"learning_rate": config.learning_rate} for config in configs}
        return made_run(tmp_path / name, configs, request, inputs=inputs, parameters=drawn)

    return make


def train(run, shares, generator):
    """The open trials, each with its recipe's share right: most examples the same for all."""
    for trial in [t for t in run.trials.values() if not t.evaluations and t.outcome != "failed"]:
        number = round(trial.config.learning_rate / 1e-5) - 1
        share = shares[number] + generator.normal(0, 0.004)
        flipped = generator.uniform(size=EXAMPLES) < 0.02
        right = (np.arange(EXAMPLES) < share * EXAMPLES) ^ flipped
        run.append(evaluated(trial.config, 1, right.mean(), correct=pack_bits(right)))


def seeds_of(run):
    """How many each recipe has, in order."""
    return [len(seeds) for seeds in by_recipe(run.trials.values()).values()]


def race(run, shares, seed=0, kill=False):
    """To its end; returns how many seeds each recipe got."""
    generator = np.random.default_rng(seed)
    train(run, shares, generator)
    while added := grow(run):
        if kill and len(added) > 1:  # before the last of these was recorded
            lines = (run.folder / "record.jsonl").read_bytes().splitlines(keepends=True)
            (run.folder / "record.jsonl").write_bytes(b"".join(lines[:-1]))
            for folder in run.folder.glob("*/record.jsonl"):
                folder.unlink()
            run = read_run(run.folder)
            assert [t.config for t in added[:-1]] == [
                t.config for t in run.trials.values() if not t.evaluations
            ]
        train(run, shares, generator)
    return seeds_of(run)


def test_the_clearly_worse_get_one_seed_and_the_close_all_of_them(make_run):
    assert race(make_run(4, 4), [0.9, 0.7, 0.9, 0.8]) == [4, 1, 4, 1]
    assert race(make_run(3, 4, "clear"), [0.9, 0.7, 0.8]) == [1, 1, 1]  # no contest
    assert race(make_run(2, 1, "one"), [0.9, 0.9]) == [1, 1]


def test_the_rounds_share_the_chance_that_a_best_one_drops_out(make_run, monkeypatch):
    levels = []
    monkeypatch.setattr(
        growth, "not_worse", lambda bits, level: levels.append(level) or [True] * len(bits)
    )
    assert race(make_run(2, 4), [0.9, 0.9]) == [4, 4]
    assert levels == pytest.approx([0.05 / 3] * len(levels))
    assert len(levels) >= 3


def test_a_kill_between_two_seeds_of_a_round_changes_nothing(make_run):
    shares = [0.9, 0.9, 0.9, 0.8]
    assert race(make_run(4, 3, "killed"), shares, kill=True) == [3, 3, 3, 1]


def test_a_round_begins_when_all_trials_have_ended_and_the_end_is_recorded(make_run):
    run = make_run(3, 2)
    generator = np.random.default_rng(0)
    assert grow(run) == []
    assert run.racing
    train(run, [0.9, 0.9, 0.7], generator)
    added = grow(run)
    assert [trial.config for trial in added] == [recipe(0, seed=1), recipe(1, seed=1)]
    assert [trial.parameters for trial in added] == [
        {"learning_rate": config.learning_rate} for config in (recipe(0), recipe(1))
    ]
    run.append(failed(added[0].config, GIVE_UP))
    assert grow(run) == []
    train(run, [0.9, 0.9, 0.7], generator)
    assert grow(run) == []
    assert (run.decided, run.unfinished) == (True, False)
    again = read_run(run.folder)
    assert (again.decided, again.unfinished) == (True, False)
    again.replan({"requests": (replace(run.request, seeds=3),)}, [])
    assert (again.decided, again.unfinished) == (False, True)
    assert {t.config.seed for t in grow(again)} == {2}


@pytest.mark.slow
@pytest.mark.parametrize("lead", [0.0, 0.02])
def test_the_best_seldom_drops_out_and_most_seeds_are_saved(lead, capsys):
    """Of 12 recipes three share the first place (ahead of three others by `lead`)."""
    shares = [0.90] * 3 + [0.90 - lead] * 3 + [0.86] * 3 + [0.8] * 3
    generator, races, most = np.random.default_rng(0), 100, 5
    dropped = spent = 0
    for _ in range(races):
        skill = generator.normal(size=EXAMPLES)  # of examples: how hard they are for all recipes
        cuts = [np.quantile(skill, share) for share in shares]

        def student(cut, skill=skill):
            noise = generator.normal(0, 0.1, EXAMPLES) + generator.normal(0, 0.02)
            return skill + noise < cut

        racing = {k: [student(cut)] for k, cut in enumerate(cuts)}
        for _ in range(most - 1):
            stay = not_worse([np.array(bits) for bits in racing.values()], 0.05 / (most - 1))
            racing = {
                k: bits for (k, bits), stays in zip(racing.items(), stay, strict=True) if stays
            }
            racing = {k: [*bits, student(cuts[k])] for k, bits in racing.items()}
            if len(racing) < 2:
                break
            spent += len(racing)
        dropped += not {0, 1, 2} <= racing.keys()
    spent = 12 + spent / races
    with capsys.disabled():
        print(
            f"\nlead {lead}: a best one dropped in {dropped} of {races} races, {spent:.1f} trials"
        )
    assert spent < 45  # of 60
    assert dropped <= 11  # 5 expected at most, and 11 or more have a chance of 1 %

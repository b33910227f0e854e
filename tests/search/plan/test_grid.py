"""Which trials a sweep runs: each configuration once, in an order that only the seed decides."""

from collections import Counter
from dataclasses import asdict, replace

import pytest

from search.plan.grid import left_out, plan_trials
from spaces import SEARCHED, SPACE_NAMES
from tests.conftest import user_error
from tests.made_runs import asked
from trainable.config.layer_sets import resolve_layer_set


def plan(space, preset="sst2", **changes):
    return plan_trials(asked(space=space, preset=preset, **changes))


def test_student_joins_a_space_that_has_no_pretrained_row_of_its_own(tmp_path):
    own = {"student": "some/student", "pretrained": (("student_layers", 2),)}
    joined = plan("baselines", "mini", **own)
    assert sum(config.initialisation == "pretrained" for config in joined) == 1
    (tmp_path / "mine.py").write_text(
        "def mine():\n    return {'initialisation': 'pretrained', 'alpha': 1.0, 'epochs': 7}\n"
    )
    (listed,) = plan(f"{tmp_path}/mine.py:mine", "mini", **own)
    assert (listed.initialisation, listed.epochs) == ("pretrained", 7)


@pytest.fixture
def own_space(tmp_path):
    """A space that returns this text."""

    def write(returned):
        file = tmp_path / f"own{len([*tmp_path.iterdir()])}.py"  # each is read once
        file.write_text(f"from ray import tune\n\ndef own(inputs):\n    return {returned}\n")
        return f"{file}:own"

    return write


def test_as_many_samples_are_drawn_as_asked_for_though_some_are_drawn_again(own_space):
    names = "('temperature', 'hidden_weight')"
    space = own_space(f"{{name: tune.choice([1.0, 2.0, 3.0, 4.0]) for name in {names}}}")
    found = [plan(space, samples=n, overrides=(("aligned_layers", "all"),)) for n in (4, 16, 40)]
    assert [len(set(configs)) for configs in found] == [4, 16, 16]
    assert found[0] == found[1][:4]


def test_a_grid_without_values_is_refused_and_what_is_drawn_is_not_left_out(own_space):
    said = user_error(plan, own_space("{'alpha': tune.grid_search([])}"), "mini")
    assert said.endswith("has no configuration; a list in it is empty")
    values = "[0.1] if inputs.coarse else [0.1, 0.2]"
    grid = f"{{'alpha': tune.grid_search({values})}}"
    drawn = f"{{'alpha': tune.uniform(0, 1), 'ema_decay': tune.grid_search({values})}}"
    for returned, samples, told in ((grid, None, "alpha=0.2"), (drawn, 3, "")):
        request = asked(space=own_space(returned), preset="mini", samples=samples)
        assert left_out(request) == told


# Order, seeds, samples.


@pytest.mark.parametrize("space", sorted(set(SPACE_NAMES) - set(SEARCHED)))
def test_seed_decides_the_order_and_seeds_of_a_configuration_follow_one_another(space):
    once, other = plan(space, seed=3), plan(space, seed=4)
    assert plan(space, seed=3) == once
    assert [replace(config, seed=3) for config in other] != once
    assert {replace(config, seed=3) for config in other} == set(once)
    wanted = [replace(config, seed=3 + more) for config in once for more in range(3)]
    assert plan(space, seed=3, seeds=3) == wanted


def test_seeds_are_counted_from_the_seed_that_is_set():
    found = plan("baselines", seeds=2, seed=5, overrides=(("seed", 9),))
    assert [config.seed for config in found] == [9, 10] * 5
    said = user_error(plan, "baselines", overrides=(("seed", 2**32 - 1),), seeds=2)
    assert "seed: 4294967296 must be at most 4294967295" in said


def test_samples_are_a_prefix_of_the_whole_plan_each_on_all_seeds():
    whole = plan("schedules", seed=2)
    for samples in (1, 7, len(whole), len(whole) + 1):
        assert plan("schedules", seed=2, samples=samples) == whole[:samples]
    few, more = (plan("schedules", samples=s, seeds=n) for s, n in ((2, 2), (5, 4)))
    places = [more.index(config) for config in few]
    assert places == sorted(places)
    drawn = [plan("schedules", seed=seed, samples=5) for seed in range(20)]
    recipes = {config.recipe for found in drawn for config in found}
    assert len(recipes) > 50  # of 78: none is left out for good


# --set.


def test_what_is_set_reaches_every_trial_and_changes_nothing_else():
    changed = plan("study", overrides=(("temperature", 3.0), ("epochs", 1)))
    assert changed == [replace(config, temperature=3.0, epochs=1) for config in plan("study")]
    shallow = plan("layers", overrides=(("student_layers", 2),))  # where some coincide, once each
    found = Counter((c.initialisation, c.aligned_layers) for c in shallow)
    sets = ("none", "1,2", "1", "2")
    assert found == Counter((i, s) for i in ("random", "teacher_spread") for s in sets)


# --add.


@pytest.mark.parametrize(
    ("space", "additions", "count"),
    [
        ("baselines", {"alpha": 0.5}, 5),
        ("logits", {"temperature": 16.0}, 2 * 4),
        ("layers", {"aligned_layers": "2,5"}, 2),
        ("schedules", {"sharpness": 5.0}, 2 * 3 * 4),
        ("schedules", {"alpha": 0.25}, 2 * 3),
        ("schedules", {"sharpness": 5.0, "aligned_layers": "upper", "alpha": 0.25}, 8 * 18 - 78),
        ("schedules", {"sharpness": 1.0}, 0),  # which it has
        ("study", {"alpha": 0.25}, 6 + 2),  # one for each layer set that has a fixed alpha
    ],
)
def test_added_value_joins_whatever_has_another_one_for_it(space, additions, count):
    before, after = plan(space), plan(space, additions=tuple(additions.items()))
    new = [config for config in after if config not in before]
    assert len(new) == count
    assert len(after) == len(set(after)) == len(before) + count
    free = {*additions, "learning_rate"}  # which goes by the initialisation

    def rest(configs):
        return {tuple((k, v) for k, v in asdict(c).items() if k not in free) for c in configs}

    assert rest(new) <= rest(before)
    for key, value in additions.items():
        written = resolve_layer_set(value, 6) if key == "aligned_layers" else value
        assert {asdict(c)[key] for c in after} == {asdict(c)[key] for c in before} | {written}


def test_what_has_no_teacher_or_no_layers_is_given_none():
    before, after = (plan("study", additions=a) for a in ((), (("aligned_layers", "upper"),)))
    unaligned = [{c for c in found if c.aligned_layers == "none"} for found in (before, after)]
    assert unaligned[0] == unaligned[1]
    grown = plan("logits", additions=(("alpha", 1.0),))  # without it all temperatures are the same
    assert len([config for config in grown if not config.uses_teacher_outputs]) == 2


def test_additions_join_the_samples_drawn_on_every_seed():
    """So that a run of samples that is grown gets no others."""
    base = plan("schedules", "mini", samples=10, seed=1)
    sharper = {replace(config, sharpness=5.0) for config in base if config.sharpness}
    more = {"samples": 10, "seed": 1, "additions": (("sharpness", 5.0),), "seeds": 2}
    grown = plan("schedules", "mini", **more)
    first, second = grown[::2], grown[1::2]
    assert set(first) == {*base, *sharper}
    assert second == [replace(config, seed=2) for config in first]
    assert first[: len(base)] != base  # none is always the first to arrive


@pytest.mark.parametrize(
    ("space", "flag", "key", "value", "said"),
    [
        ("schedules", "set", "aligned_layers", "1,9", "the space schedules sets aligned_layers"),
        ("baselines", "set", "alpha", 1.5, "the space baselines sets alpha"),
        ("baselines", "set", "epochs", 0, "0 must be at least 1"),
        ("baselines", "set", "sharpness", 1.0, "1.0 given, but alpha_schedule fixed"),
        ("study", "set", "student_width", 192, "192 needs initialisation random"),
        ("baselines", "set", "temperature", 4.0, "has no effect in any trial"),
        ("baselines", "add", "sharpness", 5.0, "does not vary it; --set sharpness=5.0 fixes it in"),
        ("logits", "add", "aligned_layers", "1,2", "does not vary it; leave it out"),
        ("study", "add", "alpha_schedule", "cosine_growth", "sharpness: missing"),
        ("schedules", "add", "initialisation", "teacher_spred", "did you mean teacher_spread"),
        ("layers", "add", "alpha", 1.0, "has no effect at alpha 1"),
        ("layers", "add", "student_layers", 1, "this run tries 3, 2 layers, chosen once"),
        ("layers", "add", "feedforward_share", 0.5, "this run tries 3, 2 layers, chosen once"),
    ],
)
def test_what_can_not_be_set_or_added_is_refused(space, flag, key, value, said):
    values = {{"set": "overrides", "add": "additions"}[flag]: ((key, value),)}
    of_shape = key in ("student_layers", "feedforward_share")
    values |= {"against": "latency"} if of_shape else {}
    message = user_error(plan, space, "mini", **values)
    assert message.startswith(f"--{flag} {key}={value}: ")
    assert said in message

"""Alpha schedules against their closed forms."""

from math import cos, pi

import pytest

from trainable.config.alpha_schedules import ALPHA_SCHEDULES, alpha_at

CLOSED_FORMS = {
    "cosine_growth": lambda p, k: (1 - cos(pi * p / 2)) ** k,
    "cosine_descent": lambda p, k: 1 - (1 - cos(pi * p / 2)) ** k,
    "cosine_vshape": lambda p, k: 1 - (1 - cos(pi * min(p, 1 - p))) ** k,
    "cosine_^shape": lambda p, k: (1 - cos(pi * min(p, 1 - p))) ** k,
}


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("schedule", ALPHA_SCHEDULES[1:])
def test_a_tenth_of_the_steps_is_held_and_the_rest_follows_the_closed_form(schedule, sharpness):
    progress = [0.0] * 10 + [step / 90 for step in range(91)]
    found = [alpha_at(step, 101, schedule, sharpness=sharpness) for step in range(101)]
    expected = [CLOSED_FORMS[schedule](p, sharpness) for p in progress]
    assert found == pytest.approx(expected, abs=1e-12)
    assert found[:11] == [found[0]] * 11 != found[1:12]


@pytest.mark.parametrize("total", [1, 2, 3, 5, 10, 37])
@pytest.mark.parametrize("schedule", ALPHA_SCHEDULES[1:])
def test_alpha_stays_within_0_and_1_for_any_number_of_steps(schedule, total):
    values = [alpha_at(step, total, schedule, sharpness=0.5) for step in range(total)]
    assert all(0.0 <= alpha <= 1.0 for alpha in values)


def test_fixed_is_its_alpha_throughout():
    assert {alpha_at(step, 101, "fixed", alpha=0.3) for step in range(101)} == {0.3}

"""Alpha schedules against the closed forms of DESIGN section 3."""

from itertools import pairwise
from math import sqrt

import pytest

from trainable.alpha import HOLD_SHARE, alpha_at, schedule_progress
from trainable.names import ALPHA_SCHEDULES

CURVED = ALPHA_SCHEDULES[1:]
TOTAL = 101  # steps 0 to 100: a hold of 10, then p = (step - 10) / 90
HOLD_END, HALF, END = 10, 55, 100
R_HALF = {0.5: sqrt(1 - sqrt(0.5)), 1.0: 1 - sqrt(0.5), 3.0: (1 - sqrt(0.5)) ** 3}  # r_k(1/2)

# Alpha at p = 0, 1/2 and 1, as a function of r = r_k(1/2).
AT_THE_POINTS = {
    "cosine_growth": (0, lambda r: r, 1),
    "cosine_descent": (1, lambda r: 1 - r, 0),
    "cosine_vshape": (1, lambda r: 0, 1),
    "cosine_^shape": (0, lambda r: 1, 0),
}


def every_step(schedule, sharpness=1.0, total=TOTAL):
    return [alpha_at(step, total, schedule, sharpness=sharpness) for step in range(total)]


def test_every_schedule_but_fixed_has_its_closed_form_here():
    assert ("fixed", *AT_THE_POINTS) == ALPHA_SCHEDULES


@pytest.mark.parametrize("sharpness", R_HALF)
@pytest.mark.parametrize("schedule", CURVED)
def test_start_hold_middle_and_end(schedule, sharpness):
    start, middle, end = AT_THE_POINTS[schedule]
    values = every_step(schedule, sharpness)
    assert values[: HOLD_END + 1] == [start] * (HOLD_END + 1)
    assert values[HOLD_END + 1] != start
    assert values[HALF] == pytest.approx(middle(R_HALF[sharpness]), abs=1e-12)
    assert values[END] == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("sharpness", R_HALF)
def test_the_v_shapes_pass_r_half_at_both_quarters(sharpness):
    total = 201  # a hold of 20, so that p = 1/4 and 3/4 fall on the steps 65 and 155
    for step in (65, 155):
        v = alpha_at(step, total, "cosine_vshape", sharpness=sharpness)
        inverted = alpha_at(step, total, "cosine_^shape", sharpness=sharpness)
        assert v == pytest.approx(1 - R_HALF[sharpness], abs=1e-12)
        assert inverted == pytest.approx(R_HALF[sharpness], abs=1e-12)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("schedule", "complement"),
    [("cosine_growth", "cosine_descent"), ("cosine_vshape", "cosine_^shape")],
)
def test_complements_add_to_one_at_every_step(schedule, complement, sharpness):
    sums = [
        a + b
        for a, b in zip(
            every_step(schedule, sharpness), every_step(complement, sharpness), strict=True
        )
    ]
    assert sums == pytest.approx([1.0] * TOTAL, abs=1e-12)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_growth_rises_at_every_step_and_the_v_shape_mirrors_its_halves(sharpness):
    growth = every_step("cosine_growth", sharpness)[HOLD_END:]
    assert all(later > earlier for earlier, later in pairwise(growth))
    v = every_step("cosine_vshape", sharpness)[HOLD_END:]
    assert v == pytest.approx(v[::-1], abs=1e-12)
    assert min(v) == v[len(v) // 2]


def test_a_sharper_growth_stays_lower_until_the_end():
    soft, plain, sharp = (every_step("cosine_growth", k) for k in (0.5, 1.0, 3.0))
    inside = range(HOLD_END + 1, END)
    assert all(soft[step] > plain[step] > sharp[step] for step in inside)


@pytest.mark.parametrize("total", [1, 2, 3, 5, 10, 37, 6312])
@pytest.mark.parametrize("schedule", CURVED)
def test_alpha_stays_within_0_and_1_for_any_number_of_steps(schedule, total):
    assert all(0.0 <= alpha <= 1.0 for alpha in every_step(schedule, 0.5, total))


@pytest.mark.parametrize("total", [20, 100, 6312])
def test_a_tenth_of_the_steps_is_held_and_the_rest_moves_evenly(total):
    progress = [schedule_progress(step, total) for step in range(total)]
    held = round(total / 10)
    assert HOLD_SHARE == 0.1
    assert progress[: held + 1] == [0.0] * (held + 1)
    assert progress[-1] == 1.0
    gaps = [later - earlier for earlier, later in pairwise(progress[held:])]
    assert gaps == pytest.approx([1 / (total - held - 1)] * len(gaps))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_fixed_is_its_alpha_throughout(alpha):
    assert {alpha_at(step, TOTAL, "fixed", alpha=alpha) for step in range(TOTAL)} == {alpha}


@pytest.mark.parametrize("schedule", ALPHA_SCHEDULES)
def test_the_setting_that_a_schedule_needs_is_asked_for_by_name(schedule):
    needed = "alpha" if schedule == "fixed" else "sharpness"
    other = {"sharpness": 1.0} if schedule == "fixed" else {"alpha": 0.5}
    with pytest.raises(ValueError, match=f"needs {needed}$"):
        alpha_at(0, TOTAL, schedule, **other)


def test_the_studys_misspelling_is_no_schedule():
    with pytest.raises(KeyError, match="cosine_grwoth"):
        alpha_at(0, TOTAL, "cosine_grwoth", sharpness=1.0)

"""The learning rate against values worked out by hand."""

import pytest

from trainable.engine.learning_rate import learning_rate_at

PEAK = 1e-3


def every_rate(total, warmup_share):
    return [learning_rate_at(step, total, PEAK, warmup_share) for step in range(total)]


def test_a_hundred_steps_with_a_tenth_of_warm_up():
    shares = {0: 1 / 11, 4: 5 / 11, 9: 10 / 11, 10: 1.0, 55: 0.5, 99: 1 / 90}
    rates = every_rate(100, 0.1)
    assert {n: rates[n] / PEAK for n in shares} == pytest.approx(shares)


@pytest.mark.parametrize("total", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("warmup_share", [0.0, 0.06, 0.1, 0.5])
def test_it_rises_once_to_the_peak_then_falls_and_is_never_zero(total, warmup_share):
    rates = every_rate(total, warmup_share)
    top = rates.index(max(rates))
    assert top == round(warmup_share * total)
    assert rates[top] == pytest.approx(PEAK)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert len(set(rates)) >= len(rates[top:])
    assert min(rates) > 0

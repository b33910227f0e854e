"""The learning rate is the lesser of a line that rises and one that falls."""

import pytest

from trainable.engine.learning_rate import learning_rate_at


@pytest.mark.parametrize("total", [1, 2, 7, 100, 1000])
@pytest.mark.parametrize("share", [0.0, 0.06, 0.1, 0.5])
def test_it_is_the_lesser_of_a_rising_and_a_falling_line(total, share):
    top = round(share * total)
    wanted = [min((n + 1) / (top + 1), (total - n) / (total - top)) for n in range(total)]
    found = [learning_rate_at(n, total, 1e-3, share) / 1e-3 for n in range(total)]
    assert found == pytest.approx(wanted)
    assert found.index(max(found)) == top

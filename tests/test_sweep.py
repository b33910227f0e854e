"""How many trials run at once, and on what."""

import pytest

from search.sweep import concurrency, resources_per_trial, trial_folder


@pytest.mark.parametrize(
    ("cores", "gpus", "share", "limit", "expected"),
    [
        (2, 0, 4, None, 2),
        (16, 0, 4, 3, 3),
        (16, 1, 4, None, 4),
        (16, 2, 4, None, 8),
        (2, 1, 4, None, 2),
        (1, 0, 4, 9, 1),
    ],
)
def test_concurrency(cores, gpus, share, limit, expected):
    assert concurrency(cores, gpus, share, limit) == expected


def test_resources():
    assert resources_per_trial(0, 4) == {"cpu": 1}
    assert resources_per_trial(1, 4) == {"cpu": 1, "gpu": 0.25}


def test_folder_is_readable_and_safe(make_config):
    class Trial:
        trial_id = "abc12_00007"
        config = make_config(alpha_schedule="cosine_^shape", alpha=None, sharpness=0.5).to_dict()

    name = trial_folder(Trial())
    digest = make_config(alpha_schedule="cosine_^shape", alpha=None, sharpness=0.5).digest
    assert name == f"00007-teacher_spread-layers-1-2-cosine_-shape-k=0.5-{digest}"

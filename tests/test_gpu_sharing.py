"""How many trials share a GPU, against measurements made by hand."""

import json

import pytest

from trainable.config import TrialConfig
from trainable.gpu_sharing import (
    EAGER,
    GRAPH,
    Limits,
    Measurement,
    Probe,
    decide,
    heaviest,
)

GIGABYTE = 10**9


def measured(rates, *, gigabytes=2.0, execution=EAGER):
    """Measurements of 1, 2, 4, ... trials that together reach these sentences a second."""
    return [
        Measurement(
            trials=2**power,
            steps=100,
            sentences=3200,
            seconds=2**power * 3200 / rate,
            bytes_per_trial=int(gigabytes * GIGABYTE),
            execution=execution,
        )
        for power, rate in enumerate(rates)
    ]


def limits(*, free=24.0, most=16, mps=False):
    return Limits(int(free * GIGABYTE), most, mps)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ((1000, 1900, 3500, 6000), 8),
        ((1000, 1900, 3500, 3600), 4),
        ((1000, 1900, 2000, 9000), 2),  # one that does not help ends the search
        ((1000, 1050, 9000, 9000), 1),
        ((1000, 900), 1),
        ((1000, 1101, 1212, 1334), 8),  # a tenth each time
        ((1000, 1099), 1),
    ],
)
def test_doubled_while_the_throughput_grows_by_a_tenth(rates, chosen):
    decision = decide(measured(rates), limits())
    assert (decision.trials_per_gpu, decision.untried) == (chosen, None)


def test_words_say_the_speeds_and_what_ended_it():
    assert decide(measured((641, 1190, 1210)), limits()).why == (
        "1,190 sentences/s together, 641 sentences/s alone; 4 reach 1,210 sentences/s"
    )
    assert decide(measured((641, 650)), limits()).why == (
        "641 sentences/s alone; 2 reach 650 sentences/s"
    )


@pytest.mark.parametrize(("most", "chosen"), [(1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8)])
def test_no_more_than_may_run_at_once(most, chosen):
    decision = decide(measured((1000, 1900, 3500, 6000)), limits(most=most))
    assert decision.trials_per_gpu == chosen
    if chosen < 8:
        assert decision.why.endswith(f"; no more than {most} run at a time")


def test_never_more_than_eight():
    decision = decide(measured((1000, 2000, 4000, 8000, 16000)), limits())
    assert decision.trials_per_gpu == 8
    assert decision.why.endswith("; more than 8 are never tried")


@pytest.mark.parametrize(
    ("free", "chosen"), [(2.1, 1), (4.3, 1), (4.4, 2), (8.6, 2), (8.7, 4), (17.3, 4), (17.4, 8)]
)
def test_memory_of_all_within_92_percent_of_what_is_free(free, chosen):
    decision = decide(measured((1000, 1900, 3500, 6000)), limits(free=free))
    assert decision.trials_per_gpu == chosen
    if chosen < 8:
        wanted = f"{2 * chosen} x 2.0 GB are too many for the {free} GB of GPU memory that are free"
        assert decision.why.endswith(wanted)


def test_one_trial_that_was_measured_fits_whatever_the_share():
    assert decide(measured((1000,), gigabytes=23.5), limits()).trials_per_gpu == 1


@pytest.mark.parametrize(
    ("execution", "mps", "chosen"),
    [(GRAPH, False, 1), (GRAPH, True, 4), (EAGER, False, 4), (EAGER, True, 4)],
)
def test_captured_steps_share_with_mps_only(execution, mps, chosen):
    measurements = measured((4608, 6500, 8000, 8100), execution=execution)
    decision = decide(measurements, limits(mps=mps))
    assert decision.trials_per_gpu == chosen
    if chosen == 1:
        assert decision.untried is None
        assert decision.why == (
            "4,608 sentences/s alone; "
            "captured steps keep the GPU busy; without MPS a second trial gains nothing"
        )


def test_what_is_to_be_measured_next():
    """From one trial alone up, each only when the one before has shown that it may help."""
    rates = (1000, 1900, 3500, 6000)
    asked = [decide(measured(rates[:n]), limits()).untried for n in (1, 2, 3, 4)]
    assert asked == [2, 4, 8, None]
    assert decide(measured((1000, 1000)), limits()).untried is None
    assert decide(measured((1000,)), limits(most=1)).untried is None
    assert decide(measured((1000,)), limits(free=4.0)).untried is None
    assert decide(measured((1000,), execution=GRAPH), limits()).untried is None
    assert decide(measured((1000,), execution=GRAPH), limits(mps=True)).untried == 2


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (
            Measurement(4, error="OutOfMemoryError: x", out_of_memory=True),
            "4 ran out of GPU memory",
        ),
        (Measurement(4, error="its process hung"), "4 at once failed (its process hung)"),
    ],
)
def test_a_number_that_failed_leaves_the_one_before(failed, words):
    decision = decide([*measured((1000, 1900)), failed], limits())
    assert (decision.trials_per_gpu, decision.untried) == (2, None)
    assert decision.why.endswith(f"; {words}")


def test_order_of_measurements_does_not_matter():
    measurements = measured((1000, 1900, 3500, 3600))
    assert decide(measurements[::-1], limits()) == decide(measurements, limits())


def test_rates_are_of_all_trials_together():
    two = Measurement(2, steps=50, sentences=1600, seconds=4.0)
    assert two.sentences_per_second == 800.0
    assert two.to_dict()["steps_per_second"] == 25.0
    assert Measurement(2, error="died").sentences_per_second == 0.0


def test_a_probe_survives_json():
    failed = Measurement(4, error="OutOfMemoryError: CUDA out of memory", out_of_memory=True)
    probe = Probe(20 * GIGABYTE, 24 * GIGABYTE, (*measured((1000.3, 1900)), failed))
    assert Probe.from_dict(json.loads(json.dumps(probe.to_dict()))) == probe


def of(**settings):
    return TrialConfig(alpha=0.5, **settings)


LOGITS, CLS = of(), of(aligned_layers="1,2")
TOKENS = of(aligned_layers="1", hidden_pool="tokens")
IDLE_TOKENS = of(hidden_pool="tokens")
LABELS = TrialConfig(alpha=1.0)


@pytest.mark.parametrize(
    ("lighter", "heavier"),
    [
        (of(batch_size=32), of(batch_size=64)),
        (of(student_layers=3), of(student_layers=6)),
        (of(batch_size=32, student_layers=6), of(batch_size=128, student_layers=2)),
        (of(batch_size=32, aligned_layers="1", hidden_pool="tokens"), of(batch_size=64)),
        (of(initialisation="random", student_width=384), of()),
        (of(), of(initialisation="random", student_width=1024)),
        (LABELS, LOGITS),
        (LOGITS, CLS),
        (CLS, TOKENS),
        (IDLE_TOKENS, CLS),  # a pool without aligned layers is not looked at
        (of(aligned_layers="1"), CLS),
    ],
)
def test_the_heaviest(lighter, heavier):
    assert heaviest([lighter, heavier], 768) == heavier
    assert heaviest([heavier, lighter], 768) == heavier


def test_first_of_equals():
    configs = [of(seed=seed, alpha_schedule="fixed") for seed in (3, 1, 2)]
    assert heaviest(configs, 768) is configs[0]

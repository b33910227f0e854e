"""What students cost, by depth, and limits on it that decide which are trained."""

import io

import pytest
import torch
from rich.console import Console

from search.plan.grid import plan_trials, possible_trials
from search.plan.objectives import shapes
from search.plan.request import Request
from search.plan.resolve import resolve
from search.run import costs
from search.run.__main__ import main
from search.run.costs import describe, latencies, parameters, within_limits
from tests.conftest import user_error
from trainable.data.sources import load_sources
from trainable.serving import timing
from trainable.teacher.teacher import load_teacher
from trainable.trial.preparation import Preparation

QUIET = Console(file=io.StringIO())


@pytest.fixture
def request_of(teacher_folder, data_folder, tmp_path):
    """A resolved request on the tiny teacher of four layers."""
    where = {"teacher": str(teacher_folder), "dataset": str(data_folder), "cache": str(tmp_path)}
    asked = {"space": "recipe", "preset": "mini", **where}
    return lambda **options: resolve(Request(**{**asked, **options}), print)


def test_parameters_are_those_of_the_whole_model(request_of, teacher_folder):
    preparation = Preparation.load(load_sources(request_of()))
    found = parameters(preparation, shapes([(4, 1.0), (2, 1.0)], None, {}))
    teacher = load_teacher(teacher_folder)
    assert found["4"] == teacher.num_parameters() / 1e6
    each = sum(p.numel() for p in teacher.bert.encoder.layer[0].parameters())
    assert found["4"] - found["2"] == pytest.approx(2 * each / 1e6)


def test_latency_is_that_of_one_text_and_more_for_more_layers(request_of, monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.5)
    preparation = Preparation.load(load_sources(request_of()))
    before = torch.get_rng_state()
    found = latencies(preparation, shapes([(4, 1.0), (1, 1.0)], None, {}), "pytorch")
    assert 0 < found["1"] < found["4"]
    assert torch.equal(torch.get_rng_state(), before)
    assert describe({"2": 2.125, "3": 12.0}, "onnx") == (
        "One example takes 2.12 ms with 2 layers, 12 ms with 3 layers (onnx)."
    )


def limited(request):
    return within_limits(request, Preparation.load(load_sources(request)), QUIET)


def two_milliseconds_a_layer(monkeypatch):
    """1.4 with half of its feed-forward neurons."""

    def time_of(config):
        return config.student_layers * (0.8 + 1.2 * config.feedforward_share)

    measured = lambda _, compared, form: {name: time_of(c) for name, c in compared.items()}  # noqa: E731
    monkeypatch.setattr(costs, "latencies", measured)


@pytest.mark.parametrize("space", ["recipe", "baselines"])
def test_only_shapes_within_the_limits_are_planned(request_of, monkeypatch, space):
    two_milliseconds_a_layer(monkeypatch)
    request, times = limited(request_of(space=space, max_latency=3.0))
    searched = space == "recipe"
    assert request.shapes == (((2, 0.5), (1, 1.0)) if searched else ((1, 1.0),))
    assert ("2 x 0.5" in times) == searched
    for found in possible_trials(request, plan_trials(request)):
        assert (found.student_layers, found.feedforward_share) in request.shapes
    assert request.default == plan_trials(request)[0] or not searched
    both, _ = limited(request_of(space=space, max_latency=5.0))
    depths = {config.student_layers for config in possible_trials(both, plan_trials(both))}
    assert depths == ({2, 1} if searched else {2})
    assert {config.feedforward_share for config in plan_trials(both)} == {1.0}
    for share, shapes_of in ((0.25, ((2, 0.25), (1, 0.25))), (1.0, ((1, 1.0),))):
        overrides = (("feedforward_share", share),)
        fixed, _ = limited(request_of(space=space, max_latency=3.0, overrides=overrides))
        assert fixed.shapes == (shapes_of if searched else shapes_of[:1])
    assert request_of(space=space).shapes == ()


def test_a_limit_that_nothing_keeps_names_the_least(request_of, monkeypatch):
    two_milliseconds_a_layer(monkeypatch)
    said = user_error(limited, request_of(max_latency=1.0))
    assert said == (
        "--max-latency 1ms: the least is 1.4 ms in pytorch, of 1 layer, 0.5 of the feed-forward "
        "neurons"
    )
    said = user_error(limited, request_of(max_parameters=1e-6))
    assert said.startswith("--max-parameters 1e-06M: the least is 0.0")
    said = user_error(request_of, runtime="onnx")
    assert said.startswith("--runtime onnx: has no effect without --max-latency")


def test_a_space_that_sets_the_shape_itself_goes_round_no_limit(request_of, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def listed():\n    return {'alpha': 0.5, 'student_width': 16}\n"
        "def drawn(trial):\n"
        "    return {'alpha': 0.5, 'student_layers': trial.suggest_int('student_layers', 1, 2)}\n"
    )
    for name in ("listed", "drawn"):
        request = request_of(space=f"{tmp_path / 'mine.py'}:{name}", max_parameters=1.0)
        said = user_error(plan_trials, request)
        assert said.startswith("--max-latency, --max-parameters: the space ")
        assert "itself; leave that out" in said


def test_data_and_models_are_loaded_once_for_limits_and_sweep(
    make_command, tmp_path, monkeypatch, capsys
):
    loads, load = [], Preparation.load
    monkeypatch.setattr(Preparation, "load", lambda inputs: loads.append(1) or load(inputs))
    typed = [*make_command(tmp_path)[3:], "--space", "baselines", "--max-parameters", "1M"]
    at = typed.index("precision=fp32")  # left to the machine
    assert main([*typed[: at - 1], *typed[at + 1 :], "--dry-run"]) == 0
    assert "Students within the limits: 2 layers." in capsys.readouterr().out
    assert len(loads) == 1

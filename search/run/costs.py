"""What students of each shape cost to run, measured before any is trained; and limits on it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from rich.console import Console
from transformers import PreTrainedModel

from search.plan.objectives import LATENCY, PARAMETERS, shape_name, shapes
from search.plan.resolve import WIDTH, ResolvedRequest
from trainable.common.errors import UserError, count_of
from trainable.config.initialisations import PRETRAINED
from trainable.config.names import INT8, ONNX, PYTORCH
from trainable.config.trial_config import TrialConfig
from trainable.engine.devices import best_device
from trainable.models.students import new_model
from trainable.serving.onnx_export import export_onnx, quantise, require_onnx
from trainable.serving.served_model import ONNX_FILES, ServedModel
from trainable.serving.timing import time_models
from trainable.trial.preparation import Preparation

Costs = dict[str, float]  # by shape


def student_costs(
    request: ResolvedRequest, preparation: Preparation, times: Costs, console: Console
) -> Costs:
    """What the score is weighed against, where that must be measured; `times` if they are known."""
    compared = _compared(request)
    if request.against == PARAMETERS:
        return parameters(preparation, compared)
    if request.against != LATENCY:
        return {}
    if not times:
        times = latencies(preparation, compared, request.runtime)
        console.print(describe(times, request.runtime))
    return {name: times[name] for name in compared}


class _Limit(NamedTuple):
    """The most that a student may cost, and what each shape does."""

    flag: str
    most: float
    unit: str
    costs: Costs

    @property
    def kept_by(self) -> set[str]:
        """The shapes that keep it."""
        return {name for name, cost in self.costs.items() if cost <= self.most}

    def check(self) -> None:
        """UserError if nothing keeps it, which says what the least is."""
        if not self.kept_by:
            least = min(self.costs, key=lambda name: self.costs[name])
            found = f"{self.costs[least]:.3g} {self.unit}, of {_named(least)}"
            raise UserError(f"{self.flag}: the least is {found}")


def within_limits(
    request: ResolvedRequest, preparation: Preparation, console: Console
) -> tuple[ResolvedRequest, Costs]:
    """The request with those shapes alone that keep `--max-latency` and `--max-parameters`, of a
    grid the deepest of these; and the latencies, if measured. UserError if none does.

    Less than all of the feed-forward neurons are tried at depths that exceed them with all, or
    where cost is weighed, too.
    """
    preparation.check([], lambda _: None)
    whole = tuple(shape for shape in request.shapes if shape[1] == 1.0) or request.shapes
    limits = _limits(replace(request, shapes=whole), preparation)
    exceeding = {shape[0] for shape in whole if shape_name(shape) not in _kept(limits)}
    others = tuple(
        shape
        for shape in request.shapes
        if shape not in whole and (request.against or shape[0] in exceeding)
    )
    more = _limits(replace(request, shapes=others, pretrained=()), preparation)
    for name, limit in more.items():
        limits[name].costs.update(limit.costs)
    times = limits[LATENCY].costs if LATENCY in limits else {}
    if times:
        console.print(describe(times, request.runtime))
    for limit in limits.values():
        limit.check()
    kept = _kept(limits)
    if request.pretrained and PRETRAINED not in kept:
        raise UserError("--student: exceeds --max-latency or --max-parameters; leave it out")
    within = tuple(shape for shape in request.shapes if shape_name(shape) in kept)
    if not within:
        raise UserError("--max-latency, --max-parameters: nothing keeps both; allow more")
    if not request.searched and request.against is None:
        within = within[:1]
    names = " or ".join(_named(shape_name(shape)) for shape in within)
    console.print(f"Students within the limits: {names}.")
    return replace(request, shapes=within), times


def _limits(request: ResolvedRequest, preparation: Preparation) -> dict[str, _Limit]:
    compared, limits = _compared(request), {}
    if (most := request.max_parameters) is not None:
        millions = parameters(preparation, compared)
        flag = f"--max-parameters {most:g}M"
        limits[PARAMETERS] = _Limit(flag, most, "million parameters", millions)
    if (most := request.max_latency) is not None:
        times = latencies(preparation, compared, request.runtime) if compared else {}
        limits[LATENCY] = _Limit(
            f"--max-latency {most:g}ms", most, f"ms in {request.runtime}", times
        )
    return limits


def _kept(limits: Mapping[str, _Limit]) -> set[str]:
    return set.intersection(*(limit.kept_by for limit in limits.values()))


def _compared(request: ResolvedRequest) -> dict[str, TrialConfig]:
    width = dict(request.overrides).get(WIDTH)
    return shapes(request.shapes, width, dict(request.pretrained))


def parameters(preparation: Preparation, compared: Mapping[str, TrialConfig]) -> Costs:
    """Millions of parameters that a student of each shape has, with its full vocabulary."""
    with torch.device("meta"):
        models = {name: _model(preparation, config) for name, config in compared.items()}
    return {name: model.num_parameters() / 1e6 for name, model in models.items()}


def latencies(preparation: Preparation, compared: Mapping[str, TrialConfig], runtime: str) -> Costs:
    """Median milliseconds that a student of each shape takes from one text to its logits.

    In this form, on the trials' device in PyTorch and on the CPU in ONNX Runtime; validation texts,
    students in turns. Weights are random, which the time does not depend on.
    """
    if runtime != PYTORCH:
        require_onnx(f"--runtime {runtime}")
    inputs, state = preparation.inputs, torch.get_rng_state()
    with TemporaryDirectory() as temporary:
        models = {}
        for name, config in compared.items():
            folder = Path(temporary) / name
            _model(preparation, config).save_pretrained(folder)
            own = preparation.student if config.initialisation == PRETRAINED else preparation
            tokenizer = (own or preparation).tokenizer
            tokenizer.model_max_length = inputs.max_length
            tokenizer.save_pretrained(folder)
            if runtime in (ONNX, INT8):
                export_onnx(folder, folder / ONNX_FILES[ONNX], f"--runtime {runtime}")
            if runtime == INT8:
                quantise(folder / ONNX_FILES[ONNX], folder / ONNX_FILES[INT8])
            device = best_device() if runtime == PYTORCH else torch.device("cpu")
            models[name] = ServedModel.load(
                folder, runtime, torch.get_num_threads(), device=device.type
            )
        timings = time_models(models, inputs.dataset.evaluation.texts, batches=False)
    torch.set_rng_state(state)
    return {name: timing.median for name, timing in timings.items()}


def _model(preparation: Preparation, config: TrialConfig) -> PreTrainedModel:
    return new_model(preparation.shape_of(config))


def describe(milliseconds: Mapping[str, float], runtime: str) -> str:
    """`One example takes 2.1 ms with 2 layers, 3.0 ms with 3 layers (pytorch).`"""
    rising = sorted(milliseconds.items(), key=lambda item: item[1])
    parts = [f"{each:.3g} ms with {_named(name)}" for name, each in rising]
    return f"One example takes {', '.join(parts)} ({runtime})."


def _named(shape: str) -> str:
    if shape == PRETRAINED:
        return f"--student ({shape})"
    layers, _, share = shape.partition(" x ")
    named = count_of(int(layers), "layer")
    return f"{named}, {share} of the feed-forward neurons" if share else named

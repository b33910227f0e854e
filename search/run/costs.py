"""What students of each shape cost to run, measured before any is trained; and limits on it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from transformers import PreTrainedModel

from search.plan.objectives import LATENCY, PARAMETERS, shapes
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
    compared = _shapes(request)
    if request.against == PARAMETERS:
        return parameters(preparation, compared)
    if request.against != LATENCY:
        return {}
    if not times:
        times = latencies(preparation, compared, request.runtime)
        console.print(describe(times, request.runtime))
    return {name: times[name] for name in compared}


def within_limits(
    request: ResolvedRequest, preparation: Preparation, console: Console
) -> tuple[ResolvedRequest, Costs]:
    """The request with those depths alone that keep `--max-latency` and `--max-parameters`, of a
    grid the deepest of these; and the latencies, if measured. UserError if none does, which says
    what the least is."""
    preparation.check([], lambda _: None)
    compared = _shapes(request)
    kept, times = {*compared}, dict[str, float]()
    if (most := request.max_parameters) is not None:
        millions = parameters(preparation, compared)
        kept &= _below(millions, most, f"--max-parameters {most:g}M", "million parameters")
    if (most := request.max_latency) is not None:
        times = latencies(preparation, compared, request.runtime)
        console.print(describe(times, request.runtime))
        kept &= _below(times, most, f"--max-latency {most:g}ms", f"ms in {request.runtime}")
    depths = tuple(depth for depth in request.depths if str(depth) in kept)
    if PRETRAINED in compared.keys() - kept:
        raise UserError("--student: exceeds --max-latency or --max-parameters; leave it out")
    if not depths:
        raise UserError("--max-latency, --max-parameters: no depth keeps both; allow more")
    if not request.searched and request.against is None:
        depths = depths[:1]
    console.print(f"Students within the limits: {' or '.join(map(_named, map(str, depths)))}.")
    return replace(request, depths=depths), times


def _below(costs: Mapping[str, float], most: float, flag: str, unit: str) -> set[str]:
    kept = {name for name, cost in costs.items() if cost <= most}
    if not kept:
        least = min(costs, key=lambda name: costs[name])
        raise UserError(f"{flag}: the least is {costs[least]:.3g} {unit}, of {_named(least)}")
    return kept


def _shapes(request: ResolvedRequest) -> dict[str, TrialConfig]:
    width = dict(request.overrides).get(WIDTH)
    return shapes(request.depths, width, dict(request.pretrained))


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
    parts = [f"{each:.3g} ms with {_named(name)}" for name, each in milliseconds.items()]
    return f"One example takes {', '.join(parts)} ({runtime})."


def _named(shape: str) -> str:
    return count_of(int(shape), "layer") if shape.isdecimal() else f"--student ({shape})"

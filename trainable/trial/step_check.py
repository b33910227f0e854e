"""Captured and fused steps beside eager ones with plain attention, before a sweep trusts them.

`python -m trainable.trial.step_check ANSWER < QUESTION` takes them in a process of its own, which a
failed capture leaves unusable. The answer stays in the cache: it holds for one GPU, driver, set of
libraries, version of this code, precision and shape of model.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from trainable.common.digest import digest_values
from trainable.common.errors import first_line
from trainable.common.files import read_checked_json, write_checked_json
from trainable.common.gpus import out_of_gpu_memory
from trainable.common.quiet import quiet_libraries
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig
from trainable.data.examples import Examples
from trainable.data.tokens import TokenisedSplit
from trainable.data.vocabulary import padding_id
from trainable.engine.cuda_graph import make_executor
from trainable.engine.devices import Runtime, best_device, device_name
from trainable.engine.losses import unit
from trainable.models.students import new_model, settings_by_layer
from trainable.teacher.outputs import TeacherOutputs
from trainable.trial.training_setup import TrainingSetup

DRIVER = Path("/proc/driver/nvidia/version")
TIME_LIMIT = 600.0  # seconds; Triton compiles for up to two minutes
BATCH, SHORT, LONG, STEPS = 8, 16, 512, 8  # examples, tokens of the longest in either batch, steps
SMALL = {"num_hidden_layers": 2, "vocab_size": 200}  # all else is as the model has it
ALIGNED = {"student_layers": 2, "aligned_layers": "all", "hidden_weight": 100.0}
NUDGE = 2.0**-20  # of each weight, for eager steps that are rounded otherwise
ROUNDINGS, SHARE = 4.0, 0.03  # allowed: so many times what that changes, and a share of the size


def checked(runtime: Runtime, config: PreTrainedConfig) -> Runtime:
    """The runtime, its execution stepped down until it takes right steps of models of this shape;
    logs a line for a check that was made, and one for what can't be had."""
    while (execution := runtime.execution).executor != EAGER:
        start, flash = time.perf_counter(), execution.flash_attention
        packages = ["torch", "transformers", *["disentangled-flash"] * flash]
        machine = [device_name(), DRIVER.is_file() and DRIVER.read_text("utf-8")]
        code = [path.read_text("utf-8") for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
        question = {"shape": config.to_dict(), "precision": runtime.precision, "flash": flash}
        about = {**question, "code": code, "machine": [*machine, *map(version, packages)]}
        path = runtime.cache / "step_checks" / f"{digest_values(about)[:16]}.json"
        if (answer := read_checked_json(path)) is None:
            answer = _ask(question, path)
            runtime.log(
                f"Captured steps, {'fused' if flash else 'plain'} attention, checked beside eager "
                f"ones: {answer['problem'] or 'equal'} ({time.perf_counter() - start:.0f} s)"
            )
        if not answer["problem"]:
            break
        name, lesser = execution.lesser
        runtime.log(f"{name}: {answer['problem']}")
        runtime = replace(runtime, execution=lesser)
    return runtime


def _ask(question: dict[str, Any], path: Path) -> dict[str, str]:
    """What the other process answers; if it gives no answer, how it ended, which is not kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "trainable.trial.step_check", str(path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    how: dict[str, Any] = {"env": environment, "capture_output": True, "text": True}
    problem = f"no answer in {TIME_LIMIT:.0f} s"
    with suppress(subprocess.TimeoutExpired):
        ended = subprocess.run(
            command, input=json.dumps(question), timeout=TIME_LIMIT, check=False, **how
        )
        problem = [f"exit code {ended.returncode}", *ended.stderr.strip().splitlines()][-1]
    return read_checked_json(path) or {"problem": problem}


def main() -> None:
    """Answers the question in the standard input; that memory ran out is no answer."""
    quiet_libraries()
    try:
        problem = check(**json.load(sys.stdin))
    except Exception as error:  # of a capture, a compiler, a package
        if out_of_gpu_memory(error):
            raise
        problem = getattr(error, "reason", first_line(error))
    write_checked_json(Path(sys.argv[1]), {"problem": problem})


def check(
    shape: dict[str, Any], precision: str, *, flash: bool, executors: Any = make_executor
) -> str:
    """How fused steps differ from plain ones, dropout off, or captured ones from eager ones, beyond
    rounding; empty if they don't. Raises what the steps raise."""
    run = partial(taken, shape, executors, precision=precision)
    if flash:
        exact = run(Execution(), precision="fp32", dropout=False)
        rounded = run(Execution(), dropout=False, nudge=NUDGE)
        fused = run(Execution(flash_attention=True), dropout=False)
        if problem := difference(fused, exact, rounded):
            return f"fused attention: {problem}"
    eager = partial(run, Execution(EAGER, flash))
    return difference(run(Execution(GRAPH, flash)), eager(), eager(nudge=NUDGE))


def _small(shape: dict[str, Any]) -> dict[str, Any]:
    """What a model of this shape has otherwise here: few layers and tokens."""
    first = slice(SMALL["num_hidden_layers"])
    return {
        **SMALL,
        "pad_token_id": padding_id(shape.get("pad_token_id") or 0),
        **{name: values[first] for name, values in settings_by_layer(shape).items()},
    }


def taken(
    shape: dict[str, Any],
    executors: Any,
    execution: Execution,
    *,
    precision: str,
    dropout: bool = True,
    nudge: float = 0.0,
) -> dict[str, Tensor]:
    """The losses of STEPS steps of two widths, and how far each parameter moved, with its first
    moment. Each step has its own alpha and learning rate, some fill up their batch."""
    device, generator = best_device(), np.random.default_rng(0)
    zeros = {} if dropout else {name: 0.0 for name in shape if "dropout" in name}
    config = AutoConfig.for_model(**{**shape, **_small(shape), **zeros})
    torch.manual_seed(0)
    student = new_model(config).to(device)
    longest = min(LONG, getattr(config, "max_position_embeddings", LONG) - 2)  # as RoBERTa counts
    lengths = generator.integers(4, SHORT, 2 * BATCH)
    lengths[:BATCH], lengths[[0, BATCH]] = longest - lengths[:BATCH], (longest, SHORT)
    offsets = np.concatenate([[0], lengths.cumsum()])
    ids = generator.integers(5, SMALL["vocab_size"], offsets[-1]).astype(np.int32)
    labels = np.arange(2 * BATCH) % config.num_labels
    split = TokenisedSplit(ids, offsets, labels)
    units = unit(torch.randn(2 * BATCH, 2, config.hidden_size)).half()
    logits = torch.randn(2 * BATCH, config.num_labels)
    outputs = (logits.to(device), "cls", units.to(device), torch.arange(2, device=device))
    trial = TrialConfig.from_dict({**ALIGNED, "batch_size": BATCH, "precision": precision})
    setup = TrainingSetup(
        trial,
        student,
        config,
        TeacherOutputs(*outputs),
        examples={"train": Examples(split, config.pad_token_id or 0, device)},
        executor=executors(execution.executor, device),
        flash_attention=execution.flash_attention,
    )
    setup.distillation.set_up(trial)
    parameters = dict(student.named_parameters())
    with torch.no_grad():
        torch._foreach_mul_(list(parameters.values()), 1.0 + nudge)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    torch.manual_seed(1)
    losses = []
    for step in range(STEPS):
        setup.distillation.alpha.fill_(step % 4 / 4)
        setup.step.take(np.arange(BATCH - step // 2) + step % 2 * BATCH, 1e-4 * (step + 1))
        losses.append(setup.step.means.take()["loss"])
    if setup.fallbacks:
        raise RuntimeError(setup.fallbacks[0])
    found = {"the losses": torch.tensor(losses)}
    for name, parameter in parameters.items():
        found[f"the moves of {name}"] = parameter.detach() - before[name]
        found[f"the moments of {name}"] = setup.step.optimiser.state[parameter]["exp_avg"]
    return found


def difference(
    found: dict[str, Tensor], expected: dict[str, Tensor], rounded: dict[str, Tensor]
) -> str:
    """What is further from what is expected than rounding explains, and how far; or nothing."""
    for name, value in expected.items():
        size, rounding = float(value.norm()), float((rounded[name] - value).norm())
        distance, allowed = float((found[name] - value).norm()), ROUNDINGS * rounding + SHARE * size
        if not distance <= allowed:  # nor is NaN
            return f"{name} differ by {distance:.2g}, not {allowed:.2g}, at a size of {size:.2g}"
    return ""


if __name__ == "__main__":
    main()

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
from collections.abc import Callable
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
from trainable.common.gpus import driver_version, out_of_gpu_memory
from trainable.common.quiet import quiet_libraries
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig
from trainable.data.examples import Examples
from trainable.data.tokens import TokenisedSplit
from trainable.engine.cuda_graph import Executor, make_executor
from trainable.engine.devices import Runtime, best_device, device_name
from trainable.engine.losses import unit
from trainable.models.students import new_model
from trainable.teacher.outputs import TeacherOutputs
from trainable.trial.training_setup import TrainingSetup

LAYERS, VOCABULARY, BATCH, SHORT, LONG, STEPS = 2, 200, 8, 16, 512, 8  # the rest is the model's own
NUDGE = 2.0**-20  # of each weight: eager steps that are rounded otherwise
ROUNDINGS, SHARE = 4.0, 0.03  # allowed: so many times what that changes, and a share of the size
TIME_LIMIT = 600.0  # seconds; Triton compiles for up to two minutes
IGNORED = {"_name_or_path", "transformers_version", "architectures", "id2label", "label2id"}


def checked(runtime: Runtime, config: PreTrainedConfig) -> Runtime:
    """The runtime, its execution stepped down until it takes right steps of models of this shape;
    logs a line for a check that was made, and one for what can't be had."""
    shape = {key: value for key, value in config.to_dict().items() if key not in IGNORED}
    code = [path.read_text("utf-8") for path in sorted(Path(__file__).parents[1].rglob("*.py"))]
    while (execution := runtime.execution).executor != EAGER:
        start, flash = time.perf_counter(), execution.flash_attention
        packages = ["torch", "transformers", *["disentangled-flash"] * flash]
        machine = [device_name(), driver_version(), *map(version, packages)]
        question = {"shape": shape, "precision": runtime.precision, "flash": flash}
        key = digest_values({**question, "machine": machine, "code": code})[:16]
        path = runtime.cache / "step_checks" / f"{key}.json"
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
    problem = f"no answer in {TIME_LIMIT:.0f} s"
    with suppress(subprocess.TimeoutExpired):
        ended = subprocess.run(
            [sys.executable, "-m", "trainable.trial.step_check", str(path)],
            input=json.dumps(question),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIME_LIMIT,
        )
        problem = (ended.stderr.strip().splitlines() or [f"ended by signal {-ended.returncode}"])[
            -1
        ]
    return read_checked_json(path) or {"problem": problem}


def main() -> None:
    """Answers the question that stands in the standard input; what may be otherwise next time, such
    as too little free memory, is no answer."""
    quiet_libraries()
    try:
        problem = check(**json.load(sys.stdin))
    except Exception as error:  # of captures, of compilers, of a package
        if out_of_gpu_memory(error):
            raise
        problem = getattr(error, "reason", first_line(error))
    write_checked_json(Path(sys.argv[1]), {"problem": problem})


def check(
    shape: dict[str, Any],
    precision: str,
    *,
    flash: bool,
    executors: Callable[[str, torch.device], Executor] = make_executor,
) -> str:
    """How fused steps differ from plain ones, dropout off, or captured ones from eager ones beyond
    rounding; empty if they don't. Raises what the steps raise."""
    steps = partial(taken, shape, executors=executors)
    if flash:
        plain, fused = Execution(EAGER), Execution(EAGER, flash_attention=True)
        exact = steps(plain, precision="fp32", dropout=False)
        rounded = steps(plain, precision=precision, dropout=False, nudge=NUDGE)
        found = steps(fused, precision=precision, dropout=False)
        if problem := difference(found, exact, rounded):
            return f"fused attention: {problem}"
    eager = partial(steps, Execution(EAGER, flash), precision=precision)
    captured = steps(Execution(GRAPH, flash), precision=precision)
    return difference(captured, eager(), eager(nudge=NUDGE))


def taken(
    shape: dict[str, Any],
    execution: Execution,
    *,
    precision: str,
    executors: Callable[[str, torch.device], Executor],
    dropout: bool = True,
    nudge: float = 0.0,
) -> dict[str, Tensor]:
    """The losses of STEPS steps of two widths, and by parameter its move and its first moment.

    Each step has its own alpha and learning rate, some have batches that are filled up.
    """
    device, generator = best_device(), np.random.default_rng(0)
    config = AutoConfig.for_model(**shape)
    config.num_hidden_layers, config.vocab_size, config.num_labels = LAYERS, VOCABULARY, 2
    for name in () if dropout else [name for name in shape if "dropout" in name]:
        setattr(config, name, 0.0)
    torch.manual_seed(0)
    student = new_model(config)
    longest = min(LONG, getattr(config, "max_position_embeddings", LONG) - 2)  # as RoBERTa counts
    lengths = generator.integers(4, SHORT, 2 * BATCH)
    lengths[:BATCH], lengths[[0, BATCH]] = longest - lengths[:BATCH], (longest, SHORT)
    offsets = np.concatenate([[0], lengths.cumsum()])
    ids, labels = generator.integers(5, VOCABULARY, offsets[-1]), np.arange(2 * BATCH) % 2
    split = TokenisedSplit(ids.astype(np.int32), offsets, labels)
    units = unit(torch.randn(2 * BATCH, LAYERS, config.hidden_size)).half().to(device)
    logits, layers = torch.randn(2 * BATCH, 2).to(device), torch.arange(LAYERS, device=device)
    aligned = {"student_layers": LAYERS, "aligned_layers": "all", "hidden_weight": 100.0}
    trial = TrialConfig.from_dict({**aligned, "batch_size": BATCH, "precision": precision})
    setup = TrainingSetup(
        trial,
        student.to(device),
        config,
        TeacherOutputs(logits, "cls", units, layers),
        examples={"train": Examples(split, config.pad_token_id or 0, device)},
        executor=executors(execution.executor, device),
        flash_attention=execution.flash_attention,
    )
    setup.distillation.set_up(trial)
    names = dict(student.named_parameters())
    with torch.no_grad():
        torch._foreach_mul_(list(names.values()), 1.0 + nudge)
    before = {name: parameter.detach().clone() for name, parameter in names.items()}
    torch.manual_seed(1)
    losses = []
    for step in range(STEPS):
        setup.distillation.alpha.fill_(step % 4 / 4)
        rows = np.arange(BATCH - step // 2) + step % 2 * BATCH
        setup.step.take(rows, 1e-4 * (step + 1))
        losses.append(setup.step.means.take()["loss"])
    if setup.fallbacks:
        raise RuntimeError(setup.fallbacks[0])
    moments = setup.step.optimiser.state
    moved = {f"the move of {n}": p.detach() - before[n] for n, p in names.items()}
    moved |= {f"the moment of {n}": moments[p]["exp_avg"] for n, p in names.items()}
    return {"the losses": torch.tensor(losses), **moved}


def difference(
    found: dict[str, Tensor], expected: dict[str, Tensor], rounded: dict[str, Tensor]
) -> str:
    """What is further from what is expected than rounding explains, and how much; or nothing."""
    for name, value in expected.items():
        size, rounding = float(value.norm()), float((rounded[name] - value).norm())
        distance, allowed = float((found[name] - value).norm()), ROUNDINGS * rounding + SHARE * size
        if not distance <= allowed:  # nor is NaN
            return f"{name} differs by {distance / size:.2g} of its size, not {allowed / size:.2g}"
    return ""


if __name__ == "__main__":
    main()

"""What a sweep does on a GPU, for `tests.gpu_check`, on random examples of a preset's lengths.

Prints a JSON line for a whole trial, for another one on the same worker, for a trial that waits at
a rung, and for the teacher's fine-tuning. What share of a search such waits take:

    python -m tests.scripts.gpu_trial --preset sst2 --steps 200 --rung
"""

import argparse
import copy
import json
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from search.bench.options import BenchOptions
from search.bench.workload import PAD_ID, lengths_of, make_workload, random_split
from search.plan.request import Request
from search.plan.resolve import resolve
from search.plan.rungs import FACTOR, PROMOTION, rungs
from trainable.config.training_inputs import Teacher, TrainingInputs
from trainable.config.trial_config import TeacherSettings
from trainable.data.batches import FORWARD_SHARE, trial_steps
from trainable.data.examples import Examples
from trainable.data.tokens import save_split
from trainable.data.vocabulary import dense_split, save_vocabulary, trim_embedding
from trainable.engine.cuda_graph import choose_execution, make_executor
from trainable.engine.devices import Runtime, device_name, synchronise
from trainable.models.flash_attention import fuse_attention
from trainable.models.static_forward import make_static
from trainable.teacher.fine_tuning import fine_tune
from trainable.teacher.outputs import LOGITS, write_outputs
from trainable.trial.checkpoint import (
    SAVE_SHARE,
    SaveTimer,
    load_checkpoint,
    restore,
    write_checkpoint,
)
from trainable.trial.training_loop import Trial
from trainable.trial.training_setup import SetupCache
from trainable.trial.waiting import WaitingTrials

SST2_VALIDATION = 872
EXAMPLES = {"sst2": (67_349, 872), "imdb": (25_000, 25_000), "mini": (5_120, 2_013)}  # of a preset
EPOCHS, EVALUATIONS = 3, 15  # of the preset sst2
RUNG_STEPS = 200  # that are timed, at most
ONE_EPOCH = TeacherSettings(epochs=1)
LOG = partial(print, file=sys.stderr)


def main():
    """Measures one after the other; what fails ends it with a traceback."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="sst2")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--gigabytes", type=float)
    parser.add_argument("--rung", action="store_true", help="the trial that waits, nothing else")
    asked = parser.parse_args()
    if asked.gigabytes and torch.cuda.is_available():
        share = asked.gigabytes * 1e9 / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    work, setups = make_workload(BenchOptions(preset=asked.preset, steps=asked.steps)), SetupCache()
    config = replace(work.config, epochs=EPOCHS, evaluations=EVALUATIONS)
    start = time.monotonic()
    with TemporaryDirectory() as name:
        folder = Path(name)
        inputs = prepare(work, folder)
        prepared = time.monotonic() - start
        fused = inputs.execution.flash_attention
        shared = {"preset": work.preset, "device": device_name()}
        shared["like"] = "flash" if fused else "graph"
        if not asked.rung:
            first = train(config, inputs, folder, setups)
            first["notes"] += f", preparing {prepared:.1f} s"
            say({"variant": "a whole trial", **first, **shared})
            config = replace(config, epochs=1, evaluations=5, seed=1)
            again = train(config, inputs, folder, setups)
            say({"variant": "a second trial, 1 epoch", **again, **shared})
        waiting = rung(config, inputs, folder, setups, work.preset)
        say({"variant": "a rung", **waiting, **shared})
        del setups  # and with it the students
        if not asked.rung:
            shared["like"] = "teacher"
            say({"variant": "the teacher's fine-tuning", **teacher(work, folder), **shared})
    return 0


def say(line):
    """Prints it as JSON, at once."""
    print(json.dumps(line), flush=True)


def prepare(work, folder):
    """The inputs of a sweep's trials, in this folder."""
    lengths = lengths_of(work.preset, min(SST2_VALIDATION, len(work.split)), None)
    ids = np.arange(PAD_ID + 1, work.tokens_in_use)
    validation = random_split(lengths, ids, 2, np.random.default_rng(1))
    (folder / "tokenizer").mkdir()
    save_split(work.split, folder, "train")
    save_split(validation, folder, "evaluation")
    save_vocabulary(np.arange(work.tokens_in_use), folder)
    work.teacher.save_pretrained(folder / "teacher")
    outputs = {kind: folder / kind for kind in (LOGITS, "cls")}
    execution = choose_execution(work.teacher.config, work.device, "auto", LOG)
    runtime = Runtime(folder, work.device, work.config.precision, LOG, execution)
    write_outputs(work.teacher, work.split, PAD_ID, outputs, runtime)
    return TrainingInputs(
        tokens=str(folder),
        pad_id=PAD_ID,
        label_names=["0", "1"],
        teacher=Teacher(str(folder / "teacher"), "", False, 0.5, "", 0.0),
        outputs={kind: str(place) for kind, place in outputs.items()},
        data_digest="",
        device=work.device.type,
        examples={"train": len(work.split), "evaluation": len(validation)},
        execution=execution,
    )


def train(config, inputs, folder, setups):
    """Trains one student to its end, with checkpoints as in a sweep; JSON values."""
    start, saving, saved = time.monotonic(), 0.0, 0
    trial = Trial.start(config, inputs, torch.device(inputs.device), setups)
    setup = time.monotonic() - start
    timer = SaveTimer(SAVE_SHARE, 16 * trial.student.num_parameters())
    while not trial.finished:
        trial.advance()
        if trial.history and (timer.due or trial.finished):
            begun = time.monotonic()
            with TemporaryDirectory(dir=folder) as place:
                write_checkpoint(trial, Path(place))
            timer.saved(time.monotonic() - begun)
            saving, saved = saving + time.monotonic() - begun, saved + 1
    seconds = time.monotonic() - start
    training = sum(e.training_seconds for e in trial.history)
    evaluating = sum(e.evaluation_seconds for e in trial.history)
    used = f"{inputs.execution.executor}, fused attention: {inputs.execution.flash_attention}"
    return {
        "milliseconds_per_step": round(1000 * training / trial.step, 3),
        "examples_per_second": round(config.epochs * inputs.examples["train"] / seconds, 2),
        "seconds": round(seconds, 3),
        "setup_seconds": round(setup, 1),
        "checkpoints": saved,
        "loss": round(trial.history[-1].loss, 4),
        "notes": f"{'; '.join(trial.setup.fallbacks) or used}; {seconds:.1f} s, of these "
        f"evaluating {evaluating:.1f} s, saving {saving:.1f} s",
    }


def rung(config, inputs, folder, setups, preset):
    """Takes some steps, has the trial wait at a rung, and go on: first as it does while there is
    memory, then by a checkpoint, with the copy into the run's folder that Ray makes; and the shares
    of a search that each makes on such a machine. JSON values."""
    device = torch.device(inputs.device)
    config = replace(config, max_steps=10**6, evaluations=1)
    trial = Trial.start(config, inputs, device, setups)
    steps = min(RUNG_STEPS, -(-inputs.examples["train"] // config.batch_size))
    trial.advance()
    times = [now(device)]
    for _ in range(steps):
        trial.advance()
    times.append(now(device))
    waiting = WaitingTrials()
    waiting.keep(trial, sys.maxsize)
    times.append(now(device))
    state = waiting.take(config)
    restore(Trial.start(config, inputs, device, setups), state)
    times.append(now(device))
    with TemporaryDirectory(dir=folder) as place:
        written, kept = Path(place, "written"), Path(place, "kept")
        written.mkdir()
        write_checkpoint(trial, written, student=False)
        shutil.copytree(written, kept)
        times.append(now(device))
        load_checkpoint(kept, config, inputs, device, setups)
        times.append(now(device))
        size = sum(path.stat().st_size for path in kept.iterdir()) / 1e6
    training, *waits = np.diff(times)
    step = training / steps
    shares, notes = [], []
    for where, (save, back) in {"memory": waits[:2], "a checkpoint": waits[2:]}.items():
        at, *taken = promotion_shares(preset, config.batch_size, step, save, back)
        shares += [round(share, 5) for share in taken]
        notes.append(f"to {where} {save:.2f} s, back {back:.2f} s, {sum(taken):.1%} of a search")
    return {
        "milliseconds_per_step": round(1000 * step, 3),
        "shares": shares,
        "notes": f"{size:.0f} MB: {'; '.join(notes)} with rungs at {at} evaluations",
    }


def now(device):
    """Seconds, when all work of the device is done."""
    synchronise(device)
    return time.monotonic()


def promotion_shares(preset, batch_size, step, save, restore):
    """The rungs of a search with this preset, in evaluations, and the shares of its time that it
    saves and restores trials at them, by the seconds of a step and of these.

    One trial in FACTOR goes on at each rung; evaluations count as steps.
    """
    train, validation = EXAMPLES[preset]
    asked = resolve(Request(space="recipe", preset=preset, scheduler=PROMOTION), LOG)
    asked = asked.on_examples(train, validation)
    default = replace(asked.default, batch_size=batch_size)
    steps = trial_steps(train, default)
    at = rungs(default.evaluations, asked.first_rung(default.evaluations, steps), FACTOR)
    each = steps / default.evaluations
    each += FORWARD_SHARE * validation / batch_size
    between = np.diff([0, *at, default.evaluations])
    reached = float(FACTOR) ** -np.arange(len(between))  # the share of trials that train each part
    training, saving = step * each * (between @ reached), save * reached[:-1].sum()
    restoring = restore * reached[1:].sum()
    total = training + saving + restoring
    return at, saving / total, restoring / total


def teacher(work, folder):
    """Fine-tunes the teacher for an epoch, captures and evaluations included; JSON values."""
    model, in_use = copy.deepcopy(work.teacher).to(work.device), np.arange(work.tokens_in_use)
    make_static(model)
    trim_embedding(model, in_use)
    runtime = Runtime(folder, work.device, work.config.precision, LOG)
    execution = choose_execution(work.teacher.config, work.device, "auto", LOG)
    if execution.flash_attention:
        fuse_attention(model, work.device)
    executor = make_executor(execution.executor, work.device)
    train = Examples(dense_split(work.split, in_use), PAD_ID, work.device)
    start = time.monotonic()
    fine_tune(model, train, ONE_EPOCH, runtime=runtime, executor=executor, state=folder / "state")
    seconds = time.monotonic() - start
    rate = len(work.split) / seconds
    return {
        "milliseconds_per_step": round(1000 * ONE_EPOCH.batch_size / rate, 3),
        "examples_per_second": round(rate, 2),
        "notes": f"{seconds:.1f} s with captures and evaluations",
    }


if __name__ == "__main__":
    sys.exit(main())

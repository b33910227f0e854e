"""The first hour on a GPU: the tests that need one, the bench and a whole trial, in ten minutes.

    python -m tests.gpu_check

Needs torch and transformers only; pytest for the tests, disentangled-flash for fused attention.
Each part is a process of its own and prints as it goes; at the end stands a table for the README.
On a machine without a GPU it shows that it works: `--preset mini --steps 6`.
"""

import argparse
import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

REPOSITORY = Path(__file__).parent.parent
TESTS = ("tests/invariants", "tests/trainable/models", "tests/search/bench")  # they need no Ray
SST2_BATCHES = 2105  # of 32 of the 67,349 training examples
SST2_VALIDATION = 872
EPOCHS, EVALUATIONS = 3, 15  # of the preset sst2
SECONDS = {"tests": 240, "bench": 180, "trial": 180}  # of each part, at most


def main():
    """Runs the parts and prints the table; returns 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="sst2", help="whose shapes and lengths (sst2)")
    parser.add_argument("--steps", type=int, default=SST2_BATCHES, help="batches in an epoch")
    parser.add_argument("--part", choices=SECONDS, help="only this one")
    asked = parser.parse_args()
    if asked.part == "trial":  # in the process that the whole check has begun
        print(json.dumps(whole_trial(asked.preset, asked.steps)))
        return 0
    python, shape = [sys.executable, "-m"], ["--preset", asked.preset]
    commands = {
        "tests": [*python, "pytest", "-o", "addopts=", "-m", "gpu", "-q", *TESTS],
        "bench": [*python, "search.bench", *shape, "--steps", str(min(asked.steps, 200))],
        "trial": [*python, "tests.gpu_check", *shape, "--steps", str(asked.steps)],
    }
    commands["trial"] += ["--part", "trial"]
    if find_spec("pytest") is None:
        print("tests: pytest is not installed")
        del commands["tests"]
    codes, lines = {}, []
    for part, command in commands.items():
        codes[part] = run(part, command, lines)
    print(table(lines))
    return int(any(code not in (0, 5) for code in codes.values()))  # 5: pytest had no such test


def run(part, command, lines):
    """Shows what a part prints as it comes, and keeps its JSON lines; returns its exit code."""
    print(f"\n## {part}: {' '.join(command[1:])}", flush=True)
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("{"):
            lines.append(json.loads(line))
        if time.monotonic() - start > SECONDS[part]:
            process.kill()
    code = process.wait()
    print(f"{part}: exit code {code}, {time.monotonic() - start:.0f} s", flush=True)
    return code


def whole_trial(preset, steps):
    """A trial of the preset's length on random examples, with checkpoints as in a sweep."""
    from search.bench.options import BenchOptions
    from search.bench.workload import PAD_ID, lengths_of, make_workload, random_split
    from trainable.config.names import EAGER
    from trainable.config.training_inputs import Teacher, TrainingInputs
    from trainable.data.tokens import save_split
    from trainable.data.vocabulary import save_vocabulary
    from trainable.engine.cuda_graph import choose_execution
    from trainable.engine.devices import Runtime
    from trainable.teacher.outputs import LOGITS, write_outputs

    work, start = make_workload(BenchOptions(preset=preset, steps=steps)), time.monotonic()
    lengths = lengths_of(preset, min(SST2_VALIDATION, len(work.split)), None)
    ids = np.arange(PAD_ID + 1, work.tokens_in_use)
    validation = random_split(lengths, ids, 2, np.random.default_rng(1))
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokenizer").mkdir()
        save_split(work.split, folder, "train")
        save_split(validation, folder, "evaluation")
        save_vocabulary(np.arange(work.tokens_in_use), folder)
        work.teacher.save_pretrained(folder / "teacher")
        outputs = {kind: folder / kind for kind in (LOGITS, "cls")}
        say = lambda line: print(line, file=sys.stderr)  # noqa: E731
        runtime = Runtime(folder, work.device, work.config.precision, say)
        write_outputs(work.teacher, work.split, PAD_ID, outputs, runtime)
        inputs = TrainingInputs(
            tokens=str(folder),
            pad_id=PAD_ID,
            label_names=["0", "1"],
            teacher=Teacher(str(folder / "teacher"), "", False, 0.5, "", 0.0),
            outputs={kind: str(place) for kind, place in outputs.items()},
            data_digest="",
            device=work.device.type,
            examples={"train": len(work.split), "evaluation": len(validation)},
            execution=choose_execution(work.teacher.config, work.device, "auto", say),
        )
        prepared = time.monotonic() - start
        line = {"execution": inputs.execution.executor, **train(work.config, inputs, folder)}
    if inputs.execution.executor != EAGER and inputs.execution.flash_attention:
        line["execution"] += ", fused attention"
    return {"variant": "a whole trial", "preparation_seconds": round(prepared, 1), **line}


def train(config, inputs, folder):
    """Trains one student to its end; JSON values."""
    from dataclasses import replace

    import torch

    from trainable.trial.checkpoint import SAVE_SHARE, SaveTimer, write_checkpoint
    from trainable.trial.training_loop import Trial

    config = replace(config, epochs=EPOCHS, evaluations=EVALUATIONS)
    start, saving, saved = time.monotonic(), 0.0, 0
    trial = Trial.start(config, inputs, torch.device(inputs.device))
    setup = time.monotonic() - start
    weights = sum(p.numel() * p.element_size() for p in trial.student.parameters())
    timer = SaveTimer(SAVE_SHARE, 4 * weights)
    while not trial.finished:
        trial.advance()
        if trial.history and (timer.due or trial.finished):
            begun = time.monotonic()
            with TemporaryDirectory(dir=folder) as place:
                write_checkpoint(trial, Path(place))
            timer.saved(time.monotonic() - begun)
            saving, saved = saving + time.monotonic() - begun, saved + 1
    seconds = time.monotonic() - start
    examples = config.epochs * inputs.examples["train"]
    return {
        "examples_per_second": round(examples / seconds, 2),
        "seconds": round(seconds, 1),
        "setup_seconds": round(setup, 1),
        "evaluation_seconds": round(sum(e.evaluation_seconds for e in trial.history), 1),
        "saving_seconds": round(saving, 1),
        "checkpoints": saved,
        "fallback": trial.setup.fallback,
        "loss": round(trial.history[-1].loss, 4),
    }


def table(lines):
    """Of all that was measured, in Markdown; the ratio is to the loop with a live teacher."""
    live = next((line["examples_per_second"] for line in lines if line["variant"] == "live"), None)
    rows = ["\n| variant | examples per second | times the plain loop | set-up | reserved |"]
    rows.append("|---|---|---|---|---|")
    for line in lines:
        rate = line.get("examples_per_second")
        if rate is None:
            rows.append(f"| `{line['variant']}` | {line['error']} | | | |")
            continue
        ratio = f"{rate / live:.1f}" if live else "-"
        memory = f"{line['reserved_gib']} GiB" if line.get("reserved_gib") else "-"
        cells = (
            f"`{line['variant']}`",
            f"{rate:,.0f}",
            ratio,
            f"{line['setup_seconds']} s",
            memory,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())

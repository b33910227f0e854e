"""`python -m tests.scripts.saving_share`: how much of a trial saving takes at DeBERTa's shapes.

A real Tuner trains a real 6-layer student with random weights. Its first step is a real one, so
that there are moments to save; the others are clock alone: time is moved on by their length. Saves
are real. Prints JSON.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import ray
import torch
from ray import tune
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForSequenceClassification,
    DebertaV2Config,
    PreTrainedTokenizerFast,
)

from trainable.common.quiet import quiet_libraries
from trainable.config.training_inputs import Teacher, TrainingInputs
from trainable.data.tokens import TokenisedSplit, save_split
from trainable.data.vocabulary import save_vocabulary
from trainable.trial import checkpoint, tune_function
from trainable.trial.training_loop import Trial
from trainable.trial.tune_function import Sweep, train_student

V3_BASE = DebertaV2Config(
    vocab_size=128_100,
    hidden_size=768,
    num_hidden_layers=6,  # of a student; all of them are taken over
    num_attention_heads=12,
    intermediate_size=3072,
    relative_attention=True,
    pos_att_type=["p2c", "c2p"],
    position_buckets=256,
    max_relative_positions=-1,
    norm_rel_ebd="layer_norm",
    share_att_key=True,
    type_vocab_size=0,
    position_biased_input=False,
    pooler_hidden_size=768,
    pooler_dropout=0,
)
IN_USE, SENTENCES, LENGTH, STEPS = 16_000, 32, 8, 640
SETTINGS = {"alpha": 1.0, "student_layers": 6, "batch_size": 1, "epochs": 20, "evaluations": 16}


def make_inputs(folder):
    """Inputs with a teacher of random weights and random sentences, under a folder."""
    names = {name: f"[{name[:3].upper()}]" for name in ("pad_token", "unk_token")}
    words = {word: index for index, word in enumerate(names.values())}
    words |= {f"word{index}": index for index in range(len(words), V3_BASE.vocab_size)}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokens, teacher = folder / "tokens", folder / "teacher"
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(tokens / "tokenizer")
    AutoModelForSequenceClassification.from_config(V3_BASE).save_pretrained(teacher)
    ids = np.random.default_rng(0).integers(2, IN_USE, SENTENCES * LENGTH, dtype=np.int32)
    offsets = np.arange(SENTENCES + 1) * LENGTH
    for name in ("train", "evaluation"):
        save_split(TokenisedSplit(ids, offsets, np.arange(SENTENCES) % 2), tokens, name)
    save_vocabulary(np.arange(IN_USE), tokens)
    return TrainingInputs(
        tokens=str(tokens),
        pad_id=0,
        label_names=["0", "1"],
        teacher=Teacher(str(teacher), "0" * 64, False, 0.5, "", 0.0),
        outputs={},
        data_digest="0" * 64,
        device="cpu",
        examples={"train": SENTENCES, "evaluation": SENTENCES},
    )


class SkippingClock:
    """The real time, and what was skipped."""

    def __init__(self):
        self.skipped = 0.0

    def monotonic(self):
        return time.monotonic() + self.skipped

    perf_counter = monotonic


def timed(module, name, spent):
    """Has the seconds of a module's function counted."""
    real = getattr(module, name)

    def call(*arguments, **keywords):
        start = time.perf_counter()
        try:
            return real(*arguments, **keywords)
        finally:
            spent.setdefault(name, []).append(time.perf_counter() - start)

    setattr(module, name, call)


def train(config, *, inputs, share, step_seconds, run):
    """A trial whose steps but the first take no work; writes what it measured into the run."""
    clock, advance, spent = SkippingClock(), Trial.advance, {}
    tune_function.time = clock
    for name in ("write_state", "_write_student", "seal"):
        timed(checkpoint, name, spent)
    timed(tune_function, "write_checkpoint", spent)
    sizes, report, begun = {}, tune.report, clock.monotonic()

    def report_measured(metrics, checkpoint=None):
        if (
            checkpoint is not None
            and (Path(checkpoint.path) / "training_state.safetensors").exists()
        ):
            files = {p.name: p.stat().st_size for p in Path(checkpoint.path).iterdir()}
            sizes.update(files, at=[*sizes.get("at", []), clock.monotonic() - begun])
        start = time.perf_counter()
        report(metrics, checkpoint=checkpoint)
        if checkpoint is not None:
            spent.setdefault("report", []).append(time.perf_counter() - start)

    def skip(trial):
        if trial.step in (0, STEPS - 1) or trial.step + 1 in trial._due:
            return advance(trial)
        trial.step += 1
        clock.skipped += step_seconds
        return None

    tune_function.tune = SimpleNamespace(**{**vars(tune), "report": report_measured})
    Trial.advance = skip
    train_student(config, asdict(inputs), share, Sweep(str(run)))
    total = clock.monotonic() - begun
    (run / "measured.json").write_text(json.dumps({**sizes, "spent": spent, "total": total}))


def main():
    """Runs a trial and prints what saving took of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=tune_function.SAVE_SHARE)
    parser.add_argument("--minutes", type=float, default=60.0, help="that the steps stand for (60)")
    arguments = parser.parse_args()
    quiet_libraries()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="saving-share-") as name:
        folder = Path(name)
        inputs = make_inputs(folder)
        quiet = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
        ray.init("local", num_cpus=1, **quiet)
        work = partial(
            train,
            inputs=inputs,
            share=arguments.share,
            step_seconds=60 * arguments.minutes / STEPS,
            run=folder,
        )
        kept = tune.CheckpointConfig(num_to_keep=1)
        settings = tune.RunConfig(storage_path=name, verbose=0, checkpoint_config=kept)
        grid = tune.Tuner(work, param_space=SETTINGS, run_config=settings).fit()
        ray.shutdown()
        assert not grid.errors, grid.errors
        found = json.loads((folder / "measured.json").read_text())
    before_end = len(found["at"])  # the last save, of a finished trial, is not the timer's
    spent = {part: seconds[:before_end] for part, seconds in found["spent"].items()}
    saves = [sum(both) for both in zip(spent["write_checkpoint"], spent["report"], strict=True)]
    print(
        json.dumps(
            {
                "state_bytes": found["training_state.safetensors"],
                "student_bytes": found["model.safetensors"],
                "seconds_a_save": np.mean(saves),
                "of_which": {part: np.mean(seconds) for part, seconds in spent.items()},
                "saves": before_end,
                "interval_seconds": np.mean(np.diff(found["at"])) if before_end > 1 else None,
                "seconds": found["total"],
                "share": sum(saves) / found["total"],
                "most": arguments.share,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()

"""The search of a practitioner: transformers' Trainer and Optuna (TPE, median pruner).

`python -m tests.scripts.trainer_search DATA TEACHER OUT --budget SECONDS`, by hand or from
`search_benchmark`. Needs the package accelerate. The loss is alpha CE + (1 - alpha) T^2 KL with the
teacher live in training, and absent in evaluation. The first trial is the preset's default. OUT is
the student with the best validation accuracy; a JSON line says which one that is.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
import torch
from torch.nn.functional import kl_div, log_softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tests.scripts.benchmark_data import read_tsv
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TrialConfig
from trainable.models.students import build_student

MINI = PRESETS["mini"]
EVALUATIONS = 5
DEFAULT = {
    "learning_rate": MINI.learning_rates["teacher_spread"],
    "alpha": 0.5,
    "temperature": 2.0,
    "initialisation": "teacher_spread",
}


class Distiller(Trainer):
    """A Trainer whose training loss looks at the teacher's logits."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """alpha CE + (1 - alpha) T^2 KL in training, CE in evaluation."""
        outputs = model(**inputs)
        loss = outputs.loss
        if model.training:
            alpha, temperature = self.settings["alpha"], self.settings["temperature"]
            with torch.no_grad():
                theirs = log_softmax(self.teacher(**inputs).logits / temperature, dim=-1)
            ours = log_softmax(outputs.logits / temperature, dim=-1)
            kl = kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2
            loss = alpha * loss + (1 - alpha) * kl
        return (loss, outputs) if return_outputs else loss


class Pruning(TrainerCallback):
    """Tells the study each evaluation, and ends a trial that it gives up."""

    def __init__(self, trial):
        self.trial = trial

    def on_evaluate(self, args, state, control, metrics, **others):
        """Raises TrialPruned."""
        self.trial.report(metrics["eval_accuracy"], state.global_step)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def draw(trial):
    """One configuration."""
    starts = ["teacher_spread", "teacher_lower"]
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 5e-4, log=True),
        "alpha": trial.suggest_float("alpha", 0.0, 1.0),
        "temperature": trial.suggest_float("temperature", 1.0, 8.0, log=True),
        "initialisation": trial.suggest_categorical("initialisation", starts),
    }


def accuracy(predicted):
    """Of an evaluation."""
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def load(data, tokenizer, split):
    """Examples as a data set of the Trainer."""
    examples = read_tsv(data / f"{split}.tsv")
    encoded = tokenizer(examples.texts, truncation=True)
    columns = ("input_ids", "attention_mask")
    return [
        {name: encoded[name][row] for name in columns} | {"labels": label}
        for row, label in enumerate(examples.labels)
    ]


def search(data, teacher_folder, out, budget, seed):
    """Trials until the budget of seconds is spent; the running one finishes."""
    teacher = AutoModelForSequenceClassification.from_pretrained(teacher_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    train, validation = (load(data, tokenizer, split) for split in ("train", "validation"))
    sizes, best = dict(MINI.trial), [-1.0]
    steps = sizes["epochs"] * -(-len(train) // sizes["batch_size"])

    def objective(trial):
        settings = draw(trial)
        start = {"initialisation": settings["initialisation"], "seed": seed + trial.number}
        config = TrialConfig(student_layers=sizes["student_layers"], **start)
        with TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder,
                seed=config.seed,
                learning_rate=settings["learning_rate"],
                num_train_epochs=sizes["epochs"],
                per_device_train_batch_size=sizes["batch_size"],
                per_device_eval_batch_size=64,
                weight_decay=0.01,
                warmup_steps=round(0.1 * steps),
                eval_strategy="steps",
                eval_steps=max(1, steps // EVALUATIONS),
                save_strategy="best",
                save_total_limit=1,
                save_only_model=True,
                load_best_model_at_end=True,
                metric_for_best_model="accuracy",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
            )
            trainer = Distiller(
                build_student(teacher, config),
                arguments,
                train_dataset=train,
                eval_dataset=validation,
                data_collator=DataCollatorWithPadding(tokenizer),
                compute_metrics=accuracy,
                callbacks=[Pruning(trial)],
            )
            trainer.teacher, trainer.settings = teacher, settings
            trainer.train()
            value = trainer.state.best_metric
        if value > best[0]:
            best[0] = value
            trainer.model.save_pretrained(out)
            tokenizer.save_pretrained(out)
        return value

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.enqueue_trial(DEFAULT)
    begin = time.monotonic()
    study.optimize(objective, timeout=budget)
    seconds = round(time.monotonic() - begin, 1)
    chosen = f"trial {study.best_trial.number}: {study.best_params}"
    return {"seconds": seconds, "trials": len(study.trials), "chosen": chosen}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "teacher", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--budget", type=float, required=True, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = search(asked.data, asked.teacher, asked.out, asked.budget, asked.seed)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

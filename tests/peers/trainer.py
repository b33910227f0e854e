"""transformers' Trainer and Optuna (TPE, median pruner): DATA TEACHER STUDENT OUT SECONDS SEED.

OUT is the student with the best validation accuracy. `cached` after the seed computes the teacher's
logits once. Given again after an interruption, it goes on after the trials that ended.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from transformers import TrainerCallback

from tests.peers.distillation import Distillation

FIRST = {"learning_rate": 1e-4, "alpha": 0.5, "temperature": 2.0, "epochs": 3}


class Pruning(TrainerCallback):
    def __init__(self, trial):
        self.trial = trial

    def on_evaluate(self, args, state, control, metrics, **others):
        self.trial.report(metrics["eval_accuracy"], state.global_step)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def draw(trial):
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 5e-4, log=True),
        "alpha": trial.suggest_float("alpha", 0.0, 1.0),
        "temperature": trial.suggest_float("temperature", 1.0, 8.0, log=True),
        "epochs": trial.suggest_int("epochs", 1, 4),
    }


def main():
    data, teacher, student, out, budget, seed, *cached = sys.argv[1:]
    distillation = Distillation(data, teacher, student, cached=bool(cached))
    Path(out).mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="distillation",
        storage=f"sqlite:///{out}/study.db",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=int(seed)),
        pruner=optuna.pruners.MedianPruner(),
    )
    ended = [trial for trial in study.trials if trial.state.is_finished()]
    best = max((trial.value for trial in ended if trial.value is not None), default=-1.0)

    def objective(trial):
        nonlocal best
        print(f"trial {trial.number} begins", flush=True)
        with TemporaryDirectory() as folder:
            model, value = distillation.fit(
                folder, **draw(trial), seed=int(seed) + trial.number, callbacks=[Pruning(trial)]
            )
        if value > best:
            best = value
            distillation.save(model, out)
        print(f"trial {trial.number} ends", flush=True)
        return value

    study.enqueue_trial(FIRST, skip_if_exists=True)
    spent = sum(trial.duration.total_seconds() for trial in ended)
    study.optimize(objective, timeout=float(budget) - spent)
    print(f"chosen: trial {study.best_trial.number}: {study.best_params}")


if __name__ == "__main__":
    main()

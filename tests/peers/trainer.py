"""transformers' Trainer and Optuna (TPE, median pruner): DATA TEACHER STUDENT OUT SECONDS SEED.

OUT is the student with the best validation accuracy. `cached` after the seed computes the teacher's
logits once. Given again after an interruption, it goes on after the trials that ended.
Packages: accelerate, optuna, pandas.
"""

import sys

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
    distillation = Distillation(data, teacher, student, out, seed, cached)
    study = optuna.create_study(
        study_name="distillation",
        storage=f"sqlite:///{out}/study.db",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=int(seed)),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.enqueue_trial(FIRST, skip_if_exists=True)
    spent = sum(trial.duration.total_seconds() for trial in study.trials if trial.duration)
    study.optimize(
        lambda trial: distillation.fit(trial.number, **draw(trial), callbacks=[Pruning(trial)]),
        timeout=float(budget) - spent,
    )
    print(f"chosen: trial {study.best_trial.number}: {study.best_params}")


if __name__ == "__main__":
    main()

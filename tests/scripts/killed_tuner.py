"""A Tuner in a process of its own, to be killed: `python tests/killed_tuner.py INPUTS FOLDER`."""

import json
import os
import sys
from pathlib import Path

import trainable
from trainable.config.fields import from_plain
from trainable.config.training_inputs import TrainingInputs

SPACE = {
    "student_layers": 2,
    "batch_size": 8,
    "epochs": 25,
    "evaluations": 25,
    "precision": "fp32",
    "alpha": 0.5,
    "learning_rate": 1e-3,
}
SEEDS = (1, 2)


if __name__ == "__main__":
    os.environ |= {"TUNE_GLOBAL_CHECKPOINT_S": "0", "RAY_AIR_NEW_OUTPUT": "0"}
    import ray
    from ray import tune

    inputs = from_plain(TrainingInputs, json.loads(Path(sys.argv[1]).read_text()))
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    tune.Tuner(
        trainable.student(inputs, save_share=1.0),
        param_space={**SPACE, "seed": tune.grid_search(list(SEEDS))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=sys.argv[2], name="killed", verbose=0),
    ).fit()

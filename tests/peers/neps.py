"""Neural Pipeline Search (PriorBand) over the same Trainer: DATA TEACHER STUDENT OUT SECONDS SEED.

Epochs are the fidelity. OUT is the student with the best validation accuracy. Given again after an
interruption, it goes on after the trials that ended.
Packages: neural-pipeline-search, transformers, accelerate, pandas.
"""

import logging
import sys
import time
from pathlib import Path

import neps
from transformers import set_seed

from tests.peers.distillation import Distillation


class Space(neps.PipelineSpace):
    learning_rate = neps.Float(1e-5, 5e-4, log=True, prior=1e-4, prior_confidence="medium")
    alpha = neps.Float(0.0, 1.0, prior=0.5, prior_confidence="medium")
    temperature = neps.Float(1.0, 8.0, log=True, prior=2.0, prior_confidence="medium")
    epochs = neps.IntegerFidelity(1, 3)


def main():
    data, teacher, student, out, budget, seed, *cached = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    set_seed(int(seed))
    distillation = Distillation(data, teacher, student, out, seed, cached)

    def evaluate(pipeline_directory, **settings):
        begin = time.monotonic()
        trial = sum(path.is_dir() for path in Path(pipeline_directory).parent.iterdir())
        error = 1 - distillation.fit(trial, **settings)
        return {"objective_to_minimize": error, "cost": time.monotonic() - begin}

    neps.run(
        evaluate,
        Space(),
        root_directory=f"{out}/neps",
        optimizer=("priorband", {"sample_prior_first": True}),
        total_cost_to_spend=float(budget),
    )


if __name__ == "__main__":
    main()

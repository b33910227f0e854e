"""AutoGluon's MultiModalPredictor with a teacher: DATA TEACHER STUDENT OUT SECONDS SEED.

It reads encoders, not classifiers: its teacher is the teacher's encoder with a new head, fine-tuned
first. Its student is no Hugging Face folder, so its predictions are written beside it. A killed fit
has not written the file that `load(resume=True)` needs (1.6.3): given again, it starts anew.
Package: autogluon.multimodal.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import pandas
from autogluon.multimodal import MultiModalPredictor


def main():
    begin = time.monotonic()
    data, teacher, student, out, budget, seed = sys.argv[1:]
    train, validation, heldout = (
        pandas.read_csv(f"{data}/{name}.tsv", sep="\t", quoting=3, keep_default_na=False)
        for name in ("train", "validation", "heldout")
    )

    def fit(folder, encoder, epochs, **options):
        predictor = MultiModalPredictor("label", path=folder, eval_metric="accuracy")
        settings = {
            "model.names": ["hf_text"],
            "model.hf_text.checkpoint_name": encoder,
            "optim.max_epochs": epochs,
            "env.batch_size": 16,
            "env.per_gpu_batch_size": 16,
            "env.num_gpus": 0,
            "env.precision": "32",
            "env.num_workers": 0,
            "env.num_workers_inference": 0,
        }
        options |= {"hyperparameters": settings, "column_types": {"sentence": "text"}}
        left = float(budget) - (time.monotonic() - begin)
        return predictor.fit(
            train, tuning_data=validation, time_limit=left, seed=int(seed), **options
        )

    shutil.rmtree(out, ignore_errors=True)
    fit(f"{out}/teacher", teacher, 1)
    print("trial 0 begins", flush=True)
    predictor = fit(f"{out}/student", student, 20, teacher_predictor=f"{out}/teacher")
    print("trial 0 ends", flush=True)
    splits = {"validation": validation, "heldout": heldout}
    labels = {name: predictor.predict(split).tolist() for name, split in splits.items()}
    (Path(out) / "predicted.json").write_text(json.dumps(labels))


if __name__ == "__main__":
    main()

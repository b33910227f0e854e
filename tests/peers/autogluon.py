"""AutoGluon's MultiModalPredictor with a teacher: DATA TEACHER STUDENT OUT SECONDS SEED.

It reads encoders, not classifiers: its teacher is the teacher's encoder with a new head, fine-tuned
first. Its student is no Hugging Face folder, so its predictions are written beside it. Given again
after an interruption, it goes on from its last checkpoint. Package: autogluon.multimodal.
"""

import json
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
    folders = Path(out) / "teacher", Path(out) / "student"

    def fit(folder, encoder, epochs, **options):
        resumes = (folder / "last.ckpt").exists()
        if options:
            print(f"trial 0 {'resumes' if resumes else 'begins'}", flush=True)
        if resumes:
            predictor = MultiModalPredictor.load(str(folder), resume=True)
        else:
            predictor = MultiModalPredictor("label", path=str(folder), eval_metric="accuracy")
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

    if not (folders[0] / "model.ckpt").exists():
        fit(folders[0], teacher, 1)
    predictor = fit(folders[1], student, 20, teacher_predictor=str(folders[0]))
    print("trial 0 ends", flush=True)
    splits = {"validation": validation, "heldout": heldout}
    labels = {name: predictor.predict(split).tolist() for name, split in splits.items()}
    (Path(out) / "predicted.json").write_text(json.dumps(labels))


if __name__ == "__main__":
    main()

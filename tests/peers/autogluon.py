"""AutoGluon's MultiModalPredictor with a teacher: DATA TEACHER STUDENT OUT SECONDS SEED.

It reads encoders, not classifiers: its teacher is the teacher's encoder with a new head, fine-tuned
first. Its student is no Hugging Face folder, so its predictions are written beside it. Given again
after an interruption, it goes on from its last checkpoint.
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
    read = {"sep": "\t", "quoting": 3, "keep_default_na": False}
    train, validation = (
        pandas.read_csv(f"{data}/{name}.tsv", **read) for name in ("train", "validation")
    )
    folders = Path(out) / "teacher", Path(out) / "student"

    def fit(folder, encoder, epochs, **options):
        if interrupted := (folder / "last.ckpt").exists():
            predictor = MultiModalPredictor.load(str(folder), resume=True)
        else:
            predictor = MultiModalPredictor("label", path=str(folder), eval_metric="accuracy")
        if options:
            print(f"trial 0 {'resumes' if interrupted else 'begins'}", flush=True)
        return predictor.fit(
            train,
            tuning_data=validation,
            time_limit=float(budget) - (time.monotonic() - begin),
            column_types={"sentence": "text"},
            hyperparameters={
                "model.names": ["hf_text"],
                "model.hf_text.checkpoint_name": encoder,
                "optim.max_epochs": epochs,
                "env.num_gpus": 0,
                "env.precision": "32",
                "env.num_workers": 0,
                "env.num_workers_inference": 0,
            },
            seed=int(seed),
            **options,
        )

    if not (folders[0] / "model.ckpt").exists():
        fit(folders[0], teacher, 1)
    predictor = fit(folders[1], student, 20, teacher_predictor=str(folders[0]))
    print("trial 0 ends\nchosen: the only one", flush=True)
    predicted = {
        name: predictor.predict(pandas.read_csv(f"{data}/{name}.tsv", **read)[["sentence"]])
        for name in ("validation", "heldout")
    }
    labels = {name: list(map(int, values)) for name, values in predicted.items()}
    (Path(out) / "predicted.json").write_text(json.dumps(labels))


if __name__ == "__main__":
    main()

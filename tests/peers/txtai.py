"""txtai's HFTrainer, one training with its own distillation: DATA TEACHER STUDENT OUT SECONDS SEED.

It has no search, and so no use for the rest of the seconds. Its distillation runs the teacher in
evaluation, too. Given again after an interruption, it goes on from the last checkpoint.
Package: txtai[pipeline-train].
"""

import csv
import sys
from pathlib import Path

from txtai.pipeline import HFTrainer


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{"sentence": row["sentence"], "label": int(row["label"])} for row in rows]


def accuracy(predicted):
    value = float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())
    print(f"accuracy {value:.5f}", flush=True)
    return {"accuracy": value}


def main():
    data, teacher, student, out, _, seed = sys.argv[1:]
    train, validation = (read(f"{data}/{name}.tsv") for name in ("train", "validation"))
    interrupted = any(Path(out).glob("checkpoints/checkpoint-*"))
    print(f"trial 0 {'resumes' if interrupted else 'begins'}", flush=True)
    model, tokenizer = HFTrainer()(
        student,
        train,
        validation,
        columns=("sentence", "label"),
        metrics=accuracy,
        checkpoint=interrupted,
        teacher=teacher,
        distillation=(2.0, 0.5),
        output_dir=f"{out}/checkpoints",
        seed=int(seed),
        learning_rate=1e-4,
        num_train_epochs=3,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        train_sampling_strategy="group_by_length",
        weight_decay=0.01,
        warmup_steps=0.1,
        eval_strategy="steps",
        eval_steps=0.2,
        save_strategy="steps",
        save_steps=0.2,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        disable_tqdm=True,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    print("trial 0 ends", flush=True)


if __name__ == "__main__":
    main()

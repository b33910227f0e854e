"""Distillation with transformers' Trainer, as `trainer` and `neps` search over it.

With what a skilled user adds: the teacher runs in training only, batches have similar lengths, both
run in bf16 where the CPU multiplies it, and `cached` computes the teacher's logits once for all
trials.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas
import torch
from torch.nn.functional import kl_div, log_softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

BF16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()


def teacher_logits(teacher, inputs):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=BF16):
        return teacher(**inputs).logits.float()


class Distiller(Trainer):
    """Its training loss is alpha CE + (1 - alpha) T^2 KL(teacher, student)."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        theirs = inputs.pop("teacher_logits", None)
        outputs = model(**inputs)
        loss = outputs.loss
        if model.training:
            if theirs is None:
                theirs = teacher_logits(self.teacher, inputs)
            ours = log_softmax(outputs.logits / self.temperature, dim=-1)
            theirs = log_softmax(theirs / self.temperature, dim=-1)
            kl = kl_div(ours, theirs, reduction="batchmean", log_target=True)
            loss = self.alpha * loss + (1 - self.alpha) * kl * self.temperature**2
        return (loss, outputs) if return_outputs else loss


def accuracy(predicted):
    value = float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())
    print(f"accuracy {value:.5f}", flush=True)
    return {"accuracy": value}


class Distillation:
    """A teacher, a student to start from, their examples, and the best student so far in `out`."""

    def __init__(self, data, teacher, student, out, seed, cached=()):
        self.student, self.out, self.seed = student, Path(out), int(seed)
        self.teacher = AutoModelForSequenceClassification.from_pretrained(teacher).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(teacher)
        self.collate = DataCollatorWithPadding(self.tokenizer)
        self.train, self.validation = (self.load(data, name) for name in ("train", "validation"))
        if cached:
            self.cache_logits()
        self.out.mkdir(parents=True, exist_ok=True)
        self.best = self.out / "best.json"

    def load(self, data, name):
        frame = pandas.read_csv(f"{data}/{name}.tsv", sep="\t", quoting=3, keep_default_na=False)
        encoded = self.tokenizer(frame["sentence"].tolist(), truncation=True)
        rows = zip(encoded["input_ids"], frame["label"], strict=True)
        return [{"input_ids": ids, "labels": label} for ids, label in rows]

    def cache_logits(self):
        rows = sorted(self.train, key=lambda row: len(row["input_ids"]))
        for start in range(0, len(rows), 64):
            logits = teacher_logits(self.teacher, self.collate(rows[start : start + 64]))
            for row, values in zip(rows[start : start + 64], logits.tolist(), strict=True):
                row["teacher_logits"] = values

    def fit(self, trial, *, learning_rate, alpha, temperature, epochs, callbacks=()):
        """The best validation accuracy of a trial."""
        print(f"trial {trial} begins", flush=True)
        folder = TemporaryDirectory()
        arguments = TrainingArguments(
            folder.name,
            seed=self.seed + trial,
            learning_rate=learning_rate,
            num_train_epochs=epochs,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=64,
            train_sampling_strategy="group_by_length",
            remove_unused_columns=False,
            weight_decay=0.01,
            warmup_steps=0.1,
            eval_strategy="steps",
            eval_steps=0.2,
            save_strategy="best",
            save_total_limit=1,
            save_only_model=True,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=BF16,
        )
        trainer = Distiller(
            AutoModelForSequenceClassification.from_pretrained(self.student),
            arguments,
            train_dataset=self.train,
            eval_dataset=self.validation,
            data_collator=self.collate,
            compute_metrics=accuracy,
            callbacks=list(callbacks),
        )
        trainer.teacher, trainer.alpha, trainer.temperature = self.teacher, alpha, temperature
        trainer.train()
        value = trainer.state.best_metric
        if value > (json.loads(self.best.read_text()) if self.best.exists() else -1.0):
            trainer.model.save_pretrained(self.out)
            self.tokenizer.save_pretrained(self.out)
            self.best.write_text(json.dumps(value))
        print(f"trial {trial} ends", flush=True)
        return value

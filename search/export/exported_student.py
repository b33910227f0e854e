"""A kept student found, copied, checked, measured, and described in a model card."""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from search.export.forms import Forms, make_forms
from search.export.model_card import model_card
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.scores import last_score, last_split
from search.students.averaging import average_finals
from search.students.kept import choose_checkpoint, inputs_here, sweep_examples
from search.students.unseen import describe_test, test_scores
from trainable.common.errors import UserError, count_of
from trainable.common.files import MANIFEST, write_json
from trainable.config.training_inputs import TrainingInputs
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import batches_by_length
from trainable.data.datasets import LabelledTexts
from trainable.data.examples import Batch, Examples
from trainable.data.tokens import Text, load_split, parts_of
from trainable.data.vocabulary import load_vocabulary
from trainable.engine.calibration import calibration_errors
from trainable.engine.devices import best_device, device_name, synchronise
from trainable.engine.metrics import score, unpack_predictions
from trainable.engine.training_state import CheckpointError
from trainable.models.loading import load_classifier, load_tokenizer, load_weights, save_weights
from trainable.models.model_outputs import model_inputs, output_layer
from trainable.serving.served_model import TEXT_COLUMN, TEXT_PAIRS, ServedModel
from trainable.serving.timing import in_turns
from trainable.trial.checkpoint import STATE, check_checkpoint, write_student

WEIGHTS = "*.safetensors"
ONE_LABEL = "It has learned nothing: every example is given the same label."
TEST_CHANGED = "\nTest: not scored, its examples are no longer those of the sweep."
BATCH = 64  # examples scored at a time
TIMED_EXAMPLES = {"cpu": 8, "cuda": 64}  # a batch; a long document takes a CPU about a second
TIMED_SECONDS = 4.0  # for both models together


def export_student(
    run: Run,
    wanted: str | None,
    folder: Path,
    *,
    check: bool,
    onnx: bool,
    int8: bool,
    max_loss: float,
) -> tuple[str, Forms | None]:
    """Fills an empty folder with a kept student, the card last; returns what to print of it, and
    its forms if `onnx` ones are wanted, of which int8 may lose `max_loss` points.

    UserError where no such student is kept or a form can't be had, CheckpointError where it is not
    what was evaluated.
    """
    trial, checkpoint, fallback = choose_checkpoint(run, wanted)
    inputs = inputs_here(run)
    step = check_checkpoint(checkpoint, trial.config, inputs)["step"]
    evaluation = next((e for e in trial.evaluations if e["step"] == step), None)
    if evaluation is None:
        raise CheckpointError(f"of step {step}, which was not evaluated: resume the run first")
    own = inputs.of(trial.config)
    _fill(folder, checkpoint, trial.config, inputs)
    result, calibration, test, forms = "Not scored again: --no-check was given.", "", [], None
    column = run.request.text_column if run.request.effective_preset.dataset else None
    if check or onnx:
        try:
            examples = sweep_examples(folder, run.request, own)
            column = examples.columns[0] if examples.columns else None
        except (UserError, OSError) as error:
            if onnx:
                raise
            result, check = f"Not scored again: {error}.", False
    if check:
        print(f"Scoring it on {len(examples.evaluation):,} validation examples ...", flush=True)
        result = check_folder(folder, run, trial.config.precision, evaluation, examples.evaluation)
        if wanted is None and trial.final:
            evaluation, averaged = average_finals(folder, run, trial, evaluation, examples)
            result = averaged or result
        result += "" if examples.test_digest == inputs.test_digest else TEST_CHANGED
        calibration = calibrate(folder, examples.validation) if inputs.label_names else ""
        test = test_scores(folder, inputs, examples.test)
    if onnx:
        print("Exporting to ONNX, and scoring and timing each form ...", flush=True)
        forms = make_forms(folder, run, inputs, examples, int8=int8, max_loss=max_loss)
    _write_texts(folder, column, pairs=inputs.pairs)
    facts = sizes_and_speeds(folder, inputs, own) | {
        "calibration": calibration,
        "forms": forms,
        "tested": bool(test) or (forms is not None and examples.test is not None),
    }
    (folder / "README.md").write_text(
        model_card(run, trial, evaluation, check=result, test=test, **facts), encoding="utf-8"
    )
    lines = [
        _headline(run, trial, evaluation, facts["speedup"]),
        "Not the recommended one: no checkpoint of it is left." if fallback else "",
        ONE_LABEL if evaluation.get("one_label") else "",
        *(result, calibration, describe_test(test, inputs.metric_label) if test else ""),
    ]
    return "\n".join(filter(None, lines)), forms


def _headline(run: Run, trial: TrialRecord, evaluation: Mapping[str, Any], speedup: float) -> str:
    """Which student it is, how it scores, and how fast it is."""
    on = " on the full validation split" if last_split(evaluation) == "full" else ""
    return (
        f"{labels_of(run)(trial)} ({trial.config.digest}), evaluation {evaluation['evaluations']}, "
        f"{run.plan.inputs.metric_label} {last_score(evaluation):.4f}{on}, {speedup:.1f} times "
        "the teacher's speed here."
    )


def _fill(folder: Path, checkpoint: Path, config: TrialConfig, inputs: TrainingInputs) -> None:
    if (checkpoint / STATE).is_file():  # of a trial that was stopped
        write_student(checkpoint, config, inputs, folder)
        return
    for path in checkpoint.iterdir():
        if path.name != MANIFEST:  # without modes: the library keeps weights from other users
            shutil.copyfile(path, folder / path.name)


def _write_texts(folder: Path, column: str | None, *, pairs: bool) -> None:
    """Into the configuration, for `search.predict`; a teacher's may have one of its own."""
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, values | {TEXT_COLUMN: column, TEXT_PAIRS: pairs})


def check_folder(
    folder: Path, run: Run, precision: str, evaluation: Mapping[str, Any], texts: LabelledTexts
) -> str:
    """How the folder scores on the validation examples with plain transformers, or why it was not
    scored. CheckpointError where results differ though the trial's arithmetic was this check's.
    """
    if not evaluation["predictions"]:
        return "Not scored again: the record has lost the per-example results."
    inputs = run.plan.inputs
    again, classes = predictions(folder, texts.texts), len(inputs.label_names)
    recorded = unpack_predictions(evaluation["predictions"], len(texts), classes)
    same = again == recorded if classes else np.isclose(again, recorded, rtol=1e-3, atol=1e-3)
    differing = int((~same).sum())  # of a regression, half precision is recorded
    value = score(inputs.metric, again, np.asarray(texts.labels))
    if differing and precision == "fp32" and run.plan.inputs.device == "cpu":
        raise CheckpointError(
            f"not what was evaluated: {differing} of {len(texts)} examples have another result now"
        )
    return (
        "Scored again from this folder with plain transformers, on a CPU in fp32: "
        f"{value:.4f} on {count_of(len(texts), 'example')}, "
        f"{differing or 'none'} of them with another result than in the trial."
    )


@torch.no_grad()
def predictions(folder: Path, texts: list[Text]) -> np.ndarray:
    """What the folder's model and tokenizer say of N texts or pairs [N]: classes, int64, or the
    outputs of a regression, float32."""
    tokenizer, model = load_tokenizer(folder), load_classifier(folder).eval()
    regression = model.config.num_labels == 1
    found = np.empty(len(texts), dtype=np.float32 if regression else np.int64)
    parts = [parts_of(text) for text in texts]
    for rows in batches_by_length(np.array([sum(map(len, part)) for part in parts]), BATCH):
        # Truncated at the length that the tokenizer was saved with.
        columns = map(list, zip(*(parts[row] for row in rows), strict=True))
        encoded = tokenizer(*columns, truncation=True, padding=True, return_tensors="pt")
        logits = model(**encoded).logits
        found[rows] = (logits[:, 0] if regression else logits.argmax(dim=-1)).numpy()
    return found


def calibrate(folder: Path, texts: LabelledTexts) -> str:
    """Divides the classifier's last layer by the temperature that makes the validation labels most
    likely, so that any softmax of the logits is calibrated; a sentence on it."""
    logits = ServedModel.load(folder).logits(texts.texts)
    temperature, *errors = calibration_errors(logits, np.asarray(texts.labels))
    if temperature == 1.0:
        return (
            "Calibration: no temperature makes the labels significantly likelier; expected "
            f"calibration error on the validation examples {errors[0]:.3f}."
        )
    weights, (layer, _) = load_weights(folder), output_layer(load_classifier(folder))
    for name in {f"{layer}.weight", f"{layer}.bias"} & weights.keys():
        weights[name] = weights[name] / temperature
    save_weights(weights, folder)
    return (
        f"Calibration: the classifier's last layer was divided by {temperature:.4g}; expected "
        f"calibration error on the validation examples, which chose that, {errors[0]:.3f} before, "
        f"{errors[1]:.3f} after."
    )


def sizes_and_speeds(folder: Path, inputs: TrainingInputs, own: TrainingInputs) -> dict[str, Any]:
    """Student and teacher side by side, as anyone would load them; `own` has the student's
    tokens."""
    folders = {"student": folder, "teacher": Path(inputs.teacher.folder)}
    device, tokens = best_device(), {"student": own, "teacher": inputs}
    models = {name: load_classifier(path).to(device).eval() for name, path in folders.items()}
    examples = {
        name: Examples(load_split(Path(of.tokens), "evaluation"), of.pad_id, device)
        for name, of in tokens.items()
    }
    speeds, config = examples_per_second(models, examples, device), models["student"].config
    sizes = {
        name: {
            "parameters": model.num_parameters(),
            "bytes": sum(path.stat().st_size for path in folders[name].glob(WEIGHTS)),
            "speed": speeds[name],
        }
        for name, model in models.items()
    }
    threads = f" with {count_of(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    batch = f"{TIMED_EXAMPLES[device.type]} validation examples of similar length at a time"
    return {
        "sizes": sizes,
        "speedup": speeds["student"] / speeds["teacher"],
        "measured_on": f"{device_name()}{threads}, in fp32, {batch}",
        "labels": list(config.id2label.values()),
        "tokenizer": {
            "fast": (folder / "tokenizer.json").is_file(),
            "side": load_tokenizer(folder).truncation_side,
        },
        "trained_rows": len(load_vocabulary(Path(own.tokens))),
        "rows": config.vocab_size,
    }


@torch.inference_mode()
def examples_per_second(
    models: Mapping[str, PreTrainedModel], examples: Mapping[str, Examples], device: torch.device
) -> dict[str, float]:
    """Each model's speed in fp32, in turns, on the same batches of similar length; each has the
    examples in its own tokens."""
    lengths = next(iter(examples.values())).lengths
    batches = batches_by_length(lengths, TIMED_EXAMPLES[device.type])
    np.random.default_rng(0).shuffle(batches)

    def padded(rows: np.ndarray) -> dict[str, Batch]:
        on_device = torch.as_tensor(rows, device=device)
        made = {name: e.batch(on_device, e.longest(rows)) for name, e in examples.items()}
        synchronise(device)
        return made

    def forward(name: str, batch: Mapping[str, Batch]) -> None:
        models[name](**model_inputs(models[name].config, batch[name]))
        synchronise(device)

    calls = {name: partial(forward, name) for name in models}
    seconds = in_turns(calls, map(padded, cycle(batches)), TIMED_SECONDS)
    timed = len(next(iter(seconds.values())))
    count = sum(map(len, islice(cycle(batches), timed)))
    return {name: count / sum(times) for name, times in seconds.items()}

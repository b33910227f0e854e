"""The forms of an exported student: made, scored beside one another, timed beside the teacher."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from search.plan.request import Request
from search.record.run import Run
from search.results.cells import Cells, difference_cells, share
from search.results.statistics import paired_difference
from search.students.unseen import teacher_folder
from trainable.common.errors import UserError, count_of
from trainable.config.names import INT8, ONNX, PYTORCH
from trainable.config.training_inputs import TrainingInputs
from trainable.data.datasets import Dataset, LabelledTexts, pick, stratified_order
from trainable.engine.devices import best_device, device_name
from trainable.engine.metrics import example_scores, predicted, score
from trainable.serving.onnx_export import export_onnx, quantise_within
from trainable.serving.served_model import ONNX_FILES, ServedModel
from trainable.serving.timing import Timing, time_models

SAMPLED = 1000  # training examples on which layers are chosen that stay in float
TOLERANCE = 1e-3  # of a logit of ONNX in fp32, relative to the largest of PyTorch's
STUDENT, TEACHER = "student", "teacher"
SPEEDS = ("ms a text", "95th", "texts a second")
Costs = dict[tuple[str, str], tuple[int, Timing]]  # bytes and times, by model and form


@dataclass(frozen=True)
class Forms:
    """A table of all forms, whether int8 is one, and whether all are there that were asked for."""

    table: Cells
    int8: bool
    complete: bool


def make_forms(
    folder: Path,
    run: Run,
    inputs: TrainingInputs,
    examples: Dataset,
    *,
    int8: bool,
    max_loss: float,
) -> Forms:
    """Adds `onnx/` to an exported student's folder, scores each form and times it.

    `inputs` and `examples` are the run's. int8 may lose `max_loss` points of the student's score.
    UserError where a model can't be exported, or where its fp32 form computes something else.
    """
    validation, notes = examples.validation, []
    export_onnx(folder, folder / ONNX_FILES[ONNX])
    forms = {form: _load(folder, form) for form in (PYTORCH, ONNX)}
    logits = {form: model.logits(validation.texts) for form, model in forms.items()}
    notes.append(_equality(logits[PYTORCH], logits[ONNX]))
    if int8:
        notes.append(_quantise(folder, examples.train, inputs.metric, max_loss))
        if (folder / ONNX_FILES[INT8]).exists():
            forms[INT8] = _load(folder, INT8)
            logits[INT8] = forms[INT8].logits(validation.texts)
    labels = np.asarray(validation.labels)
    answers = {form: predicted(own) for form, own in logits.items()}
    each = {form: example_scores(inputs.metric, own, labels) for form, own in answers.items()}
    gaps = {f: paired_difference(each[f], each[PYTORCH]) for f in forms if f != PYTORCH}
    if INT8 in forms and gaps[INT8].high < -max_loss / 100:
        (folder / ONNX_FILES[INT8]).unlink()
        notes.append(f"int8 is left out: on validation it clearly loses more than {max_loss:g}.")
        del forms[INT8]
    scores: dict[tuple[str, str], float | None] = {}
    scores |= {(STUDENT, form): score(inputs.metric, answers[form], labels) for form in forms}
    of_full = examples.full is not None
    scores[TEACHER, PYTORCH] = inputs.teacher.full_score if of_full else inputs.teacher.score
    costs = _costs(folder, forms, inputs, validation)
    rows = [
        (
            *(*key, f"{size / 1e6:.0f}", share(scores.get(key))),
            *difference_cells(gaps.get(key[1]) if key[0] == STUDENT else None),
            *(f"{time.median:.2f}", f"{time.tail:.2f}", f"{time.per_second:,.0f}"),
        )
        for key, (size, time) in costs.items()
    ]
    notes += limit_kept(run.request, costs)
    if examples.test is not None:
        test, of_test = examples.test, np.asarray(examples.test.labels)
        values = {f: predicted(model.logits(test.texts)) for f, model in forms.items()}
        texts = [f"{f} {score(inputs.metric, own, of_test):.4f}" for f, own in values.items()]
        notes.append(f"On the {len(test):,} test examples: {', '.join(texts)}.")
    notes.append(
        f"Scores on {len(validation):,} validation examples. One text at a time (median and 95th "
        f"percentile of milliseconds) and 32 at a time, from text to logits, in turns with "
        f"{count_of(torch.get_num_threads(), 'thread')} on {device_name(of_cpu=True)}."
    )
    of_score = (inputs.metric_label, "less PyTorch", "95% interval")
    cells = Cells(("model", "form", "MB", *of_score, *SPEEDS), rows, notes=" ".join(notes))
    return Forms(cells, int8=INT8 in forms, complete=not int8 or INT8 in forms)


def limit_kept(request: Request, costs: Costs) -> list[str]:
    """A sentence on `--max-latency`, if the run had one and that form was timed again, which is on
    the CPU."""
    key, most = (STUDENT, request.runtime), request.max_latency
    elsewhere = request.runtime == PYTORCH and best_device().type != "cpu"  # was it measured
    if most is None or key not in costs or elsewhere:
        return []
    found = costs[key][1].median
    kept = "kept" if found <= most else "exceeded"
    return [f"--max-latency {most:g}ms in {request.runtime} is {kept}: {found:.2f} ms."]


def _load(folder: Path, form: str) -> ServedModel:
    return ServedModel.load(folder, form, torch.get_num_threads())


def _equality(pytorch: np.ndarray, onnx: np.ndarray) -> str:
    """A sentence; UserError if the two differ by more than rounding."""
    gap = float(np.abs(pytorch - onnx).max() / np.abs(pytorch).max())
    if gap > TOLERANCE:
        raise UserError(
            f"--onnx: computes something else than PyTorch, logits differ by {gap:.1%} (at most "
            f"{TOLERANCE:.1%}); leave --onnx and --int8 out"
        )
    text = f"ONNX in fp32: logits differ from PyTorch's by at most {gap:.0e} of the largest"
    if pytorch.shape[1] == 1:
        return f"{text}."
    same = int((predicted(pytorch) == predicted(onnx)).sum())
    return f"{text}; {same:,} of {len(pytorch):,} labels are the same."


def _quantise(folder: Path, train: LabelledTexts, metric: str, max_loss: float) -> str:
    """Adds the int8 form, unless it loses too much on training examples; a sentence on it."""
    sample = pick(train, stratified_order(train.labels)[:SAMPLED])
    source, target = folder / ONNX_FILES[ONNX], folder / ONNX_FILES[INT8]

    def logits(path: Path) -> np.ndarray:
        form = ONNX if path == source else INT8
        return _load(folder, form).logits(sample.texts)

    labels = np.asarray(sample.labels)
    reference = score(metric, predicted(logits(source)), labels)

    def loss(of_form: np.ndarray) -> float:
        return 100 * (reference - score(metric, predicted(of_form), labels))

    float_layers = quantise_within(source, target, logits, loss, max_loss)
    if float_layers is None:
        return f"int8 is left out: it loses more than {max_loss:g} points with any layers in fp32."
    return f"In int8 these layers stay fp32: {', '.join(float_layers) or 'none'}."


def _costs(
    folder: Path, forms: Mapping[str, ServedModel], inputs: TrainingInputs, texts: LabelledTexts
) -> Costs:
    """Of the student's forms, then of the teacher's."""
    with teacher_folder(inputs) as teacher:
        export_onnx(teacher, teacher / ONNX_FILES[ONNX])
        models = {(STUDENT, form): model for form, model in forms.items()}
        models |= {(TEACHER, form): _load(teacher, form) for form in (PYTORCH, ONNX)}
        folders = {STUDENT: folder, TEACHER: teacher}
        sizes = {key: _bytes(folders[key[0]], key[1]) for key in models}
        timings = time_models(models, texts.texts)
    return {key: (sizes[key], timing) for key, timing in timings.items()}


def _bytes(folder: Path, form: str) -> int:
    paths = folder.glob("*.safetensors") if form == PYTORCH else [folder / ONNX_FILES[form]]
    return sum(path.stat().st_size for path in paths)

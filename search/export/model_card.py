"""The model card of an exported student: its numbers are computed here, its text is a template."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment

from search.plan.sources import source_of, sources
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import TrialRecord, by_recipe
from search.results.best_trials import best_trials
from search.results.cells import plain
from search.results.confirmation_result import confirmation_sentences, newest_confirmation
from search.results.scores import scores_by_example, seed_scores
from search.results.table import compared
from search.students.unseen import Score, interval_of
from trainable.config.initialisations import PRETRAINED, RANDOM
from trainable.config.metrics import lowest_score
from trainable.config.trial_config import TrialConfig

TEMPLATE = Path(__file__).with_name("templates") / "model_card.md"


def model_card(
    run: Run,
    trial: TrialRecord,
    evaluation: Mapping[str, Any],
    *,
    test: Sequence[Score] = (),
    **facts: Any,
) -> str:
    """The README.md of a trial's student as of an evaluation; `test` are its scores on the test
    split, `facts` those of the folder."""
    (teacher, teacher_id), (data, data_id) = sources(run.request)
    title = f"{trial.config.student_layers}-layer student of {teacher.partition(' (')[0]}"
    distilled = trial.config.uses_teacher_outputs
    origin = "distilled from a fine-tuned teacher" if distilled else "trained without a teacher"
    base, joined = teacher_id, [run.trials[of] for of in evaluation.get("averaged") or ()]
    if trial.config.initialisation == PRETRAINED and run.request.student:
        student, base = source_of(run.request.student, "")
        origin += f" and initialised from {student}"
    elif trial.config.initialisation != RANDOM:
        origin += " and initialised from it" if distilled else ", but initialised from one"
    # What the hub reads. No result is in it, as the trial was selected on the same examples.
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        license="unknown",
        base_model=base,
        datasets=[data_id] if data_id else None,
        tags=["text-classification", *(["knowledge-distillation"] if distilled else [])],
        metrics=[run.plan.inputs.metric],
        model_name=plain(title),
    )
    body = Environment(finalize=plain, keep_trailing_newline=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    text = body.render(
        title=title,
        origin=origin,
        teacher=teacher,
        data=data,
        run=run,
        trial=trial,
        settings=asdict(trial.config),
        evaluation=evaluation,
        label=labels_of(run)(trial),
        max_length=run.request.effective_preset.max_length,
        scores=[*test, *scores(run, trial, evaluation)],
        transferred=any(one.config.transfer for one in joined or [trial]),
        rank=_rank(run, trial),
        confirmed=confirmation_sentences(run, newest_confirmation(run)),
        teacher_settings=asdict(run.request.effective_preset.teacher_settings),
        help={field.name: field.metadata["help"] for field in fields(TrialConfig)},
        **facts,
    )
    return f"---\n{metadata.to_yaml()}\n---\n\n{text}"


def scores(run: Run, trial: TrialRecord, evaluation: Mapping[str, Any]) -> list[Score]:
    """The student's and the teacher's scores, with intervals from the recorded predictions."""
    last, inputs, teacher = trial.evaluations[-1], run.plan.inputs, run.plan.inputs.teacher
    count, full_count = inputs.examples["evaluation"], inputs.examples.get("full", 0)
    best5, scored = seed_scores([trial], run), (evaluation, vars(teacher))
    student, reference = (scores_by_example(of, inputs) for of in scored)
    student_full, reference_full = (scores_by_example(of, inputs, "full") for of in scored)
    gap = None if student is None or reference is None else student - reference
    own = f"evaluation {evaluation['evaluations']} of {trial.config.evaluations} (no selection)"
    if joined := evaluation.get("averaged"):
        own = f"averages over {len(joined)} finals, chosen on these examples"
    score = "the trial's score: the mean of its five best evaluations"
    full, paired = "on the full validation split", "paired by example"
    lowest = lowest_score(inputs.metric)
    rows = [
        ("these weights", evaluation["score"], student, own),
        ("these weights", evaluation["full_score"], student_full, full),
        ("best5", last["best5"], None if best5 is None else best5[0], score),
        ("teacher", teacher.score, reference, "on the same examples"),
        ("teacher", teacher.full_score, reference_full, full),
        ("these weights - teacher", evaluation["score"] - teacher.score, gap, paired),
    ]
    found = []
    for name, value, by_example, note in rows:
        if value is not None:
            ends = interval_of(by_example, -1.0 if note == paired else lowest)
            found.append(Score(name, value, ends, full_count if note == full else count, note))
    return found


def _rank(run: Run, trial: TrialRecord) -> str:
    """`Its recipe ranks number 2 of 9 by best5, the mean over its seeds; not significantly ...`"""
    ended = [*by_recipe(best_trials(run.trials.values()))]
    if (own := trial.config.recipe.digest) not in ended:
        return "This trial has not ended."
    rank = ended.index(own) + 1
    text = f"Its recipe ranks number {rank} of {len(ended)} by best5, the mean over its seeds"
    if rank > 1 and compared(run)["tied"].get(own, False):
        text += "; the first is not significantly better"
    return f"{text}."

"""The model card: each number is the record's or was measured, and no local path is in it."""

import re
from dataclasses import fields, replace
from operator import itemgetter

import numpy as np
import pytest
from huggingface_hub import ModelCard

from search.export.forms import Forms
from search.export.model_card import model_card, scores
from search.results.cells import Cells
from search.results.statistics import best5_scores, bootstrap_interval
from search.students.unseen import interval_of
from tests.conftest import make_teacher
from tests.exports import make_run
from tests.made_runs import right_of
from trainable.config.trial_config import TrialConfig
from trainable.engine.metrics import pack_predictions, unpack_predictions

TEACHER_SIZE = {"parameters": 22_700_000, "bytes": 91_000_000, "speed": 500.0}
STUDENT_SIZE = {"parameters": 17_100_000, "bytes": 68_000_000, "speed": 900.0}
FACTS = {
    "check": "Scored again.",
    "sizes": {"student": STUDENT_SIZE, "teacher": TEACHER_SIZE},
    "speedup": 1.8,
    "measured_on": "a processor with 2 threads",
    "labels": ["even", "odd"],
    "trained_rows": 65,
    "rows": 205,
}


@pytest.fixture(scope="module")
def made(tokenizer, data_folder, tmp_path_factory):
    """Two seeds of a recipe, each evaluated four times on 30 of 40 examples: the run, the second
    trial and its last evaluation."""
    folder = tmp_path_factory.mktemp("card")
    teacher = make_teacher("bert", tokenizer, folder / "teacher")
    settings = {"alpha": 0.5, "student_layers": 2, "epochs": 1, "evaluations": 4, "batch_size": 8}
    configs = [TrialConfig(**settings, learning_rate=3e-3, seed=seed) for seed in (0, 1)]
    run = make_run(folder, teacher, data_folder, configs, eval_subset=30)
    trial = run.trials[configs[1].digest]
    return run, trial, trial.evaluations[-1]


def interval(bits):
    return bootstrap_interval(np.asarray(bits, dtype=float))


def test_scores_are_those_of_the_record(made):
    run, trial, last = made
    teacher, packed = run.plan.inputs.teacher, run.plan.inputs.labels
    labels, of_full = (
        unpack_predictions(packed[split], count, 2)
        for split, count in (("evaluation", 30), ("full", 40))
    )
    best5 = best5_scores([right_of(e["predictions"], labels) for e in trial.evaluations])
    ours, its = (right_of(p, labels) for p in (last["predictions"], teacher.predictions))
    full, its_full = (
        right_of(p, of_full) for p in (last["full_predictions"], teacher.full_predictions)
    )
    expected = [
        ("these weights", last["score"], ours),
        ("these weights", last["full_score"], full),
        ("best5", trial.best5, best5),
        ("teacher", teacher.score, its),
        ("teacher", teacher.full_score, its_full),
        ("these weights - teacher", last["score"] - teacher.score, ours - its.astype(float)),
    ]
    found = scores(*made)
    assert [score[:4] for score in found] == [
        (name, accuracy, interval(bits), len(bits)) for name, accuracy, bits in expected
    ]
    for score, (_, accuracy, bits) in zip(found, expected, strict=True):
        assert accuracy == pytest.approx(np.mean(bits))
        assert score.interval[0] <= accuracy <= score.interval[1]
    values = np.random.default_rng(0).normal(0.97, 0.5, 40)  # as pseudo-values may be
    assert interval(values)[1] > 1.0
    assert interval_of(values, -1.0) == (interval(values)[0], 1.0)  # it ends where scores do
    assert interval_of(values - 0.9, 0.0)[0] == 0.0 > interval_of(values - 0.9, -1.0)[0]


def test_scores_without_bits_have_no_interval(made):
    run, trial, last = made
    bare = {"predictions": "", "full_predictions": None}
    repaired = replace(trial, evaluations=[{**e, **bare} for e in trial.evaluations])
    found = scores(run, repaired, {**last, **bare})
    assert [score.score for score in found] == [s.score for s in scores(*made)]
    assert {score.interval for score in found if score.name != "teacher"} == {None}
    assert "| these weights | " in model_card(run, repaired, {**last, **bare}, **FACTS)


def test_card_has_the_numbers(made):
    (run, trial, _), card = made, model_card(*made, **FACTS)
    for score in scores(*made):
        low, high = score.interval
        row = f"| {score.name} | {score.score:.4f} | {low:.3f} to {high:.3f} | {score.examples} "
        assert row in card
    for setting in fields(TrialConfig):
        value = getattr(trial.config, setting.name)
        shown = "-" if value is None else f"{value}"
        if setting.name in ("hidden_weight", "hidden_pool", "relation_heads"):
            shown += " (inactive here)"
        assert f"| `{setting.name}` | {shown} | {setting.metadata['help']} |\n" in card
    for path in ("/tmp", run.folder.parent, run.request.dataset, run.request.teacher):
        assert str(path) not in card
    text = " ".join(card.split())
    for part in (
        "| student | 17.1 M | 68 MB | 900 | | teacher | 22.7 M | 91 MB | 500 |",
        "The student is 1.8 times as fast as the teacher. Measured in a few seconds",
        "on a processor with 2 threads",
        "65 of the 205 rows of the word embedding",
        "the other 140 are the teacher's own",
        "number 1 of 1 by best5, the mean over its seeds. The search",
        "planned 2 trials and made 8 evaluations on the validation examples",
        "The weights are those after evaluation 4 of 4 planned; they were not selected",
        "Training examples: 96. Validation examples: 30, a subset of 40.",
        f"Sweep `mine`, space schedules, trial {trial.config.digest}.",
        "on a processor; commit 0123456789. - python 3.11, torch 2.13.",
    ):
        assert part in text


@pytest.mark.parametrize("right", [30, 0])
def test_the_rank_says_where_the_first_is_not_significantly_better(made, right):
    """A better recipe that has all 30 examples right is; one with a few more is not."""
    run, trial, last = made
    labels = unpack_predictions(run.plan.inputs.labels["evaluation"], 30, 2)
    best = max(trial.evaluations, key=itemgetter("score"))
    few = unpack_predictions(best["predictions"], 30, 2)
    few[np.flatnonzero(few != labels)[0]] ^= 1
    own = labels if right else few
    score = float((own == labels).mean())
    scored = {"score": score, "best5": score, "predictions": pack_predictions(own, 2)}
    other = replace(
        trial,
        config=replace(trial.config, alpha=0.25),
        evaluations=[{**e, **scored} for e in trial.evaluations],
    )
    card = model_card(
        replace(run, trials={other.config.digest: other, **run.trials}), trial, last, **FACTS
    )
    rank = "number 2 of 2 by best5, the mean over its seeds"
    assert f"{rank}{'' if right else '; the first is not significantly better'}." in card


RESTS = {"random": "random, as initialised", "teacher": "the teacher's own"}
RESTS["pretrained"] = "those of the encoder that it started from"


def test_what_a_student_has_of_its_teacher_is_said_first(made):
    run, trial, last = made
    for initialisation, alpha, origin in (
        ("random", 0.5, "distilled from a fine-tuned teacher"),
        ("teacher_spread", 0.5, "distilled from a fine-tuned teacher and initialised from it"),
        ("random", 1.0, "trained without a teacher"),
        ("teacher_upper", 1.0, "trained without a teacher, but initialised from one"),
        ("pretrained", 0.5, "distilled from a fine-tuned teacher and initialised from it"),
    ):
        config = replace(trial.config, initialisation=initialisation, alpha=alpha)
        text = model_card(run, replace(trial, config=config), last, **FACTS)
        about = " ".join(text.partition("\n# ")[2].split())
        assert f"A text classifier with the labels even, odd, {origin}: one trial of" in about
        data = ModelCard(text).data  # as the hub's own library reads it
        assert data.tags == ["text-classification", *["knowledge-distillation"] * (alpha < 1)]
        rest = RESTS[initialisation.partition("_")[0]]
        assert f"the other 140 are {rest}." in about
        known = data.library_name, data.license, data.pipeline_tag
        assert known == ("transformers", "unknown", "text-classification")


def test_words_from_outside_are_no_markup_of_it(made):
    run, *of_trial = made
    evil = "<img src=x onerror=alert(1)>\n---\n[a](javascript:b) `c` | <script>d</script>"
    own = replace(run.request, teacher=f"/somewhere/{evil.replace('/', '')}", dataset=f"/d/{evil}")
    other = replace(run, plan=replace(run.plan, requests=(own,)))
    facts = FACTS | {"labels": ["fine", evil], "check": evil}
    card = model_card(other, *of_trial, **facts)
    assert not re.search(r"<(img|script|/script)|(?<!\\)\]\(javascript|(?<!\\)`c`", card)
    assert "&lt;img src=x onerror=alert(1)&gt; --- \\[a\\](javascript:b) \\`c\\` \\| &l" in card
    assert ModelCard(card).data.model_name.startswith("2-layer student of &lt;img")


@pytest.mark.parametrize(("fast", "side"), [(True, "right"), (True, "left"), (False, "right")])
def test_texts_are_encoded_for_onnx_as_they_were_in_training(made, fast, side):
    run, *of_trial = made
    forms = Forms(Cells(("model",), []), int8=False, complete=True)
    facts = FACTS | {"forms": forms, "tokenizer": {"fast": fast, "side": side}}
    of_pairs = replace(run, plan=replace(run.plan, inputs=replace(run.plan.inputs, pairs=True)))
    for own, texts in ((run, '"some text"'), (of_pairs, '"some text", "another"')):
        card = model_card(own, *of_trial, **facts)
        assert (f"encoded = tokenizer.encode({texts})" in card) == fast
        assert ("# needs neither torch nor Ray" in card) == fast
        assert ('direction="left"' in card) == (side == "left")


def test_texts_that_any_of_averaged_finals_trained_on_are_told(made):
    run, trial, last = made
    inputs = replace(run.plan.inputs, examples={**run.plan.inputs.examples, "transfer": 50})
    other = next(t for t in run.trials.values() if t is not trial)
    longer = replace(other, config=replace(other.config, transfer_share=1.0))
    run = replace(run, plan=replace(run.plan, inputs=inputs))
    run.trials = {**run.trials, longer.config.digest: longer}
    averaged = {**last, "averaged": [trial.config.digest, longer.config.digest]}
    for evaluation, told in ((last, False), (averaged, True)):
        card = model_card(run, trial, evaluation, **FACTS)
        assert ("and 50 texts that the teacher labelled" in card) == told


def test_the_card_leads_with_what_a_confirmation_found(made, monkeypatch):
    assert "## Confirmation" not in model_card(*made, **FACTS)
    found = ["On fresh seeds (mine-confirm): a is better than b.", "a is worse than c."]
    monkeypatch.setattr("search.export.model_card.confirmation_sentences", lambda run, made: found)
    begin = f"\n## Confirmation\n\n- {found[0]}\n- {found[1]}\n\n## Scores\n"
    assert begin in model_card(*made, **FACTS)

"""Losses from the prepared teacher outputs are those of a teacher run beside the student."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.conftest import make_teacher, padded_batch, train_split
from trainable.data.vocabulary import load_vocabulary
from trainable.teacher.teacher import load_teacher
from trainable.trial.preparation import Preparation, prepare_inputs
from trainable.trial.training_loop import Trial

ROWS = np.array([5, 3, 17, 60, 2])
HALF_PRECISION = 2e-3  # hidden states are kept in fp16


def teachers_own(inputs):
    """The training examples under dense token ids and under the teacher's, and the teacher."""
    dense = train_split(inputs)
    ids = load_vocabulary(Path(inputs.tokens))[dense.token_ids]
    return dense, replace(dense, token_ids=ids), load_teacher(inputs.teacher.folder)


def live_losses(trial, rows):
    """The definition, sentence by sentence, with the teacher run on the tokenizer's own ids."""
    config = trial.config
    dense, split, teacher = teachers_own(trial.inputs)
    kl, hidden, tokens = 0.0, 0.0, 0
    for row in rows:
        mine = padded_batch(dense, np.array([row]), 0, trial.device)
        its = padded_batch(split, np.array([row]), 0, trial.device)
        types = {"token_type_ids": mine.token_types, "output_hidden_states": True}
        student = trial.student(mine.input_ids, mine.attention_mask, **types)
        target = teacher(its.input_ids, its.attention_mask, **types)
        p = (target.logits.double() / config.temperature).softmax(-1)
        q = (student.logits.double() / config.temperature).softmax(-1)
        kl += float((p * (p / q).log()).sum()) * config.temperature**2
        for layer in (1, 2):
            a, b = student.hidden_states[layer][0], target.hidden_states[2 * layer][0]  # [T, H]
            if config.hidden_pool == "cls":
                a, b = a[:1], b[:1]
            if config.hidden_pool == "mean":
                a, b = a.mean(0, keepdim=True), b.mean(0, keepdim=True)
            a, b = functional.normalize(a, dim=-1), functional.normalize(b, dim=-1)
            hidden += float((a - b).pow(2).mean(-1).sum())
        tokens += len(a)
    return kl / len(rows), config.hidden_weight * hidden / tokens


def live_relations(trial, rows, names):
    """The definition: each token's softmax over the others, in each head, KL to the teacher's."""
    config, total, tokens = trial.config, 0.0, 0
    dense, split, teacher = teachers_own(trial.inputs)
    for row in rows:
        related = []
        for model, examples in ((trial.student, dense), (teacher, split)):
            alone = padded_batch(examples, np.array([row]), 0, trial.device)
            types = {"token_type_ids": alone.token_types, "output_hidden_states": True}
            ran = model(alone.input_ids, alone.attention_mask, **types)
            attention = model.base_model.encoder.layer[-1].attention.self
            found = [getattr(attention, name)(ran.hidden_states[-2][0]) for name in names]
            heads = [part for vectors in found for part in vectors.chunk(config.relation_heads, -1)]
            related.append([(h @ h.T / h.shape[-1] ** 0.5).softmax(-1) for h in heads])
        kl = [float((p * (p / q).log()).sum()) for q, p in zip(*related, strict=True)]
        total, tokens = total + sum(kl) / config.relation_heads, tokens + len(found[0])
    return config.relation_weight * total / tokens


@pytest.fixture(scope="module", params=["bert", "pairs", "deberta-v2"])
def any_inputs(*, request, inputs, loaded, runtime, options, tokenizer, pair_dataset, pair_teacher):
    """The tiny inputs, the same of pairs, and with a teacher that counts its hidden states another
    way."""
    pools = dict.fromkeys(("cls", "mean", "tokens", "relations"), ())
    if request.param == "bert":
        return inputs
    if request.param == "pairs":
        pairs = replace(loaded, dataset=pair_dataset, teacher_source=str(pair_teacher))
        return prepare_inputs(Preparation.load(pairs), pools, runtime, options)
    folder = make_teacher(request.param, tokenizer, runtime.cache / "encoders" / request.param)
    preparation = Preparation.load(replace(loaded, teacher_source=str(folder)))
    return prepare_inputs(preparation, pools, runtime, options)


def student_and_losses(config, inputs, device):
    """A trial whose dropout is off, and its losses of a batch from the prepared outputs."""
    trial = Trial.start(config, inputs, device)
    trial.student.eval()
    batch = padded_batch(train_split(inputs), ROWS, inputs.pad_id, device)
    return trial, trial.setup.distillation.losses(trial.student, batch)


@pytest.mark.parametrize(("pool", "temperature"), [("cls", 1.0), ("mean", 2.0), ("tokens", 4.0)])
@torch.no_grad()
def test_losses(any_inputs, make_config, cpu, pool, temperature):
    given = {"hidden_pool": pool, "temperature": temperature, "hidden_weight": 10.0}
    config = make_config(**given, initialisation="random")
    trial, cached = student_and_losses(config, any_inputs, cpu)
    kl, hidden = live_losses(trial, ROWS)
    assert kl > 1e-4
    assert hidden > 0.01
    assert float(cached["kl"]) == pytest.approx(kl, rel=1e-3)
    assert float(cached["hidden"]) == pytest.approx(hidden, rel=HALF_PRECISION)


@pytest.mark.parametrize(
    "changes",
    [{}, {"student_width": 16, "relation_heads": 2}, {"student_layers": 1, "relation_heads": 1}],
)
@torch.no_grad()
def test_relations(any_inputs, make_config, cpu, changes):
    relations = {"aligned_layers": "none", "relation_weight": 10.0, "relation_heads": 4}
    config = make_config(**{**relations, "initialisation": "random", **changes})
    trial, cached = student_and_losses(config, any_inputs, cpu)
    proj = "_proj" * (trial.student.config.model_type == "deberta-v2")
    live = live_relations(trial, ROWS, [f"{name}{proj}" for name in ("query", "key", "value")])
    assert live > 0.01
    assert float(cached["relations"]) == pytest.approx(live, rel=HALF_PRECISION)

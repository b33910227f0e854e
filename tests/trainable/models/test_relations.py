"""Queries, keys and values are those that the last layer's own attention works with."""

import pytest
import torch

from tests.conftest import ARCHITECTURES, batch_of, tiny_classifier, user_error
from trainable.config.trial_config import TrialConfig
from trainable.models.model_outputs import run_model
from trainable.models.relations import queries_keys_values
from trainable.models.students import student_config

# In the order of queries, keys and values, as the library names them.
NAMES = {
    "bert": ["self.query", "self.key", "self.value"],
    "deberta-v2": ["self.query_proj", "self.key_proj", "self.value_proj"],
    "mpnet": ["attn.q", "attn.k", "attn.v"],
}


@pytest.fixture
def batch():
    ids = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
    return batch_of(ids, (ids > 0).long(), torch.tensor([0, 1]))


def vectors_of(model, batch, precision="fp32"):
    _, states = run_model(model, batch, precision, states=True)
    return queries_keys_values(model, states[-2], precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("architecture", sorted({*ARCHITECTURES} - {"modernbert"}))
def test_they_are_what_the_attention_receives(architecture, layers, precision, batch):
    """Each of the last layer's projections is watched at work, dropout included."""
    model, seen = tiny_classifier(architecture, num_hidden_layers=layers).train(), {}
    for name in NAMES.get(architecture, NAMES["bert"]):
        path = f".{layers - 1}.attention.{name}"
        (module,) = [part for where, part in model.named_modules() if where.endswith(path)]

        def keep(_, __, out, name=name):
            seen.setdefault(name, out)  # DeBERTa's next call is for its table of positions

        module.register_forward_hook(keep)
    with torch.no_grad():
        found = vectors_of(model, batch, precision)
    assert found.shape == (2, 4, 3, 32)
    assert found.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    for position, name in enumerate(NAMES.get(architecture, NAMES["bert"])):
        assert torch.equal(found[:, :, position], seen[name])


def test_what_cannot_be_compared_is_refused_in_a_line():
    for kind, heads, width, message in (
        ("bert", 3, None, "relation_heads: 3 does not divide the teacher's width 32"),
        ("bert", 32, 16, "relation_heads: 32 does not divide the student's width 16; give a nu"),
        ("distilbert", 4, None, "relation_weight: no queries, keys and values are known of distil"),
    ):
        teacher = ARCHITECTURES["bert"].__class__.from_dict(ARCHITECTURES["bert"].to_dict())
        object.__setattr__(teacher, "model_type", kind)
        shape = {"alpha": 0.5, "student_layers": 2, "initialisation": "random"}
        shape |= {"relation_heads": heads, "student_width": width}
        said = user_error(student_config, teacher, TrialConfig(relation_weight=1.0, **shape))
        assert said.startswith(message)
        student_config(teacher, TrialConfig(**shape))  # without relations nothing is asked of it

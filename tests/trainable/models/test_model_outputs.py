"""A model's logits and hidden states, as all that trains or reads it gets them."""

import pytest
import torch

from tests.conftest import ARCHITECTURES, batch_of, tiny_classifier
from trainable.models.model_outputs import run_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_the_embeddings_and_each_layer(architecture):
    ids = torch.tensor([[2, 7, 3]])
    batch = batch_of(ids, torch.ones_like(ids), torch.tensor([0]))
    model = tiny_classifier(architecture)
    with torch.no_grad():
        logits, states = run_model(model, batch, "fp32", states=True)
        plain = model(ids, output_hidden_states=True)
    assert torch.equal(logits, plain.logits)
    assert len(states) == 5
    assert all(torch.equal(a, b) for a, b in zip(states, plain.hidden_states, strict=True))
    assert run_model(model, batch, "fp32")[1] == ()

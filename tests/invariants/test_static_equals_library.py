"""A model made static computes what the library's does: logits, states, gradients."""

import pytest
import torch

from tests.conftest import ARCHITECTURES, tiny_classifier
from trainable.models.static_forward import attention_input, make_static

LENGTHS = ([16, 9, 1], [5, 3, 2], [33, 20, 33])  # of the examples, batch by batch


def padded(lengths, seed=0):
    """Random ids and their mask, [B, T]."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 205, mask.shape, generator=generator)
    return ids * mask, mask


def outputs_and_gradients(model, ids, mask, precision):
    """Logits, each layer's states, and the gradients of a loss that uses all of them."""
    model.zero_grad()
    torch.manual_seed(1)  # the dropout's
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=precision == "bf16"):
        outputs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    values = [outputs.logits, *outputs.hidden_states]
    sum(value.float().pow(2).mean() for value in values).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return [value.detach() for value in values], gradients


def both(architecture, precision, training):
    """The library's numbers batch by batch, given the 2-D mask, and one static model's."""
    library, static = (tiny_classifier(architecture).train(training) for _ in range(2))
    make_static(static)
    for lengths in LENGTHS:
        ids, mask = padded(lengths)
        yield (
            outputs_and_gradients(library, ids, mask, precision),
            outputs_and_gradients(static, ids, attention_input(static.config, mask), precision),
        )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fp32_to_the_last_bit(architecture, training):
    for (values, gradients), (static_values, static_gradients) in both(
        architecture, "fp32", training
    ):
        assert all(torch.equal(*pair) for pair in zip(values, static_values, strict=True))
        assert gradients.keys() == static_gradients.keys()
        assert all(torch.equal(gradients[name], static_gradients[name]) for name in gradients)
        learn = {name for name, gradient in gradients.items() if gradient.abs().max() > 0}
        assert len(learn) > 0.9 * len(gradients)
        tables = {name for name in gradients if "rel_embeddings" in name or "relative_att" in name}
        assert tables <= learn
        assert bool(tables) == (architecture in ("mpnet", "deberta-v2"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bf16_within_its_rounding(architecture):
    for (values, gradients), (static_values, static_gradients) in both(architecture, "bf16", True):
        for value, static_value in zip(values, static_values, strict=True):
            assert value.dtype == static_value.dtype
            torch.testing.assert_close(static_value, value, rtol=2**-7, atol=2**-7)
        for name, gradient in gradients.items():
            allowed = 0.02 * float(gradient.abs().max())
            found = static_gradients[name]
            torch.testing.assert_close(found, gradient, rtol=0, atol=allowed)

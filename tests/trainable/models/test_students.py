"""Students: right layers from the right places, for every architecture."""

import pytest
import torch
from transformers import FlaubertConfig, FlaubertForSequenceClassification

from tests.conftest import ARCHITECTURES, tiny_classifier, user_error
from trainable.config.trial_config import TrialConfig
from trainable.models.students import build_student, encoder_layers, student_config


def config(initialisation, student_layers=2, **changes):
    shape = {"initialisation": initialisation, "student_layers": student_layers}
    return TrialConfig(**shape, alpha=0.5, **changes)


def same(first, second):
    """Whether two modules have equal tensors throughout."""
    one, other = first.state_dict(), second.state_dict()
    names = (one.keys() | other.keys()) - {"attn_norm.weight"}  # ModernBERT's first layer has none
    return all(torch.equal(one[name], other[name]) for name in names)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("initialisation", "origins"),
    [
        ("teacher_spread", (2, 4)),
        ("teacher_lower", (1, 2)),
        ("teacher_upper", (3, 4)),
        ("teacher_spread", (1, 2, 3, 4)),
    ],
)
def test_copied_layers(architecture, initialisation, origins):
    teacher = tiny_classifier(architecture)
    student = build_student(teacher, config(initialisation, student_layers=len(origins)))
    its, mine = encoder_layers(teacher)[1], encoder_layers(student)[1]
    for layer, origin in zip(mine, origins, strict=True):
        for number, candidate in enumerate(its, start=1):
            assert same(layer, candidate) == (number == origin)
    outside = [n for n in teacher.state_dict() if not n.startswith(encoder_layers(teacher)[0])]
    for part in ("embeddings", "classifier"):
        assert any(part in name for name in outside)
    for name in outside:
        assert torch.equal(teacher.state_dict()[name], student.state_dict()[name]), name


def feed_forward(layer):
    """The weights into a layer's neurons and out of them."""
    if hasattr(layer, "mlp"):
        return layer.mlp.Wi.weight, layer.mlp.Wo.weight
    return layer.intermediate.dense.weight, layer.output.dense.weight


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_of_feed_forward_neurons_those_with_the_largest_weights_are_copied(architecture):
    """It computes what a whole copy does of whose other neurons nothing comes out."""
    teacher = tiny_classifier(architecture)
    narrow = build_student(teacher, config("teacher_spread", feedforward_share=0.25))
    whole = build_student(teacher, config("teacher_spread"))
    assert narrow.config.intermediate_size == whole.config.intermediate_size // 4 == 16
    for layer, wide in zip(*(encoder_layers(model)[1] for model in (narrow, whole)), strict=True):
        into, out = feed_forward(wide)
        assert feed_forward(layer)[1].shape == (32, 16)
        importance = out.pow(2).sum(0).sqrt()
        for weights in into.split(64):  # two where a gate has its own
            importance = importance * weights.pow(2).sum(1).sqrt()
        with torch.no_grad():
            out[:, importance.argsort()[:-16]] = 0.0
    tokens = torch.randint(5, 60, (3, 12))
    torch.testing.assert_close(*(m.eval()(input_ids=tokens).logits for m in (narrow, whole)))
    random_one = build_student(teacher, config("random", feedforward_share=0.25))
    assert random_one.config.intermediate_size == 16


def test_feed_forward_layers_as_wide_as_the_rest_are_not_narrowed():
    teacher = tiny_classifier(intermediate_size=32)
    said = user_error(build_student, teacher, config("random", feedforward_share=0.5))
    assert said.startswith("feedforward_share: 0.5, but the feed-forward layers of this bert")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embeddings_only(architecture):
    teacher = tiny_classifier(architecture)
    student = build_student(teacher, config("teacher_embeddings"))
    random_one = build_student(teacher, config("random"))
    prefix = f"{teacher.base_model_prefix}.embeddings"  # and ELECTRA's embeddings_project
    copied = [name for name in student.state_dict() if name.startswith(prefix)]
    assert any(
        name.endswith(("word_embeddings.weight", "tok_embeddings.weight")) for name in copied
    )
    for name, tensor in student.state_dict().items():
        origin = teacher if name in copied else random_one
        assert torch.equal(tensor, origin.state_dict()[name]), name


def test_random_weights_come_from_the_seed_and_leave_the_teacher_alone():
    teacher = tiny_classifier()
    first, again, other = (build_student(teacher, config("random", seed=n)) for n in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)
    assert same(teacher, tiny_classifier())
    assert teacher.config.num_hidden_layers == 4


def test_narrow_student_keeps_the_size_of_a_head():
    teacher = tiny_classifier().config
    made = student_config(teacher, config("random", student_width=16))
    assert (made.hidden_size, made.num_attention_heads, made.intermediate_size) == (16, 2, 32)
    said = user_error(student_config, teacher, config("random", student_width=20))
    assert said.startswith("student_width: 20 is not a multiple of the head size 8")


@pytest.mark.parametrize(
    ("initialisation", "attention"),
    [
        ("teacher_spread", "sliding_attention full_attention"),
        ("teacher_lower", "full_attention sliding_attention"),
        ("random", "sliding_attention full_attention"),
    ],
)
def test_a_copied_layer_attends_as_its_origin_does(initialisation, attention):
    """ModernBERT's first and fourth layer see all tokens, those between their neighbours only."""
    student = build_student(tiny_classifier("modernbert"), config(initialisation))
    layers = encoder_layers(student)[1]
    assert [layer.attention_type for layer in layers] == attention.split()


def test_model_without_a_list_of_layers():
    model = tiny_classifier()
    model.config.num_hidden_layers = 5
    assert user_error(encoder_layers, model).startswith("--teacher: BertForSequenceClassification")


def test_a_model_with_a_list_for_each_part_of_a_layer():
    model = FlaubertForSequenceClassification(FlaubertConfig(emb_dim=32, n_layers=4, n_heads=4))
    said = user_error(encoder_layers, model, "--student")
    assert said.startswith("--student: FlaubertForSequenceClassification does not keep its 4 layer")

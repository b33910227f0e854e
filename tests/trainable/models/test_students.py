"""Students: right layers from the right places, for every architecture."""

import pytest
import torch
from transformers import (
    DistilBertConfig,
    FlaubertConfig,
    FlaubertForSequenceClassification,
    LongformerConfig,
    LongformerForSequenceClassification,
)

from tests.conftest import ARCHITECTURES, SIZES, tiny_classifier, user_error
from trainable.config.trial_config import TrialConfig
from trainable.models.students import build_student, copied_tensors, encoder_layers, student_config


def config(initialisation, student_layers=2, **changes):
    shape = {"initialisation": initialisation, "student_layers": student_layers}
    return TrialConfig(**shape, alpha=0.5, **changes)


def same(first, second):
    """Whether two modules have equal tensors throughout."""
    one, other = first.state_dict(), second.state_dict()
    # ModernBERT's first layer has no such norm; its scale, 1 here, is in the weights.
    names = (one.keys() | other.keys()) - {"attn_norm.weight"}
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
    with torch.device("meta"):  # as on a GPU, where the teacher stays in memory
        made = copied_tensors(teacher, narrow, "teacher_spread")
    assert all(torch.equal(tensor, narrow.state_dict()[name]) for name, tensor in made.items())


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


def test_a_longformers_layers_look_as_far_as_their_origins():
    windows = {"attention_window": [2, 4, 6, 8], "max_position_embeddings": 70}
    teacher = LongformerForSequenceClassification(LongformerConfig(**{**SIZES, **windows}))
    student = build_student(teacher, config("teacher_spread"))
    assert student.config.attention_window == [4, 8]
    layers = encoder_layers(student)[1]
    assert [layer.attention.self.one_sided_attn_window_size for layer in layers] == [2, 4]


@pytest.mark.parametrize("biased", [False, True])
def test_the_scale_of_a_norm_that_the_first_layer_lacks_goes_into_its_attention(biased):
    """So that queries, keys and values of an input that is normalised are the origin's."""
    teacher = tiny_classifier("modernbert", norm_bias=biased)
    norm = encoder_layers(teacher)[1][1].attn_norm
    torch.nn.init.uniform_(norm.weight, 0.2, 0.9)
    (first, _), (_, origin, *_) = (
        encoder_layers(model)[1]
        for model in (build_student(teacher, config("teacher_spread")), teacher)
    )
    values = torch.nn.functional.layer_norm(torch.randn(3, 32), (32,))
    torch.testing.assert_close(first.attn.Wqkv(values), origin.attn.Wqkv(values * norm.weight))


def test_attention_as_wide_as_feed_forward_layers_is_left_whole():
    """A query, key and value of 32 each are 96 rows."""
    teacher = tiny_classifier("modernbert", intermediate_size=96)
    narrow = build_student(teacher, config("teacher_lower", feedforward_share=0.5))
    (layer, *_), (origin, *_) = (encoder_layers(model)[1] for model in (narrow, teacher))
    assert torch.equal(layer.attn.Wqkv.weight, origin.attn.Wqkv.weight)


def test_a_width_of_an_architecture_that_names_its_neurons_otherwise_is_refused():
    said = user_error(student_config, DistilBertConfig(), config("random", student_width=64))
    assert said == "student_width: not for a distilbert; leave it out"


def test_model_without_a_list_of_layers():
    model = tiny_classifier()
    model.config.num_hidden_layers = 5
    assert user_error(encoder_layers, model).startswith("--teacher: BertForSequenceClassification")


def test_a_model_with_a_list_for_each_part_of_a_layer():
    model = FlaubertForSequenceClassification(FlaubertConfig(emb_dim=32, n_layers=4, n_heads=4))
    said = user_error(encoder_layers, model, "--student")
    assert said.startswith("--student: FlaubertForSequenceClassification does not keep its 4 layer")

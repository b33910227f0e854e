"""Every known architecture's step can be recorded as a CUDA graph."""

from functools import partial

import pytest
import torch

from tests.capture_watch import NotCapturableError, capture_watch
from tests.conftest import ARCHITECTURES, batch_of, tiny_classifier, train_split
from trainable.config.trial_config import TrialConfig
from trainable.data.examples import Examples
from trainable.engine.losses import cross_entropy
from trainable.engine.training_step import Evaluator, Training, TrainingStep
from trainable.engine.weight_averages import WeightAverages
from trainable.models.model_outputs import run_model
from trainable.models.static_forward import make_static
from trainable.teacher.outputs import TeacherOutputs, outputs_of
from trainable.trial.distillation import Distillation

META = torch.empty(3, device="meta")
FORBIDDEN = {
    "item": lambda: META.sum().item(),
    "truth": lambda: bool(META.all()),
    "list": META.tolist,
    "to the host": META.cpu,
    "values": lambda: torch.tensor([1.0, 2.0], device="meta"),
    "one value": lambda: META.new_tensor(1.0),
    "move": lambda: torch.ones(3).to("meta"),
    "move of one value": lambda: torch.tensor(1.0).type_as(META),
    "copy": lambda: META.clone().copy_(torch.ones(3)),
    "operand on the host": lambda: META[torch.tensor([0, 1])],
    "nonzero": META.nonzero,
    "picked by a mask": lambda: META[META > 0],
    "set by a mask": lambda: META.clone().index_put_((META > 0,), META[0]),
    "unique": lambda: torch.unique(META),
    "compared": lambda: torch.equal(META, META),
}
ALLOWED = {
    "number": lambda: META * 2 + torch.full((), 3.0, device="meta"),
    "0-dimensional operand": lambda: META / torch.tensor(3.0),
    "positions": lambda: torch.arange(3, device="meta"),
    "gather": lambda: META[torch.zeros(2, dtype=torch.long, device="meta")],
    "fill": lambda: META.masked_fill(META > 0, float("-inf")),
    "host alone": lambda: torch.tensor([1.0, 2.0]).sum().item(),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_watch_sees(name):
    with pytest.raises(NotCapturableError), capture_watch():
        FORBIDDEN[name]()


@pytest.mark.parametrize("name", ALLOWED)
def test_watch_lets_pass(name):
    with capture_watch():
        ALLOWED[name]()


def make_batch(device, length=9):
    """Three examples on a device, the third one short."""
    ids = torch.full((3, length), 7, device=device)
    mask = torch.ones((3, length), dtype=torch.long, device=device)
    if device != "meta":
        mask[2, 4:] = 0
    labels = torch.zeros(3, dtype=torch.long, device=device)
    return batch_of(ids * mask, mask, labels)


def step(model, batch):
    """Forward, a loss of logits and states, backward."""
    logits, states = run_model(model, batch, "fp32", states=True)
    loss = cross_entropy(logits, batch.labels, batch.weights) + sum(s.pow(2).mean() for s in states)
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_static_step(architecture):
    model = tiny_classifier(architecture).train()
    make_static(model)
    model.to("meta")
    step(model, make_batch("meta"))  # builds the positions, as the warm-up before a capture does
    with capture_watch():
        step(model, make_batch("meta"))


META_DEVICE = torch.device("meta")


class StillOptimiser:
    """An optimiser that does nothing: the library's own fused step can be captured on a GPU."""

    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters)}]

    def step(self):
        pass

    def zero_grad(self, set_to_none):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None


def meta_distillation(pool, examples):
    related = pool == "relations"
    states = examples.token_ids if pool in ("tokens", "relations") else examples.labels
    outputs = TeacherOutputs(
        torch.empty((len(examples), 2), device="meta"),
        pool,
        torch.empty((len(states), 3 if related else 4, 32), dtype=torch.float16, device="meta"),
        torch.empty(3 if related else 4, dtype=torch.long, device="meta"),
    )
    compared = {"aligned_layers": "all", "hidden_pool": pool}
    if related:
        compared = {"relation_weight": 1.0, "relation_heads": 4}
    config = TrialConfig(alpha=0.5, student_layers=4, **compared)
    return Distillation(config, ARCHITECTURES["bert"], outputs, META_DEVICE)


@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("pool", ["cls", "mean", "tokens", "relations"])
def test_whole_step_of_the_engine(inputs, pool, most):
    """Gathering a batch, the losses of all kinds, their means, clipping, averages of the weights;
    whole and in parts."""
    examples = Examples(train_split(inputs), 0, META_DEVICE)
    model = tiny_classifier().train().to("meta")
    make_static(model)
    losses = meta_distillation(pool, examples).losses
    optimiser = StillOptimiser(model.parameters())
    averages = WeightAverages(model.parameters())
    take_step = TrainingStep(model, optimiser, losses, 1.0, most, averages)
    training = Training(take_step, examples, batch_size=8)
    training._body(training.feed.batch(8, 16))
    with capture_watch():
        training._body(training.feed.batch(8, 16))


def test_evaluation_and_outputs_of_the_engine(inputs):
    examples = Examples(train_split(inputs), 0, META_DEVICE)
    model = tiny_classifier("deberta-v2").to("meta")
    make_static(model)
    kinds = ("logits", "cls", "mean", "tokens", "relations")
    read = partial(outputs_of, model, kinds, "fp32")
    evaluator = Evaluator(model, examples, "fp32")
    for body in (evaluator._body, read):
        body(evaluator.feed.batch(8, 16))
        with capture_watch():
            body(evaluator.feed.batch(8, 16))


def gradients_of(model):
    """Copies of all gradients by name."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def record(model, batch):
    """The step as a graph, and the tensor that its loss is in; gradients are overwritten."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(model, batch)
    torch.cuda.current_stream().wait_stream(stream)
    model.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(model, batch)
    return graph, loss


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_graph_equals_eager(architecture):
    recorded, eager = (tiny_classifier(architecture).cuda() for _ in range(2))
    make_static(recorded)
    batch = make_batch("cuda")
    graph, loss = record(recorded, batch)
    for token, length in ((9, 7), (50, 2)):  # written in place, as the engine does
        batch.input_ids.fill_(token)
        batch.attention_mask[1, length:] = 0
        graph.replay()
        eager.zero_grad()
        assert float(loss) == pytest.approx(float(step(eager, batch)), rel=1e-5)
        for name, gradient in gradients_of(eager).items():
            found = recorded.get_parameter(name).grad
            torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-6)

"""Students that start from `--student`: another architecture, tokenizer, depth and width."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from search.sweep import step_time
from tests.conftest import SPECIAL, WORDS, tiny_classifier
from tests.made_runs import right_of
from trainable.common.errors import UserError
from trainable.config.fields import from_plain
from trainable.config.names import EAGER, GRAPH
from trainable.config.training_inputs import Execution
from trainable.config.trial_config import TrialConfig
from trainable.data.tokens import tokenise
from trainable.engine.cuda_graph import make_executor
from trainable.models.loading import load_config, load_pretrained, shape_of
from trainable.trial.checkpoint import checkpoint_bytes, write_checkpoint
from trainable.trial.preparation import Preparation, prepare_inputs
from trainable.trial.training_loop import Trial
from trainable.trial.training_setup import SetupCache

# Half as deep and as wide as the teacher (BERT, 4 x 32), and fewer words stand for more tokens.
SHAPE = {"hidden_size": 16, "embedding_size": 8, "num_hidden_layers": 2, "intermediate_size": 32}


def own_tokenizer():
    """Words in another order than the teacher's, each with a mark of its own behind it."""
    vocabulary = {w: i for i, w in enumerate([*SPECIAL, "##", *reversed(WORDS)])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = WhitespaceSplit()
    ends = [("[CLS]", 2), ("[SEP]", 3), ("##", 5)]
    backend.post_processor = TemplateProcessing(single="[CLS] ## $A [SEP]", special_tokens=ends)
    names = (f"{name}_token" for name in ("pad", "unk", "cls", "sep", "mask"))
    special = dict(zip(names, SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory):
    """An encoder without a head, as a hub has it."""
    folder = tmp_path_factory.mktemp("student")
    model = tiny_classifier("electra", seed=5, vocab_size=len(SPECIAL) + 1 + len(WORDS), **SHAPE)
    model.base_model.save_pretrained(folder)
    own_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def preparation(loaded, student_folder):
    return Preparation.load(replace(loaded, student_source=str(student_folder)))


@pytest.fixture(scope="module")
def both(preparation, runtime, options):
    """The shared inputs with the student."""
    return prepare_inputs(preparation, {"cls": (), "mean": ()}, runtime, options)


@pytest.fixture
def pretrained(both):
    """A short trial that starts from the student."""

    def make(**changes):
        base = {"initialisation": "pretrained", "alpha": 0.5, "learning_rate": 1e-3}
        short = {"batch_size": 8, "epochs": 1, "evaluations": 3, **both.pretrained.settings}
        return TrialConfig.from_dict({**base, **short, **changes})

    return make


def test_what_is_known_of_it(both, inputs, student_folder):
    found = both.pretrained
    assert (found.layers, found.width, found.teachers_tokens) == (2, 16, False)
    assert found.tokens != both.tokens == inputs.tokens
    assert both.outputs["logits"] == inputs.outputs["logits"]  # the teacher's are as they were
    kept = load_file(Path(found.folder) / "model.safetensors")
    given = load_file(student_folder / "model.safetensors")
    assert {f"electra.{name}" for name in given} == kept.keys()  # and no head
    assert all(torch.equal(kept[f"electra.{name}"], tensor) for name, tensor in given.items())


def test_it_starts_from_its_own_weights_and_a_head_of_the_seed(both, pretrained, cpu):
    students = [Trial.start(pretrained(seed=seed), both, cpu).student for seed in (0, 0, 1)]
    kept = load_pretrained(Path(both.pretrained.folder)).tensors
    one, same, other = ({n: p.detach() for n, p in s.named_parameters()} for s in students)
    heads = [name for name in one if name not in kept]
    assert heads
    assert all(name.startswith("classifier.") for name in heads)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in heads)
    kept = {n: tensor for n, tensor in kept.items() if "word_embeddings" not in n}  # trimmed
    assert all(torch.equal(one[n], t) and torch.equal(other[n], t) for n, t in kept.items())


@pytest.mark.parametrize("pool", [None, "cls", "mean"])
def test_its_losses_are_those_of_its_own_reading_of_the_same_texts(
    both, pretrained, preparation, cpu, pool
):
    """Logits compare as they are, pooled states through the projection to the teacher's width."""
    aligned = {} if pool is None else {"aligned_layers": "1,2", "hidden_pool": pool}
    trial = Trial.start(pretrained(**aligned), both, cpu)
    trial.student.eval()
    trial.setup.distillation.alpha.fill_(0.3)
    rows = np.array([3, 50, 17])
    examples, texts = trial.setup.step.examples, preparation.inputs.dataset.train.texts
    batch = examples.batch(torch.from_numpy(rows), examples.longest(rows))
    ids = own_tokenizer()([texts[r] for r in rows], truncation=True, max_length=16)["input_ids"]
    assert examples.token_counts[rows].tolist() == [len(each) for each in ids]
    losses = trial.setup.distillation.losses(trial.student, batch)
    teacher = np.load(Path(both.outputs["logits"]) / "values.npy")[rows]
    log_p = (torch.from_numpy(teacher) / 2).log_softmax(-1)
    logits = trial.student(batch.input_ids, batch.attention_mask).logits
    expected = 4 * (log_p.exp() * (log_p - (logits / 2).log_softmax(-1))).sum(-1).mean()
    assert float(losses["kl"]) == pytest.approx(float(expected), rel=1e-4)
    assert (float(losses["hidden"]) > 0) == (pool is not None)
    assert len(trial.setup.distillation.projections) == (0 if pool is None else 2)


def test_its_checkpoint_is_an_encoder_of_its_own_kind(both, pretrained, preparation, cpu, tmp_path):
    """`from_pretrained` gives model and tokenizer, and they answer as the evaluation says."""
    trial = Trial.start(pretrained(epochs=4), both, cpu)
    list(trial.run())
    write_checkpoint(trial, tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert model.config.model_type == "electra"
    assert model.config.vocab_size == len(SPECIAL) + 1 + len(WORDS)
    split = preparation.inputs.dataset.evaluation
    batch = tokenizer(split.texts, padding=True, return_tensors="pt", truncation=True)
    answers = model(**batch).logits.argmax(-1).numpy() == np.array(split.labels)
    assert np.array_equal(answers, right_of(trial.history[-1].predictions, split.labels))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert size <= checkpoint_bytes(trial.config, both)[0]
    # Labels that the data only numbers have the teacher's names, here none, and not its own.
    trial.student.config.id2label = {0: "odd", 1: "even"}
    trial.inputs = replace(trial.inputs, label_names=["0", "1"])
    (tmp_path / "numbered").mkdir()
    write_checkpoint(trial, tmp_path / "numbered")
    assert load_config(tmp_path / "numbered").id2label == {0: "0", 1: "1"}


def test_fused_attention_is_for_students_that_have_such_a_kernel(both, pretrained, cpu):
    """A DeBERTa teacher's trials may start from another architecture."""
    fused = replace(both, execution=Execution("eager", flash_attention=True))
    assert Trial.start(pretrained(), fused, cpu).setup.fallbacks == ()


def test_shapes_that_are_planned_are_those_that_are_trained(both, pretrained, make_config):
    assert shape_of(pretrained(), both).hidden_size == 16
    assert shape_of(make_config(), both).hidden_size == 32
    assert both.config({"initialisation": "pretrained", "alpha": 1.0}).student_width == 16
    assert load_config(both.pretrained.folder).id2label == {0: "even", 1: "odd"}


def test_a_step_that_is_timed_before_reads_its_own_tokens(preparation, pretrained, monkeypatch):
    tokenizers = []
    monkeypatch.setattr(
        step_time, "tokenise", lambda *of: tokenizers.append(of[0]) or tokenise(*of)
    )
    assert step_time.step_seconds(preparation, pretrained(), Execution()) > 0.0
    assert tokenizers == [preparation.student.tokenizer]


def test_inputs_survive_json_and_a_move(both):
    assert from_plain(type(both), json.loads(json.dumps(asdict(both)))) == both
    places = {str(folder): f"/elsewhere{folder}" for folder in both.folders()}
    moved = both.moved(places)
    assert {str(folder) for folder in moved.folders()} == set(places.values())


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"aligned_layers": "1", "hidden_pool": "tokens"}, "--student: its tokenizer is not"),
        ({"student_layers": 3, "aligned_layers": "1"}, "--student: its 3 layers do not divide"),
    ],
)
def test_what_cannot_be_combined_is_refused_before_training(
    *, preparation, pretrained, inputs, both, cpu, changes, refused
):
    with pytest.raises(UserError, match=refused):
        preparation.check([pretrained(**changes)], print)
    with pytest.raises(UserError, match=refused):  # also in one's own Tuner
        SetupCache().set_up(pretrained(**changes), both, cpu)
    if "hidden_pool" in changes:  # in one's own Tuner, where these states are prepared
        prepared = replace(both, outputs={**both.outputs, "tokens": both.outputs["cls"]})
        with pytest.raises(UserError, match=refused):
            prepared.config({**asdict(pretrained()), **changes})
    preparation.check([pretrained(**{**changes, "aligned_layers": "none"})], print)
    with pytest.raises(UserError, match="--student"):  # of a run without one
        inputs.config({"initialisation": "pretrained", "alpha": 1.0})


def test_a_captured_step_of_a_deeper_one_reads_no_states(both, pretrained, cpu):
    """No layer of the teacher's is the one that its first mirrors."""
    captured = replace(both, execution=Execution(GRAPH))
    cache = SetupCache(lambda _, device: make_executor(EAGER, device))
    cache.set_up(pretrained(student_layers=8), captured, cpu).step.take(np.arange(8), 1e-3)


def test_one_that_cannot_be_used_is_named_by_its_flag(loaded, student_folder, tmp_path):
    for path in student_folder.iterdir():
        if path.name != "model.safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=rf"^--student {tmp_path}: no usable model"):
        Preparation.load(replace(loaded, student_source=str(tmp_path)))

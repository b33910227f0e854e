"""Tiny models and sentences, built here: no download, no wheel, a second at most."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DebertaV2Config,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

import spaces
from trainable.common.errors import UserError
from trainable.common.files import write_json
from trainable.config.initialisations import LEARNING_RATES
from trainable.config.options import InputOptions
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TeacherSettings, TrialConfig
from trainable.data.datasets import Dataset, LabelledTexts, sample_evaluation
from trainable.data.examples import Batch, Examples
from trainable.data.sources import Sources
from trainable.data.tokens import TokenisedSplit
from trainable.data.wheels import small_encoder
from trainable.engine.devices import Runtime
from trainable.trial.preparation import Preparation, prepare_inputs
from trainable.trial.training_setup import load_dense_splits

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{i}" for i in range(200)]  # only the first 60 occur in the sentences
SIZES = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
MINI = PRESETS["mini"]  # as users have it; that of the tests is the same whatever its numbers are
PRESETS["mini"] = replace(
    MINI,
    max_train_samples=2048,
    max_eval_samples=800,
    eval_subset=None,
    grace_evaluations=2,
    trial={"student_layers": 3, "epochs": 2, "evaluations": 8},
    teacher_settings=TeacherSettings(learning_rate=5e-5, epochs=2),
    learning_rates=LEARNING_RATES,
    least_steps=0,
)
TINY = ("student_layers=2", "batch_size=8", "precision=fp32", "evaluations=8")
TINY_SETTINGS = [part for setting in TINY for part in ("--set", setting)]
ARCHITECTURES = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, bos_token_id=2, eos_token_id=3),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "mpnet": MPNetConfig(**SIZES, bos_token_id=2, eos_token_id=3),
    "modernbert": ModernBertConfig(
        **SIZES, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3, local_attention=8
    ),
    "deberta-v2": DebertaV2Config(
        **SIZES,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pooler_hidden_size=32,
        pooler_dropout=0,
        type_vocab_size=0,
        position_biased_input=False,
    ),
}


def pytest_configure(config):
    """Slow tests run if they are asked for, with `-m` or by the names of files or folders, as
    `.ci/run` asks; simulations of error rates, which take minutes, with `-m` only."""
    if not config.option.markexpr:
        named = config.args_source == pytest.Config.ArgsSource.ARGS
        config.option.markexpr = "not simulation" if named else "not simulation and not slow"


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that at the end none is left for one process alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_addoption(parser):
    """For `test_kills.py` and `test_attacks.py`; see there."""
    parser.addoption("--kills", type=int, default=2, help="kills of the killed sweep (2)")
    parser.addoption("--kill-seed", type=int, default=2, help="decides which and when (2)")
    parser.addoption("--flips", type=int, default=1, help="bits flipped in each file (1)")


@pytest.fixture(autouse=True, scope="session")
def signals_as_at_a_terminal():
    """However the tests were started: `nohup` and `&` leave signals ignored, in children, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def variables_as_before():
    """What a command sets for the processes that it starts is not there for the next test's."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in the same order whatever the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer():
    vocabulary = {word: index for index, word in enumerate(SPECIAL + WORDS)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = WhitespaceSplit()
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **dict(zip(names, SPECIAL, strict=True))
    )


def tiny_classifier(architecture="bert", seed=0, **changes):
    """A classifier of 4 layers, 32 wide, with random weights large enough to have opinions."""
    config = ARCHITECTURES[architecture].__class__.from_dict(
        {**ARCHITECTURES[architecture].to_dict(), **changes}
    )
    config.architectures = None
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    return model.eval()


def make_teacher(architecture, tokenizer, folder, **changes):
    """A fitted teacher on disk."""
    tiny_classifier(architecture, **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_pair_teacher(architecture, tokenizer, folder, **changes):
    """Such a teacher whose tokenizer says which of a pair's texts a token is of."""
    make_teacher(architecture, tokenizer, folder, **changes)
    path = folder / "tokenizer_config.json"
    names = ["input_ids", "token_type_ids", "attention_mask"]
    write_json(path, {**json.loads(path.read_text()), "model_input_names": names})
    return folder


def write_tsv(path, examples):
    """Sentences and labels, as users have them."""
    rows = [f"{text}\t{label}" for text, label in zip(examples.texts, examples.labels, strict=True)]
    path.write_text("\n".join(["sentence\tlabel", *rows]) + "\n")


def contents(folder):
    """Each file and its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def random_sentences(count, seed):
    """Examples of 3 to 20 words; the label says whether even or odd words prevail."""
    generator = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        words = generator.integers(0, 60, size=generator.integers(3, 21))
        texts.append(" ".join(f"w{word}" for word in words))
        labels.append(int((words % 2).mean() > 0.5))
    return LabelledTexts(texts, labels)


def random_pairs(count, seed):
    """Pairs of examples; the label says whether the first one's label is the second one's."""
    first, second = (random_sentences(count, seed=10 * seed + part) for part in range(2))
    same = [int(a == b) for a, b in zip(first.labels, second.labels, strict=True)]
    return LabelledTexts(list(zip(first.texts, second.texts, strict=True)), same)


@pytest.fixture(scope="session")
def bert():
    """The real tokenizer of the small encoder."""
    return AutoTokenizer.from_pretrained(small_encoder())


@pytest.fixture
def split():
    """Five pairs of one to four tokens, some with a text of none; a token of the last one is 0."""
    sentences = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10], [0, 11]]
    return TokenisedSplit(
        token_ids=np.array([token for sentence in sentences for token in sentence], np.int32),
        offsets=np.array([0, 3, 4, 6, 10, 12]),
        labels=np.array([1, 0, 0, 1, 2]),
        token_types=np.array([0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1], np.int8),
    )


def user_error(call, *arguments, **keywords):
    """The one line in which a call refuses what it was given."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tokens_of(split, row):
    """The token ids of one sentence."""
    return split.token_ids[split.offsets[row] : split.offsets[row + 1]].tolist()


def padded_batch(split, rows, pad_id, device):
    """These sentences of a split, padded to the longest of them."""
    sentences = Examples(split, pad_id, device)
    return sentences.batch(torch.as_tensor(rows, device=device), sentences.longest(rows))


def train_split(inputs):
    """The training examples under dense token ids."""
    return load_dense_splits(inputs.tokens, tuple(inputs.examples))["train"]


def batch_of(ids, mask, labels):
    """A batch of token ids that stand in no split."""
    return Batch(
        rows=torch.arange(len(labels), device=labels.device),
        input_ids=ids,
        attention_mask=mask,
        labels=labels,
        positions=torch.zeros_like(ids),
        weights=torch.full_like(labels, 1 / len(labels), dtype=torch.float32),
        token_weights=mask / mask.sum(),
    )


@pytest.fixture(scope="session")
def dataset():
    return Dataset(random_sentences(96, seed=1), random_sentences(40, seed=2), ["even", "odd"])


@pytest.fixture(scope="session")
def data_folder(dataset, tmp_path_factory):
    """The sentences as a user would have them: a folder of two TSV files."""
    folder = tmp_path_factory.mktemp("data")
    for name, split in (("train", dataset.train), ("dev", dataset.evaluation)):
        write_tsv(folder / f"{name}.tsv", split)
    return folder


@pytest.fixture(scope="session")
def teacher_folder(tokenizer, tmp_path_factory):
    """A fitted teacher on disk, as a user would give it: a classifier for two labels."""
    return make_teacher("bert", tokenizer, tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def three_starts(monkeypatch):
    """The space `recipe` begins with one more: a limit may lie between its starts."""
    module = sys.modules[spaces.recipe.__module__]
    more = {**module.DEFAULT, "ema_decay": 0.98}
    monkeypatch.setattr(module, "POINTS_TO_EVALUATE", [*module.POINTS_TO_EVALUATE, more])


@pytest.fixture(scope="session")
def pair_teacher(tokenizer, tmp_path_factory):
    return make_pair_teacher("bert", tokenizer, tmp_path_factory.mktemp("pair-teacher"), seed=3)


@pytest.fixture(scope="session")
def pair_dataset():
    return Dataset(random_pairs(96, seed=1), random_pairs(40, seed=2), ["other", "same"])


@pytest.fixture(scope="session")
def make_command(teacher_folder, data_folder):
    """The command line up to what a test adds, writing into a folder."""

    def make(folder):
        return [
            *(sys.executable, "-m", "search.run", "--preset", "mini"),
            *("--teacher", str(teacher_folder), "--dataset", str(data_folder)),
            *("--cache", str(folder / "cache"), "--storage", str(folder / "runs")),
            *TINY_SETTINGS,
            *("--allow-weak-teacher", "--grace-evaluations", "2"),
        ]

    return make


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    return Runtime(tmp_path_factory.mktemp("cache"), torch.device("cpu"), "fp32", print)


@pytest.fixture(scope="session")
def options(teacher_folder, runtime):
    """What a user gives for the tiny inputs; the data is put in by hand."""
    cache = str(runtime.cache)
    values = {"teacher": str(teacher_folder), "cache": cache, "max_length": 16}
    return InputOptions(preset="mini", allow_weak_teacher=True, **values)


@pytest.fixture(scope="session")
def loaded(dataset, teacher_folder):
    settings = TeacherSettings(epochs=1)
    return Sources(dataset, (96, 40), str(teacher_folder), settings, max_length=16)


@pytest.fixture(scope="session")
def inputs(loaded, runtime, options):
    """Everything that trials share, with all three pools of hidden states, and relations."""
    pools = dict.fromkeys(("cls", "mean", "tokens", "relations"), ())
    return prepare_inputs(Preparation.load(loaded), pools, runtime, options)


@pytest.fixture(scope="session")
def sampled_loaded(loaded):
    """The same, where each evaluation uses 13 of the 40 validation examples."""
    return replace(loaded, dataset=sample_evaluation(loaded.dataset, 13))


@pytest.fixture(scope="session")
def sampled_inputs(sampled_loaded, runtime, options):
    pools = dict.fromkeys(("cls", "mean", "tokens"), ())
    return prepare_inputs(Preparation.load(sampled_loaded), pools, runtime, options)


@pytest.fixture
def make_config():
    """A short trial on the tiny inputs; keywords change single settings."""

    def make(**changes):
        base = {
            "initialisation": "teacher_spread",
            "aligned_layers": "1,2",
            "alpha_schedule": "fixed",
            "alpha": 0.5,
            "student_layers": 2,
            "learning_rate": 1e-3,
            "batch_size": 8,
            "epochs": 1,
            "evaluations": 3,
        }
        chosen = {**base, **changes}
        return TrialConfig.from_dict({k: v for k, v in chosen.items() if v is not None})

    return make


@pytest.fixture
def cpu():
    return torch.device("cpu")


@pytest.fixture
def repository():
    return Path(__file__).parent.parent


@pytest.fixture
def printed_by(repository):
    """What code prints in a Python of its own, line by line."""

    def run(code):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture
def refusal_of(capsys):
    """The one line in which a command's `main` refuses its arguments, with exit code 2."""

    def refusal(main, *argv):
        try:
            code = main(argv)
        except SystemExit as stopped:
            code = stopped.code
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1), error
        return error

    return refusal

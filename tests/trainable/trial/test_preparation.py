"""Shared inputs: `trainable.prepare`, what is checked, what depends on what."""

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from sentencepiece import SentencePieceTrainer
from transformers import BertweetTokenizer

import trainable
from tests.conftest import ARCHITECTURES, WORDS, make_teacher, tiny_classifier, user_error
from trainable.common.errors import UserError
from trainable.common.files import write_json
from trainable.config.fields import from_plain
from trainable.config.presets import PRESETS
from trainable.config.training_inputs import TrainingInputs, states_read
from trainable.data.datasets import Dataset, LabelledTexts, sample_evaluation, subset
from trainable.data.tokens import load_split
from trainable.data.vocabulary import load_vocabulary, trim_embedding
from trainable.models import relations
from trainable.models.loading import load_tokenizer
from trainable.serving.served_model import TextEncoder
from trainable.trial import preparation
from trainable.trial.preparation import Preparation, add_outputs, prepare_inputs
from trainable.trial.token_cache import prepare_tokens, tokenizer_digest


@pytest.fixture
def places(teacher_folder, data_folder, tmp_path):
    """What is given to `prepare`: 40 and 20 of the tiny examples, and a cache of the test's own."""
    sizes = {"max_train_samples": 40, "max_eval_samples": 20, "max_length": 16}
    places = {"teacher": str(teacher_folder), "dataset": str(data_folder), "cache": str(tmp_path)}
    return {**sizes, **places, "allow_weak_teacher": True}


def test_prepare_makes_all_that_a_trial_reads_from_a_relative_cache(places, tmp_path, monkeypatch):
    """As trials see it, which run in other working folders and other processes."""
    monkeypatch.chdir(tmp_path)
    places["cache"], lines = Path("cache"), []
    places["max_train_samples"] = np.int64(40)
    more = {"hidden_pools": "mean", "relations": True, "log": lines.append}
    inputs = trainable.prepare("mini", **more, **places)
    assert from_plain(TrainingInputs, json.loads(json.dumps(asdict(inputs)))) == inputs
    assert inputs.examples == {"train": 40, "evaluation": 20}
    assert set(inputs.outputs) == {"logits", "mean", "relations"}
    assert all(folder.is_absolute() and folder.is_dir() for folder in inputs.folders())
    assert any("Teacher's outputs" in line for line in lines)
    config = inputs.config({"alpha": 0.5, "initialisation": "random"})
    assert (config.epochs, config.evaluations, config.learning_rate) == (2, 8, 1e-4)
    assert config.student_layers == 2  # half the teacher's; the preset's own students have 3
    with pytest.raises(UserError, match=r"hidden_pool: cls was not .*hidden_pools=\['cls'\]"):
        inputs.config({"alpha": 0.5, "student_layers": 2, "aligned_layers": "1"})
    bare = replace(inputs, outputs={})
    with pytest.raises(UserError, match=r"relations were not .*give prepare\(relations=True\)"):
        bare.config({"alpha": 0.5, "student_layers": 2, "relation_weight": 1.0})
    with pytest.raises(UserError, match="hidden_pools: 'token' is not known; did you mean tokens"):
        trainable.prepare("mini", hidden_pools=["token"], **places)


def test_few_examples_are_passed_over_more_often(places, monkeypatch):
    monkeypatch.setitem(PRESETS, "mini", replace(PRESETS["mini"], least_steps=9))  # 2 a pass
    assert trainable.prepare("mini", **places).config({"alpha": 0.5}).epochs == 5


def test_prepare_takes_frames_and_holds_their_test_split_back(teacher_folder, dataset, tmp_path):
    """No trial reads it, and neither teacher nor trial is another for it."""
    frame = pandas.DataFrame({"text": dataset.train.texts, "label": dataset.train.labels})
    lines = []
    options = {"teacher": str(teacher_folder), "cache": str(tmp_path), "max_length": 16}
    options |= {"allow_weak_teacher": True, "log": lines.append}
    test = pandas.DataFrame({"text": ["w150 w1", frame["text"][0]], "label": [0, 1]})
    with_test, without = (
        trainable.prepare("mini", dataset={"train": frame, **more}, **options)
        for more in ({"test": test}, {})
    )
    assert with_test.examples == {"train": 86, "evaluation": 10}
    assert any(line.startswith("Warning: 1 of the 2 test examples are also") for line in lines)
    assert lines[0].endswith("; examples: 86 training, 10 validation, 2 test.")
    assert with_test.test_digest
    assert replace(with_test, test_digest="") == without


def test_a_regressions_models_have_one_output(loaded, tokenizer, tmp_path, make_config):
    tiny_classifier("bert").bert.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    parts = (loaded.dataset.train, loaded.dataset.evaluation)
    numbers = [replace(p, labels=[label / 2 for label in p.labels]) for p in parts]
    regression = replace(loaded, dataset=Dataset(*numbers, []))
    preparation = Preparation.load(replace(regression, teacher_source=str(tmp_path)))
    config = preparation.base.config
    assert (config.num_labels, config.problem_type) == (1, "regression")
    with pytest.raises(UserError, match="class_weight: balanced needs classes"):
        preparation.check([make_config(class_weight="balanced")], print)
    with pytest.raises(UserError, match="its head has 2 labels, and the dataset is a regression"):
        Preparation.load(regression)


def test_prepare_makes_texts_that_the_teacher_labels(places):
    texts = {"transfer": "augment", "augmentation": {"share": 2, "swap": 0}}
    inputs = trainable.prepare("mini", **places, **texts)
    assert inputs.examples == {"train": 40, "evaluation": 20, "transfer": 80}
    assert inputs.config({"student_layers": 2}).transfer == 2.0
    logits = np.load(Path(inputs.outputs["logits"]) / "values.npy")
    assert logits.shape == (40 + 80, 2)


def test_the_states_that_aligned_trials_read(make_config):
    """And of states of tokens those of the layers that students mirror."""
    configs = [make_config(aligned_layers="none"), make_config(hidden_pool="tokens")]
    assert states_read(configs, 4) == {"tokens": (2, 4)}
    related = make_config(aligned_layers="none", relation_weight=1.0, relation_heads=4)
    deeper = make_config(hidden_pool="tokens", student_layers=3)
    read = states_read([*configs, related, deeper, make_config()], 12)
    assert read == {"tokens": (4, 6, 8, 12), "relations": (), "cls": ()}


def test_relations_of_an_unknown_architecture_are_refused(places, tmp_path, monkeypatch):
    monkeypatch.delitem(relations.PROJECTIONS, "bert")
    with pytest.raises(UserError, match="no queries, keys and values are known of bert"):
        trainable.prepare("mini", relations=True, **places)
    assert {place.name for place in tmp_path.iterdir()} <= {"datasets"}


def test_outputs_are_added_to_inputs_that_lack_them(loaded, inputs, runtime, options):
    few = prepare_inputs(Preparation.load(loaded), {}, runtime, options)
    assert set(few.outputs) == {"logits"}
    more = dict.fromkeys(("cls", "mean", "tokens", "relations"), ())
    assert add_outputs(few, more, runtime) == inputs


def test_the_seconds_that_the_outputs_took_are_known(loaded, runtime, options, monkeypatch):
    clock = SimpleNamespace(monotonic=iter((10.0, 52.34)).__next__)
    monkeypatch.setattr(preparation, "time", clock)
    found = prepare_inputs(Preparation.load(loaded), {}, runtime, options)
    assert found.outputs_seconds == 42.3


def test_other_texts_are_those_of_the_pretrained_student_too(loaded):
    both = replace(Preparation.load(loaded), student=Preparation.load(loaded))
    fewer = replace(loaded, dataset=subset(loaded.dataset, 48, None))
    found = both.with_inputs(fewer)
    assert found.inputs is found.student.inputs is fewer
    assert (found.base, found.student.base) == (both.base, both.student.base)


def test_a_sample_and_its_whole_are_tokenised(sampled_loaded, sampled_inputs, tokenizer):
    assert sampled_inputs.examples == {"train": 96, "evaluation": 13, "full": 40}
    for name, part in sampled_loaded.dataset.splits.items():
        split = load_split(Path(sampled_inputs.tokens), name)
        assert split.labels.tolist() == part.labels
        for row, text in enumerate(part.texts):
            ids = split.token_ids[split.offsets[row] : split.offsets[row + 1]]
            assert ids.tolist() == tokenizer(text, truncation=True, max_length=16)["input_ids"]


def test_words_of_the_whole_split_alone_are_in_use(sampled_loaded, runtime, options, tokenizer):
    """They are scored with the others, and would otherwise have no row in the embedding."""
    dataset = sampled_loaded.dataset
    left_out = next(text for text in dataset.full.texts if text not in dataset.evaluation.texts)
    texts = ["w150" if text == left_out else text for text in dataset.full.texts]
    changed = replace(dataset, full=replace(dataset.full, texts=texts))
    other = Preparation.load(replace(sampled_loaded, dataset=changed))
    found = prepare_inputs(other, {}, runtime, options)
    rare = tokenizer.convert_tokens_to_ids("w150")
    assert rare in load_vocabulary(Path(found.tokens))
    assert rare not in load_split(Path(found.tokens), "train").token_ids


def test_other_examples_or_lengths_are_other_inputs(
    loaded, inputs, sampled_inputs, runtime, options
):
    other_sample = replace(loaded, dataset=sample_evaluation(loaded.dataset, 14))
    found = [inputs, sampled_inputs]
    for other in (other_sample, replace(loaded, max_length=8)):
        found.append(prepare_inputs(Preparation.load(other), {}, runtime, options))
    parts = [(one.data_digest, one.tokens, one.outputs["logits"]) for one in found]
    assert [len(set(part)) for part in zip(*parts, strict=True)] == [4, 4, 4]


def test_impossible_trials_and_lengths_are_refused(loaded, make_config):
    for changes, length, message in (
        ({"student_layers": 3}, 16, "student_layers: 3 does not divide"),
        ({"evaluations": 13}, 16, "evaluations: 13 are more than the trial's 12 steps"),
        ({"student_width": 20, "initialisation": "random"}, 16, "student_width: 20"),
        ({}, 512, "--max-length 512: too long .* 64 positions"),
        ({}, 2, "--max-length 2: must be at least 3"),
    ):
        Preparation.load(loaded).check([make_config()], print)
        preparation = Preparation.load(replace(loaded, max_length=length))
        with pytest.raises(UserError, match=message):
            preparation.check([make_config(), make_config(**changes)], print)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["w1 w2 w3 w4 w5 w6 x y"], None),  # with [CLS] and [SEP] 2 of 10 tokens
        (["w1 w2 w3 w4 w5 w6 x y", "w1 w2 w3 w4 w5 x y z"], "25%"),
        (["w1 " * 14 + "x " * 50], None),  # cut off
        (["w1 w2 w3"] * 1000 + ["x y z"] * 5000, None),  # more than are looked at
        (["x y z"] * 400 + ["w1 w2 w3"] * 600, "24%"),
    ],
)
@pytest.mark.parametrize(
    ("split", "name"), [("train", "training"), ("evaluation", "validation"), ("transfer",) * 2]
)
def test_texts_that_the_tokenizer_does_not_know_are_refused(loaded, texts, said, split, name):
    dataset = replace(loaded.dataset, **{split: LabelledTexts(texts, [0] * len(texts))})
    preparation = Preparation.load(replace(loaded, dataset=dataset, max_length=16))
    if said is None:
        preparation.check([], print)
        return
    given = f"--teacher {loaded.teacher_source}: {said} of the tokens in the {name} split are unkn"
    assert user_error(preparation.check, [], print).startswith(given)
    pieces = copy.deepcopy(preparation.tokenizer)
    pieces.unk_token = None  # as one of bytes, to which nothing is unknown
    replace(preparation, tokenizer=pieces).check([], print)


@pytest.mark.parametrize(("architecture", "most"), [("bert", 64), ("roberta", 63)])
def test_texts_that_are_cut_are_mentioned(loaded, tokenizer, tmp_path, architecture, most):
    """Of 100 training texts 3 and of as many others 2, with the remedy, that can be given."""
    teacher = make_teacher(architecture, tokenizer, tmp_path)
    texts = [["w1 " * 14] * cut + ["w1"] * (100 - cut) for cut in (3, 2)]
    splits = [LabelledTexts(each, [0, 1] * 50) for each in texts]
    sources = replace(loaded, dataset=Dataset(*splits, ["0", "1"]), teacher_source=str(teacher))
    Preparation.load(sources).check([], (lines := []).append)
    assert lines[0] == (
        "Warning: 3% of the training texts reach --max-length 16 and are cut; "
        f"--teacher {teacher} takes up to {most}."
    )
    lengths = [replace(sources, max_length=length) for length in (most, most + 1)]
    Preparation.load(lengths[0]).check([], (lines := []).append)
    assert not any("are cut" in line for line in lines)
    with pytest.raises(UserError, match=f"{most + 1}: too long for .* has {most} positions"):
        Preparation.load(lengths[1]).check([], print)


def test_a_tokenizer_whose_only_special_token_is_the_padding_can_be_checked(loaded, tokenizer):
    bare = tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer, pad_token="[PAD]")
    replace(Preparation.load(loaded), tokenizer=bare).check([], print)


def test_tokenizer_that_comes_as_a_sentencepiece_model(tmp_path):
    """As microsoft/deberta-v3-base ships it; fails where sentencepiece and protobuf don't agree."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the {word} film was not good" for word in WORDS))
    pieces = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    special = {f"{name}_piece": piece for name, piece in pieces.items()}
    special |= {f"{name}_id": number for number, name in enumerate(pieces)}
    size = {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 2}
    places = {"input": str(text), "model_prefix": str(tmp_path / "spm")}
    SentencePieceTrainer.train(**places, **size, **special)
    (tmp_path / "tokenizer_config.json").write_text('{"vocab_type": "spm"}')
    ARCHITECTURES["deberta-v2"].save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    ids = tokenizer("the film was good")["input_ids"]
    assert (ids[0], ids[-1], tokenizer.pad_token_id) == (1, 2, 0)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the film was good"
    assert len(tokenizer_digest(tokenizer)) == 64


def test_tokenizers_in_python_are_told_apart_by_files_and_switches(tmp_path):
    vocabulary, merges = tmp_path / "vocab.txt", tmp_path / "bpe.codes"
    vocabulary.write_text("".join(f"{part} 1\n" for part in ("g@@", "g", "o@@", "o", "go")))
    merges.write_text("#version: 0.2\n")
    plain, other = (
        BertweetTokenizer(str(vocabulary), str(merges), normalization=switch)
        for switch in (False, True)
    )
    ARCHITECTURES["roberta"].save_pretrained(tmp_path)
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "BertweetTokenizer"})
    assert tokenizer_digest(load_tokenizer(str(tmp_path))) == tokenizer_digest(plain)
    merges.write_text("#version: 0.2\ng o 1\n")
    merging = BertweetTokenizer(str(vocabulary), str(merges))
    assert len({tokenizer_digest(each) for each in (plain, other, merging)}) == 3


def test_tokenizers_that_cut_texts_on_other_sides_are_not_the_same(tokenizer):
    other = copy.deepcopy(tokenizer)
    assert tokenizer_digest(other) == tokenizer_digest(tokenizer)
    other.truncation_side = "left"
    assert tokenizer_digest(other) != tokenizer_digest(tokenizer)


def test_a_tokenizer_that_pads_on_the_left_is_kept_as_students_are_trained(
    loaded, tokenizer, tmp_path
):
    """Positions are counted from the first token: padding before it makes another text of it."""
    tokenizer.save_pretrained(tmp_path / "left")
    config = json.loads((tmp_path / "left/tokenizer_config.json").read_text())
    write_json(tmp_path / "left/tokenizer_config.json", {**config, "padding_side": "left"})
    own = load_tokenizer(str(tmp_path / "left"))
    folder = prepare_tokens(own, tiny_classifier("bert"), loaded, tmp_path).folder
    padded = load_tokenizer(str(folder / "tokenizer"))(["film", "the film was good"], padding=True)
    first, last = (ids[0] for ids in padded["input_ids"]), padded["input_ids"][0][-1]
    assert (*first, last) == (*[tokenizer.cls_token_id] * 2, tokenizer.pad_token_id)


def test_a_models_padding_row_is_kept_where_another_of_the_same_tokens_has_none(
    loaded, tokenizer, tmp_path
):
    plain = prepare_tokens(tokenizer, tiny_classifier("bert"), loaded, tmp_path)
    unused = int(np.setdiff1d(np.arange(101), plain.in_use)[0])
    model = tiny_classifier("bert", pad_token_id=unused)
    data = prepare_tokens(tokenizer, model, loaded, tmp_path)
    trim_embedding(model, data.in_use)
    row = model.get_input_embeddings().padding_idx
    assert row is not None
    assert data.in_use[row] == unused


def test_pairs_have_the_same_types_of_tokens_when_they_are_served(
    loaded, tokenizer, pair_dataset, tmp_path
):
    """Also of a tokenizer whose class gives none, in the same cache as one that does."""
    typed, model = copy.deepcopy(tokenizer), tiny_classifier("bert", type_vocab_size=2)
    typed.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    sources, seen = replace(loaded, dataset=pair_dataset, max_length=32), []
    for own in (typed, tokenizer):
        data = prepare_tokens(own, model, sources, tmp_path)
        trained = data.splits["evaluation"].token_types
        (folder,) = {*(tmp_path / "tokens").iterdir()} - {*seen}
        seen.append(folder)
        encoded = TextEncoder.load(folder / "tokenizer").encode(pair_dataset.evaluation.texts)
        served = np.concatenate([types for _, types in encoded])
        assert served.tolist() == (np.zeros_like(served) if trained is None else trained).tolist()
    assert max(served) == 0

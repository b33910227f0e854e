"""Shared inputs: what is checked, what depends on what."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sentencepiece import SentencePieceTrainer
from trainable.task import Task

from tests.conftest import ARCHITECTURES, WORDS, tiny_classifier
from trainable.data import sample_evaluation
from trainable.errors import UserError
from trainable.preparation import (
    Preparation,
    hidden_pools,
    load_tokenizer,
    prepare_task,
    tokenizer_digest,
)
from trainable.tokens import load_split
from trainable.vocabulary import load_vocabulary


def test_task_survives_json(task):
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_pools_of_aligned_trials_only(make_config):
    configs = [
        make_config(hidden_pool="mean", aligned_layers="none"),
        make_config(hidden_pool="tokens"),
    ]
    assert hidden_pools(configs) == {"tokens"}


def test_a_task_says_how_many_sentences_each_split_has(task, sampled_task):
    assert task.sentences == {"train": 96, "evaluation": 40}
    assert sampled_task.sentences == {"train": 96, "evaluation": 13, "whole": 40}
    assert Task.from_dict(json.loads(json.dumps(sampled_task.to_dict()))) == sampled_task


def test_a_sample_and_its_whole_are_tokenised_each_from_its_texts(
    sampled_inputs, sampled_task, tokenizer
):
    folder = Path(sampled_task.tokens)
    for name, part in sampled_inputs.dataset.splits.items():
        split = load_split(folder, name)
        assert split.labels.tolist() == part.labels
        for row, text in enumerate(part.texts):
            ids = split.token_ids[split.offsets[row] : split.offsets[row + 1]]
            assert ids.tolist() == tokenizer(text, truncation=True, max_length=16)["input_ids"]


def test_words_that_occur_in_the_whole_split_alone_are_in_use(
    sampled_inputs, environment, tokenizer
):
    """They are scored with the others, and would otherwise have no row in the embedding."""
    dataset = sampled_inputs.dataset
    left_out = next(text for text in dataset.whole.texts if text not in dataset.evaluation.texts)
    texts = ["w150" if text == left_out else text for text in dataset.whole.texts]
    changed = replace(dataset, whole=replace(dataset.whole, texts=texts))
    other = replace(sampled_inputs, dataset=changed)
    task = prepare_task(Preparation.load(other), set(), environment)
    rare = tokenizer.convert_tokens_to_ids("w150")
    assert rare in load_vocabulary(Path(task.tokens))
    assert rare not in load_split(Path(task.tokens), "train").token_ids


def test_another_sample_is_another_task(inputs, task, sampled_task, environment):
    other = replace(inputs, dataset=sample_evaluation(inputs.dataset, 14))
    tasks = [task, sampled_task, prepare_task(Preparation.load(other), set(), environment)]
    assert len({found.data_digest for found in tasks}) == 3
    assert len({found.tokens for found in tasks}) == 3
    assert len({found.teacher.folder for found in tasks}) == 3
    assert sorted(path.name for path in Path(task.tokens).glob("whole*")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_layers": 3}, "student_layers: 3 does not divide"),
        ({"evaluations": 13}, "evaluations: 13 are more than the trial's 12 steps"),
        ({"student_width": 20, "initialisation": "random"}, "student_width: 20"),
    ],
)
def test_impossible_trials_are_refused(inputs, make_config, changes, message):
    preparation = Preparation.load(inputs)
    preparation.check([make_config()])
    with pytest.raises(UserError, match=message):
        preparation.check([make_config(), make_config(**changes)])


def test_shorter_sentences_are_another_task(inputs, task, environment):
    other = prepare_task(Preparation.load(replace(inputs, max_length=8)), set(), environment)
    assert other.data_digest != task.data_digest
    assert other.outputs["logits"] != task.outputs["logits"]
    assert other.tokens != task.tokens


def test_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(UserError, match=r"--teacher .*: no usable tokenizer"):
        load_tokenizer(str(tmp_path))


def test_tokenizer_without_padding(tmp_path, tokenizer):
    bare = tokenizer.__class__(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]")
    bare.save_pretrained(tmp_path)
    tiny_classifier().config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no padding token"):
        load_tokenizer(str(tmp_path))


def test_tokenizer_that_comes_as_a_sentencepiece_model(tmp_path):
    """As microsoft/deberta-v3-base ships it; fails where sentencepiece and protobuf don't agree."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the {word} film was not good" for word in WORDS))
    pieces = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    names = {
        f"{name}_piece": piece
        for name, piece in zip(("pad", "bos", "eos", "unk"), pieces, strict=True)
    }
    SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(tmp_path / "spm"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, **names},
    )
    (tmp_path / "tokenizer_config.json").write_text('{"vocab_type": "spm"}')
    ARCHITECTURES["deberta-v2"].save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    ids = tokenizer("the film was good")["input_ids"]
    assert (ids[0], ids[-1], tokenizer.pad_token_id) == (1, 2, 0)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the film was good"
    assert len(tokenizer_digest(tokenizer)) == 64

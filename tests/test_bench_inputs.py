"""The teacher, settings and sentences of the bench."""

import numpy as np
import pytest
import torch

from search.bench_arguments import make_parser
from search.bench_inputs import (
    SHAPES,
    bench_config,
    check_length,
    choose_in_use,
    load_bench_teacher,
    make_split,
    make_workload,
)
from search.length_tables import LENGTH_TABLES
from tests.conftest import tiny_classifier
from trainable.errors import UserError
from trainable.presets import PRESETS
from trainable.vocabulary import to_dense_ids
from trainable.wheels import small_encoder


def configure(tmp_path, *flags):
    arguments = make_parser().parse_args(["--precision", "fp32", *flags])
    return bench_config(arguments, tiny_classifier().config, torch.device("cpu"), tmp_path)


def test_every_preset_has_shapes_lengths_and_no_need_of_the_hub():
    assert set(SHAPES) == set(LENGTH_TABLES) == set(PRESETS)


def test_deberta_shapes():
    config = SHAPES["sst2"][1]()
    shapes = (config.vocab_size, config.num_hidden_layers, config.hidden_size)
    assert shapes == (128_100, 12, 768)
    assert (config.relative_attention, config.position_buckets) == (True, 256)
    assert sorted(config.pos_att_type) == ["c2p", "p2c"]


def test_mini_shapes_are_the_wheels():
    from transformers import AutoConfig

    shapes, real = SHAPES["mini"][1](), AutoConfig.from_pretrained(small_encoder())
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"):
        assert getattr(shapes, key) == getattr(real, key)
    assert shapes.intermediate_size == real.intermediate_size


def test_local_teacher_keeps_its_weights_and_random_shapes_go_by_the_seed(teacher_folder):
    words, model = load_bench_teacher(str(teacher_folder), "mini", 0)
    assert words == str(teacher_folder)
    assert not model.training
    for name, tensor in tiny_classifier("bert").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_teacher_that_is_none_is_refused_in_a_line(data_folder):
    with pytest.raises(UserError, match=r"--teacher .*: no usable model"):
        load_bench_teacher(str(data_folder), "mini", 0)


def test_settings(tmp_path):
    config = configure(tmp_path)
    assert (config.student_layers, config.aligned_layers, config.hidden_pool) == (2, "1,2", "cls")
    config = configure(tmp_path, "--aligned-layers", "none", "--batch-size", "5", "--seed", "3")
    assert (config.aligned_layers, config.batch_size, config.seed) == ("none", 5, 3)
    assert configure(tmp_path, "--hidden-pool", "mean").hidden_pool == "mean"


def test_precision_is_measured_where_none_is_given(tmp_path, monkeypatch):
    monkeypatch.setattr("search.bench_inputs.faster_precision", lambda *arguments: "bf16")
    assert configure(tmp_path, "--precision", "auto").precision == "bf16"
    assert configure(tmp_path, "--precision", "fp32").precision == "fp32"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--student-layers", "3"), "student_layers: 3 does not divide"),
        (("--aligned-layers", "1,9"), "aligned_layers: layer 9"),
        (("--aligned-layers", "none", "--hidden-pool", "mean"), "--hidden-pool mean: changes"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, flags, said):
    with pytest.raises(UserError, match=said):
        configure(tmp_path, *flags)


def test_tokens_in_use_hold_the_padding_token_and_all_below():
    in_use = choose_in_use(100, 2, 20, np.random.default_rng(0))
    assert in_use[:3].tolist() == [0, 1, 2]
    assert len(in_use) == len(np.unique(in_use)) == 20
    assert in_use.max() < 100
    assert np.array_equal(in_use, np.sort(in_use))
    assert np.array_equal(choose_in_use(10, 0, 20, np.random.default_rng(0)), np.arange(10))


def test_words_occur_as_often_as_their_rank_says():
    words = np.arange(1, 31)
    split = make_split(np.full(2000, 20), words, 2, np.random.default_rng(0))
    counts = np.sort(np.bincount(split.token_ids, minlength=31)[1:])[::-1]
    expected = 1 / np.arange(1, 31)
    assert counts / counts.sum() == pytest.approx(expected / expected.sum(), rel=0.15)
    assert set(split.labels) == {0, 1}


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_workload(make_config, tmp_path, cpu, architecture):
    teacher, config = tiny_classifier(architecture), make_config()
    table = LENGTH_TABLES["mini"].cut(40)
    work = make_workload(teacher, config, table, 5, device=cpu, folder=tmp_path)
    assert len(work.split) == 40
    assert len(work.in_use) == 205  # a tiny vocabulary is in use whole
    assert work.pad_id not in work.split.token_ids
    to_dense_ids(work.split.token_ids, work.in_use)
    again = make_workload(teacher, config, table, 5, device=cpu, folder=tmp_path)
    assert np.array_equal(work.split.token_ids, again.split.token_ids)
    other = make_workload(teacher, make_config(seed=1), table, 5, device=cpu, folder=tmp_path)
    assert not np.array_equal(work.split.lengths, other.split.lengths)
    assert np.array_equal(np.sort(work.split.lengths), np.sort(other.split.lengths))


def test_sentences_too_long_for_the_teacher():
    check_length(tiny_classifier(), 64, 7)
    with pytest.raises(UserError, match=r"--max-length: sentences of 65 tokens .* 64 positions"):
        check_length(tiny_classifier(), 65, 7)

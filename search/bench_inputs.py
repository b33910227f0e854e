"""What the bench trains on: a teacher, and made-up sentences as long as real ones."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from trainable.arguments import AUTO
from trainable.precision import faster_precision
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    PreTrainedConfig,
    PreTrainedModel,
)

from search.length_tables import LengthTable, draw_lengths
from trainable.config import TrialConfig
from trainable.errors import UserError, first_line
from trainable.hub import require_teacher
from trainable.layers import check_depths
from trainable.students import encoder_layers, new_model
from trainable.tokens import TokenisedSplit


def deberta_v3_base() -> PreTrainedConfig:
    """The shapes of microsoft/deberta-v3-base."""
    return DebertaV2Config(
        vocab_size=128_100,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
        type_vocab_size=0,
        layer_norm_eps=1e-7,
        relative_attention=True,
        max_relative_positions=-1,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        pooler_dropout=0,
        pooler_hidden_size=768,
        pad_token_id=0,
    )


def minilm() -> PreTrainedConfig:
    """The shapes of all-MiniLM-L6-v2."""
    return BertConfig(
        vocab_size=30_522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=512,
        pad_token_id=0,
    )


SHAPES: dict[str, tuple[str, Callable[[], PreTrainedConfig]]] = {
    "sst2": ("DeBERTa-v3-base shapes, random weights", deberta_v3_base),
    "imdb": ("DeBERTa-v3-base shapes, random weights", deberta_v3_base),
    "mini": ("all-MiniLM-L6-v2 shapes, random weights", minilm),
}


def load_bench_teacher(source: str | None, preset: str, seed: int) -> tuple[str, PreTrainedModel]:
    """What the teacher is, in words, and the teacher in fp32 on the CPU.

    Without a source the preset's shapes with random weights, which are as fast as trained ones. A
    head that is missing is drawn from `seed`. UserError where a source can't be had or loaded.
    """
    torch.manual_seed(seed)
    if source is None:
        words, shapes = SHAPES[preset]
        return words, new_model(shapes()).eval()
    require_teacher(source)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            Path(source).expanduser() if Path(source).expanduser().is_dir() else source,
            dtype=torch.float32,
        )
    except Exception as error:  # damaged files raise whatever the library that reads them does
        raise UserError(f"--teacher {source}: no usable model; {first_line(error)}") from error
    assert isinstance(model, PreTrainedModel)
    encoder_layers(model)
    return source, model.eval()


def bench_config(
    arguments: Namespace, teacher_config: PreTrainedConfig, device: torch.device, folder: Path
) -> TrialConfig:
    """The settings of the trial that is timed; UserError where they don't fit one another."""
    config = TrialConfig.from_dict(
        {
            "aligned_layers": arguments.aligned_layers,
            "alpha_schedule": "fixed",
            "alpha": 0.5,
            "hidden_pool": arguments.hidden_pool or TrialConfig.default("hidden_pool"),
            "student_layers": arguments.student_layers or teacher_config.num_hidden_layers // 2,
            "batch_size": arguments.batch_size,
            "seed": arguments.seed,
        }
    )
    if arguments.hidden_pool and "hidden_pool" in config.idle_settings:
        raise UserError(
            f"--hidden-pool {arguments.hidden_pool}: changes nothing without aligned layers; "
            "leave it out"
        )
    check_depths(config.student_layers, teacher_config.num_hidden_layers)
    precision = arguments.precision
    if precision == AUTO:
        precision = faster_precision(teacher_config, config, device, folder)
    return replace(config, precision=precision)


@dataclass(frozen=True)
class Workload:
    """What every rung trains on: the same sentences, the same teacher, the same settings.

    `split` has the tokenizer's own ids, of which `in_use` are those a real corpus would use. Each
    rung trains on all sentences once, cut into batches its own way. `folder` is for its files.
    """

    teacher: PreTrainedModel
    config: TrialConfig
    split: TokenisedSplit
    in_use: np.ndarray
    pad_id: int
    device: torch.device
    folder: Path

    def at_batch_size(self, batch_size: int) -> "Workload":
        """The same sentences in batches of another size."""
        return replace(self, config=replace(self.config, batch_size=batch_size))


def padding_id(config: PreTrainedConfig) -> int:
    """The id that stands for no token; 0 where the model names none."""
    return config.pad_token_id or 0


def choose_in_use(
    vocabulary: int, pad_id: int, tokens_in_use: int, generator: np.random.Generator
) -> np.ndarray:
    """Sorted ids of the tokens that occur: all up to the padding token's, and random others."""
    low, others = np.arange(pad_id + 1), np.arange(pad_id + 1, vocabulary)
    count = min(max(tokens_in_use - len(low), 1), len(others))
    return np.concatenate([low, np.sort(generator.choice(others, count, replace=False))])


def make_split(
    lengths: np.ndarray, words: np.ndarray, labels: int, generator: np.random.Generator
) -> TokenisedSplit:
    """Random sentences of these lengths [N]: the r-th commonest of `words` as often as 1 / r."""
    order = generator.permutation(words)
    weights = 1.0 / np.arange(1, len(order) + 1)
    total = int(lengths.sum())
    token_ids = generator.choice(order, total, p=weights / weights.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenisedSplit(token_ids, offsets, generator.integers(0, labels, len(lengths)))


def make_workload(
    teacher: PreTrainedModel,
    config: TrialConfig,
    table: LengthTable,
    steps: int,
    *,
    device: torch.device,
    folder: Path,
) -> Workload:
    """As many sentences as `steps` batches have, drawn from the configuration's seed.

    UserError where the longest is too long for the teacher.
    """
    generator = np.random.default_rng(config.seed)
    pad_id = padding_id(teacher.config)
    lengths = draw_lengths(table.counts, steps * config.batch_size, generator)
    in_use = choose_in_use(teacher.config.vocab_size, pad_id, table.tokens_in_use, generator)
    words = in_use[in_use > pad_id]
    check_length(teacher, int(lengths.max()), int(words[0]))
    split = make_split(lengths, words, teacher.config.num_labels, generator)
    return Workload(teacher, config, split, in_use, pad_id, device, folder)


def check_length(teacher: PreTrainedModel, length: int, token: int) -> None:
    """Runs the teacher once on a sentence of so many tokens; UserError where it can't."""
    try:
        with torch.no_grad():
            teacher(torch.full((1, length), token))
    except (IndexError, RuntimeError):
        most = getattr(teacher.config, "max_position_embeddings", "fewer")
        raise UserError(
            f"--max-length: sentences of {length} tokens are too long for this teacher, which has "
            f"{most} positions"
        ) from None

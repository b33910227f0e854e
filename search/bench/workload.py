"""What the bench trains: random models and examples of a preset's shapes and lengths."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from transformers import BertConfig, DebertaV2Config, PreTrainedModel

from search.bench.options import BenchOptions
from trainable.common.quiet import quiet_libraries
from trainable.config.layer_sets import check_depths, mirrored_layers
from trainable.config.options import AUTO, resolve_preset
from trainable.config.trial_config import TrialConfig
from trainable.data.tokens import TokenisedSplit
from trainable.engine.devices import best_device, faster_precision
from trainable.models.students import new_model

PAD_ID = 0  # of all the shapes below
STEPS = {"cuda": 200, "cpu": 20}
DEBERTA_V3_BASE = DebertaV2Config(
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    relative_attention=True,
    position_buckets=256,
    norm_rel_ebd="layer_norm",
    share_att_key=True,
    pos_att_type=["p2c", "c2p"],
    position_biased_input=False,
    pooler_hidden_size=768,
)

MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
SHAPES = {"sst2": DEBERTA_V3_BASE, "imdb": DEBERTA_V3_BASE, "mini": MINILM}
TOKENS_IN_USE = {"sst2": 16_000, "imdb": 50_000, "mini": 5_982}

# Tokens of the training examples, special ones included, at these percentiles: SST-2's under BERT's
# tokenizer and the tweets' measured, IMDB's a log-normal with its mean and spread (in words, at an
# assumed 1.25 tokens each) cut at 512.
PERCENTILES = (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100)
LENGTHS = {
    "sst2": (3, 3, 4, 4, 6, 7, 8, 10, 13, 16, 20, 27, 33, 44, 64),
    "imdb": (15, 50, 79, 101, 135, 166, 199, 236, 278, 333, 411, 512, 512, 512, 512),
    "mini": (3, 7, 11, 13, 17, 20, 23, 26, 28, 30, 33, 36, 39, 45, 64),
}


@dataclass(frozen=True)
class Workload:
    """What every variant trains on. The tokenizer's ids below `tokens_in_use` occur in `split`."""

    preset: str
    teacher: PreTrainedModel  # random weights, which are as fast as trained ones
    config: TrialConfig
    split: TokenisedSplit
    tokens_in_use: int
    device: torch.device

    @property
    def layers(self) -> tuple[int, ...]:
        """The teacher's layers that the student's mirror."""
        return mirrored_layers(self.config.student_layers, self.teacher.config.num_hidden_layers)


def make_workload(asked: BenchOptions) -> Workload:
    """As the command line asks, with one thread on a CPU, as a sweep's trials have.

    The trial that is timed has all layers aligned and a fixed alpha.
    """
    quiet_libraries()
    device, (preset, _) = best_device(), resolve_preset(asked.preset)
    if device.type == "cpu":
        torch.set_num_threads(1)
    shapes = copy.deepcopy(SHAPES[preset])
    layers = asked.student_layers or shapes.num_hidden_layers // 2
    check_depths(layers, shapes.num_hidden_layers)
    precision = faster_precision(device) if asked.precision == AUTO else asked.precision
    config = TrialConfig(
        student_layers=layers,
        aligned_layers="all",
        alpha=0.5,
        batch_size=asked.batch_size,
        seed=asked.seed,
        precision=precision,
    )
    torch.manual_seed(config.seed)
    teacher, in_use = new_model(shapes).eval(), min(TOKENS_IN_USE[preset], shapes.vocab_size)
    generator = np.random.default_rng(config.seed)
    examples = config.batch_size * (asked.steps or STEPS[device.type])
    lengths = generator.permutation(lengths_of(preset, examples, asked.max_length))
    split = random_split(lengths, np.arange(PAD_ID + 1, in_use), shapes.num_labels, generator)
    return Workload(preset, teacher, config, split, in_use, device)


def lengths_of(preset: str, examples: int, longest: int | None) -> np.ndarray:
    """Lengths [examples] in the preset's proportions, rising, cut to `longest`."""
    percentiles = (np.arange(examples) + 0.5) / examples * 100
    lengths = np.interp(percentiles, PERCENTILES, LENGTHS[preset]).round().astype(np.int64)
    return lengths.clip(1, longest)


def random_split(
    lengths: np.ndarray, token_ids: np.ndarray, labels: int, generator: np.random.Generator
) -> TokenisedSplit:
    """Random examples of these lengths [N]: the r-th of `token_ids` as often as 1 / r."""
    weights = 1.0 / np.arange(1, len(token_ids) + 1)
    ids = generator.choice(token_ids, int(lengths.sum()), p=weights / weights.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    classes = generator.integers(0, labels, len(lengths))
    return TokenisedSplit(ids.astype(np.int32), offsets, classes)

"""Where a student's first weights come from; another choice of layers is a line in
COPIED_LAYERS."""

from collections.abc import Callable
from types import MappingProxyType

from trainable.config.layer_sets import mirrored_layer

LayerMap = Callable[[int, int, int], int]  # student layer, S, T -> teacher layer, counted from 1

RANDOM, EMBEDDINGS = "random", "teacher_embeddings"
PRETRAINED = "pretrained"  # the weights of --student, where one is given
COPIED_LAYERS: dict[str, LayerMap] = {
    "teacher_spread": mirrored_layer,
    "teacher_lower": lambda layer, _, __: layer,
    "teacher_upper": lambda layer, depth, teacher_depth: teacher_depth - depth + layer,
}
INITIALISATIONS = (RANDOM, *COPIED_LAYERS, EMBEDDINGS)
# Of AdamW: layers with random weights need the larger one.
LEARNING_RATES = MappingProxyType(
    {
        **{name: 5e-5 if name in COPIED_LAYERS else 1e-4 for name in INITIALISATIONS},
        PRETRAINED: 5e-5,
    }
)

"""The names a trial's settings can take, spelled once for the code and the command line.

Imports nothing, so that spaces and the command line can read it without loading torch.
"""

INITIALISATIONS = (
    "random",
    "teacher_spread",
    "teacher_lower",
    "teacher_upper",
    "teacher_embeddings",
)

ALPHA_SCHEDULES = (
    "fixed",
    "cosine_growth",
    "cosine_descent",
    "cosine_vshape",
    "cosine_^shape",
)

NO_LAYERS = "none"
NAMED_LAYER_SETS = (NO_LAYERS, "all", "lower", "upper", "even", "odd")

HIDDEN_POOLS = ("cls", "mean", "tokens")

PRECISIONS = ("fp32", "bf16")

# How steps are run on a device: each as it is, or captured once and replayed.
EAGER, GRAPH = "eager", "graph"
EXECUTORS = (EAGER, GRAPH)

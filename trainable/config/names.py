"""The names a trial's settings can take. Imports nothing, so that spaces load no torch."""

NO_LAYERS = "none"
NAMED_LAYER_SETS = (NO_LAYERS, "all", "lower", "upper", "even", "odd")
HIDDEN_POOLS = ("cls", "mean", "tokens")
RELATIONS = "relations"  # beside the hidden pools: queries, keys and values of the last layer
PRECISIONS = ("fp32", "bf16")
EQUAL, BALANCED = "none", "balanced"  # weights of classes in the cross-entropy

# How steps are run on a device: each as it is, or captured once and replayed.
EAGER, GRAPH = "eager", "graph"
EXECUTORS = (EAGER, GRAPH)
PLAIN = "plain attention instead of fused"  # what is tried before eager steps

# What an exported student is run by.
PYTORCH, ONNX, INT8 = "pytorch", "onnx", "onnx-int8"
FORMS = (PYTORCH, ONNX, INT8)

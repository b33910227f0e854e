"""A classifier's ONNX forms: exported by torch, made int8 by ONNX Runtime."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trainable.common.errors import UserError, first_line
from trainable.config.names import PYTORCH
from trainable.serving.served_model import INSTALL, ServedModel

EXAMPLES = ("a text", "a text that is a little longer than the other one")  # to trace the model
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20  # the first with GELU as one operator
SCOPES = "pkg.torch.onnx.name_scopes"  # a node's metadata: the modules that it was exported from
WEIGHT = {"MatMul": 1, "Gemm": 1, "Gather": 0}  # the input of a quantised node that is a weight
LAYER = re.compile(r"layers?\.\d+")  # of an encoder's modules


def require_onnx(flag: str) -> None:
    """UserError, which names `flag`, if a package of the extra [onnx] is missing."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise UserError(f"{flag}: {package} is not installed; {INSTALL}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' remarks on steps that they leave out."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def export_onnx(folder: Path, target: Path, flag: str = "--onnx") -> None:
    """Writes the folder's model in fp32, any number of texts of any length at a time.

    UserError, which names `flag`, and the operator if one can't be exported.
    """
    import torch

    from trainable.models.loading import load_classifier

    served = ServedModel.load(folder, PYTORCH)
    tensors = {name: torch.from_numpy(a) for name, a in served.arrays(EXAMPLES).items()}
    longest = served.encoder.longest
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=longest)}
    target.parent.mkdir(exist_ok=True)
    model = load_classifier(folder).eval()
    model.set_attn_implementation("eager")  # in fewer operators than torch's own kernel
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                model,
                kwargs=tensors,
                dynamic_shapes=dict.fromkeys(tensors, sizes),
                input_names=[*tensors],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
            program.save(target)
    except OSError:
        raise
    except Exception as error:
        operator = re.search(r"(aten|prims)[.:]+\w+", f"{error} {error.__cause__}")
        named = f"operator {operator[0]} can't be exported" if operator else first_line(error)
        raise UserError(f"{flag}: {named}; leave it out") from error


def quantise(source: Path, target: Path, float_layers: Sequence[str] = ()) -> None:
    """Writes an ONNX model with int8 weights and activations, but for these layers.

    Weights have a scale for each channel; activations get theirs as the model runs. Weights are
    signed, for which ONNX Runtime has its fastest products, and use 7 bits, so that sums of two
    products can't overflow on processors without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = layers_of(source)
    kept = [name for layer in float_layers for name in nodes[layer]]
    with _quiet():
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            # ONNX Runtime makes a MatMul of each Gemm before it looks at these names.
            nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)],
        )


def layers_of(path: Path) -> dict[str, list[str]]:
    """The names of the nodes with weights by layer: `embeddings`, `layer.0`, ..., `head`."""
    import onnx

    graph = onnx.load(path).graph
    weights, layers = {tensor.name for tensor in graph.initializer}, dict[str, list[str]]()
    for node in graph.node:
        if node.op_type in WEIGHT and node.input[WEIGHT[node.op_type]] in weights:
            layers.setdefault(_layer(node), []).append(node.name)
    return layers


def _layer(node: Any) -> str:
    scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), "")
    if layer := LAYER.search(scopes):
        return layer[0]
    return "embeddings" if "embeddings" in scopes else "head"


def quantise_within(
    source: Path,
    target: Path,
    logits: Callable[[Path], np.ndarray],
    loss: Callable[[np.ndarray], float],
    most: float,
) -> list[str] | None:
    """Quantises all layers that can be without losing more than `most`; which stay in float.

    `logits` runs a file on some examples, `loss` is what its logits [N, C] lose against the
    source's. If all lose too much, the layer that loses most by itself stays in float, then the
    next, too, and so on. None, and no file, if all but one are not enough.
    """

    def cost(float_layers: Sequence[str]) -> tuple[float, float]:
        quantise(source, target, float_layers)
        answers = logits(target)
        return loss(answers), float(np.abs(answers - reference).mean())  # the second breaks ties

    reference, layers = logits(source), [*layers_of(source)]
    if cost(())[0] <= most:
        return []
    own = {layer: cost([other for other in layers if other != layer]) for layer in layers}
    worst_first = sorted(layers, key=lambda layer: own[layer], reverse=True)
    for count in range(1, len(layers)):
        if cost(worst_first[:count])[0] <= most:
            return worst_first[:count]
    target.unlink()
    return None

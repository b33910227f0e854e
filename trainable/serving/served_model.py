"""A Hugging Face folder in the form that it runs in: PyTorch, or ONNX Runtime without torch."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from trainable.common.errors import UserError
from trainable.common.quiet import quiet_libraries
from trainable.config.names import INT8, ONNX, PYTORCH
from trainable.data.batches import batches_by_length
from trainable.data.tokens import Text

ONNX_FILES = {ONNX: "onnx/model.onnx", INT8: "onnx/model_int8.onnx"}  # where optimum looks, too
INSTALL = "pip install -e '.[onnx]'"
TEMPERATURE = "calibration_temperature"  # in config.json
LABELS = {"0": "LABEL_0", "1": "LABEL_1"}  # which transformers does not write
LONGEST = 1 << 30  # tokens, where a tokenizer has no limit
BATCH = 32  # examples at a time
TOKEN_TYPES = "token_type_ids"

Arrays = dict[str, np.ndarray]  # a model's inputs by name, each int64 [B, T]


@dataclass(frozen=True)
class ServedModel:
    """A classifier of C labels, or a regression (C is 1), that takes texts; `forward` gives logits
    [B, C]."""

    tokenizer: Any
    pad_id: int
    inputs: Sequence[str]
    forward: Callable[[Arrays], np.ndarray]
    label_names: list[str]
    temperature: float = 1.0

    @classmethod
    def load(
        cls, folder: Path, form: str = PYTORCH, threads: int | None = None, *, device: str = "cpu"
    ) -> "ServedModel":
        """The model of a folder, in PyTorch on this device, in an ONNX form on so many threads of
        the CPU (all if None).

        UserError if the folder does not have the form, or what runs it is not installed.
        """
        config = _read_json(folder, "config.json")
        names = [name for _, name in sorted(config.get("id2label", LABELS).items(), key=_number)]
        of_torch = form == PYTORCH
        forward, inputs = _torch(folder, device) if of_torch else _onnx(folder, form, threads)
        temperature = float(config.get(TEMPERATURE, 1.0))
        return cls(*_load_tokenizer(folder), inputs, forward, names, temperature)

    def logits(self, texts: Sequence[Text], batch_size: int = BATCH) -> np.ndarray:
        """Of N texts in their order, float32 [N, C]; computed in batches of similar length."""
        encoded = self.tokenizer.encode_batch_fast([*texts])
        lengths = np.array([len(one) for one in encoded])
        parts = batches_by_length(lengths, batch_size)
        results = [self.forward(self._padded([encoded[row] for row in rows])) for rows in parts]
        order = np.argsort(np.concatenate(parts))
        return np.asarray(np.concatenate(results)[order], dtype=np.float32)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Of logits [N, C], calibrated by the folder's temperature, [N, C]."""
        return np.asarray(softmax(logits / self.temperature, axis=1))

    def arrays(self, texts: Sequence[Text]) -> Arrays:
        """What the model is given of one batch of texts."""
        return self._padded(self.tokenizer.encode_batch_fast([*texts]))

    def _padded(self, encoded: Sequence[Any]) -> Arrays:
        shape = len(encoded), max(map(len, encoded))
        arrays = {name: np.zeros(shape, dtype=np.int64) for name in self.inputs}
        arrays["input_ids"].fill(self.pad_id)
        for row, one in enumerate(encoded):
            columns = slice(len(one))
            arrays["input_ids"][row, columns] = one.ids
            arrays["attention_mask"][row, columns] = 1
            if TOKEN_TYPES in arrays:
                arrays[TOKEN_TYPES][row, columns] = one.type_ids
        return arrays


def predicted(logits: np.ndarray) -> np.ndarray:
    """Of logits [N, C] the classes [N], int64; of [N, 1] the numbers of a regression, float32."""
    return np.asarray(logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1))


def _number(item: tuple[str, str]) -> int:
    return int(item[0])


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / name).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: has no readable {name}; give a folder that search.export wrote"
        ) from None


def _load_tokenizer(folder: Path) -> tuple[Any, int]:
    """The tokenizer, which cuts as in training, and the id that pads."""
    from tokenizers import Tokenizer

    config = _read_json(folder, "tokenizer_config.json")
    _read_json(folder, "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(
        min(int(config["model_max_length"]), LONGEST), strategy="longest_first"
    )
    pad = config["pad_token"]
    pad = pad["content"] if isinstance(pad, Mapping) else pad
    tokenizer.no_padding()
    return tokenizer, int(tokenizer.token_to_id(pad) or 0)


def _torch(folder: Path, device: str) -> tuple[Callable[[Arrays], np.ndarray], list[str]]:
    import torch

    from trainable.models.loading import load_classifier

    quiet_libraries()
    model: Any = load_classifier(folder).eval()
    model.to(device)

    @torch.inference_mode()
    def forward(arrays: Arrays) -> np.ndarray:
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return np.asarray(model(**tensors).logits.cpu().numpy())

    return forward, model_inputs(model.config)


def model_inputs(config: Any) -> list[str]:
    """The names of a classifier's inputs, from its configuration."""
    types = [TOKEN_TYPES] if getattr(config, "type_vocab_size", 0) > 1 else []
    return ["input_ids", "attention_mask", *types]


def _onnx(
    folder: Path, form: str, threads: int | None
) -> tuple[Callable[[Arrays], np.ndarray], list[str]]:
    path = folder / ONNX_FILES[form]
    if not path.is_file():
        flag = "--int8" if form == INT8 else "--onnx"
        raise UserError(f"--form {form}: {folder} has none; make it with search.export {flag}")
    session = onnx_session(path, threads)
    return lambda arrays: session.run(["logits"], arrays)[0], [i.name for i in session.get_inputs()]


def onnx_session(path: Path, threads: int | None = None) -> Any:
    """ONNX Runtime's session of a file, on the CPU; UserError if that is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"onnxruntime is not installed; {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

"""A Hugging Face folder in the form that it runs in: PyTorch, or ONNX Runtime without torch."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainable.common.errors import UserError
from trainable.common.quiet import quiet_libraries
from trainable.config.names import INT8, ONNX, PYTORCH
from trainable.data.batches import batches_by_length
from trainable.data.tokens import Text, parts_of

ONNX_FILES = {ONNX: "onnx/model.onnx", INT8: "onnx/model_int8.onnx"}  # where optimum looks, too
INSTALL = "pip install 'distillation-search[onnx]'"
LABELS = {"0": "LABEL_0", "1": "LABEL_1"}  # which transformers does not write
LONGEST = 1 << 30  # tokens, where a tokenizer has no limit
BATCH = 32  # examples at a time
ENCODED = 4096  # examples that are encoded at a time
TOKEN_TYPES = "token_type_ids"
# In the configuration: where the texts were, `A,B` for pairs, and whether they are pairs.
TEXT_COLUMN, TEXT_PAIRS = "text_column", "text_pairs"

Arrays = dict[str, np.ndarray]  # a model's inputs by name, each int64 [B, T]
Encoded = tuple[list[int], list[int]]  # an example's token ids, and the types of these


@dataclass(frozen=True)
class TextEncoder:
    """A folder's tokenizer, which cuts at `longest` tokens as in training."""

    encode: Callable[[Sequence[Text]], list[Encoded]]
    pad_id: int
    longest: int

    @classmethod
    def load(cls, folder: Path) -> "TextEncoder":
        """By `tokenizers` alone; only one written in Python needs transformers."""
        config = _read_json(folder, "tokenizer_config.json")
        longest = min(int(config.get("model_max_length", LONGEST)), LONGEST)
        if not (folder / "tokenizer.json").is_file():
            return _python_encoder(folder, longest)
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        side = config.get("truncation_side", "right")
        tokenizer.enable_truncation(longest, strategy="longest_first", direction=side)
        tokenizer.no_padding()
        pad = config.get("pad_token", "[PAD]")
        pad = pad["content"] if isinstance(pad, Mapping) else pad
        typed = TOKEN_TYPES in config.get("model_input_names", [TOKEN_TYPES])

        def encode(texts: Sequence[Text]) -> list[Encoded]:
            encoded = tokenizer.encode_batch_fast([*texts])
            return [(e.ids, e.type_ids if typed else [0] * len(e)) for e in encoded]

        return cls(encode, int(tokenizer.token_to_id(pad) or 0), longest)


def _python_encoder(folder: Path, longest: int) -> TextEncoder:
    from trainable.models.loading import load_tokenizer

    tokenizer = load_tokenizer(folder)

    def encode(texts: Sequence[Text]) -> list[Encoded]:
        columns = map(list, zip(*map(parts_of, texts), strict=True))
        encoded = tokenizer(*columns, truncation=True)
        ids = encoded["input_ids"]
        types = encoded.get(TOKEN_TYPES) or [[0] * len(own) for own in ids]  # as in training
        return list(zip(ids, types, strict=True))

    return TextEncoder(encode, tokenizer.pad_token_id, longest)


@dataclass(frozen=True)
class ServedModel:
    """A classifier of C labels, or a regression (C is 1), that takes texts; `forward` gives logits
    [B, C]."""

    encoder: TextEncoder
    inputs: Sequence[str]
    forward: Callable[[Arrays], np.ndarray]
    label_names: list[str]
    text_column: str | None = None  # that the texts were in, if search.export wrote it
    text_pairs: bool | None = None

    @classmethod
    def load(
        cls, folder: Path, form: str = PYTORCH, threads: int | None = None, *, device: str = "cpu"
    ) -> "ServedModel":
        """The model of a folder, in PyTorch on this device, in an ONNX form on so many threads of
        the CPU (all if None).

        UserError if the folder does not have the form, or what runs it is not installed.
        """
        config = _read_json(folder, "config.json")
        labels = config.get("id2label", LABELS)
        names = [labels[number] for number in sorted(labels, key=int)]
        if form == PYTORCH:
            forward, inputs = _torch(folder, device)
        else:
            forward, inputs = _onnx(folder, form, threads)
        texts = config.get(TEXT_COLUMN), config.get(TEXT_PAIRS)
        return cls(TextEncoder.load(folder), inputs, forward, names, *texts)

    def logits(self, texts: Sequence[Text], batch_size: int = BATCH) -> np.ndarray:
        """Of N texts in their order, float32 [N, C]; computed in batches of similar length."""
        results = np.empty((len(texts), len(self.label_names)), dtype=np.float32)
        for start in range(0, len(texts), ENCODED):
            encoded = self.encoder.encode(texts[start : start + ENCODED])
            lengths = np.array([len(ids) for ids, _ in encoded])
            for rows in batches_by_length(lengths, batch_size):
                batch = self._padded([encoded[row] for row in rows])
                results[start + rows] = self.forward(batch)
        return results

    def arrays(self, texts: Sequence[Text]) -> Arrays:
        """What the model is given of one batch of texts."""
        return self._padded(self.encoder.encode(texts))

    def _padded(self, encoded: Sequence[Encoded]) -> Arrays:
        shape = len(encoded), max(len(ids) for ids, _ in encoded)
        arrays = {name: np.zeros(shape, dtype=np.int64) for name in self.inputs}
        arrays["input_ids"].fill(self.encoder.pad_id)
        for row, (ids, types) in enumerate(encoded):
            columns = slice(len(ids))
            arrays["input_ids"][row, columns] = ids
            arrays["attention_mask"][row, columns] = 1
            if TOKEN_TYPES in arrays:
                arrays[TOKEN_TYPES][row, columns] = types
        return arrays


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / name).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: has no readable {name}; give a folder that search.export wrote"
        ) from None


def _torch(folder: Path, device: str) -> tuple[Callable[[Arrays], np.ndarray], list[str]]:
    import torch

    from trainable.models.loading import load_classifier
    from trainable.models.model_outputs import has_token_types

    quiet_libraries()
    model: Any = load_classifier(folder).eval()
    model.to(device)
    types = [TOKEN_TYPES] if has_token_types(model.config) else []

    @torch.inference_mode()
    def forward(arrays: Arrays) -> np.ndarray:
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return np.asarray(model(**tensors).logits.cpu().numpy())

    return forward, ["input_ids", "attention_mask", *types]


def _onnx(
    folder: Path, form: str, threads: int | None
) -> tuple[Callable[[Arrays], np.ndarray], list[str]]:
    path = folder / ONNX_FILES[form]
    if not path.is_file():
        flag = "--int8" if form == INT8 else "--onnx"
        raise UserError(f"--form {form}: {folder} has none; make it with search.export {flag}")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"--form {form}: onnxruntime is not installed; {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda arrays: session.run(["logits"], arrays)[0], [i.name for i in session.get_inputs()]

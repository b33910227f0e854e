"""The examples in the tokens of a model, made once and found again by digest."""

import json
from collections.abc import Collection
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import PreTrainedModel

from trainable.common.digest import digest_values
from trainable.common.files import (
    atomic_folder,
    digest_file,
    verified_values,
    write_json,
    write_manifest,
)
from trainable.data.sources import Sources
from trainable.data.tokens import load_split, save_split, tokenise
from trainable.data.vocabulary import load_vocabulary, padding_id, save_vocabulary, tokens_in_use
from trainable.teacher.teacher import TeacherData

PLAIN = (bool, int, float, str)  # what a setting of a tokenizer in Python is


def same_tokens(first: Any, second: Any) -> bool:
    """Whether two tokenizers make the same of every text."""
    return tokenizer_digest(first) == tokenizer_digest(second)


def tokenizer_digest(tokenizer: Any) -> str:
    """Of a fast tokenizer's definition, of a slow one's class, files and settings; and of what
    else decides a text's tokens and their types."""
    also = {"inputs": tokenizer.model_input_names, "truncation_side": tokenizer.truncation_side}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        without_last_call = {"truncation": None, "padding": None}
        return digest_values({**json.loads(backend.to_str()), **without_last_call, **also})
    own = signature(type(tokenizer)).parameters  # not where it was loaded from
    also["settings"] = {
        name: value
        for name, value in tokenizer.init_kwargs.items()
        if name in own and not name.endswith(("_file", "_token")) and isinstance(value, PLAIN)
    }
    with TemporaryDirectory() as folder:
        files = map(Path, tokenizer.save_vocabulary(folder))
        also["files"] = [digest_file(file) for file in files]
    return digest_values({"class": type(tokenizer).__name__, **tokenizer.get_vocab(), **also})


def _complete(path: Path, tokenizer: Any) -> None:
    """Has the file say which inputs a text becomes, which the library leaves to its classes."""
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**config, "model_input_names": list(tokenizer.model_input_names)})


def prepare_tokens(
    tokenizer: Any, model: PreTrainedModel, inputs: Sources, cache: Path
) -> TeacherData:
    """The tokenised splits, from the cache where the same ones were made before."""
    pad_id = padding_id(tokenizer.pad_token_id)
    padding_row = padding_id(model.get_input_embeddings().padding_idx or 0)
    digest = digest_values(
        {
            "data": inputs.dataset.digest,
            "tokenizer": tokenizer_digest(tokenizer),
            "max_length": inputs.max_length,
            **({"padding_row": padding_row} if padding_row > pad_id else {}),
        }
    )
    folder, splits = cache / "tokens" / digest[:16], inputs.dataset.splits
    if verified_values(folder) is None:
        with atomic_folder(folder) as temporary:
            for name, part in splits.items():
                split = tokenise(tokenizer, part.texts, part.labels, inputs.max_length)
                save_split(split, temporary, name)
            token_ids = [load_split(temporary, name).token_ids for name in splits]
            last_fixed = max(pad_id, padding_row)
            in_use = tokens_in_use(token_ids, tokenizer.all_special_ids, last_fixed)
            save_vocabulary(in_use, temporary)
            tokenizer.model_max_length = inputs.max_length  # as pipelines are to truncate
            tokenizer.padding_side = "right"  # as students are trained
            tokenizer.save_pretrained(temporary / "tokenizer")
            _complete(temporary / "tokenizer" / "tokenizer_config.json", tokenizer)
            write_manifest(temporary, {"label_names": inputs.dataset.label_names})
    return load_data(folder, splits, pad_id, digest)


def load_data(folder: Path, splits: Collection[str], pad_id: int, digest: str) -> TeacherData:
    """The splits of a folder that `prepare_tokens` made."""
    loaded = {name: load_split(folder, name) for name in splits}
    return TeacherData(folder, loaded, load_vocabulary(folder), pad_id, digest)

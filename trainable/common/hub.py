"""Whether a hub id can be had, asked once and quickly: the libraries' own retries take a minute."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Literal

from trainable.common.errors import UserError

ANSWER_SECONDS = 10.0
CONFIG = "config.json"
REMEDY = "give a local path or a hub id"


def require_on_hub(flag: str, kind: Literal["model", "dataset"], name: str) -> None:
    """UserError, which names the flag, unless the hub knows `name`; asks nothing in its offline
    mode."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return
    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    try:
        ask(name, timeout=ANSWER_SECONDS)
    except GatedRepoError:
        raise UserError(
            f"{flag} {name}: the hub asks for its terms to be accepted, and a login"
        ) from None
    except (HFValidationError, RepositoryNotFoundError):
        raise UserError(f"{flag} {name}: neither a local path nor on the hub; {REMEDY}") from None
    except Exception as error:
        raise UserError(
            f"{flag} {name}: no such local path, and the hub cannot be reached "
            f"({type(error).__name__}); {REMEDY} (--preset mini needs no hub)"
        ) from error


def require_model(flag: str, source: str) -> None:
    """UserError unless it is a local folder, a model in the hub's cache, or one the hub knows."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    cached = None
    with suppress(HFValidationError):
        cached = try_to_load_from_cache(source, CONFIG)
    if not (Path(source).expanduser().is_dir() or isinstance(cached, str)):
        require_on_hub(flag, "model", source)


def size_of(flag: str, source: str) -> tuple[int | None, int | None]:
    """How many layers a model's configuration says it has, and how wide they are, without loading
    the models' library; None where that can't be read. Raises as `require_model`."""
    from huggingface_hub import hf_hub_download

    require_model(flag, source)
    folder = Path(source).expanduser()
    try:
        path = folder / CONFIG if folder.is_dir() else Path(hf_hub_download(source, CONFIG))
        values = json.loads(path.read_text(encoding="utf-8"))
        layers = values.get("num_hidden_layers", values.get("n_layers"))  # DistilBERT's
        width = values.get("hidden_size", values.get("dim"))
    except Exception:  # what is wrong is told when the model is loaded
        return None, None
    layers, width = (n if type(n) is int and n > 0 else None for n in (layers, width))
    return layers, width

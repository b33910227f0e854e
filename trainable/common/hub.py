"""Whether a hub id can be had, asked once and quickly: the libraries' own retries take a minute."""

from contextlib import suppress
from pathlib import Path
from typing import Literal

from trainable.common.errors import UserError

ANSWER_SECONDS = 10.0
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
        cached = try_to_load_from_cache(source, "config.json")
    if not (Path(source).expanduser().is_dir() or isinstance(cached, str)):
        require_on_hub(flag, "model", source)

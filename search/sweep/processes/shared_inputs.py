"""Teacher and data on every node: uploaded to the run's storage once, fetched by digest.

They lie beside the runs of a storage. A run that goes on from another machine finds them there.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from filelock import FileLock
from pyarrow.fs import FileType, copy_files
from rich.console import Console

from search.policy.progress import describe_bytes
from search.record.run import Run
from search.record.storage import DIGESTS, join_name, open_storage, storage_of
from trainable.common.files import (
    MANIFEST,
    atomic_folder,
    digest_file,
    read_checked_json,
    verified_values,
    write_checked_json,
)
from trainable.config.options import users_cache
from trainable.config.training_inputs import TrainingInputs

SHARED = ".shared"  # beside the runs of a storage; no run can have that name


def share_inputs(run: Run, console: Console) -> Callable[[TrainingInputs], TrainingInputs]:
    """Uploads the run's inputs to its storage; returns a function that finds them on any node.

    Prints a line about what was uploaded; OSError where the storage fails.
    """
    storage, digests, uploaded = storage_of(run.folder.parent), {}, 0
    for folder in run.plan.inputs.folders():
        digest = digests[str(folder)] = _manifest_digest(folder)
        uploaded += _upload(folder, join_name(storage, f"{SHARED}/{digest}"))
    if uploaded:
        console.print(f"Uploaded teacher and data to {storage}: {describe_bytes(uploaded)}.")
    write_checked_json(run.folder / DIGESTS, digests)
    return partial(inputs_on_this_node, storage=storage, digests=digests)


def inputs_on_this_node(
    inputs: TrainingInputs, *, storage: str, digests: Mapping[str, str]
) -> TrainingInputs:
    """The inputs with each folder where this node has it, fetched where it has not.

    OSError where what the storage gives is damaged; the next session uploads it anew.
    """
    here = {path: str(_folder_here(Path(path), storage, d)) for path, d in digests.items()}
    return inputs.moved(here)


def inputs_of(run: Run) -> TrainingInputs:
    """A run's inputs; those that are gone here are fetched from the storage that has them.

    Where none has them, the paths stay as they were.
    """
    inputs, known, here = run.plan.inputs, read_checked_json(run.folder / DIGESTS), {}
    if known is None:
        return inputs
    for folder in inputs.folders():
        here[str(folder)] = str(folder)
        if str(folder) in known and verified_values(folder) is None:
            with suppress(OSError):
                storage = storage_of(run.folder.parent)
                here[str(folder)] = str(_folder_here(folder, storage, known[str(folder)]))
    return inputs.moved(here)


def _manifest_digest(folder: Path) -> str:
    """What a sealed folder holds, in sixteen digits; empty where it has no manifest."""
    manifest = folder / MANIFEST
    return digest_file(manifest)[:16] if manifest.is_file() else ""


def _upload(folder: Path, target: str) -> int:
    """Takes a sealed folder there unless it is there; returns the bytes that were taken.

    The manifest goes last, so that where it is, all is.
    """
    filesystem, path = open_storage(target)
    if filesystem.get_file_info(f"{path}/{MANIFEST}").type != FileType.NotFound:
        return 0
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in sorted(files, key=lambda file: (file.name == MANIFEST, file)):
        copy = f"{path}/{file.relative_to(folder)}"
        filesystem.create_dir(copy.rpartition("/")[0], recursive=True)
        copy_files(str(file), copy, destination_filesystem=filesystem)
    return sum(file.stat().st_size for file in files)


def _folder_here(folder: Path, storage: str, digest: str) -> Path:
    """The folder itself where this node has it; else its copy, fetched by whoever is first."""
    if _manifest_digest(folder) == digest:
        return folder
    content = Path(users_cache()) / "fetched" / digest / "content"
    content.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(content.parent / ".lock"):  # other trials of this node want the same
        if _manifest_digest(content) != digest:
            filesystem, path = open_storage(join_name(storage, f"{SHARED}/{digest}"))
            with atomic_folder(content) as temporary:
                copy_files(path, str(temporary), source_filesystem=filesystem)
                complete = verified_values(temporary, every_byte=True) is not None
                if not complete or _manifest_digest(temporary) != digest:
                    filesystem.delete_file(f"{path}/{MANIFEST}")
                    raise OSError(f"{path} is damaged; the next session uploads it again")
    return content

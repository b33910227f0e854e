"""A confirmation's last step: its best student on the test split, once."""

from pathlib import Path

from rich.console import Console

from search.policy.still_to_come import is_complete
from search.record.run import read_run
from search.record.storage import RecordCopy, location, open_storage, read_bytes
from trainable.common.errors import UserError
from trainable.common.files import atomic_file

TEST = "test.md"


def score_on_test(folder: Path, code: int, console: Console) -> int:
    """Prints how the recommended recipe's student does on the test split, if there is one, once the
    confirmation is complete; returns the exit code. It is scored once: TEST keeps the answer."""
    run, path = read_run(folder), folder / TEST
    if not is_complete(run) or not run.plan.inputs.test_digest:
        return code
    if not path.exists():
        from search.students.unseen import score_once  # with torch

        filesystem, place = open_storage(location(folder))
        content = read_bytes(filesystem, f"{place}/{TEST}")  # as another machine scored it
        try:
            content = content or f"{score_once(run)}\n".encode()
        except UserError as error:  # nothing kept, or other data now
            console.print(f"Test: not scored: {error}.", soft_wrap=True)
            return code
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        with RecordCopy(folder) as copy:
            copy.copy(TEST)
    console.print(path.read_text(encoding="utf-8").strip(), soft_wrap=True)
    return code

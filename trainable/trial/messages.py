"""What a trial says to the sweep that it is part of, beside the metrics that Tune keeps."""

from dataclasses import dataclass
from typing import Any

MESSAGE = "message"  # its key in a result
# Kinds of failure after which trying again would not help, or not in the same way.
DIVERGED, OUT_OF_MEMORY = "diverged", "out of GPU memory"
NOT_CAPTURED = "not captured"  # to be tried again otherwise, in another process
DISK = "disk"  # a file that can't be read or written; other trials would fail on it, too


@dataclass(frozen=True)
class Message:
    """An evaluation, or why the trial is about to fail; a result without a message only brings a
    checkpoint. `fallbacks` say what of the execution was wanted otherwise."""

    evaluation: dict[str, Any] | None = None  # as it is recorded, predictions included
    restored: bool = False  # whether the evaluation comes from a checkpoint
    fallbacks: tuple[str, ...] = ()
    failure: str | None = None  # one of the kinds above
    reason: str = ""  # of the failure

"""How a number was made: command, commit, versions, device."""

import platform
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainable.engine.devices import device_name

PACKAGES = ("ray", "torch", "transformers", "datasets", "optuna", "numpy", "scipy")


def provenance(arguments: Sequence[str], module: str = "search.run") -> dict[str, Any]:
    """JSON values that go into `sweep.json`; what git knows is None outside a checkout."""
    changes = _git("status", "--porcelain")
    return {
        "command": shlex.join(["python", "-m", module, *arguments]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": None if changes is None else bool(changes),
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "device": device_name(),
    }


def _version(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None


def _git(*arguments: str) -> str | None:
    """git's output for the folder of this code, or None."""
    command, folder = ["git", *arguments], Path(__file__).parent
    settings: dict[str, Any] = {"stderr": subprocess.DEVNULL, "text": True, "timeout": 10}
    with suppress(OSError, subprocess.SubprocessError):
        return str(subprocess.check_output(command, cwd=folder, **settings)).strip()
    return None

"""The search spaces: each a short function, in a file of its own name, that Ray Tune takes.

A space that lists what it tries, `f()` or `f(inputs)`, returns constants and `tune.grid_search`
lists, for `tune.Tuner(param_space=...)`. One that is searched, `f(trial)` or `f(trial, inputs)`,
draws with `trial.suggest_categorical`, `suggest_float` and `suggest_int`, for
`OptunaSearch(space=...)`; it returns what it does not draw. POINTS_TO_EVALUATE beside it says which
draws come first, and PRIORS where good values are expected: by name a pair of the expected value
and its standard deviation (a factor where `log=True`), or weights of values, 1 where not given:

    PRIORS = {"alpha": (0.5, 0.2), "initialisation": {"teacher_spread": 5, "teacher_lower": 3}}

`inputs` are `Inputs`. Other parameters must have defaults. Ray is loaded when a space is called, so
that a command's --help needs none.
"""

import inspect
import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from spaces._inputs import Inputs as Inputs
from trainable.common.errors import UserError, as_user_error, not_among

Space = Callable[..., Any]

SPACES: dict[str, Space] = {
    file.stem: getattr(import_module(f"spaces.{file.stem}"), file.stem)
    for file in sorted(Path(__file__).parent.glob("[!_]*.py"))
}
SPACE_NAMES = tuple(SPACES)
globals().update(SPACES)  # `spaces.schedules` is the function, not its module


def is_searched(space: Space) -> bool:
    """Whether a space draws its values from a trial, rather than listing them."""
    return next(iter(inspect.signature(space).parameters), "") == "trial"


def call_space(space: Space, inputs: Inputs, *trial: Any) -> Any:
    """What a space returns; a searched one for this trial."""
    asks = "inputs" in inspect.signature(space).parameters
    return space(*trial, **({"inputs": inputs} if asks else {}))


SEARCHED = tuple(name for name, space in SPACES.items() if is_searched(space))


def load_space(name: str) -> tuple[Space, list[dict[str, Any]], dict[str, Any]]:
    """A space by its name or as FILE.py:NAME, the draws that it begins with, and its priors.

    UserError for a name, file or function that is not there, and for a file that can't be loaded.
    """
    if ".py:" not in name:
        if name not in SPACE_NAMES:
            raise UserError(f"--space {not_among(name, (*SPACE_NAMES, 'FILE.py:NAME'))}")
        module, function = sys.modules[SPACES[name].__module__], name
    else:
        path, _, function = name.rpartition(":")
        module = _load_file(name, Path(path).expanduser())
    space = getattr(module, function, None)
    if not callable(space):
        own = [v for v in vars(module).values() if inspect.isfunction(v)]
        has = ", ".join(f.__name__ for f in own if f.__module__ == module.__name__) or "none"
        raise UserError(f"--space {name}: no function {function} there; it has {has}")
    with as_user_error(f"--space {name}: ", named=True):  # some of C's have no signature
        parameters = inspect.signature(space).parameters
    required = [key for key, about in parameters.items() if about.default is about.empty]
    if required not in ([], ["inputs"], ["trial"], ["trial", "inputs"]):
        raise UserError(
            f"--space {name}: its parameters are {', '.join(required)}, but a space takes `trial` "
            "(if it is searched), `inputs`, both in this order, or nothing"
        )
    points, priors = getattr(module, "POINTS_TO_EVALUATE", []), getattr(module, "PRIORS", {})
    if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
        given = " ".join(repr(points)[:80].split())
        raise UserError(f"--space {name}: POINTS_TO_EVALUATE: {given} is not a list of dicts")
    if not isinstance(priors, dict):
        raise UserError(f"--space {name}: PRIORS: {str(priors)[:80]!r} is not a dict")
    return space, points, priors


def file_digest(name: str) -> str:
    """Of the file of a FILE.py:NAME; empty where there is none, as for the project's own spaces."""
    path = Path(name.rpartition(":")[0])
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@cache  # a searched space is asked for with each draw, and stays as it was
def _load_file(name: str, path: Path) -> ModuleType:
    """Never from bytecode: it may be that of the file before it was edited."""
    if not path.is_file():
        raise UserError(f"--space {name}: no such file")
    module = ModuleType(f"{path.stem} of {path.parent}")  # no other module has that name
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    with as_user_error(f"--space {name}: ", named=True):
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    return module

"""The two ways a request ends early: the user can put it right, or the trial itself broke down."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """Something given is unusable; the message is one line that says what would be right."""


class TrainingDivergedError(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the settings there."""


def not_among(value: object, valid: Iterable[str]) -> str:
    """The message for a name outside `valid`: the nearest one if it is close, and all."""
    choices = list(valid)
    return f"{value!r} is not known; {nearest(value, choices)}choose from {', '.join(choices)}"


def nearest(value: object, valid: Iterable[str]) -> str:
    """`did you mean X? ` where a valid name is close, else nothing."""
    near = get_close_matches(str(value), list(valid), n=1)
    return f"did you mean {near[0]}? " if near else ""


def unknown_name(setting: str, value: object, valid: Iterable[str]) -> UserError:
    """The error for a setting whose value is outside `valid`."""
    return UserError(f"{setting}: {not_among(value, valid)}")


def count_of(number: int, kind: str = "trial") -> str:
    """`1 trial` or `3 trials`."""
    return f"{number:,} {kind}{'' if number == 1 else 's'}"


def error_line(message: object) -> str:
    """`error: ...` on one line: what was typed is repeated with its control characters escaped."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(message))
    return f"error: {text}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def as_user_error(
    what: str, kind: type[Exception] = Exception, *, named: bool = False
) -> Iterator[None]:
    """Within, an error of this kind becomes a UserError: `what`, with `named` its class, its own
    message."""
    try:
        yield
    except UserError:
        raise
    except (kind, SystemExit) as error:  # which a user's own code may raise, too
        name = f"{type(error).__name__}: " if named else ""
        raise UserError(f"{what}{name}{first_line(error)}") from error

"""The command line of `python -m search.run`."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from search.cluster import LOCAL
from search.objectives import OBJECTIVES
from search.remote_runs import check_writable, is_uri, local_runs, open_storage, plain_uri
from search.schedulers import SCHEDULERS
from search.searchers import GRID, SEARCHERS, SUGGESTIONS
from search.tracking_modes import OFF, TRACKING_MODES
from spaces import SEARCHED_SPACES, SPACE_NAMES, SPACES
from trainable.arguments import (
    OneLineParser,
    add_input_arguments,
    at_least_zero,
    one_of,
    positive,
    writable_folder,
)
from trainable.config import TrialConfig
from trainable.errors import UserError, unknown_name

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
KEEP, RETRIES = 5, 2
# What changes no trial's numbers.
OPERATION = ("max_concurrent", "trials_per_gpu", "keep", "retries", "swanlab", "address")
EXTENSION = ("space", "overrides", "additions", "seeds", "samples", "time_budget")
TIME_BUDGET = r"(\d+(?:\.\d+)?)(s|m|h)"
SECONDS = {"s": 1, "m": 60, "h": 3600}

EXAMPLE = """\
examples:
  python -m search.run --space schedules
  python -m search.run --space study --dataset my_folder --set epochs=1
  python -m search.run --space recipe --time-budget 2h
  python -m search.run --resume NAME
  python -m search.run --resume NAME --seeds 3
"""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(
        prog="python -m search.run",
        description="Searches for the best recipe to distil an encoder text classifier.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--space",
        type=one_of(SPACE_NAMES),
        metavar="S",
        help=f"what to try: {', '.join(SPACES)} are tried whole, {', '.join(SEARCHED_SPACES)} is "
        "searched",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run (name or path) as it was asked for; --space, --set, --add, --seeds, "
        "--samples and --time-budget add trials to it, and those it has are not run again",
    )
    add_input_arguments(parser)
    _add_space_arguments(parser)
    _add_sweep_arguments(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, say which trials would run and what time, memory and disk they "
        "would take (from a few measured steps), and run nothing",
    )
    return parser


def _add_space_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("trials")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="fix a setting in all trials, e.g. epochs=1; see python -m trainable --help",
    )
    group.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="additions",
        help="let the space try one more value of a setting that it varies, e.g. sharpness=5",
    )
    group.add_argument(
        "--samples",
        type=positive,
        metavar="N",
        help="draw so many of the space's configurations; where it is searched, suggest so many "
        f"(all; {SUGGESTIONS} where it is searched)",
    )
    group.add_argument(
        "--searcher",
        type=one_of((GRID, *SEARCHERS)),
        metavar="S",
        help=f"what suggests the configurations of {', '.join(SEARCHED_SPACES)}: "
        f"{', '.join(SEARCHERS)}; of every other space the whole {GRID} is tried "
        f"({next(iter(SEARCHERS))})",
    )
    group.add_argument(
        "--time-budget",
        type=time_budget,
        metavar="TIME",
        help="suggest no more after so long, e.g. 30m or 2h; trials under way are completed",
    )
    group.add_argument(
        "--against",
        type=one_of(OBJECTIVES),
        metavar="COST",
        help="try students of a half, a third and a quarter of the teacher's layers (--set "
        "student_layers=N: of N down to half of it), and weigh accuracy against their depth (in "
        "layers) or their latency (in milliseconds a sentence, measured here)",
    )
    group.add_argument(
        "--seeds",
        type=positive,
        metavar="N",
        help="run each configuration on so many seeds, counted from --seed (1)",
    )
    group.add_argument(
        "--seed",
        type=at_least_zero,
        default=0,
        metavar="N",
        help="decides the order of the trials and is each trial's seed (%(default)s)",
    )


def _add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sweep")
    group.add_argument("--name", help="name of the run (space, preset and time)")
    group.add_argument(
        "--storage",
        default="runs",
        metavar="DIR",
        help="folder of all runs, or a URI such as s3://bucket/runs, which every node of a cluster "
        "reaches (%(default)s)",
    )
    group.add_argument(
        "--scheduler",
        type=one_of(SCHEDULERS),
        default="asha",
        metavar="S",
        help="asha stops weak trials early, fifo runs all to the end (%(default)s)",
    )
    group.add_argument(
        "--compare-within",
        metavar="P",
        help="asha compares trials only with those that share these settings: init, a comma list "
        "of settings, or all for no such limit (init, all where the space is searched; with "
        "--against also student_layers)",
    )
    add_operation_arguments(group)


def add_operation_arguments(group: argparse._ArgumentGroup) -> None:
    """The flags that change no trial's numbers: OPERATION."""
    group.add_argument(
        "--max-concurrent",
        type=positive,
        metavar="N",
        help="most trials at once (one a core, or --trials-per-gpu on each GPU)",
    )
    group.add_argument(
        "--trials-per-gpu",
        type=positive,
        metavar="N",
        help="trials that share a GPU, where there is one (measured)",
    )
    group.add_argument(
        "--keep",
        type=at_least_zero,
        metavar="N",
        help=f"best students of the sweep whose weights are kept ({KEEP})",
    )
    group.add_argument(
        "--retries",
        type=at_least_zero,
        metavar="N",
        help=f"times that a trial that crashed goes on from its checkpoint ({RETRIES})",
    )
    group.add_argument(
        "--swanlab",
        type=one_of(TRACKING_MODES),
        metavar="MODE",
        help="write each trial that has ended to SwanLab: offline (in the run's folder swanlab, "
        f"for `swanlab sync`), cloud (needs a login), or off ({OFF})",
    )
    group.add_argument(
        "--address",
        metavar="A",
        help="the Ray cluster to run in, of which this machine is a node: auto for the one that "
        f"runs here, HOST:PORT of its head, or {LOCAL} for this machine alone ({LOCAL})",
    )


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The checked command line; exits with code 2 after one line where it is wrong.

    What only a new run needs and `--resume` leaves open is None.
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.resume is None and arguments.space is None:
        parser.error(f"--space: missing; valid: {', '.join(SPACE_NAMES)} (or --resume RUN)")
    if arguments.resume is not None:
        allowed = {"resume", "storage", "dry_run", *OPERATION, *EXTENSION}
        for name, value in vars(arguments).items():
            if name not in allowed and value != parser.get_default(name):
                flag = "--" + name.replace("_", "-")
                parser.error(f"{flag} {value}: not beside --resume; a run keeps its settings")
    elif arguments.name is not None and not re.fullmatch(NAME, arguments.name):
        parser.error(f"--name {arguments.name}: give letters, digits, '.', '_' and '-' only")
    return arguments


def time_budget(text: str) -> float:
    """Seconds, from `90s`, `30m` or `2h`."""
    found = re.fullmatch(TIME_BUDGET, text)
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text}: give a time such as 90s, 30m or 2h")
    return float(found[1]) * SECONDS[found[2]]


def default_strata(space: str, against: str | None) -> str:
    """What `--compare-within` is where it is not given.

    A space that lists its configurations is there to show them all, so that a random student must
    not fall to one copied from the teacher; one that is searched is after the best.
    """
    within = [] if space in SEARCHED_SPACES else ["init"]
    return ",".join(within if against is None else [*within, "student_layers"]) or "all"


def parse_strata(text: str) -> tuple[str, ...]:
    """The settings that divide trials into strata; `()` for `all`, one stratum."""
    if text == "all":
        return ()
    known = [setting.name for setting in fields(TrialConfig)]
    names = tuple("initialisation" if name == "init" else name for name in text.split(","))
    for name in names:
        if name not in known:
            raise unknown_name("--compare-within", name, ("init", "all", *known))
    return names


def storage_folder(text: str) -> Path:
    """The absolute folder of all runs, of their local copies where they lie at a URI.

    UserError where it can't be written to.
    """
    if is_uri(text):
        check_writable(plain_uri(text))
        return place_of_runs(text)
    try:
        return writable_folder(text)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--storage {error}") from None


def place_of_runs(text: str) -> Path:
    """The same to look in only, where it need not be writable."""
    if is_uri(text):
        open_storage(plain_uri(text))
        return local_runs(plain_uri(text))
    return Path(text).expanduser().resolve()

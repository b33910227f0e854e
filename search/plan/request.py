"""What a run is asked for: declared here once, as typed values.

Flags, their help and checks, and what `--resume` may change all follow from the fields of
`Request`; what a request resolves to is in `search.plan.resolve`.
"""

import re
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from search.plan.objectives import OBJECTIVES
from search.plan.rungs import SCHEDULERS
from search.plan.time_split import FINALS
from spaces import SEARCHED, SPACE_NAMES
from trainable.common.errors import UserError, not_among
from trainable.config.fields import converted, described, field_types
from trainable.config.names import FORMS, PYTORCH
from trainable.config.options import InputOptions, absolute
from trainable.config.trial_config import TrialConfig

INITIALISATION = "initialisation"
GRID = "grid"  # no searcher: the space lists its configurations, and the plan has them all
SEARCHERS = ("prior", "optuna", "random")  # `search.policy.suggestions.SAMPLERS`
SUGGESTIONS = 40  # configurations, where neither --samples nor --time-budget is given
LOCAL = "local"  # this machine alone, no Ray cluster
OFF, OFFLINE, CLOUD = "off", "offline", "cloud"  # whether and where SwanLab shows a sweep
SECONDS = {"s": 1, "m": 60, "h": 3600}
# What a field decides, and so whether `--resume` may change it.
TRIALS = "trials"  # which trials there are
EXTENSION = "extension"  # the same; more of it adds trials to a run
OPERATION = "operation"  # how they are run: no trial's numbers
_trials, _extension, _operation = (
    partial(described, kind=kind) for kind in (TRIALS, EXTENSION, OPERATION)
)


def parse_space(text: str) -> str:
    """A space's name, or FILE.py:NAME with the file's path written out, as `absolute` has it."""
    if text in SPACE_NAMES:
        return text
    file, colon, name = text.rpartition(":")
    if not file.endswith(".py"):
        raise UserError(not_among(text, (*SPACE_NAMES, "FILE.py:NAME")))
    return f"{absolute(file)}{colon}{name}"


def parse_pair(text: str) -> tuple[str, Any]:
    """`epochs=1` as a setting and its value; UserError for an unknown setting or no number."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{text}: give KEY=VALUE, for example epochs=1")
    name, types = key.replace("-", "_"), field_types(TrialConfig)
    if name not in types:
        raise UserError(f"{text}: {not_among(name, sorted(types))}")
    if name == "seed":  # finals, a race and a confirmation count on from the request's
        raise UserError(f"{text}: give --seed, the first seed of each recipe")
    return name, converted(types[name][0], value, f"{name}: ")


def parse_unit(text: str, unit: str) -> float:
    """The number of `3ms` or `20M`."""
    try:
        if not text.endswith(unit):
            raise ValueError
        return float(text.removesuffix(unit))
    except ValueError:
        raise UserError(f"{text[:40]}: give a number and {unit}, such as 20{unit}") from None


def parse_time(text: str) -> float:
    """Seconds, from `90s`, `30m` or `2h`."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text)
    seconds = 0.0 if parts is None else float(parts[1]) * SECONDS[parts[2]]
    if not 0 < seconds <= 9999 * SECONDS["h"]:
        raise UserError(f"{text[:40]}: give a time such as 90s, 30m or 2h, of at most 9999h")
    return seconds


def parse_strata(text: str) -> str:
    """`init`, `all` or a comma list of settings; UserError for an unknown setting."""
    known = [setting.name for setting in fields(TrialConfig)]
    for name in text.split(","):
        if name not in known and text != "all" and name != "init":
            raise UserError(not_among(name, ("init", "all", *known)))
    return text


@dataclass(frozen=True, kw_only=True)
class Request(InputOptions):
    """A space on some inputs, and how its trials are run; None where that is left open."""

    space: str = _extension(
        f"what to try: {', '.join(SPACE_NAMES)}, or a function of your own as FILE.py:NAME; "
        f"{', '.join(SEARCHED)} is searched, of the others every configuration is tried",
        parse=parse_space,
    )
    overrides: tuple[tuple[str, Any], ...] = _extension(
        "fix a setting in all trials, e.g. epochs=1; see python -m trainable --help",
        (),
        parse=parse_pair,
        flag="set",
    )
    additions: tuple[tuple[str, Any], ...] = _extension(
        "let the space try one more value of a setting that it varies, e.g. sharpness=5",
        (),
        parse=parse_pair,
        flag="add",
    )
    samples: int | None = _extension(
        "number of configurations: drawn from a grid (default: all), or suggested by the searcher "
        f"(default: {SUGGESTIONS})",
        None,
        low=1,
    )
    searcher: str | None = _trials(
        "how the configurations of a searched space are suggested; every other space is a grid "
        f"(default: {SEARCHERS[0]})",
        None,
        choices=(GRID, *SEARCHERS),
    )
    time_budget: float | None = _extension(
        "time to spend, e.g. 30m or 2h, beside the teacher's fine-tuning: a third on suggestions, "
        "the rest on --finals; running trials finish",
        None,
        parse=parse_time,
        metavar="TIME",
    )
    finals: int | None = _extension(
        "searched spaces: train the default and this many of the best recipes again, for as long "
        "as the rest of the budget allows (twice as long as the search took, where there is no "
        f"--time-budget), on the texts of --transfer (augment, if not given), too; 0 for "
        f"none (default: {FINALS}; with "
        "--against 0)",
        None,
        low=0,
        high=100,
    )
    against: str | None = _trials(
        "try students with a half, a third and a quarter of the teacher's layers (with --set "
        "student_layers=N: from N down to N/2), and compare the score with depth (layers), latency "
        "(milliseconds per example, measured here) or parameters (millions)",
        None,
        choices=OBJECTIVES,
    )
    max_latency: float | None = _trials(
        "longest time for one text, e.g. 3ms: measured here in the --runtime before anything is "
        "trained; slower students are not tried, and at depths that are too slow a searched space "
        "tries half of the feed-forward neurons",
        None,
        parse=partial(parse_unit, unit="ms"),
        metavar="TIME",
        above=0.0,
    )
    max_parameters: float | None = _trials(
        "most parameters of a student, e.g. 20M",
        None,
        parse=partial(parse_unit, unit="M"),
        metavar="COUNT",
        above=0.0,
    )
    runtime: str = _trials(
        "what runs the students whose latency is measured (onnx needs the extra [onnx])",
        PYTORCH,
        choices=FORMS,
    )
    seeds: int = _extension(
        "number of seeds per configuration, counted from --seed; of a searched space at most: once "
        "the --finals (without them, all) are trained, those that may still be the best get "
        "another one, and so on, beyond the --time-budget; finals have more wherever time is left",
        1,
        low=1,
        high=1000,
    )
    seed: int = _trials("order of the trials, and the first seed of each", 0, low=0, high=2**31)
    scheduler: str | None = _trials(
        "asha stops a trial that is below the median of those before it at a rung; with promotion "
        "trials wait at a rung, and the better half of them goes on; fifo runs all to the end "
        "(default: promotion for a searched space, asha for one that lists what it shows)",
        None,
        choices=SCHEDULERS,
    )
    grace_evaluations: int | None = _trials(
        "evaluations before the first rung (default: the preset's with asha, a fifth of them with "
        "promotion, but 50 steps at least)",
        None,
        low=1,
    )
    compare_within: str | None = _trials(
        "asha and promotion compare trials only with those that share these settings: init, a "
        "comma list of settings, or all for no such limit (default: init; all for a searched "
        "space; plus student_layers with --against)",
        None,
        parse=parse_strata,
    )
    max_concurrent: int | None = _operation(
        "maximum number of trials at once (default: one per core, or --trials-per-gpu per GPU)",
        None,
        low=1,
    )
    trials_per_gpu: int = _operation("trials that share each GPU", 1, low=1, high=100)
    keep: int = _operation("number of best students whose checkpoints are kept", 5, low=0)
    retries: int = _operation("how often a crashed trial restarts from its checkpoint", 2, low=0)
    swanlab: str = _operation(
        "log each trial to SwanLab when it ends: offline (to the folder swanlab of the run, for "
        "`swanlab sync`), cloud (needs a login)",
        OFF,
        choices=(OFF, OFFLINE, CLOUD),
    )
    address: str = _operation(
        "the Ray cluster to run in, of which this machine is a node: auto for the one that runs "
        "here, HOST:PORT of its head, or local for this machine alone",
        LOCAL,
    )

    @property
    def limited(self) -> bool:
        """Whether what a student may cost is limited."""
        return self.max_latency is not None or self.max_parameters is not None


def names_of_kind(*kinds: str) -> tuple[str, ...]:
    """The fields that decide this."""
    return tuple(about.name for about in fields(Request) if about.metadata.get("kind") in kinds)

"""Which recipes a confirmation retrains, on which seeds, and what it keeps of the run's request."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from search.plan.request import GRID
from search.plan.resolve import ResolvedRequest
from search.record.labels import find_trial
from search.record.run import Run
from search.record.run_folders import confirmations_of, name_here, name_problem
from search.record.trial_record import TrialRecord, by_recipe
from search.results.best_trials import best_finished, recipe_scores
from search.results.confirmation import Confirmation, fresh_seeds, plain_student
from search.results.precision import last_level, spread_in
from search.results.recommendation import expected_scores, recommended
from trainable.common.errors import UserError
from trainable.config.fields import check_fields, described, from_plain

TOP, SEEDS = 3, 5
MOST_SEEDS = 1000


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions:
    """What is to be confirmed, as the command line gives it."""

    top: int | None = described(
        f"number of finalists: the finished recipes expected to be the best (default: {TOP})",
        None,
        low=1,
        high=1000,
        metavar="K",
    )
    trials: tuple[str, ...] = described(
        "a finalist, instead of --top: its trial's digest or folder name, or the start of one; "
        "may be given several times",
        (),
        parse=str,
        flag="trial",
        metavar="T",
    )
    seeds: int | None = described(
        f"most fresh seeds per recipe (default: {SEEDS}); it ends earlier once all is decided",
        None,
        low=2,
        high=MOST_SEEDS,
    )
    precision: float | None = described(
        "instead of --seeds: as many as the run says are needed for differences known to plus or "
        "minus P points; a comparison that is as precise counts as decided",
        None,
        above=0,
        high=100,
        metavar="P",
    )
    name: str | None = described(
        "name of the confirmation (default: RUN-confirm)", None, metavar="NAME"
    )
    storage: str = described("folder or URI of all runs", "runs", metavar="DIR")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.trials and self.top is not None:
            raise UserError(
                f"--top {self.top}: cannot be combined with --trial, which names the finalists"
            )
        if self.precision is not None and self.seeds is not None:
            raise UserError(
                f"--precision {self.precision:g}: cannot be combined with --seeds; it says how many"
            )
        if self.name is not None and (problem := name_problem(self.name)):
            raise UserError(f"--name {problem}")

    @property
    def half_width(self) -> float | None:
        """`precision` in shares, not points."""
        return None if self.precision is None else self.precision / 100


def choose(source: Run, asked: ConfirmOptions) -> Confirmation:
    """What is asked for; UserError if the run has no finalists, or not the precision."""
    finalists = chosen_finalists(source, asked)
    count = most_seeds(source, asked) or SEEDS
    means = recipe_scores(source.trials.values())
    plain = plain_student(source.request, finalists[0].config)
    default = source.default_recipe if source.request.searched else None
    return Confirmation(
        run=source.folder.name,
        started=source.plan.provenance["started"],
        finalists=tuple(trial.config for trial in finalists),
        scores=tuple(means.get((trial.outcome, trial.config.recipe)) for trial in finalists),
        seeds=tuple(fresh_seeds(used_seeds(source), count)),
        asked=(count,),
        baselines=tuple(config for config in (plain, default) if config),
        precision=asked.half_width,
        top=None if asked.trials else asked.top or TOP,
    )


def chosen_finalists(source: Run, asked: ConfirmOptions) -> list[TrialRecord]:
    """Those that are asked for, else the recipes expected to be the best, in that order; UserError
    if the run has none."""
    named, chosen = named_trials(source, asked), recommended(source)
    trials = named or best_finished(source.trials.values())
    scores = expected_scores(source, source.finished)
    if chosen and not named:  # as what the others are compared with
        scores[chosen.trials[0].config.recipe.digest] = math.inf
    ranked = sorted(trials, key=lambda trial: -scores.get(trial.config.recipe.digest, 0.0))
    finalists = ranked[: len(named) or asked.top or TOP]
    if not finalists:
        raise UserError(
            f"RUN {source.folder.name}: no trial of it has finished, so there is nothing to "
            "confirm; resume it, or name one of its trials with --trial"
        )
    return finalists


def named_trials(source: Run, asked: ConfirmOptions) -> list[TrialRecord]:
    """The trials given by --trial, one a recipe, by falling best5; UserError for an unknown
    name."""
    groups = by_recipe(find_trial(source, name) for name in asked.trials)
    firsts = [trials[0] for trials in groups.values()]
    return sorted(firsts, key=lambda trial: -(trial.best5 or 0.0))


def most_seeds(source: Run, asked: ConfirmOptions) -> int | None:
    """Of each recipe, as asked for; with --precision P the fewest at which the interval of a
    difference at the last look is expected to be at most P points to either side.

    UserError if no number is enough, or the run does not say.
    """
    if asked.precision is None:
        return asked.seeds
    flag, spread = f"--precision {asked.precision:g}", spread_in(source)
    if spread is None:
        raise UserError(
            f"{flag}: the number of seeds is computed from two finished recipes of a run with "
            f"their per-example results, which {source.folder.name} lacks; give --seeds"
        )
    widths = {n: 100 * spread.half_width(n, last_level(n)) for n in range(2, MOST_SEEDS + 1)}
    if min(widths.values()) > asked.precision:
        examples = source.plan.inputs.examples
        least, usual = (math.ceil(10 * width) / 10 for width in (min(widths.values()), widths[20]))
        raise UserError(
            f"{flag}: no number of seeds is enough with "
            f"{examples.get('full', examples['evaluation']):,} validation examples; {least:g} is "
            f"possible with {MOST_SEEDS:,} seeds, and {usual:g} with 20: python -m search.confirm "
            f"{name_here(source.folder)} --precision {usual:g}"
        )
    return next(n for n, width in widths.items() if width <= asked.precision)


def used_seeds(source: Run) -> set[int]:
    """Of the run's trials, trained or not, and of its confirmations so far: their results may be
    the reason for another one, which would then be optimistic on the same seeds."""
    used = {trial.config.seed for trial in source.trials.values()}
    return used.union(*((c.plan.confirms or {})["seeds"] for c in confirmations_of(source)))


def request_of(source: Run, operation: Mapping[str, Any]) -> ResolvedRequest:
    """What the run was asked for, but of listed trials, none of which is stopped early."""
    listed = {"searcher": GRID, "samples": None, "time_budget": None, "against": None, "shapes": ()}
    strata = ",".join(source.plan.compare_within) or "all"
    fixed = {"scheduler": "fifo", "seeds": 1, "compare_within": strata, "space_digest": ""}
    return replace(source.request, **{**listed, **fixed, **operation})


def check_asked(source: Run, asked: ConfirmOptions, run: Run) -> Confirmation:
    """What the run confirms; UserError where that is not what the command line asks for."""
    name, confirms = run.folder.name, run.plan.confirms
    wanted = (source.folder.name, source.plan.provenance["started"])
    if confirms is None or (confirms["run"], confirms["started"]) != wanted:
        raise UserError(
            f"--name {name}: exists and does not confirm {source.folder.name}; give another"
        )
    there: Confirmation = from_plain(Confirmation, confirms)
    finalists = {config.recipe for config in there.finalists}
    named = {trial.config.recipe for trial in named_trials(source, asked)}
    others = bool(named) and named != finalists
    if asked.top:  # which are the best may have changed since, and how many have finished
        others = asked.top != (there.top or len(finalists))
    if others:
        raise UserError(f"--name {name}: that confirmation has other finalists; give another name")
    if asked.seeds and asked.seeds < len(there.seeds):
        raise UserError(f"--seeds {asked.seeds}: {name} has {len(there.seeds)} and keeps them")
    return there

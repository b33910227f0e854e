"""`python -m search.confirm RUN`: retrain the best of a run on fresh seeds, say what holds."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from search.finalists import (
    Confirmation,
    best_finished,
    fresh_seeds,
    named_trials,
    recipe_scores,
)
from search.launch import Session, begin, go_on, guarded
from search.plan import Plan
from search.record import ENDED, SWEEP, Run, read_run, written_plan
from search.request import OPERATION, Request, names_of_kind
from search.runs import NAME, find_run, has_run, place_of_runs
from search.searchers import GRID
from trainable.errors import UserError
from trainable.fields import OneLineParser, add_flags, check_fields, described, given

MODULE = "search.confirm"
TOP, SEEDS = 3, 5

EXAMPLE = """\
Each finalist is compared with two baselines that have all its other settings, cross-entropy only
and fixed alpha 0.5, and the best one with the other finalists. Nothing is stopped early; what is
compared is the final evaluation (no selection). The confirmation is a run of its own beside RUN;
the same command goes on with it where it was interrupted, with more --seeds it adds those.

examples:
  python -m search.confirm NAME
  python -m search.confirm NAME --top 1 --seeds 10
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be confirmed, as the command line gives it."""

    top: int | None = described(f"best finished recipes by best5 ({TOP})", None, low=1, metavar="K")
    trials: tuple[str, ...] = described(
        "a finalist instead of --top, by its trial's digest or the name of its folder, or the "
        "beginning of one; may be given several times",
        (),
        parse=str,
        flag="trial",
        metavar="T",
    )
    seeds: int | None = described(
        f"seeds that RUN has not used, for each recipe ({SEEDS})", None, low=2, metavar="N"
    )
    name: str | None = described("name of the confirmation (RUN-confirm)", None, metavar="NAME")
    storage: str = described("where RUN is looked up", "runs", metavar="DIR")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.trials and self.top is not None:
            raise UserError(f"--top {self.top}: not beside --trial, which names the finalists")
        if self.name is not None and not re.fullmatch(NAME, self.name):
            raise UserError(f"--name {self.name}: give letters, digits, '.', '_' and '-' only")


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(
        prog=f"python -m {MODULE}",
        description="Retrains the best recipes of a run and their baselines on fresh seeds, and "
        "says which differences are significant.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the run to confirm (name or path)")
    add_flags(parser, Asked)
    group = parser.add_argument_group("operation", "What is not given is as RUN had it.")
    add_flags(group, Request, names_of_kind(OPERATION))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Confirms, or goes on confirming; returns the exit code as `search.run` does."""
    arguments = make_parser().parse_args(argv)
    return guarded(partial(confirm, arguments), MODULE, argv)


def confirm(arguments: argparse.Namespace, session: Session) -> int:
    """Begins the confirmation of a run, or goes on with the one that is there."""
    asked = Asked(**given(arguments, Asked))
    operation = {k: v for k, v in vars(arguments).items() if k in names_of_kind(OPERATION)}
    source = read_run(find_run("RUN", arguments.run, place_of_runs(asked.storage)))
    name = source.folder.name
    if source.plan.confirms:
        of = source.plan.confirms["run"]
        raise UserError(f"RUN {name}: a confirmation itself, of {of}; give that run")
    folder = source.folder.parent / (asked.name or f"{name}-confirm")
    if has_run(folder):
        return go_on(folder, partial(reopen, source, asked, operation, session), session)
    confirmation = choose(source, asked)
    request = request_of(source, operation)
    announce(confirmation, len(confirmation.trials()), source, session)
    return begin(folder, plan_of(source, confirmation, request, session), session)


def choose(source: Run, asked: Asked) -> Confirmation:
    """The finalists that are asked for; UserError where the run has none."""
    top, count = asked.top or TOP, asked.seeds or SEEDS
    finalists = named_trials(source, asked.trials) or best_finished(source.trials.values(), top)
    if not finalists:
        raise UserError(
            f"RUN {source.folder.name}: no trial of it has finished, so there is nothing to "
            "confirm; go on with it, or name one of its trials with --trial"
        )
    means = recipe_scores(source.trials.values())
    return Confirmation(
        run=source.folder.name,
        started=source.plan.provenance["started"],
        finalists=tuple(trial.config for trial in finalists),
        scores=tuple(means.get((trial.outcome, trial.config.recipe)) for trial in finalists),
        seeds=tuple(fresh_seeds(used_seeds(source), count)),
        asked=(count,),
    )


def used_seeds(source: Run) -> set[int]:
    """Of the run's trials, trained or not, and of its confirmations so far.

    What those showed may be why another is asked for, which would then be optimistic on the same
    seeds.
    """
    used = {trial.config.seed for trial in source.trials.values()}
    for path in source.folder.parent.glob(f"*/{SWEEP}"):
        confirms = (written_plan(path.parent) or {}).get("confirms")
        if confirms and confirms["run"] == source.folder.name:
            used |= set(confirms["seeds"])
    return used


def request_of(source: Run, operation: Mapping[str, Any]) -> Request:
    """What the run was asked for, but of listed trials, none of which is stopped early."""
    listed = {"searcher": GRID, "samples": None, "time_budget": None, "against": None, "depths": ()}
    strata = ",".join(source.plan.compare_within) or "all"
    fixed = {"scheduler": "fifo", "seeds": 1, "compare_within": strata}
    return Request.from_dict({**source.request.to_dict(), **listed, **fixed, **operation})


def plan_of(source: Run, confirmation: Confirmation, request: Request, session: Session) -> Plan:
    """The confirmation's plan; UserError where the run's inputs can't be had here."""
    from search.resume import inputs_again  # with torch, which takes seconds to load

    trials, flag = confirmation.trials(), f"RUN {source.folder.name}"
    return Plan(
        requests=(request,),
        provenance=session.provenance(),
        inputs=inputs_again(source, trials, session.console, flag),
        trials=tuple(trials),
        grace_evaluations=source.plan.grace_evaluations,
        confirms=confirmation.to_dict(),
    )


def reopen(
    source: Run, asked: Asked, operation: Mapping[str, Any], session: Session, run: Run
) -> None:
    """Makes the confirmation ready to go on, with the seeds that are asked for beyond its own.

    UserError where it is not the one that is asked for, or can't go on here.
    """
    from search.resume import extend  # with torch, which takes seconds to load

    confirmation = check_asked(source, asked, run)
    more = confirmation.with_seeds(asked.seeds or 0, used_seeds(source))
    new = [config for config in more.trials() if config.digest not in run.trials]
    unfinished = sum(trial.outcome not in ENDED for trial in run.trials.values())
    announce(more, unfinished + len(new), source, session)
    changes: dict[str, Any] = {"requests": (replace(run.request, **operation),)}
    if new:
        changes["confirms"] = more.to_dict()
    extend(run, changes, new, session.console)


def check_asked(source: Run, asked: Asked, run: Run) -> Confirmation:
    """What the run confirms; UserError where that is not what the command line asks for."""
    name, confirms = run.folder.name, run.plan.confirms
    wanted = (source.folder.name, source.plan.provenance["started"])
    if confirms is None or (confirms["run"], confirms["started"]) != wanted:
        raise UserError(f"--name {name}: no confirmation of this run; give another --name")
    there = Confirmation.from_dict(confirms)
    if asked.top or asked.trials:
        recipes = {config.recipe for config in choose(source, asked).finalists}
        if recipes != {config.recipe for config in there.finalists}:
            raise UserError(f"--name {name}: has other finalists; give another --name")
    return there


def announce(confirmation: Confirmation, to_train: int, source: Run, session: Session) -> None:
    """`Confirming NAME: 3 finalist(s) and 2 baseline(s) on 5 fresh seeds, 25 trials to train.`"""
    finalists, recipes = len(confirmation.finalists), len(confirmation.recipes)
    session.console.print(
        f"Confirming {confirmation.run}: {finalists} finalist(s) and {recipes - finalists} "
        f"baseline(s) on {len(confirmation.seeds)} fresh seeds, {to_train} trials to train.",
        soft_wrap=True,
    )
    if unfinished := sum(trial.outcome not in ENDED for trial in source.trials.values()):
        session.console.print(f"{unfinished} trial(s) of {confirmation.run} have not ended.")


if __name__ == "__main__":
    sys.exit(main())

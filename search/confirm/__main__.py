"""`python -m search.confirm RUN`: retrains a run's best on fresh seeds, tests the differences."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from statistics import fmean
from typing import Any

from search.confirm.options import (
    ConfirmOptions,
    check_asked,
    choose,
    most_seeds,
    request_of,
    used_seeds,
)
from search.exit_codes import leave
from search.plan.plan import Plan
from search.plan.request import OPERATION, Request, names_of_kind
from search.policy.progress import describe_time
from search.policy.still_to_come import may_grow
from search.record.run import Run
from search.record.run_folders import has_run, open_run
from search.record.storage import fetched
from search.record.trial_record import ENDED
from search.results.confirmation import Confirmation
from search.results.confirmation_result import lacks_best
from search.results.precision import POWER, spread_in
from search.students.on_test_split import score_on_test
from search.sweep.run_command import Invocation, resume_run, run_command, start_run
from trainable.common.errors import UserError, count_of
from trainable.config.fields import OneLineParser, add_flags, given

MODULE = "search.confirm"

EXAMPLE = """\
Each finalist is compared with two baselines that share all its other settings (cross-entropy
only, and fixed alpha 0.5), and the best finalist with each other finalist, with the default of
a search, and, where the run had one, with --student simply fine-tuned on the labels. No trial
is stopped early, and final evaluations are compared (no selection). After 3, 5, 8, 13, ...
seeds it is looked at, and ends once each comparison is decided; the chance of any false claim
is 5 % over all looks. The confirmation is a run of its own beside RUN: the same command
resumes it, and a larger --seeds (or a finer --precision) adds seeds. At its end the best
student is scored on the test split, if the data have one: once, and nothing is chosen by it.

examples:
  python -m search.confirm NAME
  python -m search.confirm NAME --top 1 --seeds 20
  python -m search.confirm NAME --precision 2
"""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(
        prog=f"python -m {MODULE}",
        description="Retrains the best recipes of a run and their baselines on fresh\nseeds, and "
        "tests which differences are significant.",
        epilog=EXAMPLE,
    )
    parser.add_argument("run", metavar="RUN", help="the run to confirm (name or path)")
    add_flags(parser, ConfirmOptions)
    group = parser.add_argument_group("operation", "The defaults are those of RUN.")
    add_flags(group, Request, names_of_kind(OPERATION), defaults=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Confirms, or goes on confirming; returns the exit code as `search.run` does."""
    arguments = make_parser().parse_args(argv)
    return run_command(partial(confirm, arguments), MODULE, argv)


def confirm(arguments: argparse.Namespace, invocation: Invocation) -> int:
    """Begins the confirmation of a run, or goes on with the one that is there."""
    asked = ConfirmOptions(**given(arguments, ConfirmOptions))
    operation = {k: v for k, v in vars(arguments).items() if k in names_of_kind(OPERATION)}
    source = open_run(arguments.run, asked.storage)
    name = source.folder.name
    for line in source.damage:
        invocation.console.print(f"{name}: {line}.", soft_wrap=True)
    if source.plan.confirms:
        of = source.plan.confirms["run"]
        raise UserError(f"RUN {name}: a confirmation itself, of {of}; give that run")
    # Another machine may have gone on with it.
    folder = fetched(source.folder.parent / (asked.name or f"{name}-confirm"))
    if has_run(folder):
        going_on = partial(reopen, source, asked, operation, invocation)
        code = resume_run(folder, going_on, invocation)
        return score_on_test(folder, code, invocation.console)
    confirmation = choose(source, asked)
    request = request_of(source, operation)
    announce(confirmation, len(confirmation.trials()), source, invocation)
    from search.sweep.extend import inputs_again  # with torch, which takes seconds to load

    trials = confirmation.trials(confirmation.looks[0])
    plan = Plan(
        requests=(request,),
        provenance=invocation.provenance(),
        inputs=inputs_again(source, trials, invocation.console, f"RUN {name}"),
        trials=tuple(trials),
        grace_evaluations=source.plan.grace_evaluations,
        confirms=asdict(confirmation),
    )
    return score_on_test(folder, start_run(folder, plan, invocation), invocation.console)


def reopen(
    source: Run,
    asked: ConfirmOptions,
    operation: Mapping[str, Any],
    invocation: Invocation,
    run: Run,
) -> None:
    """Makes the confirmation ready to go on, at most with the seeds asked for beyond its own.

    UserError where it is not the one that is asked for, or can't go on here.
    """
    from search.sweep.extend import extend  # with torch, which takes seconds to load

    confirmation = check_asked(source, asked, run)
    wanted = confirmation.with_seeds(
        most_seeds(source, asked) or 0, used_seeds(source), asked.half_width
    )
    request = replace(run.request, **operation)
    changes: dict[str, Any] = {} if request == run.request else {"requests": (request,)}
    to_come, new = [config for config in wanted.trials() if config.digest not in run.trials], []
    if wanted != confirmation:
        changes["confirms"] = asdict(wanted)
        new = [config for config in wanted.trials(wanted.looks[0]) if config in to_come]
    elif not may_grow(run):
        to_come = []
    unfinished = sum(trial.outcome not in ENDED for trial in run.trials.values())
    announce(wanted, unfinished + len(to_come), source, invocation)
    if lacks_best(run, source):
        invocation.console.print(
            f"{source.folder.name} recommends a recipe that {run.folder.name} lacks; "
            "--name OTHER confirms it.",
            soft_wrap=True,
        )
    extend(run, changes, new, invocation.console)


def announce(
    confirmation: Confirmation, to_train: int, source: Run, invocation: Invocation
) -> None:
    """`Confirming NAME: 3 finalists and 2 baselines, each on at most 5 fresh seeds, ...`"""
    finalists, recipes = len(confirmation.finalists), len(confirmation.recipes)
    most, spread, expected = len(confirmation.seeds), spread_in(source), ""
    confirmed = {config.recipe for config in confirmation.finalists}
    if took := [trial.seconds for trial in source.finished if trial.config.recipe in confirmed]:
        seconds = fmean(took) * to_train / source.slots
        expected = f", {describe_time(seconds)} at the speed of {confirmation.run}"
    if spread is not None:
        gap = 100 * spread.shown_gap(most, len(confirmation.pairs))
        expected += f"; expected to show a gap of {gap:.1f} points (with a chance of {POWER:.0%})"
    invocation.console.print(
        f"Confirming {confirmation.run}: {count_of(finalists, 'finalist')} and "
        f"{count_of(recipes - finalists, 'baseline')}, each on at most {most} "
        f"fresh seeds, at most {count_of(to_train)} to train{expected}.",
        soft_wrap=True,
    )
    if unfinished := sum(trial.outcome not in ENDED for trial in source.trials.values()):
        invocation.console.print(
            f"{confirmation.run} is not complete: {count_of(unfinished)} to go."
        )


if __name__ == "__main__":
    leave(main())

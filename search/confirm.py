"""`python -m search.confirm RUN`: retrain the best of a run on fresh seeds, say what holds."""

import argparse
import re
import sys
from argparse import Namespace
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trainable.arguments import OneLineParser, positive

from search.arguments import NAME, OPERATION, add_operation_arguments, place_of_runs
from search.cluster import check_address
from search.finalists import (
    Confirmation,
    best_finished,
    fresh_seeds,
    named_trials,
    recipe_score,
)
from search.launch import Session, begin, go_on, guarded
from search.progress import in_time
from search.record import CONFIRMS, ENDED, FINISHED, SWEEP, Run, read_run, written_plan
from search.remote_runs import cache_here, fetch_run, uri_of
from search.runs import find_run, has_run, refuse_existing
from trainable.config import TrialConfig
from trainable.errors import UserError

MODULE = "search.confirm"
TOP, SEEDS = 3, 5

EXAMPLE = """\
Each finalist is compared with two baselines that have all its other settings, cross-entropy only
and fixed alpha 0.5, and the best one with the other finalists. Nothing is stopped early; what is
compared is the last evaluation, which nothing selected. The confirmation is a run of its own beside
RUN; the same command goes on with it where it was interrupted, with more --seeds it adds those.

examples:
  python -m search.confirm NAME
  python -m search.confirm NAME --top 1 --seeds 10
"""


def make_parser() -> argparse.ArgumentParser:
    """Every flag with its unit and default."""
    parser = OneLineParser(
        prog=f"python -m {MODULE}",
        description="Retrains the best recipes of a run and their baselines on fresh seeds, and "
        "says which differences hold.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the run to confirm (name or path)")
    parser.add_argument(
        "--top",
        type=positive,
        metavar="K",
        help=f"finalists: so many recipes of highest best5 among the finished trials ({TOP})",
    )
    parser.add_argument(
        "--trial",
        action="append",
        default=[],
        metavar="T",
        dest="trials",
        help="a finalist by its folder's name or the eight digits at the end of it, instead of "
        "--top; may be given several times",
    )
    parser.add_argument(
        "--seeds",
        type=at_least_two,
        metavar="N",
        help=f"seeds, none of which RUN has used, that each recipe is trained on ({SEEDS})",
    )
    parser.add_argument("--name", help="name of the confirmation (RUN-confirm)")
    parser.add_argument(
        "--storage", default="runs", metavar="DIR", help="where RUN is looked up (%(default)s)"
    )
    group = parser.add_argument_group("operation", "What is not given is as RUN had it.")
    add_operation_arguments(group)
    return parser


def at_least_two(text: str) -> int:
    """An argument type: one seed does not tell how much seeds differ."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 2")
    return int(text)


def parse_arguments(argv: Sequence[str] | None) -> Namespace:
    """The checked command line; exits with code 2 after one line where it is wrong."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.trials and arguments.top is not None:
        parser.error(f"--top {arguments.top}: not beside --trial, which names the finalists")
    if arguments.name is not None and not re.fullmatch(NAME, arguments.name):
        parser.error(f"--name {arguments.name}: give letters, digits, '.', '_' and '-' only")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Confirms, or goes on confirming; returns the exit code as `search.run` does."""
    return guarded(partial(confirm, parse_arguments(argv)), MODULE, argv)


def confirm(arguments: Namespace, session: Session) -> int:
    """Begins the confirmation of a run, or goes on with the one that is there."""
    source = read_run(find_run("RUN", arguments.run, place_of_runs(arguments.storage)))
    name = source.folder.name
    if CONFIRMS in source.sweep:
        of = source.sweep[CONFIRMS]["run"]
        raise UserError(f"RUN {name}: a confirmation itself, of {of}; give that run")
    folder = source.folder.parent / (arguments.name or f"{name}-confirm")
    if uri := uri_of(folder.parent):
        fetch_run(uri, folder.name)
    if has_run(folder):
        return go_on(folder, partial(reopen, source, arguments, session), session)
    return begin_confirmation(source, folder, arguments, session)


def begin_confirmation(source: Run, folder: Path, arguments: Namespace, session: Session) -> int:
    """Chooses finalists, prepares what the run's trials had, then trains to the end."""
    confirmation = choose(source, arguments)
    trials = confirmation.trials()
    announce(confirmation, trials, source, arguments, session)
    refuse_existing(folder)
    check_address(operation_of(source, arguments)["address"], folder.parent)

    from search.preparation import PreparedSweep
    from search.resume import task_again

    task = task_again(source, trials, session.console, f"RUN {source.folder.name}")
    plan = {
        "requests": [{**source.sweep["requests"][0], "cache": str(cache_here(source))}],
        "scheduler": "fifo",
        "compare_within": source.sweep["compare_within"],
        "grace_evaluations": source.sweep["grace_evaluations"],
        CONFIRMS: confirmation.to_dict(),
    }
    prepared = PreparedSweep(trials, trials, task, source.sweep["evaluation_sentences"])
    return begin(folder, plan, operation_of(source, arguments), prepared, session)


def choose(source: Run, arguments: Namespace) -> Confirmation:
    """The finalists that are asked for; UserError where the run has none."""
    top = arguments.top or TOP
    if arguments.trials:
        finalists = named_trials(source.trials, arguments.trials)
    else:
        finalists = best_finished(source.trials.values(), top)
    if not finalists:
        raise UserError(
            f"RUN {source.folder.name}: no trial of it has finished, so that there is nothing to "
            "confirm; go on with it, or name one of its trials with --trial"
        )
    count = arguments.seeds or SEEDS
    return Confirmation(
        run=source.folder.name,
        started=source.sweep["started"],
        finalists=tuple(trial.config for trial in finalists),
        scores=tuple(recipe_score(source.trials.values(), trial) for trial in finalists),
        named=bool(arguments.trials),
        top=top,
        seeds=tuple(fresh_seeds(used_seeds(source), count)),
        asked=(count,),
    )


def used_seeds(source: Run) -> set[int]:
    """Of the run's trials, trained or not, and of its confirmations so far.

    What those showed may be why another is asked for, and would flatter it on the same seeds.
    """
    used = {trial.config.seed for trial in source.trials.values()}
    for path in source.folder.parent.glob(f"*/{SWEEP}"):
        confirms = (written_plan(path.parent) or {}).get(CONFIRMS)
        if confirms and confirms["run"] == source.folder.name:
            used |= set(confirms["seeds"])
    return used


def operation_of(source: Run, arguments: Namespace) -> dict[str, Any]:
    """How many trials run at once and the like: as given, else as in the run that is confirmed.

    How many share a GPU is measured again unless it was asked for.
    """
    before = {key: source.sweep.get(key) for key in OPERATION}
    if not (source.sweep.get("gpu_sharing") or {}).get("asked"):
        before["trials_per_gpu"] = None
    given = {key: getattr(arguments, key) for key in OPERATION}
    return {key: before[key] if given[key] is None else given[key] for key in OPERATION}


def reopen(source: Run, arguments: Namespace, session: Session, run: Run) -> None:
    """Makes the confirmation ready to go on, with the seeds that are asked for beyond its own.

    Raises UserError where it is not the one that is asked for, or can't go on here.
    """
    confirmation = check_asked(source, arguments, run)
    more = confirmation.with_seeds(arguments.seeds or 0, used_seeds(source))
    new = [config for config in more.trials() if config.digest not in run.trials]
    open_ = [t.config for t in run.trials.values() if t.outcome not in ENDED]
    announce(more, [*open_, *new], source, arguments, session)

    from search.resume import extend, given_operation, tell_mended

    tell_mended(run, session.console)
    changes: dict[str, Any] = given_operation(arguments)
    if new:
        changes[CONFIRMS] = more.to_dict()
    extend(run, changes, new, session.console)


def check_asked(source: Run, arguments: Namespace, run: Run) -> Confirmation:
    """What the run confirms; UserError where that is not what the command line asks for."""
    name, other = run.folder.name, "give another --name to confirm that"
    if CONFIRMS not in run.sweep:
        raise UserError(f"--name {name}: a run of its own, no confirmation; give another --name")
    there = Confirmation.from_dict(run.sweep[CONFIRMS])
    if (there.run, there.started) != (source.folder.name, source.sweep["started"]):
        raise UserError(
            f"--name {name}: confirms {there.run}, started {there.started}, not this run; give "
            "another --name"
        )
    if arguments.top is not None and (there.named or arguments.top != there.top):
        had = "finalists by name" if there.named else f"the best {there.top}"
        raise UserError(f"--top {arguments.top}: {name} has {had}; {other}")
    asked = [trial.config.recipe for trial in named_trials(source.trials, arguments.trials)]
    if asked and set(asked) != {config.recipe for config in there.finalists}:
        raise UserError(f"--trial {arguments.trials[0]}: {name} has other finalists; {other}")
    return there


def announce(
    confirmation: Confirmation,
    to_train: Sequence[TrialConfig],
    source: Run,
    arguments: Namespace,
    session: Session,
) -> None:
    """`Confirming NAME: 3 finalist(s) and 2 baseline(s) on 5 fresh seeds, 25 trials, about 9 min.`

    The time is what the run's own trials took, of which as many run at once as did there.
    """
    finalists, recipes = len(confirmation.finalists), len(confirmation.recipes)
    trials = recipes * len(confirmation.seeds)
    text = (
        f"Confirming {confirmation.run}: {finalists} finalist(s) and {recipes - finalists} "
        f"baseline(s) on {len(confirmation.seeds)} fresh seeds, {trials} trials"
    )
    if len(to_train) < trials:
        text += f", {len(to_train)} of them to train"
    seconds = expected_seconds(source, to_train, places_of(source, arguments, len(to_train)))
    text += f", {in_time(seconds)}" if seconds else ""
    session.console.print(f"{text}.", soft_wrap=True)
    unfinished = sum(trial.outcome not in ENDED for trial in source.trials.values())
    if unfinished and not confirmation.named:
        finished = sum(trial.outcome == FINISHED for trial in source.trials.values())
        session.console.print(
            f"{unfinished} trial(s) of {confirmation.run} have not ended: the finalists are of the "
            f"{finished} that have finished.",
            soft_wrap=True,
        )


def places_of(source: Run, arguments: Namespace, trials: int) -> int:
    """How many of so many trials run at a time, if as many share a GPU as in the run."""
    import torch

    from search.sweep import concurrency
    from trainable.environment import available_cores

    asked = operation_of(source, arguments)
    share = asked["trials_per_gpu"] or source.sweep["trials_per_gpu"]
    gpus = torch.cuda.device_count()
    places = concurrency(available_cores(), gpus, share, asked["max_concurrent"])
    return max(1, min(places, trials))


def expected_seconds(source: Run, trials: Collection[TrialConfig], places: int) -> float | None:
    """What so many trials take if an evaluation takes the time it took in the run on average."""
    evaluations = sum(len(trial.evaluations) for trial in source.trials.values())
    if not evaluations:
        return None
    each = sum(trial.seconds for trial in source.trials.values()) / evaluations
    return each * sum(config.evaluations for config in trials) / places


if __name__ == "__main__":
    sys.exit(main())

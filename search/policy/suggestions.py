"""What a searcher suggests next: a function of the run's record alone.

Nothing of Optuna is kept between two suggestions. The study is made anew from the record, and the
sampler from the run's seed and the suggestion's number. So a run that was killed and resumed gets
the same suggestions as one that was not.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from search.plan.draws import Draw, config_of_draw, draw_config, starting_points
from search.plan.objectives import cost_of
from search.plan.prior_sampler import PriorSampler
from search.plan.resolve import ResolvedRequest
from search.policy.still_to_come import too_short_to_search
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import ENDED, FAILED, WAITING, TrialRecord, by_recipe
from spaces import load_space
from trainable.common.errors import UserError
from trainable.config.trial_config import TrialConfig

ATTEMPTS_OF_SEARCHER, ATTEMPTS = 20, 200  # to suggest what the run does not have yet
DIGITS = 3  # significant ones of a suggested number, and one more with each attempt
EXACT = 12  # digits of a number that has steps: 0.3, not 0.30000000000000004
STARTUP_TRIALS = 8  # drawn at random, the space's own starts counted, before TPE learns


def make_tpe(seed: int, _: Any) -> BaseSampler:
    """Optuna's TPE on the settings that occur together (Bergstra et al. 2011; Falkner et al. 2018).

    Trials under way count as bad ones (the constant liar), so that those side by side differ.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `group` may change in a later Optuna
        return TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
        )


# From a seed and the space's PRIORS to an Optuna sampler. A sampler is made anew for each
# suggestion and given all trials so far, so that it needs no memory of its own; another one is a
# line here and a name in SEARCHERS. (`python -m tests.scripts.searcher_comparison RUN`)
SAMPLERS: dict[str, Callable[[int, Mapping[str, Any]], BaseSampler]] = {
    "prior": PriorSampler,
    "optuna": make_tpe,
    "random": lambda seed, _: RandomSampler(seed=seed),
}


def suggest(run: Run) -> tuple[TrialConfig, Draw] | None:
    """The next configuration and its draw: the space's starting points, then, if there is time to
    search, what the searcher draws; None if all that is in the run already, or can't be trained."""
    request, precision = run.request, run.any_config.precision
    known = {trial.config.recipe for trial in run.trials.values()}
    for start, drawn in starting_points(request):
        config = replace(start, precision=precision)
        if config.recipe not in known:
            return config, drawn
    if too_short_to_search(run):
        return None
    study, priors = study_of(run), load_space(request.space)[2]
    for attempt in range(ATTEMPTS):
        parts = np.random.SeedSequence((request.seed, len(study.trials), attempt))
        seed = int(parts.generate_state(1)[0])
        study.sampler = (
            RandomSampler(seed=seed)
            if attempt >= ATTEMPTS_OF_SEARCHER
            else SAMPLERS[request.searcher](seed, priors)
        )
        try:
            drawn = _drawn(study, request, DIGITS + attempt)
            config = replace(config_of_draw(request, drawn), precision=precision)
        except (UserError, ValueError):  # does not fit, or rounded to a value out of range
            continue
        if config.recipe not in known:
            return config, drawn
    return None


def _drawn(study: optuna.Study, request: ResolvedRequest, digits: int) -> Draw:
    """A draw of the study's sampler, numbers of a range rounded, of one with steps only what its
    sums are off by; the study has one failed trial more."""
    trial = study.ask()
    try:
        draw_config(request, trial)
    finally:
        study.tell(trial, state=TrialState.FAIL)  # samplers pass over it
    digits_of = {
        key: digits if of.step is None else EXACT
        for key, of in trial.distributions.items()
        if isinstance(of, FloatDistribution)
    }
    return {
        key: float(f"{value:.{digits_of[key]}g}") if key in digits_of else value
        for key, value in trial.params.items()
    }


def study_of(run: Run, storage: JournalStorage | None = None) -> optuna.Study:
    """The run's configurations as a study, in the order suggested; in memory or an empty storage.

    The value is best5, its mean over a configuration's seeds. Trials that were stopped or wait at a
    rung count with their best5 so far: most wait until all are suggested, and without them the
    searcher would learn from the rejected ones only. How far they came is their `evaluations`.
    """
    label_of = labels_of(run)
    directions = ["maximize", *(["minimize"] if run.request.against else [])]
    study = optuna.create_study(storage=storage, study_name=run.folder.name, directions=directions)
    for trials in by_recipe(trial for trial in run.trials.values() if not trial.final).values():
        study.add_trial(_as_optuna(trials, run, label_of(trials[0])))
    return study


def _as_optuna(trials: Sequence[TrialRecord], run: Run, label: str) -> FrozenTrial:
    fixed, against = FixedTrial(trials[0].parameters or {}), run.request.against
    draw_config(run.request, fixed)  # for the distributions
    good = [trial for trial in trials if trial.outcome != FAILED and trial.evaluations]
    open_ = any(trial.outcome not in (*ENDED, WAITING) for trial in trials)
    state = TrialState.RUNNING if open_ else TrialState.COMPLETE if good else TrialState.FAIL
    values = [fmean(trial.best5 or 0.0 for trial in good)] if state == TrialState.COMPLETE else None
    if values and against is not None:
        values.append(cost_of(trials[0].config, against, run.plan.costs))
    return create_trial(
        state=state,
        values=values,
        params=fixed.params,
        distributions=fixed.distributions,
        user_attrs={
            "trials": [trial.config.digest for trial in trials],
            "label": label,
            "evaluations": max(len(trial.evaluations) for trial in trials),
            "outcomes": [trial.outcome for trial in trials],
        },
    )

"""What a searcher suggests next: a function of the run's record alone.

Nothing of Optuna is kept between two suggestions. The study is made anew from the record, and the
sampler from the run's seed and the suggestion's number. So a run that was killed and resumed gets
the same suggestions as one that was not.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from search.plan.draws import Draw, config_of_draw, draw_config, starting_points
from search.plan.objectives import cost_of
from search.plan.resolve import ResolvedRequest
from search.plan.searchers import SEARCHERS, make_random
from search.record.labels import labels_of
from search.record.run import Run
from search.record.trial_record import ENDED, FAILED, WAITING, TrialRecord, by_recipe
from spaces import load_space
from trainable.common.errors import UserError
from trainable.config.trial_config import TrialConfig

ATTEMPTS_OF_SEARCHER, ATTEMPTS = 20, 200  # to suggest what the run does not have yet
DIGITS = 3  # significant ones of a suggested number, and one more with each attempt


def suggest(run: Run) -> tuple[TrialConfig, Draw] | None:
    """The next configuration and its draw: the space's starting points, then what the searcher
    draws; None if all that is in the run already, or can't be trained."""
    request, precision = run.request, run.any_config.precision
    known = {trial.config.recipe for trial in run.trials.values()}
    for start, drawn in starting_points(request):
        config = replace(start, precision=precision)
        if config.recipe not in known:
            return config, drawn
    study, priors = study_of(run), load_space(request.space)[2]
    for attempt in range(ATTEMPTS):
        parts = np.random.SeedSequence((request.seed, len(study.trials), attempt))
        seed = int(parts.generate_state(1)[0])
        study.sampler = (
            make_random(seed)
            if attempt >= ATTEMPTS_OF_SEARCHER
            else SEARCHERS[request.searcher](seed, priors)
        )
        drawn = _drawn(study, request, DIGITS + attempt)
        try:
            config = replace(config_of_draw(request, drawn), precision=precision)
        except (UserError, ValueError):  # rounded to a value out of range, or that does not fit
            continue
        if config.recipe not in known:
            return config, drawn
    return None


def _drawn(study: optuna.Study, request: ResolvedRequest, digits: int) -> Draw:
    """A draw of the study's sampler, its numbers rounded; the study has one failed trial more."""
    trial = study.ask()
    draw_config(request, trial)
    study.tell(trial, state=TrialState.FAIL)  # samplers pass over it
    return {
        key: float(f"{value:.{digits}g}") if isinstance(value, float) else value
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

"""The students that a run keeps: the one that is recommended, and what it was trained on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from search.plan.request import Request
from search.record.checkpoints import kept_checkpoint
from search.record.labels import find_trial
from search.record.run import Run
from search.record.trial_record import TrialRecord
from search.results.best_trials import best_trials
from search.results.recommendation import recommended
from trainable.common.errors import UserError
from trainable.common.files import verified_values
from trainable.config.training_inputs import TrainingInputs
from trainable.data.datasets import Dataset
from trainable.data.sources import load_sources
from trainable.data.tokens import Text, load_split, tokenise
from trainable.engine.devices import best_device
from trainable.engine.metrics import predicted
from trainable.models.loading import load_tokenizer
from trainable.serving.served_model import ServedModel


def choose_checkpoint(run: Run, wanted: str | None) -> tuple[TrialRecord, Path, bool]:
    """The trial asked for, or the recommended one, else the best kept; its checkpoint; and whether
    another recipe is recommended."""
    chosen = recommended(run) if wanted is None else None
    first = chosen.trials if chosen else ()
    best = best_trials(run.trials.values()) if wanted is None else [find_trial(run, wanted)]
    trials = [*first, *best]
    for trial in trials:
        if (checkpoint := kept_checkpoint(run, trial)) is not None:
            other = chosen is not None and trial.config.recipe != first[0].config.recipe
            return trial, checkpoint, other
    if not trials:
        raise UserError(
            f"RUN {run.folder.name}: no trial has ended yet; there is nothing to export"
        )
    which = f"RUN {run.folder.name}:" if wanted is None else f"--trial {wanted}:"
    raise UserError(
        f"{which} no checkpoint is left; a run keeps its best {run.request.keep} (--keep), but "
        "none of a trial that was stopped within seconds"
    )


def inputs_here(run: Run) -> TrainingInputs:
    """What the trials share, made again where the cache has lost the teacher or the tokens."""
    inputs = run.plan.inputs
    if all(verified_values(folder) is not None for folder in inputs.sources):
        return inputs
    from search.exit_codes import make_console
    from search.sweep.extend import inputs_again

    return inputs_again(run, [], make_console(), f"RUN {run.folder.name}")


def answers(folder: Path, texts: list[Text]) -> np.ndarray:
    """What the model of a folder says of N texts or pairs [N], computed on this machine's best
    device: classes, or the numbers of a regression."""
    return predicted(ServedModel.load(folder, device=best_device().type).logits(texts))


def sweep_examples(folder: Path, request: Request, inputs: TrainingInputs) -> Dataset:
    """The examples of a sweep, loaded again from where it had them.

    UserError where they can't be loaded, or where the folder's tokenizer does not make of them what
    the students were scored on.
    """
    # The preset's own teacher may need a wheel; it is not looked at.
    changes: dict[str, Any] = {"teacher": inputs.teacher.folder, "student": None}
    changes |= {"transfer": None, "augmentation": ()}
    if request.effective_preset.dataset is None and request.test is None:
        changes["text_column"] = None  # was that of --transfer
    dataset = load_sources(replace(request, **changes)).dataset
    length, tokenizer = request.effective_preset.max_length, load_tokenizer(folder)
    again = tokenise(tokenizer, dataset.evaluation.texts, dataset.evaluation.labels, length)
    scored = load_split(Path(inputs.tokens), "evaluation")
    if not all(map(np.array_equal, vars(again).values(), vars(scored).values())):
        raise UserError("the validation examples are no longer those of the sweep")
    return dataset if dataset.test_digest == inputs.test_digest else replace(dataset, test=None)

"""Labels of a run's trials, and finding one by its digest or folder."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from search.record.run import Run
from search.record.trial_record import TrialRecord
from trainable.common.errors import UserError, nearest
from trainable.config.trial_config import TrialConfig

# Settings that TrialConfig.label leaves out, and how they are shown.
EXTRA_LABELS: dict[str, str] = {
    "student_layers": "depth {}",
    "student_width": "width {}",
    "feedforward_share": "feed-forward {:g}",
    "learning_rate": "lr {:g}",
    "weight_decay": "weight decay {:g}",
    "warmup_share": "warm-up {:g}",
    "gradient_clip": "clip {:g}",
    "batch_size": "batch {}",
    "epochs": "epochs {}",
    "evaluations": "evaluations {}",
    "max_steps": "steps {}",
    "precision": "{}",
}
OF_INITIALISATION = ("learning_rate", "student_layers", "student_width")
SHORTEST = 4  # characters of a digest or a folder's name that stand for it


def labels_of(run: Run) -> Callable[[TrialRecord], str]:
    """Labels the trials of the run as it is now; call again when trials were added."""
    configs = [trial.config for trial in run.trials.values()]
    label = config_labels(configs, searched=run.request.searched)
    return lambda trial: label(trial.config)


def config_labels(configs: list[TrialConfig], *, searched: bool) -> Callable[[TrialConfig], str]:
    """Labels these configurations.

    A setting is shown where it differs; learning rates and shapes where they do among trials of
    equal initialisation: the presets' rates and the shape of --student follow from that.
    """
    values = {
        (c.initialisation if key in OF_INITIALISATION else "", key, getattr(c, key))
        for c in configs
        for key in EXTRA_LABELS.keys() - c.inactive_settings
    }
    counts = Counter((initialisation, key) for initialisation, key, _ in values)
    varied = {key for (_, key), count in counts.items() if count > 1}
    if "max_steps" in varied:
        varied.discard("evaluations")  # finals have more, and are told apart by their steps
    if searched:
        varied.add("learning_rate")  # drawn for each trial, so that it always differs

    def label(config: TrialConfig) -> str:
        shown = varied - config.inactive_settings
        values = {key: getattr(config, key) for key in EXTRA_LABELS if key in shown}
        more = [EXTRA_LABELS[key].format(value) for key, value in values.items() if value]
        seed = f", seed {config.seed}" if config.seed else ""
        return ", ".join([config.label().removesuffix(seed), *more]) + seed

    return label


def find_trial(run: Run, name: str) -> TrialRecord:
    """The one trial whose digest or folder's name begins so; UserError for none and for several."""
    prefix = Path(name).name  # the folder may be given as a path
    matches = [
        trial
        for digest, trial in run.trials.items()
        if digest.startswith(prefix.lower()) or trial.config.folder_name.startswith(prefix)
    ]
    if len(prefix) < SHORTEST or not matches:
        hint = nearest(prefix, [trial.config.folder_name for trial in run.trials.values()])
        raise UserError(
            f"--trial {name}: no such trial in {run.folder.name}; {hint}give at least "
            f"the first {SHORTEST} characters of its digest or folder name"
        )
    if len(matches) > 1:
        label = labels_of(run)
        listed = [f"{trial.config.digest} ({label(trial)})" for trial in matches[:5]]
        raise UserError(f"--trial {name}: matches {len(matches)} trials: {'; '.join(listed)}")
    return matches[0]

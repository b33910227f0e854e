"""How a run's trials are told apart in words: what a configuration says itself, and what else of
its settings differs between them."""

from collections.abc import Callable

from search.record import Run, TrialRecord
from trainable.config import TrialConfig

# Settings that TrialConfig.words leaves out, and how they are said.
UNSAID: dict[str, str] = {
    "student_layers": "depth {}",
    "student_width": "width {}",
    "learning_rate": "lr {:g}",
    "weight_decay": "weight decay {:g}",
    "warmup_share": "warm-up {:g}",
    "gradient_clip": "clip {:g}",
    "batch_size": "batch {}",
    "epochs": "epochs {}",
}
DRAWN = ("learning_rate",)  # by a searcher for each trial, so that it always differs


def wording(run: Run) -> Callable[[TrialRecord], str]:
    """What says a trial of the run as it stands; make it anew when trials were added.

    A setting is said where it differs among trials of equal initialisation: the presets' learning
    rates follow from the initialisation.
    """
    varied = varied_settings([trial.config for trial in run.trials.values()])
    said = [key for key in UNSAID if key in varied or (run.searched and key in DRAWN)]

    def words(trial: TrialRecord) -> str:
        config = trial.config
        more = [UNSAID[key].format(value) for key in said if (value := getattr(config, key))]
        seed = f", seed {config.seed}" if config.seed else ""
        return ", ".join([config.words().removesuffix(seed), *more]) + seed

    return words


def varied_settings(configs: list[TrialConfig]) -> set[str]:
    """Those of UNSAID that have several values among trials of one initialisation."""
    found: dict[tuple[str, str], set[object]] = {}
    for config in configs:
        for key in UNSAID:
            value = getattr(config, key)
            found.setdefault((config.initialisation, key), set()).add(value)
    return {key for (_, key), values in found.items() if len(values) > 1}

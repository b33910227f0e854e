"""From students retrained on fresh seeds to sentences: what is better, by how much, is it shown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor
from typing import Any

import numpy as np

from search.finalists import CROSS_ENTROPY, Pair, baselines_of
from search.statistics import Difference, holm, seeds_difference
from trainable.config import TrialConfig
from trainable.names import NO_LAYERS

LEVEL = 0.05  # chance of claiming any difference where there is none
OF_ALPHA = ("alpha_schedule", "alpha", "sharpness")
ALWAYS_SAID = ("initialisation", "aligned_layers", "temperature", "hidden_pool", "hidden_weight")


@dataclass
class Retrained:
    """The students of one recipe that finished, by seed."""

    last: dict[int, np.ndarray] = field(default_factory=dict)  # bits [N] of the last evaluation
    best5: dict[int, float] = field(default_factory=dict)

    @property
    def accuracies(self) -> list[float]:
        """Of the last evaluations, one a seed."""
        return [float(bits.mean()) for bits in self.last.values()]


@dataclass(frozen=True)
class Verdict:
    """Two recipes compared; without a difference where one has fewer than two seeds."""

    pair: Pair
    names: tuple[str, str]
    seeds: int  # of each, or of the one that has fewer
    difference: Difference | None = None  # first less second, in shares
    adjusted: float = 1.0  # p-value, for the number of comparisons

    @property
    def shown(self) -> bool:
        """Whether the difference holds, all comparisons considered."""
        return self.difference is not None and self.adjusted < LEVEL

    def sentence(self) -> str:
        """`X is better than Y by 0.4 points (95 % interval -0.1 to 0.9, ...): not shown.`

        Of a first that is worse, the numbers say by how much it is: the interval is turned, too.
        """
        first, second = self.names
        if self.difference is None:
            return f"{first} is not compared with {second}: {_count(self.seeds)} of one finished."
        points = tuple(
            100 * value
            for value in (self.difference.estimate, self.difference.low, self.difference.high)
        )
        estimate, low, high = points
        if estimate < 0:
            estimate, low, high = -estimate, -high, -low
        claim = f"{first} is {'worse' if points[0] < 0 else 'better'} than {second} by "
        claim += f"{_one_decimal(estimate)} points"
        if _one_decimal(estimate) == "0.0":
            claim, (_, low, high) = f"{first} and {second} differ by less than 0.1 points", points
        return (
            f"{claim} (95 % interval {_one_decimal(low)} to {_one_decimal(high)}, "
            f"{_count(self.seeds)}, adjusted p {_p_value(self.adjusted)}): "
            f"{'shown' if self.shown else 'not shown'}."
        )


def judge(retrained: Mapping[TrialConfig, Retrained], pairs: Sequence[Pair]) -> list[Verdict]:
    """A verdict for each pair of recipes, paired by sentence and not by seed.

    A seed decides the order of the data and the dropout of every recipe. Should that make them
    better or worse together, the test claims too little, not too much; pairing would halve the
    degrees of freedom, and in simulation find 28 % of differences of two points at five seeds
    where this finds 43 % (three finalists, all comparisons considered).
    """
    names = recipe_names(retrained)
    verdicts = [_compare(pair, retrained, names) for pair in pairs]
    compared = [v.difference.p_value for v in verdicts if v.difference is not None]
    adjusted = iter(holm(compared).tolist())
    return [
        verdict if verdict.difference is None else replace(verdict, adjusted=next(adjusted))
        for verdict in verdicts
    ]


def _compare(
    pair: Pair, retrained: Mapping[TrialConfig, Retrained], names: Mapping[TrialConfig, str]
) -> Verdict:
    first, second = (retrained[recipe].last for recipe in pair)
    seeds = min(len(first), len(second))
    told = (names[pair[0]], names[pair[1]])
    if pair[1] in [baseline.recipe for baseline in baselines_of(pair[0])]:
        told = (told[0], _alpha_words(pair[1]))  # all else is as the first has it
    if seeds < 2:
        return Verdict(pair, told, seeds)
    rows = [np.array(list(bits.values())) for bits in (first, second)]
    return Verdict(pair, told, seeds, seeds_difference(*rows, same_seeds=False))


def recipe_names(recipes: Iterable[TrialConfig]) -> dict[TrialConfig, str]:
    """What to call each: its alpha, and of its other settings what tells it from the rest.

    `cosine_growth with sharpness 2`, or with `(teacher_spread, layers 1,2,3)` where those differ.
    Settings that a sweep rarely varies are named only until no two are called the same.
    """
    settings = {recipe: _settings(recipe) for recipe in recipes}
    known_keys = dict.fromkeys(
        (*ALWAYS_SAID, *(key for known in settings.values() for key in known))
    )
    keys = [key for key in known_keys if _varies(key, settings)]
    said = [key for key in keys if key in ALWAYS_SAID]
    names = _named(settings, said)
    for key in keys:
        if len(set(names.values())) < len(names) and key not in said:
            said.append(key)
            names = _named(settings, said)
    return names


def in_common(recipes: Iterable[TrialConfig]) -> str:
    """`teacher_spread, layers 1,2,3`: what the names leave out of what is usually said."""
    settings = {recipe: _settings(recipe) for recipe in recipes}
    values = {key: value for known in settings.values() for key, value in known.items()}
    shared = [key for key in ALWAYS_SAID if key in values and not _varies(key, settings)]
    return ", ".join(
        _setting_words(key, values[key])
        for key in shared
        if key in ("initialisation", "aligned_layers") or values[key] != TrialConfig.default(key)
    )


def _settings(recipe: TrialConfig) -> dict[str, Any]:
    """What has an effect in this recipe, alpha and seed apart."""
    idle = recipe.idle_settings | {*OF_ALPHA, "seed"}
    if not recipe.uses_teacher_outputs:
        idle |= {"aligned_layers"}
    return {key: value for key, value in recipe.to_dict().items() if key not in idle}


def _varies(key: str, settings: Mapping[TrialConfig, Mapping[str, Any]]) -> bool:
    return len({known[key] for known in settings.values() if key in known}) > 1


def _named(
    settings: Mapping[TrialConfig, Mapping[str, Any]], said: Sequence[str]
) -> dict[TrialConfig, str]:
    names = {}
    for recipe, known in settings.items():
        parts = [_setting_words(key, known[key]) for key in said if key in known]
        names[recipe] = _alpha_words(recipe) + (f" ({', '.join(parts)})" if parts else "")
    return names


def _alpha_words(recipe: TrialConfig) -> str:
    if recipe.alpha_schedule != "fixed":
        return f"{recipe.alpha_schedule} with sharpness {recipe.sharpness:g}"
    if recipe.alpha == CROSS_ENTROPY:
        return "cross-entropy only"
    return f"fixed alpha {recipe.alpha:g}"


def _setting_words(key: str, value: Any) -> str:
    """As `TrialConfig.words` has it, and `key value` for what that leaves out."""
    if key == "aligned_layers":
        return "logits only" if value == NO_LAYERS else f"layers {value}"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    words = {"initialisation": "", "temperature": "T=", "hidden_pool": "pool "}
    return words.get(key, f"{key.replace('hidden_weight', 'weight')} ") + shown


def _one_decimal(points: float) -> str:
    return f"{round(points, 1) + 0.0:.1f}"  # no minus before a zero


def _p_value(value: float) -> str:
    """Cut, not rounded, to three decimals: what is below a bound reads as below it."""
    return "< 0.001" if value < 0.001 else f"= {floor(1000 * value + 1e-9) / 1000:.3f}"


def _count(seeds: int) -> str:
    return f"{seeds} seed" + ("" if seeds == 1 else "s")

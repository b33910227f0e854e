"""What a request resolves to, on this machine and for its space and models: made by `resolve`."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from search.plan.objectives import DEPTH, FEEDFORWARD, HALF, LATENCY, LAYERS, Shape, settings_of
from search.plan.request import GRID, INITIALISATION, SEARCHERS, SUGGESTIONS, Request
from search.plan.rungs import ASHA, FIFO, PROMOTION, SCHEDULERS
from search.plan.time_split import FINALS, SEARCH_SHARE
from spaces import SEARCHED, Inputs, file_digest, is_searched, load_space
from trainable.common.errors import UserError
from trainable.config.fields import described
from trainable.config.initialisations import PRETRAINED
from trainable.config.names import PYTORCH
from trainable.config.options import AUGMENT, AUTO, complete_config, fitted, resolve_preset
from trainable.config.presets import PRESETS
from trainable.config.trial_config import TrialConfig
from trainable.data.batches import affordable_evaluations, trial_steps

WIDTH = "student_width"
LEAST_STEPS = 50  # before trials are compared: until then some give every example one label
LEAST_EVALUATIONS = 2  # of a trial that is compared before its end
LEAST_DEPTH = 2  # in a single layer a space finds no lower, upper or even ones to align


@dataclass(frozen=True, kw_only=True)
class ResolvedRequest(Request):
    """A request that leaves no choice open; a run keeps it. Data and models narrow it further:
    evaluations (`on_examples`), made texts and shapes that time and limits allow.

    Where several shapes are tried, `overrides` have no depth.
    """

    preset: str = described("", choices=tuple(PRESETS))
    searcher: str = described("", choices=(GRID, *SEARCHERS))
    scheduler: str = described("", choices=SCHEDULERS)
    finals: int = described("", 0, low=0)
    # Of a search's short trials; the preset's if None.
    evaluations: int | None = described("", None, low=1)
    space_digest: str = ""  # of the file of a space FILE.py:NAME
    shapes: tuple[Shape, ...] = ()  # of students whose cost counts, deepest and widest first
    pretrained: tuple[tuple[str, Any], ...] = ()  # depth and width of trials from --student

    @property
    def inputs(self) -> Inputs:
        """What its space may ask about."""
        return Inputs(coarse=self.effective_preset.coarse_grid)

    @property
    def depths(self) -> tuple[int, ...]:
        """Of its shapes."""
        return tuple(dict.fromkeys(layers for layers, _ in self.shapes))

    @property
    def added(self) -> tuple[tuple[str, Any], ...]:
        """Values that the space tries beside its own."""
        of_student = ((INITIALISATION, PRETRAINED),) if self.student is not None else ()
        return (*self.additions, *of_student)

    @property
    def searched(self) -> bool:
        """Whether a searcher suggests the configurations, rather than the space listing them."""
        return self.searcher != GRID

    @property
    def strata(self) -> tuple[str, ...]:
        """The settings that divide trials into strata; `()` for one stratum.

        A space that lists its configurations is there to show them all, so that a random student
        must not fall to one copied from the teacher; one that is searched is after the best.
        """
        if self.compare_within is None:
            within = () if self.searched else (INITIALISATION,)
            shape = (LAYERS, FEEDFORWARD) if len(self.shapes) > len(self.depths) else (LAYERS,)
            return within if self.against is None else (*within, *shape)
        names = [] if self.compare_within == "all" else self.compare_within.split(",")
        return tuple(INITIALISATION if name == "init" else name for name in names)

    @property
    def wanted(self) -> float:
        """Configurations to suggest, the starts included; infinite where only time limits it."""
        if self.samples is not None:
            return self.samples
        return SUGGESTIONS if self.time_budget is None else math.inf

    @property
    def time_to_suggest(self) -> float:
        """Seconds after which no more is suggested; infinite without a time budget."""
        share = SEARCH_SHARE if self.finals else 1.0
        return math.inf if self.time_budget is None else share * self.time_budget

    def whole_budget(self, searched: float) -> float:
        """Seconds of search and finals: as asked for, or what a search of so many leaves of one."""
        return self.time_budget or searched / SEARCH_SHARE

    @property
    def constants(self) -> dict[str, Any]:
        """As `InputOptions` has them; texts without labels are left to the finals."""
        short = {"transfer_share": 0.0} if self.finals else {}
        fewer = {} if self.evaluations is None else {"evaluations": self.evaluations}
        return {**super().constants, **short, **fewer}

    @property
    def default(self) -> TrialConfig | None:
        """What the preset does with nothing searched, on the first seed; None where `--set` has
        what only other trials take, such as a sharpness."""
        with suppress(UserError):
            return self.configured(settings_of(self.shapes[0]) if self.shapes else {})
        return None

    def on_examples(self, train: int, evaluation: int) -> "ResolvedRequest":
        """For so many examples of each split: with as many evaluations as a trial has steps, of
        the preset's, and of those as many as a search with finals has time for."""
        known = replace(self, examples=train)
        config, most = known.default, known.effective_preset.trial["evaluations"]
        if config is None:
            return known
        steps = trial_steps(train, config)
        count = min(most, steps)
        if self.finals:
            trained, least = config.batch_size * steps, min(LEAST_EVALUATIONS, count)
            count = affordable_evaluations(trained, evaluation, least=least, most=count)
        return known if count == most else replace(known, evaluations=count)

    @property
    def transfer_share(self) -> float:
        """Of the finals."""
        share = super().constants.get("transfer_share", 0.0)
        return float(dict(self.overrides).get("transfer_share", share))

    def configured(self, values: Mapping[str, Any]) -> TrialConfig:
        """The configuration that these values stand for, on the first seed. Raises as
        `complete_config`."""
        constants, fixed = {**self.constants, "seed": self.seed}, dict(self.overrides)
        rates, pretrained = self.effective_preset.learning_rates, dict(self.pretrained)
        return complete_config(constants, rates, {**values, **fixed}, pretrained)

    def first_rung(self, evaluations: int, steps: int) -> int:
        """Evaluations, of so many in a trial of so many steps, before trials are compared; of a
        trial that is too short for that, all."""
        if self.grace_evaluations is not None:
            return self.grace_evaluations
        grace = self.effective_preset.grace_evaluations
        if self.scheduler == PROMOTION:
            grace = max(1, evaluations // 5)
        return min(max(grace, math.ceil(LEAST_STEPS * evaluations / steps)), evaluations)


def resolve(request: Request, log: Callable[[str], None]) -> ResolvedRequest:
    """The request with every choice made that it leaves open; logs which preset `auto` is.

    UserError for a space, search, preset, model or depth that can't be had.
    """
    searched = is_searched(load_space(request.space)[0])
    _check_search(request, searched=searched)
    preset, reason = resolve_preset(request.preset)
    if request.preset == AUTO:
        log(f"Preset {preset}: {reason}.")
    choices = {
        "preset": preset,
        "searcher": request.searcher or (SEARCHERS[0] if searched else GRID),
        "scheduler": request.scheduler or (PROMOTION if searched else ASHA),
        "finals": (finals := _finals(request, searched=searched)),
        "transfer": request.transfer or (AUGMENT if finals else None),
        "space_digest": file_digest(request.space),
    }
    resolved = ResolvedRequest(**{**vars(fitted(request)), **choices})
    if request.against is None and request.student is None and not request.limited:
        return resolved  # without loading torch and the models, which takes seconds
    return replace(resolved, **_of_models(resolved))


def _check_search(request: Request, *, searched: bool) -> None:
    """UserError for a searcher or a time budget that the space has no use for."""
    space, searcher, budget = request.space, request.searcher, request.time_budget
    if request.finals and (request.against or not searched):
        other = f"--against {request.against}" if searched else f"the space {space}, a grid"
        raise UserError(f"--finals {request.finals}: does not go with {other}")
    if request.runtime != PYTORCH and not (request.max_latency or request.against == LATENCY):
        raise UserError(
            f"--runtime {request.runtime}: has no effect without --max-latency or --against "
            f"{LATENCY}; leave it out"
        )
    if request.scheduler == FIFO and request.grace_evaluations is not None:
        raise UserError(
            f"--grace-evaluations {request.grace_evaluations}: has no effect with --scheduler "
            f"{FIFO}; leave it out"
        )
    if searched and searcher == GRID:
        valid = ", ".join(SEARCHERS)
        raise UserError(f"--searcher {GRID}: the space {space} has no grid; choose from {valid}")
    flag = "" if searcher in (None, GRID) else f"--searcher {searcher}"
    flag = flag or ("" if budget is None else f"--time-budget {budget:g}s")
    if flag and not searched:
        raise UserError(
            f"{flag}: only for a searched space ({', '.join(SEARCHED)}); {space} is a grid, of "
            "which all configurations are tried, or some with --samples N"
        )


def _finals(request: Request, *, searched: bool) -> int:
    if request.finals is not None:
        return request.finals
    return FINALS if searched and request.against is None else 0


def _of_models(request: ResolvedRequest) -> dict[str, Any]:
    """The fields of a request that teacher and `--student` decide; UserError where one is not
    to be had."""
    from trainable.data.sources import teacher_source
    from trainable.teacher.teacher import config_of, student_settings

    teacher, student, overrides = teacher_source(request), request.student, dict(request.overrides)
    teacher_layers = int(config_of("--teacher", teacher).num_hidden_layers)
    fields: dict[str, Any] = {"pretrained": tuple(student_settings(student, teacher).items())}
    if request.against is not None:
        deepest = overrides.pop(LAYERS, None)
        depths = _depths(request.against, teacher_layers, deepest)
    elif request.limited:
        given, most = overrides.pop(LAYERS, None), max(1, teacher_layers // 2)
        divisors = tuple(n for n in range(most, 0, -1) if teacher_layers % n == 0)
        depths = divisors if given is None else (given,)
    else:
        return fields
    halved = request.searched and (request.limited or request.against != DEPTH)
    shares = (1.0, HALF) if halved else (1.0,)
    if (fixed := overrides.pop(FEEDFORWARD, None)) is not None:
        shares = (fixed,)
    fields["shapes"] = tuple((layers, share) for layers in depths for share in shares)
    return {**fields, "overrides": tuple(overrides.items())}


def _depths(against: str, teacher_layers: int, given: int | None) -> tuple[int, ...]:
    """The depths to try: from the given one, or half the teacher's, down to half of it, those that
    divide the teacher's. UserError for under two.

    From half the teacher's they are a half, a third and a quarter of it.
    """
    divisors = [n for n in range(teacher_layers, LEAST_DEPTH - 1, -1) if teacher_layers % n == 0]
    tried = {top: tuple(n for n in divisors if top <= 2 * n <= 2 * top) for top in divisors}
    usable = [str(top) for top, depths in tried.items() if len(depths) > 1]
    depths = tried.get(teacher_layers // 2 if given is None else given, ())
    if len(depths) < 2:
        named = f"--against {against}" if given is None else f"--set {LAYERS}={given}"
        raise UserError(
            f"{named}: tries two depths or more that divide the teacher's {teacher_layers} layers, "
            f"from the deepest student down to half of it, at least {LEAST_DEPTH}; give the "
            f"deepest with --set {LAYERS}=N, valid: {', '.join(usable) or 'none'}"
        )
    return depths

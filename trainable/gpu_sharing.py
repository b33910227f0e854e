"""How many trials share a GPU: the decision, from what was measured. Measures nothing itself."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trainable.config import TrialConfig
from trainable.layers import parse_layers
from trainable.names import EAGER, GRAPH

MOST_TRIALS = 8  # that are ever tried on one GPU
WORTHWHILE = 1.1  # twice as many trials must take this many times the sentences a second
MEMORY_SHARE = 0.92  # of the free memory that trials may fill


@dataclass(frozen=True)
class Measurement:
    """Equal trials stepping at once on one GPU, over the same batches whatever their number.

    Where they could not, `error` says why in a line, and the numbers are 0.
    """

    trials: int
    steps: int = 0  # timed, of each trial
    sentences: int = 0  # in these steps of one trial
    seconds: float = 0.0  # until the slowest had taken them
    bytes_per_trial: int = 0  # of GPU memory, all that a trial's process takes
    torch_bytes: int = 0  # the part of it that torch had reserved at the most
    execution: str = EAGER
    reason: str = ""  # why steps are not captured
    error: str = ""
    out_of_memory: bool = False  # whether the error is that the GPU's memory did not suffice

    @property
    def sentences_per_second(self) -> float:
        """Of all trials together."""
        return self.trials * self.sentences / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the rates of all trials together among them."""
        rates = {
            "steps_per_second": self.trials * self.steps / self.seconds if self.seconds else 0.0,
            "sentences_per_second": self.sentences_per_second,
        }
        return asdict(self) | {name: round(rate, 2) for name, rate in rates.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Measurement":
        """The measurement that `to_dict` wrote."""
        rates = ("steps_per_second", "sentences_per_second")
        return cls(**{key: value for key, value in values.items() if key not in rates})


@dataclass(frozen=True)
class Probe:
    """What was measured of one kind of trial on one GPU."""

    free_bytes: int  # before the first trial started
    total_bytes: int
    measurements: tuple[Measurement, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"measurements": [m.to_dict() for m in self.measurements]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Probe":
        """The probe that `to_dict` wrote."""
        measurements = tuple(Measurement.from_dict(m) for m in values["measurements"])
        return cls(values["free_bytes"], values["total_bytes"], measurements)


@dataclass(frozen=True)
class Limits:
    """What bounds the trials on one GPU besides their measured speed."""

    free_bytes: int  # of GPU memory, before the first trial
    most: int  # trials that run at once, by cores, by --max-concurrent and by how many there are
    mps: bool  # whether NVIDIA's Multi-Process Service is running


@dataclass(frozen=True)
class Decision:
    """How many trials share a GPU, and why in words.

    `untried` is the number to be measured before this is final, None where it is.
    """

    trials_per_gpu: int
    why: str
    untried: int | None = None


def decide(measurements: Sequence[Measurement], limits: Limits) -> Decision:
    """How many trials share the GPU, by these measurements (a trial alone among them).

    One does where its steps are captured and MPS is not running: captured steps keep the GPU busy,
    and without MPS processes take turns. Otherwise the number is doubled while as many trials may
    run, K x the memory of one is at most 0.92 of what is free, and the sentences a second of all
    together grow by a tenth or more; the last that did is the number.
    """
    by_trials = {measurement.trials: measurement for measurement in measurements}
    alone = best = by_trials[1]
    untried = None
    while not (end := _obstacle(2 * best.trials, alone, limits)):
        more = by_trials.get(2 * best.trials)
        if more is None:
            untried, end = 2 * best.trials, f"{2 * best.trials} were not measured"
            break
        if end := _no_gain(best, more):
            break
        best = more
    return Decision(best.trials, _why(alone, best, end), untried)


def _obstacle(trials: int, alone: Measurement, limits: Limits) -> str:
    """Why so many are not even tried, or nothing."""
    if alone.execution == GRAPH and not limits.mps:
        return "captured steps keep the GPU busy; without MPS a second trial gains nothing"
    if trials > MOST_TRIALS:
        return f"more than {MOST_TRIALS} are never tried"
    if trials > limits.most:
        return f"no more than {limits.most} run at a time"
    if trials * alone.bytes_per_trial > MEMORY_SHARE * limits.free_bytes:
        return (
            f"{trials} x {_gigabytes(alone.bytes_per_trial)} GB are too many for the "
            f"{_gigabytes(limits.free_bytes)} GB of GPU memory that are free"
        )
    return ""


def _no_gain(best: Measurement, more: Measurement) -> str:
    """Why the larger number is not worth it, or nothing."""
    if more.out_of_memory:
        return f"{more.trials} ran out of GPU memory"
    if more.error:
        return f"{more.trials} at once failed ({more.error})"
    if more.sentences_per_second < WORTHWHILE * best.sentences_per_second:
        return f"{more.trials} reach {more.sentences_per_second:,.0f} sentences/s"
    return ""


def _why(alone: Measurement, best: Measurement, end: str) -> str:
    speed = f"{alone.sentences_per_second:,.0f} sentences/s alone"
    if best.trials > 1:
        speed = f"{best.sentences_per_second:,.0f} sentences/s together, {speed}"
    return f"{speed}; {end}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f}"


def heaviest(configs: Iterable[TrialConfig], teacher_width: int) -> TrialConfig:
    """The trial whose step is expected to take the most memory and time; the first of equals.

    By batch size x depth x width of the student, then by what of the teacher it compares: the
    hidden states of all tokens, of how many layers, the logits. `teacher_width` is the hidden size
    of students that are given none.
    """

    def weight(config: TrialConfig) -> tuple[int, bool, int, bool]:
        aligned = parse_layers(config.aligned_layers)
        return (
            config.batch_size * config.student_layers * (config.student_width or teacher_width),
            bool(aligned) and config.hidden_pool == "tokens",
            len(aligned),
            config.uses_teacher_outputs,
        )

    return max(configs, key=weight)

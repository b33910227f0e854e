"""Sweeps on a fake clock: the real rule of ASHA, noisy times, and a record of what happened."""

import heapq
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from search.record import Run, TrialRecord
from search.strata import rungs, stratum_of
from trainable.config import TrialConfig


@dataclass(frozen=True)
class Scenario:
    """What is simulated; seconds of an evaluation are `each` on the mean, times its kind's."""

    trials: int
    places: int
    scheduler: str = "asha"
    evaluations: int = 15
    grace: int = 3
    each: float = 10.0
    noise: float = 0.15  # of an evaluation's time, as a share of it
    tied: bool = False  # whether the students of the first stratum all score alike
    between: float = 1.0  # seconds from a trial's end to the next one's start
    setup: float = 2.0  # seconds of a trial before its first step


@dataclass
class Simulation:
    """A scenario played once; events are as in a record, from the session on."""

    scenario: Scenario
    seed: int
    events: list[dict] = field(default_factory=list)

    def __post_init__(self):
        self._random = np.random.default_rng([self.seed, self.scenario.trials])
        self.configs = make_configs(self.scenario, self.seed)
        self._quality = {c.digest: self._random.normal(0.0, 0.02) for c in self.configs}
        self._recorded = {}  # scores by stratum and rung, in the order of arrival
        self._play()

    @property
    def end(self):
        return self.events[-1]["time"]

    def run_until(self, moment):
        """The run as its record tells it at this moment."""
        trials = {config.digest: TrialRecord(config) for config in self.configs}
        run = Run(None, self.sweep, trials)
        for event in self.events:
            if event["time"] <= moment:
                run.take_in(event)
        return run

    @property
    def sweep(self):
        return {
            "scheduler": self.scenario.scheduler,
            "grace_evaluations": self.scenario.grace,
            "compare_within": ["initialisation"],
        }

    def _play(self):
        scenario, queue, heap = self.scenario, list(self.configs), []
        self.events.append({"event": "session", "time": 0.0})
        for place in range(scenario.places):
            self._start(queue, heap, 8.0 + 0.3 * place, setup=scenario.setup + 10.0)
        self._go_on(queue, heap)

    def _go_on(self, queue, heap):
        scenario = self.scenario
        while heap:
            now, _, config, number, clocks = heapq.heappop(heap)
            score = self._score(config)
            stop = self._decides_to_stop(config, number, score)
            self._evaluated(now, config, stop, evaluation_of(number, clocks, score))
            if stop:
                self._start(queue, heap, now + scenario.between, setup=scenario.setup)
            else:
                self._next(heap, now, config, number + 1)

    def _start(self, queue, heap, now, setup):
        if queue:
            config = queue.pop(0)
            self.events.append({"event": "start", "trial": config.digest, "time": now})
            self.events.sort(key=lambda event: event["time"])
            self._next(heap, now + setup, config, 1)

    def _next(self, heap, now, config, number):
        seconds = (
            self.scenario.each
            * cost_of(config)
            * self._random.lognormal(-(self.scenario.noise**2) / 2, self.scenario.noise)
        )
        tie_break = self._random.random()
        heapq.heappush(heap, (now + seconds + 0.05, tie_break, config, number, seconds))

    def _score(self, config):
        if self.scenario.tied and config.initialisation == "random":
            return 0.7
        score = 0.9 + self._quality[config.digest] + self._random.normal(0.0, 0.01)
        return round(score * 800) / 800

    def _decides_to_stop(self, config, number, score):
        if number == self.scenario.evaluations:
            return True
        compared = rungs(self.scenario.evaluations, self.scenario.grace)
        if self.scenario.scheduler != "asha" or number not in compared:
            return False
        stratum = stratum_of(config.to_dict(), ["initialisation"])
        before = self._recorded.setdefault((stratum, number), [])
        stop = bool(before) and score < median(before)
        before.append(score)
        return stop

    def _evaluated(self, now, config, stop, values):
        event = {"event": "evaluation", "trial": config.digest, "time": now, "evaluation": values}
        self.events.append({**event, "decision": "stop" if stop else "continue"})
        self.events.sort(key=lambda event: event["time"])


def evaluation_of(number, seconds, score):
    """What a record keeps of an evaluation, as far as a forecast looks at it."""
    return {
        "evaluations": number,
        "accuracy": score,
        "best5_accuracy": score,
        "training_seconds": 0.8 * seconds,
        "evaluation_seconds": 0.19 * seconds,
        "saving_seconds": 0.01 * seconds,
    }


def make_configs(scenario, seed):
    """Half random, half copied from the teacher, of four kinds, in a shuffled order."""
    made = []
    for number in range(scenario.trials):
        alpha, layers = ((1.0, "none"), (0.5, "none"), (0.5, "1,2"), (0.25, "1"))[number // 2 % 4]
        made.append(
            TrialConfig(
                initialisation=("random", "teacher_spread")[number % 2],
                aligned_layers=layers,
                alpha=alpha,
                learning_rate=1e-5 * (1 + number),
                evaluations=scenario.evaluations,
                student_layers=3,
                epochs=2,
            )
        )
    np.random.default_rng([seed, 1]).shuffle(made)
    return made


def cost_of(config):
    """Seconds of an evaluation of this kind, as a share of the mean kind's."""
    if config.alpha == 1.0:
        return 0.8
    return 1.1 if config.aligned_layers != "none" else 1.0

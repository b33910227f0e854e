"""Sweeps on a fake clock: the real rule of ASHA, noisy times, and a record of what happened."""

import heapq
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from search.record import Run, TrialRecord
from search.strata import rungs
from search.units import GO, STOP, WAIT, Units
from trainable.config import TrialConfig
from trainable.names import INITIALISATIONS


@dataclass(frozen=True)
class Scenario:
    """What is simulated; seconds of an evaluation are `each` on the mean, times its kind's."""

    recipes: int
    places: int
    seeds: int = 1  # of each recipe; they are decided on together
    strata: int = 2
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
        self._random = np.random.default_rng([self.seed, self.scenario.recipes])
        self.configs = make_configs(self.scenario, self.seed)
        self._trials = {config.digest: config for config in self.configs}
        recipes = dict.fromkeys(config.recipe for config in self.configs)
        self._quality = {recipe: self._random.normal(0.0, 0.02) for recipe in recipes}
        self._means = {}  # of units, by stratum and rung, in the order of arrival
        asha, count = self.scenario.scheduler == "asha", self.scenario.evaluations
        compared = rungs(count, self.scenario.grace) if asha else []
        self._units = Units(compared, count, self._goes_on)
        for config in self.configs:
            self._units.add(config)
        self._waiting = {}  # evaluations of seeds that wait for others, by digest
        self._play()
        self.events.sort(key=lambda event: event["time"])

    @property
    def end(self):
        return self.events[-1]["time"]

    def run_until(self, moment):
        """The run as its record tells it at this moment."""
        trials = {digest: TrialRecord(config) for digest, config in self._trials.items()}
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
        scenario, queue, heap = self.scenario, list(self._trials), []
        self.events.append({"event": "session", "time": 0.0})
        for place in range(min(scenario.places, len(queue))):
            self._start(heap, queue.pop(0), 1, 8.0 + 0.3 * place, setup=scenario.setup + 10.0)
        while heap:
            now, _, trial, number, clocks = heapq.heappop(heap)
            score = self._score(trial)
            ruling = self._units.evaluated(trial, number, score)
            values = evaluation_of(number, clocks, score)
            self._tell("evaluation", trial, now, evaluation=values, decision=ruling)
            if ruling == GO:
                self._next(heap, now, trial, number + 1)
            elif ruling == WAIT:
                self._waiting[trial] = number
            self._fill(queue, heap, now)

    def _fill(self, queue, heap, now):
        """Free places go to seeds that waited and are to go on, then to the first of the queue."""
        for trial in list(self._waiting):
            ruling = self._units.ruling(trial)
            if ruling == STOP:
                self._tell("stop", trial, now)
                del self._waiting[trial]
            elif ruling == GO and len(heap) < self.scenario.places:
                number = self._waiting.pop(trial) + 1
                self._start(heap, trial, number, now + self.scenario.between)
        while queue and len(heap) < self.scenario.places:
            self._start(heap, queue.pop(0), 1, now + self.scenario.between)

    def _start(self, heap, trial, number, now, setup=None):
        self._tell("start", trial, now)
        self._next(heap, now + (self.scenario.setup if setup is None else setup), trial, number)

    def _next(self, heap, now, trial, number):
        seconds = (
            self.scenario.each
            * cost_of(self._trials[trial])
            * self._random.lognormal(-(self.scenario.noise**2) / 2, self.scenario.noise)
        )
        tie_break = self._random.random()
        heapq.heappush(heap, (now + seconds + 0.05, tie_break, trial, number, seconds))

    def _score(self, trial):
        config = self._trials[trial]
        if self.scenario.tied and config.initialisation == "random":
            return 0.7
        score = 0.9 + self._quality[config.recipe] + self._random.normal(0.0, 0.01)
        return round(score * 800) / 800

    def _goes_on(self, config, rung, mean):
        """ASHA: what is below the median of those that came to the rung before is stopped."""
        before = self._means.setdefault((config.initialisation, rung), [])
        goes_on = not before or mean >= median(before)
        before.append(mean)
        return goes_on

    def _tell(self, event, trial, time, **more):
        self.events.append({"event": event, "trial": trial, "time": time, **more})


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
    """Of each stratum's initialisation as many, of four kinds, shuffled, all seeds in a row."""
    made = []
    for number in range(scenario.recipes):
        kinds = ((1.0, "none"), (0.5, "none"), (0.5, "1,2"), (0.25, "1"))
        alpha, layers = kinds[number // scenario.strata % 4]
        made.append(
            TrialConfig(
                initialisation=INITIALISATIONS[number % scenario.strata],
                aligned_layers=layers,
                alpha=alpha,
                learning_rate=1e-5 * (1 + number),
                evaluations=scenario.evaluations,
                student_layers=3,
                epochs=2,
            )
        )
    np.random.default_rng([seed, 1]).shuffle(made)
    return [replace(config, seed=more) for config in made for more in range(scenario.seeds)]


def cost_of(config):
    """Seconds of an evaluation of this kind, as a share of the mean kind's."""
    if config.alpha == 1.0:
        return 0.8
    return 1.1 if config.aligned_layers != "none" else 1.0

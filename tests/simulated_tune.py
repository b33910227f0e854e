"""Tune's loop with the real scheduler and recorder, trials that only say numbers, and disasters."""

import random
from dataclasses import asdict

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from search.plan.schedulers import make_scheduler
from search.record.run import read_run
from search.record.storage import RecordCopy
from search.record.trial_record import ENDED, FAILED, FINISHED
from search.sweep.callbacks.recorder import Recorder
from trainable.trial.training_loop import EVALUATION_KEYS
from trainable.trial.tune_function import FAILURE_KIND, OUT_OF_MEMORY, REASON

RETRIED, FAILS, OUT_OF_ROOM = "retried", "fails for good", "is to run alone"


class KilledError(Exception):
    """As by SIGKILL: nothing of the session is left but what is recorded."""


class Silent:
    """A display."""

    def show(self, run, event):
        pass


class Calm:
    """An interruption that never comes."""

    requested, problem = False, ""


class FakeTrial:
    """As much of a Ray trial as scheduler and recorder look at."""

    def __init__(self, trial_id, config):
        self.trial_id, self.config = trial_id, asdict(config)
        self.digest, self.status = config.digest, Trial.PENDING
        self.error_file, self.max_failures = None, 3
        self.has_folder = False

    def set_status(self, status):
        self.status = status
        if status == Trial.RUNNING:
            self.init_local_path()

    def init_local_path(self):
        self.has_folder = True


def score_of(digest, number):
    """The same whenever and however often a trial is trained."""
    return round(random.Random(f"{digest} {number}").uniform(0.6, 0.8), 3)


class Session:
    """One Tuner's `fit` on these open trials, so many at a time; raises KilledError where it is.

    `disasters` are probabilities at each evaluation, by what happens; `killed` is one, too.
    """

    def __init__(self, run, trials, places, chance, *, disasters, killed=0.0):
        self.run, self.places, self.chance = run, places, chance
        self.disasters, self.killed = disasters, killed
        self.scheduler = make_scheduler(run.request.scheduler, run, lambda: places)
        self.scheduler.drained = lambda: not self.queue
        self.recorder = Recorder(run, Silent(), Calm(), RecordCopy(run.folder), sharing=True)
        self.queue, self.trials, self.idle = [trial.config for trial in trials], [], 0

    def get_trials(self):
        return self.trials

    def fit(self):
        while not self.finished:
            self.step()

    @property
    def finished(self):
        return not self.queue and not self.of(Trial.PENDING, Trial.PAUSED, Trial.RUNNING)

    def of(self, *statuses):
        return [trial for trial in self.trials if trial.status in statuses]

    def step(self):
        before = [trial.status for trial in self.trials]
        self._hand_out()
        chosen = self.scheduler.choose_trial_to_run(self)
        for trial in [*([chosen] if chosen else []), *self.of(Trial.PENDING)]:
            if trial.status != Trial.RUNNING:
                trial.set_status(Trial.RUNNING)
                self.recorder.on_trial_start(trial=trial)
        running = self.of(Trial.RUNNING)
        assert len(running) <= self.places
        if running:
            self._advance(self.chance.choice(running))
        else:
            idle = before == [trial.status for trial in self.trials]
            self.idle = self.idle + 1 if idle else 0
            assert self.idle < 10, "the sweep hangs"

    def _hand_out(self):
        live = len(self.of(Trial.PENDING, Trial.PAUSED, Trial.RUNNING))
        while self.queue and live < self.places + self.scheduler.waiting:
            trial = FakeTrial(f"{id(self):x}_{len(self.trials):05}", self.queue.pop(0))
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)
            live += 1

    def _advance(self, trial):
        self._perhaps_die()
        for kind, probability in self.disasters.items():
            if self.chance.random() < probability:
                return self._fail(trial, kind)
        number = len(self.run.trials[trial.digest].evaluations) + 1
        score = score_of(trial.digest, number)
        values = dict.fromkeys(EVALUATION_KEYS, 0.0) | {"saving_seconds": 0.0}
        values |= {
            "correct": "",
            "full_accuracy": None,
            "full_correct": None,
            "evaluations": number,
            "accuracy": score,
            "teacher_agreement": score,
            "best5_accuracy": 0.0,
        }
        result = {**values, "training_iteration": number}
        decision = self.scheduler.on_trial_result(self, trial, result)
        self._perhaps_die()
        result |= {"done": True} if decision == TrialScheduler.STOP else {}
        self.recorder.on_trial_result(trial=trial, result=result)
        self._perhaps_die()
        if decision == TrialScheduler.STOP:
            self.scheduler.on_trial_complete(self, trial, result)
            self.recorder.on_trial_complete(trial=trial)
            trial.set_status(Trial.TERMINATED)
        elif decision == TrialScheduler.PAUSE:
            trial.set_status(Trial.PAUSED)
        return None

    def _fail(self, trial, kind):
        if kind == RETRIED:
            self.scheduler.on_trial_error(self, trial)
            trial.set_status(Trial.PENDING)
            self.trials.remove(trial)
            self.trials.append(trial)
            self.scheduler.on_trial_add(self, trial)
            self.recorder.on_trial_recover(trial=trial)
            return
        if kind == OUT_OF_ROOM:
            result = {FAILURE_KIND: OUT_OF_MEMORY, REASON: "no room", "training_iteration": 1}
            assert self.scheduler.on_trial_result(self, trial, result) == TrialScheduler.CONTINUE
            self.recorder.on_trial_result(trial=trial, result=result)
        self.scheduler.on_trial_error(self, trial)
        trial.set_status(Trial.ERROR)
        self.recorder.on_trial_error(trial=trial)

    def stop_trial(self, trial):
        """What the scheduler asks for where the unit of a paused trial was stopped."""
        assert trial.status == Trial.PAUSED
        assert trial.has_folder, "Ray's results ask for it, whether it ran in this session or not"
        self._perhaps_die()
        self.scheduler.on_trial_remove(self, trial)
        self.recorder.on_trial_complete(trial=trial)
        trial.set_status(Trial.TERMINATED)

    def _perhaps_die(self):
        if self.chance.random() < self.killed:
            raise KilledError


def play(run, places, chance, disasters=None, killed=0.0):
    """Sessions, until one comes to the end of all trials; the run as it was recorded."""
    while run.unfinished:
        try:
            for alone in (False, True):
                trials = [t for t in run.trials.values() if t.outcome not in ENDED]
                trials = [trial for trial in trials if trial.alone == alone]
                Session(run, trials, places, chance, disasters=disasters or {}, killed=killed).fit()
            assert not run.unfinished, "all is over, but not in the record"
        except KilledError:
            pass
        run = read_run(run.folder)
    return run


def ends(trials):
    """At how many evaluations each of the trials that did not fail was stopped; 0 of finished."""
    return [
        0 if trial.outcome == FINISHED else len(trial.evaluations)
        for trial in trials
        if trial.outcome != FAILED
    ]

"""Ray Tune's loop, as much of it as decides anything, around the real searcher, scheduler and
callback: trials that only say numbers, and disasters."""

import random
from contextlib import suppress
from types import SimpleNamespace

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from search.policy.policy import Policy
from search.policy.still_to_come import is_complete
from search.record.run import read_run
from search.record.trial_record import FAILED, FINISHED
from search.sweep.hooks.callback import RunCallback
from search.sweep.hooks.live_run import LiveRun
from search.sweep.hooks.ray_private import SIGN_OF_LOST_NODE
from search.sweep.hooks.scheduler import RunScheduler
from search.sweep.hooks.searcher import RunSearcher
from tests.made_runs import evaluated
from trainable.config.trial_config import TrialConfig
from trainable.trial.messages import MESSAGE, Message

CRASH, NODE = "crash", SIGN_OF_LOST_NODE  # failures that no message announces


class KilledError(Exception):
    """As by SIGKILL: nothing of the session is left but what is recorded."""


class FakeTrial:
    """As much of a Ray trial as the hooks look at."""

    def __init__(self, trial_id, config, max_failures=2, status=Trial.PENDING):
        self.trial_id, self.config, self.status = trial_id, config, status
        self.record = TrialConfig.from_dict(config).digest
        self.max_failures, self.run_metadata = max_failures, SimpleNamespace(num_failures=0)
        self.error_file, self.has_folder = None, False

    def set_status(self, status):
        self.status = status

    def init_local_path(self):
        self.has_folder = True

    def fails(self, folder, *errors):
        """With what Ray keeps of these failures; whether Ray restarts it."""
        (folder / "error.txt").write_text("".join(f"Failure # 1 (at)\n{e}\n" for e in errors))
        self.error_file = str(folder / "error.txt")
        self.run_metadata.num_failures += 1
        return self.run_metadata.num_failures <= self.max_failures


def score_of(config, number):
    """The same whenever and however often a trial is trained."""
    return round(random.Random(f"{config.digest} {number}").uniform(0.6, 0.8), 3)


def evaluation(config, number):
    score = score_of(config, number)
    return evaluated(config, number, score, teacher_agreement=score)["evaluation"]


def make_hooks(run, slots=2, *, copy, interruption, display=None):
    """The real ones, for one Tuner."""
    silent = SimpleNamespace(show=lambda run, event: None)
    exclusive = Policy(run).exclusive
    live = LiveRun(
        run, display or silent, interruption, copy, slots=lambda: slots, exclusive=exclusive
    )
    return SimpleNamespace(
        live=live,
        searcher=RunSearcher(live),
        scheduler=RunScheduler(live),
        callback=RunCallback(live),
    )


class Simulation:
    """One Tuner's `fit`; raises KilledError where it is, just after an event is on disk or before
    an evaluation is made.

    `disasters` are probabilities at each evaluation: of CRASH, NODE or a kind of a message's.
    """

    def __init__(self, run, slots, chance, disasters, killed, evaluate):
        self.run, self.slots, self.chance, self.evaluate = run, slots, chance, evaluate
        self.disasters, self.killed = disasters, killed
        self.trials, self.left, self.finished, self.idle = [], False, False, 0
        interruption = SimpleNamespace(requested=False, problem="", leave_loop=self.leave)
        copy = SimpleNamespace(copy=lambda *names: self.perhaps_die())
        self.hooks = make_hooks(run, slots, copy=copy, interruption=interruption)

    def leave(self):
        self.left = True

    def get_trials(self):
        return self.trials

    def of(self, *statuses):
        return [trial for trial in self.trials if trial.status in statuses]

    def perhaps_die(self):
        if self.chance.random() < self.killed:
            raise KilledError

    def fit(self):
        while not self.left and not (
            self.finished and not self.of(Trial.PENDING, Trial.PAUSED, Trial.RUNNING)
        ):
            self.step()

    def step(self):
        before = [trial.status for trial in self.trials]
        if not self.finished and not self.of(Trial.PENDING):
            self.ask_searcher()
        chosen = self.hooks.scheduler.choose_trial_to_run(self)
        if chosen is not None:
            assert chosen.status in (Trial.PENDING, Trial.PAUSED)
            chosen.set_status(Trial.RUNNING)
            chosen.init_local_path()
            # It goes on from a checkpoint, or where that is damaged from the start.
            recorded = len(self.run.trials[chosen.record].evaluations)
            chosen.reported, chosen.saved = 0, self.chance.randint(0, recorded)
            self.hooks.callback.on_trial_start(trial=chosen)
        running = self.of(Trial.RUNNING)
        assert len(running) <= self.slots
        if running:
            self.advance(self.chance.choice(running))
        self.hooks.callback.on_step_end(trials=self.trials)
        idle = not running and before == [trial.status for trial in self.trials]
        self.idle = self.idle + 1 if idle else 0
        assert self.idle < 10, "the sweep hangs"

    def ask_searcher(self):
        name = f"{id(self):x}_{len(self.trials):05}"
        answer = self.hooks.searcher.suggest(name)
        self.finished = answer == Searcher.FINISHED
        if isinstance(answer, dict):
            self.trials.append(FakeTrial(name, answer, self.run.request.retries))
            self.hooks.scheduler.on_trial_add(self, self.trials[-1])

    def advance(self, trial):
        self.perhaps_die()
        for kind, probability in self.disasters.items():
            if self.chance.random() < probability:
                return self.fail(trial, kind)
        trial.reported += 1
        config = TrialConfig.from_dict(trial.config)
        values = self.evaluate(config, trial.reported)
        decision = self.report(trial, Message(values, restored=trial.reported <= trial.saved))
        if decision == TrialScheduler.STOP:
            self.end(trial)
        elif decision == TrialScheduler.PAUSE:
            trial.set_status(Trial.PAUSED)
        else:
            assert trial.reported < config.evaluations
        return None

    def report(self, trial, message):
        result = {"training_iteration": trial.reported, MESSAGE: message}
        decision = self.hooks.scheduler.on_trial_result(self, trial, dict(result))
        self.hooks.callback.on_trial_result(trial=trial, result=result)
        assert MESSAGE not in result
        return decision

    def end(self, trial):
        self.hooks.searcher.on_trial_complete(trial.trial_id)
        self.hooks.callback.on_trial_complete(trial=trial)
        trial.set_status(Trial.TERMINATED)

    def stop_trial(self, trial):
        """What the scheduler asks for if a trial was stopped while it waited."""
        assert trial.status == Trial.PAUSED
        assert trial.has_folder, "Ray's results ask for it, whether it ran in this session or not"
        self.end(trial)

    def fail(self, trial, kind):
        if kind not in (CRASH, NODE):
            assert self.report(trial, Message(failure=kind)) == TrialScheduler.CONTINUE
        if trial.fails(self.run.trial_folder(self.run.trials[trial.record]), kind):
            trial.set_status(Trial.PENDING)
            self.trials.remove(trial)
            self.trials.append(trial)
            self.hooks.scheduler.on_trial_add(self, trial)
            self.hooks.callback.on_trial_recover(trial=trial)
        else:
            self.hooks.searcher.on_trial_complete(trial.trial_id, error=True)
            trial.set_status(Trial.ERROR)
            self.hooks.callback.on_trial_error(trial=trial)


def play(run, slots, chance, disasters=None, killed=0.0, evaluate=evaluation):
    """Sessions, until all trials have ended; the run as it was recorded."""
    while not is_complete(run):
        run.append({"event": "session", "provenance": {}})
        progress = -1
        with suppress(KilledError):
            while not is_complete(run):
                assert run.next_number > progress, "a Tuner did nothing"
                progress = run.next_number
                Simulation(run, slots, chance, disasters or {}, killed, evaluate).fit()
        run = read_run(run.folder)
    return run


def ends(trials):
    """At how many evaluations each of the trials that did not fail was stopped; 0 of finished."""
    return [
        0 if trial.outcome == FINISHED else len(trial.evaluations)
        for trial in trials
        if trial.outcome != FAILED
    ]

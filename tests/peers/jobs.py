"""A peer's search, or the project's, as a job of the benchmark that also notes when it scored."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import numpy as np

from search.record.events import read_log
from search.record.run import read_run
from tests.scripts.search_benchmark import CODE, Job, read_results
from trainable.config.trial_config import TrialConfig
from trainable.models.loading import load_classifier, load_tokenizer
from trainable.models.students import build_student

OURS = "recipe"
COMMANDS = 2  # search.run and search.export
PEERS = ("trainer", "trainer_cached", "neps", "neps_cached", "txtai", "autogluon")
LINE = re.compile(r"trial (\d+) (begins|resumes|ends)|accuracy'? (?:reached )?(\d\.\d+)")
NEVER = 1e6  # seconds


class PeerJob(Job):
    """Its times are those since its command was given, start of Python included."""

    killed = False

    def __init__(self, *chosen):
        super().__init__(*chosen)
        self.key["killed"] = self.killed
        self.name += "-killed" * self.killed
        self.log = self.log.with_stem(self.name)
        kinds = ("students", "runs", "starts", "caches")
        folders = (self.asked.out / kind / self.name for kind in kinds)
        self.student, self.folder, self.start, self.cache = folders
        self.teacher = self.asked.out / "teachers" / self.key["dataset"]

    def prepare(self):
        """Also the folders of the teacher and of the student that all start from."""
        super().prepare()
        if not self.teacher.exists():
            self.copy_teacher(self.teacher)
        for old in (self.folder, self.student, self.cache):
            shutil.rmtree(old, ignore_errors=True)
        settings = {"initialisation": "teacher_spread", "seed": self.key["seed"]}
        config = TrialConfig(student_layers=3, **settings)
        build_student(load_classifier(self.teacher), config).save_pretrained(self.start)
        load_tokenizer(self.teacher).save_pretrained(self.start)

    def command(self, again):
        """What a user gives, for the first time or again after an interruption."""
        seed = self.key["seed"]
        if self.way in PEERS:
            module, _, variant = self.way.partition("_")
            python = self.asked.python.get(module, sys.executable)
            folders = (self.data, self.teacher, self.start, self.student)
            more = (self.seconds, seed, *variant.split())
            return python, "-m", f"tests.peers.{module}", *folders, *more
        ours = (sys.executable, "-m", "search.run", "--storage", self.folder.parent)
        if again and self.folder.exists():
            return *ours, "--resume", self.folder.name
        inputs = ("--preset", "mini", "--dataset", self.data, "--teacher", self.teacher)
        asked = ("--space", "recipe", "--time-budget", self.key["budget"], "--seed", seed)
        more = ("--max-concurrent", 1, "--cache", self.cache, "--name", self.folder.name)
        return *ours, *inputs, *asked, *more

    def watch(self, again=False, seconds=NEVER):
        """Its events (seconds, what, trial or score), and the lines it prints, for so many seconds:
        the first command is killed then, the second ended. RuntimeError if it fails."""
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(CODE)}
        options = {"cwd": self.log.parent, "env": environment, "text": True}
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        begin, lines, command = time.time(), [], list(map(str, self.command(again)))
        with self.log.open("a") as copy, subprocess.Popen(command, **options) as process:
            timer = Timer(seconds, process.terminate if again else process.kill)
            timer.daemon = True  # which nothing waits for if this fails
            timer.start()
            for line in process.stdout:
                lines.append((time.time(), line))
                print(line, end="", file=copy, flush=True)
            timer.cancel()
        if process.returncode and time.time() - begin < seconds:
            raise RuntimeError(f"{command[2]} ended with {process.returncode}; see {self.log}")
        events = printed(lines) if self.way in PEERS else recorded(read_log(self.folder).events)
        events = [(when - begin, *rest) for when, *rest in events if when >= begin]
        return events, [line for _, line in lines]

    def make(self):
        """The times of its scores, beside what every job records."""
        if self.way not in (OURS, *PEERS):
            return super().make()
        begin = time.monotonic()
        events, lines = self.watch()
        if self.way == OURS:
            lines = [self.call("-m", "search.export", self.folder, self.student)]
            seconds, whole = time.monotonic() - begin, len(read_run(self.folder).finished)
        else:
            seconds, whole = events[-1][0], sum(what == "ends" for _, what, _ in events)
        return {
            "seconds": round(seconds, 1),
            "trials": sum(what == "begins" for _, what, _ in events),
            "whole": whole,
            "scores": [[round(when, 1), score] for when, what, score in events if what == "score"],
            "chosen": " ".join(lines[-1].split("Not scored")[0].split()),
        }

    def predict(self, split, texts):
        """From the peer's own file, where its student is no folder that others can read."""
        if (own := self.student / "predicted.json").exists():
            return np.array(json.loads(own.read_text())[split])
        return super().predict(split, texts)


class KilledJob(PeerJob):
    """The same command, killed at half of the time that it took, and given again."""

    killed = True

    def run(self):
        """What was lost. RuntimeError if the command has not been timed."""
        timed = (self.key | {"killed": False}).items()
        took = [r["seconds"] for r in read_results(self.asked.out) if timed <= r.items()]
        if not took:
            raise RuntimeError("it has no result that says how long it takes")
        self.prepare()
        half = took[0] / 2
        before, after = self.watch(seconds=half)[0], self.watch(True, seconds=took[0])[0]
        lost, restart = cost_of_kill(before, after, half)
        return self.key | {"half": half, "lost": round(lost, 1), "restart": round(restart, 1)}


def recorded(events):
    """(time, what, trial or score) of a run's record."""
    found, scored = [], set()
    for event in events:
        trial = event.get("trial")
        if event["event"] == "start":
            found.append((event["time"], "resumes" if trial in scored else "begins", trial))
        elif event["event"] == "evaluation":
            scored.add(trial)
            found.append((event["time"], "score", event["evaluation"]["score"]))
        elif event["event"] == "repeated":
            found.append((event["time"], "repeats", trial))
    return found


def printed(lines):
    """(time, what, trial or score) of a peer's lines (time, line), from its first trial on."""
    found = []
    for when, line in lines:
        for trial, what, score in LINE.findall(line):
            if what:
                found.append((when, what, int(trial)))
            elif found:
                found.append((when, "score", float(score)))
    return found


def cost_of_kill(before, after, killed):
    """Seconds of work lost, and seconds until a trial trains again.

    From the events (seconds, what, trial or score) of the command killed after so many seconds and
    of the one that followed. If the trial resumes, it goes on from its last evaluation that is not
    repeated; if another begins, the one that ran is lost; if the first begins anew, all is.
    """
    restart, what, trial = next(event for event in after if event[1] in ("begins", "resumes"))
    marks = [event for event in before if event[1] != "ends"]
    begins = [event for event in marks if event[1] == "begins"]
    if not begins or (trial == begins[0][2] and what == "begins"):
        return killed, restart
    if what == "resumes":
        return killed - marks[-1 - sum(event[1] == "repeats" for event in after)][0], restart
    return killed - begins[-1][0], restart


def lines_of_code(way):
    """That its user writes; for this project its commands."""
    if way == OURS:
        return COMMANDS
    folder, modules = Path(__file__).parent, [way.partition("_")[0]]
    modules += ["distillation"] if modules[0] in ("trainer", "neps") else []
    return sum(code_lines((folder / f"{module}.py").read_text()) for module in modules)


def code_lines(source):
    """Lines of Python that are neither blank nor comment nor docstring."""
    code = re.sub(r'^ *""".*?"""$', "", source, flags=re.DOTALL | re.MULTILINE)
    return sum(bool(line.split("#")[0].strip()) for line in code.splitlines())

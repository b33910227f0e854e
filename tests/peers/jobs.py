"""A peer's search, or the project's, as a job of the benchmark that also notes when it scored."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import numpy as np

from search.record.events import read_log
from search.record.run import read_run
from tests.scripts.search_benchmark import CODE, Job, read_results
from trainable.config.trial_config import TrialConfig
from trainable.models.loading import load_classifier, load_tokenizer
from trainable.models.students import build_student

OURS = "recipe"
COMMANDS = 2  # search.run and search.export
# By way, the module and what follows its arguments.
PEERS = {
    "trainer": ("trainer",),
    "trainer_cached": ("trainer", "cached"),
    "neps": ("neps",),
    "neps_cached": ("neps", "cached"),
    "txtai": ("txtai",),
    "autogluon": ("autogluon",),
}
LINE = re.compile(r"trial (\d+) (begins|resumes|ends)|accuracy'? (?:reached )?(\d\.\d+)")


class PeerJob(Job):
    """Its times are those since its command was given, start of Python included."""

    killed = False

    def __init__(self, *chosen):
        super().__init__(*chosen)
        self.key["killed"] = self.killed
        self.student = self.student.with_name(self.name + "-killed" * self.killed)
        self.folder = self.asked.out / "runs" / self.student.name
        self.teacher = self.asked.out / "teachers" / self.key["dataset"]
        self.start = self.asked.out / "starts" / self.student.name

    def prepare(self):
        """Also the folders of the teacher and of the student that all peers start from."""
        super().prepare()
        if not self.teacher.exists():
            self.copy_teacher(self.teacher)
        config = TrialConfig(
            student_layers=3, initialisation="teacher_spread", seed=self.key["seed"]
        )
        build_student(load_classifier(self.teacher), config).save_pretrained(self.start)
        load_tokenizer(self.teacher).save_pretrained(self.start)
        for old in (self.folder, self.student, self.cache):
            shutil.rmtree(old, ignore_errors=True)

    @property
    def cache(self):
        """Nothing is in it before the clock starts."""
        return self.asked.out / "caches" / self.student.name

    def command(self, again):
        """What a user gives, for the first time or again after an interruption."""
        if self.way == OURS:
            storage = ("--storage", self.folder.parent)
            if again:
                return sys.executable, "-m", "search.run", "--resume", self.folder.name, *storage
            inputs = ("--preset", "mini", "--dataset", self.data, "--teacher", self.teacher)
            asked = ("--time-budget", self.key["budget"], "--seed", self.key["seed"])
            name = ("--max-concurrent", 1, "--cache", self.cache, "--name", self.folder.name)
            flags = ("--space", "recipe", *inputs, *asked, *name, *storage)
            return sys.executable, "-m", "search.run", *flags
        module, *variant = PEERS[self.way]
        python = self.asked.python.get(module, sys.executable)
        folders = (self.data, self.teacher, self.start, self.student)
        arguments = (*folders, self.seconds, self.key["seed"], *variant)
        return python, "-m", f"tests.peers.{module}", *arguments

    def watch(self, again=False, seconds=float("inf"), until_scored=False):
        """Its events, and the lines it prints; killed after so many seconds, or ended once it has
        given a score. RuntimeError if it fails."""
        path = [CODE, *([self.asked.out / "site"] if self.way.startswith("trainer") else [])]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "HF_HUB_OFFLINE": "1",
        }
        log = self.asked.out / "logs" / f"{self.student.name}.txt"
        log.parent.mkdir(exist_ok=True)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        begin, lines = time.time(), []
        command, place = (
            list(map(str, self.command(again))),
            {"cwd": log.parent, "env": environment},
        )
        with log.open("a") as copy, subprocess.Popen(command, **place, **streams) as process:

            def read():
                for line in process.stdout:
                    lines.append((time.time(), line))
                    print(line, end="", file=copy, flush=True)

            reader = Thread(target=read)
            reader.start()
            ended = False
            while not ended and process.poll() is None:
                time.sleep(0.1)
                scored = until_scored and any(e[1] == "score" for e in self.events(begin, lines))
                ended = scored or time.time() - begin > seconds
            if ended:
                (process.terminate if until_scored else process.kill)()
            process.wait()
            reader.join(30)
        if process.returncode and not ended:
            raise RuntimeError(f"{command[2]} ended with {process.returncode}; see {log}")
        return self.events(begin, lines), [line for _, line in lines]

    def events(self, begin, lines):
        """(seconds, what, trial or score) from the record or from what a peer prints."""
        if self.way == OURS:
            with_record = (self.folder / "record.jsonl").exists()
            found = recorded(read_log(self.folder).events) if with_record else []
        else:
            found = printed(lines)
        return [(when - begin, *rest) for when, *rest in found if when >= begin]

    def make(self):
        """The times of its scores, beside what every job records."""
        if self.way not in (OURS, *PEERS):
            return super().make()
        begin = time.monotonic()
        events, lines = self.watch()
        chosen = [line.partition(":")[2].strip() for line in lines if line.startswith("chosen:")]
        if self.way == OURS:
            chosen = [self.call("-m", "search.export", self.folder, self.student, "--no-check")]
            whole = len(read_run(self.folder).finished)
        else:
            whole = len({trial for _, what, trial in events if what == "ends"})
        return {
            "seconds": round(time.monotonic() - begin, 1),
            "trials": len({trial for _, what, trial in events if what == "begins"}),
            "whole": whole,
            "scores": [[round(when, 1), score] for when, what, score in events if what == "score"],
            "chosen": " ".join(chosen[-1].split("Not scored")[0].split()) if chosen else "",
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
        timed = self.key | {"killed": False}
        took = [r["seconds"] for r in read_results(self.asked.out) if timed.items() <= r.items()]
        if not took:
            raise RuntimeError("it has no result that says how long it takes")
        self.prepare()
        half = took[0] / 2
        before, _ = self.watch(seconds=half)
        after, _ = self.watch(again=True, until_scored=True)
        lost, restart = cost_of_kill(before, after, half)
        return self.key | {"half": half, "lost": round(lost, 1), "restart": round(restart, 1)}


def recorded(events):
    """(time, what, trial or score) of a run's record."""
    found, scores = [], {}
    for event in events:
        trial = event.get("trial")
        if event["event"] == "start":
            found.append((event["time"], "resumes" if scores.get(trial) else "begins", trial))
        elif event["event"] == "evaluation":
            scores[trial] = event["evaluation"]["evaluations"]
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
    if what == "resumes":
        kept = marks[-1 - sum(event[1] == "repeats" for event in after)][0]
    else:
        kept = 0.0 if trial == begins[0][2] else begins[-1][0]
    return killed - kept, restart


def lines_of_code(way):
    """That its user writes: statements' lines in the script and in what it imports of the peers,
    without docstrings, comments, blank lines; for this project its commands."""
    if way == OURS:
        return COMMANDS
    here, module = Path(__file__).parent, PEERS[way][0]
    sources = [(here / f"{module}.py").read_text()]
    if "tests.peers.distillation" in sources[0]:
        sources.append((here / "distillation.py").read_text())
    return sum(map(code_lines, sources))


def code_lines(source):
    """Lines of Python that are neither blank nor comment nor docstring."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines = enumerate(source.splitlines(), 1)
    return sum(n not in texts and bool(line.split("#")[0].strip()) for n, line in lines)

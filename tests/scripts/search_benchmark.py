"""What a search is worth: `python -m tests.scripts.search_benchmark --out DIR`, by hand, for hours.

Data sets x budgets x seeds x ways to get a student, each on one pinned core with one thread. The
score is the accuracy of the one student chosen on held-out examples that no part of it saw. A job's
result is a line of DIR/results.jsonl; those that are there are not run again. --table prints them.
Jobs on one core wait for each other, also those of other invocations. The teacher is made before
the clock starts. What others use for the same is compared by `python -m tests.peers`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from filelock import FileLock

import trainable
from search.export.exported_student import predictions
from search.plan.request import parse_time
from tests.scripts.benchmark_data import DATASETS, make_dataset, read_tsv
from tests.scripts.benchmark_table import print_table
from trainable.common.errors import UserError
from trainable.config.presets import PRESETS
from trainable.data.wheels import small_encoder
from trainable.engine.metrics import pack_predictions
from trainable.models.loading import load_tokenizer
from trainable.trial.checkpoint import write_checkpoint
from trainable.trial.training_loop import Trial

CODE = Path(__file__).parents[2]
WITHOUT_BUDGET = ("teacher", "default")  # the same in every budget
SEARCHES = {"recipe": (), "random": ("--searcher", "random", "--scheduler", "fifo")}
WAYS = ("teacher", "default", "long", "random", "recipe")
# With the code that ran the search: it knows its own record.
COUNT = (
    "import sys; from pathlib import Path; from search.record.run import read_run; "
    "run = read_run(Path(sys.argv[1])); print(round(run.seconds, 1), len(run.trials))"
)


class Job:
    """One way to get a student for one data set."""

    def __init__(self, asked, dataset, budget, way, seed):
        self.asked, self.way = asked, way
        budget = None if way in WITHOUT_BUDGET else budget
        seed = 0 if way == "teacher" else seed
        self.key = {"dataset": dataset, "budget": budget, "seed": seed, "way": asked.label or way}
        self.name = f"{dataset}-{asked.label or way}-{budget or 'once'}-seed{seed}"
        self.seconds = budget and parse_time(budget)
        self.code = asked.code if way in SEARCHES else CODE
        self.data, self.student = asked.out / "data" / dataset, asked.out / "students" / self.name
        self.log = asked.out / "logs" / f"{self.name}.txt"
        self.log.parent.mkdir(exist_ok=True)

    def prepare(self):
        """Data set and teacher."""
        asked = self.asked
        make_dataset(self.key["dataset"], self.data, asked.glue, asked.sst2)
        options = {"teacher": str(asked.teacher)} if asked.teacher else {}
        options |= {"dataset": str(self.data), "cache": str(asked.out / "cache")}
        self.inputs = trainable.prepare("mini", hidden_pools=(), **options)

    def make(self):
        """Makes the student; what is to be recorded of that."""
        makers = {"teacher": self.copy_teacher} | dict.fromkeys(SEARCHES, self.search)
        return makers.get(self.way, self.train)()

    def predict(self, split, texts):
        """The student's labels of a split's texts."""
        return predictions(self.student, texts)

    def run(self):
        """The result: what way it was, how the student scores, and the bits held out."""
        asked, start = self.asked, time.monotonic()
        self.prepare()
        prepared = time.monotonic()
        shutil.rmtree(self.student, ignore_errors=True)
        result = self.key | self.make()
        wall = time.monotonic() - prepared
        for split, prefix in {"validation": "validation_", "heldout": ""}.items():
            examples = read_tsv(self.data / f"{split}.tsv")
            correct = self.predict(split, examples.texts) == np.array(examples.labels)
            result[f"{prefix}accuracy"] = round(float(correct.mean()), 5)
        return result | {
            "wall_seconds": round(wall, 1),
            "preparation_seconds": round(prepared - start, 1),
            "core": asked.core,
            "commit": commit(self.code),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "examples": len(correct),
            "correct": pack_predictions(correct.astype(int), 2),
        }

    def copy_teacher(self, folder=None):
        """The teacher with its tokenizer, as if it were the student."""
        folder = folder or self.student
        shutil.copytree(self.inputs.teacher.folder, folder, copy_function=shutil.copyfile)
        tokenizer = load_tokenizer(self.asked.teacher or small_encoder())
        tokenizer.model_max_length = PRESETS["mini"].max_length
        tokenizer.save_pretrained(folder)
        return {"seconds": self.inputs.teacher.seconds, "chosen": "teacher"}

    def train(self):
        """The default, or for `long` as many steps of it as the budget has time for."""
        length = {"max_steps": self.long_steps()} if self.way == "long" else {}
        start = time.monotonic()
        config = self.inputs.config({"seed": self.key["seed"], **length})
        trial = Trial.start(config, self.inputs, torch.device("cpu"))
        trained = sum(evaluation.training_seconds for evaluation in trial.run())
        seconds = round(time.monotonic() - start, 1)
        self.student.mkdir(parents=True)
        write_checkpoint(trial, self.student)
        times = {"seconds": seconds, "training_seconds": round(trained, 1), "steps": trial.step}
        return times | {"chosen": config.label()}

    def long_steps(self):
        """Steps that take the budget, by the times of the default, which must be there."""
        wanted = {"dataset": self.key["dataset"], "way": "default"}.items()
        timed = [r for r in read_results(self.asked.out) if wanted <= r.items()]
        if not timed:
            raise UserError("long: needs the time of `default` on that data set; run that first")
        other = fmean(r["seconds"] - r["training_seconds"] for r in timed)
        step = fmean(r["training_seconds"] / r["steps"] for r in timed)
        return max(timed[0]["steps"], round((self.seconds - other) / step))

    def search(self):
        """`search.run` and `search.export` of the code asked for."""
        out, runs = self.asked.out, self.asked.out / "runs"
        shutil.rmtree(runs / self.name, ignore_errors=True)
        flags = ["--preset", "mini", "--dataset", self.data, "--cache", out / "cache"]
        flags += ["--teacher", self.asked.teacher] if self.asked.teacher else []
        flags += ["--time-budget", self.key["budget"], "--seed", self.key["seed"]]
        flags += ["--max-concurrent", 1, "--storage", runs, "--name", self.name]
        more = (*SEARCHES[self.way], *self.asked.more)
        self.call("-m", "search.run", "--space", "recipe", *flags, *more)
        exported = self.call("-m", "search.export", runs / self.name, self.student)
        seconds, trials = self.call("-c", COUNT, runs / self.name).split()[-2:]
        chosen = " ".join(exported.split("Calibration: ")[0].split())
        return {"seconds": float(seconds), "trials": int(trials), "chosen": chosen}

    def call(self, *arguments):
        """What a Python command prints; RuntimeError where it fails."""
        environment = os.environ | {"PYTHONPATH": str(self.code)}
        command = [sys.executable, *map(str, arguments)]
        with self.log.open("a") as errors:
            streams = {"stdout": subprocess.PIPE, "stderr": errors, "text": True}
            # In a folder that has no packages: `python -m` looks there first.
            done = subprocess.run(
                command, check=False, cwd=self.log.parent, env=environment, **streams
            )
            errors.write(done.stdout)
        if done.returncode:
            raise RuntimeError(f"{arguments[1]} ended with {done.returncode}; see {self.log}")
        return done.stdout


def commit(code):
    """Of a checkout, with a + where files differ from it."""
    head, changes = (
        subprocess.check_output(["git", "-C", code, *command], text=True).strip()
        for command in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))
    )
    return head + "+" * bool(changes)


def read_results(out):
    """The recorded jobs."""
    path = out / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def run_jobs(asked, job_class=Job):
    """All that are not recorded yet; returns how many failed."""
    failed = 0
    for chosen in product(asked.datasets, asked.budgets, asked.only, asked.seeds):
        job = job_class(asked, *chosen)
        with FileLock(asked.out / f"core-{asked.core}.lock"):
            if any(job.key.items() <= r.items() for r in read_results(asked.out)):
                continue
            print(f"{time.strftime('%H:%M:%S')} {job.name}", flush=True)
            try:
                result = job.run()
            except Exception as error:
                failed += 1
                reason = f"{type(error).__name__}: {error}"
                print(f"FAILED {job.name}: {reason}", flush=True)
                job.log.touch()
                if not job.log.read_text().strip():  # before any command, which says it better
                    job.log.write_text(f"{reason}\n")
            else:
                with (asked.out / "results.jsonl").open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print({k: v for k, v in result.items() if k != "correct"}, flush=True)
        time.sleep(1)  # another invocation's turn
    return failed


def comma_list(*known):
    """A parser of some of these words."""

    def parse(text):
        if unknown := set(words := text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"{unknown.pop()!r} is not among {', '.join(known)}")
        return words

    return parse


def make_parser(description, ways):
    """The flags, which choose among these ways."""
    parser = argparse.ArgumentParser(description=description)
    parser.set_defaults(label=None, code=CODE, more=[])
    path = {"type": lambda text: Path(text).resolve()}
    parser.add_argument("--out", **path, required=True, help="of all results, models, logs")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    texts = {"type": lambda text: text.split(",")}
    known = f"of {', '.join(DATASETS)}, or of your folders in OUT/data, made as theirs"
    parser.add_argument("--datasets", **texts, default=DATASETS, help=known)
    parser.add_argument("--budgets", **texts, default=["4m"], help="such as 4m,12m")
    numbers = {"type": lambda text: list(map(int, text.split(","))), "default": [0]}
    parser.add_argument("--seeds", **numbers, help="such as 0,1,2")
    parser.add_argument("--only", type=comma_list(*ways), default=ways, help=f"of {ways}")
    parser.add_argument("--core", type=int, default=0, help="of the processor, that all run on")
    parser.add_argument("--teacher", **path, help="encoder instead of the preset's")
    parser.add_argument("--glue", **path, help="folder with cola/train.tsv and validation.tsv")
    parser.add_argument("--sst2", **path, help="folder with train.tsv and dev.tsv")
    return parser


def known_dataset(asked, name):
    """Whether `make_dataset` can make it, or a folder of that name is there."""
    return name in DATASETS or (asked.out / "data" / name / "heldout.tsv").is_file()


def parse_arguments(parser):
    """The flags' values, after this process is held to one core and one thread."""
    asked = parser.parse_args()
    asked.code = asked.code.resolve()
    if unknown := [name for name in asked.datasets if not known_dataset(asked, name)]:
        parser.error(f"--datasets: {unknown[0]!r} is neither {', '.join(DATASETS)} nor in OUT/data")
    if asked.out.is_relative_to(CODE):
        parser.error("--out: give a folder outside the repository")
    if asked.label and len(asked.only) != 1:
        parser.error("--label: names one way; give it with --only")
    if not asked.table:
        os.sched_setaffinity(0, {asked.core})
        os.environ["OMP_NUM_THREADS"] = "1"  # of the commands called
        torch.set_num_threads(1)
        asked.out.mkdir(parents=True, exist_ok=True)
    return asked


def main():
    parser = make_parser(__doc__.splitlines()[0], WAYS)
    parser.add_argument("--label", help="name of the one way of --only in the results")
    parser.add_argument("--code", type=Path, help="checkout whose search is run")
    parser.add_argument("--more", type=str.split, help="further flags of search.run")
    asked = parse_arguments(parser)
    if asked.table:
        results = read_results(asked.out)
        for budget in sorted({r["budget"] for r in results} - {None}, key=parse_time):
            print_table(results, budget)
        return 0
    return int(run_jobs(asked) > 0)


if __name__ == "__main__":
    sys.exit(main())

"""What a search is worth: `python -m tests.scripts.search_benchmark --out DIR`, by hand, for hours.

Data sets x budgets x seeds x ways to get a student, each on one pinned core with one thread. The
score is the accuracy of the one student chosen on held-out examples that no part of it saw. A job's
result is a line of DIR/results.jsonl; those that are there are not run again. --table prints them.
Jobs on one core wait for each other, also those of other invocations. The teacher is made before
the clock starts. `trainer` needs the package accelerate, installed or in DIR/site.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np
from filelock import FileLock
from scipy.stats import norm
from scipy.stats import t as student_t

from search.plan.request import parse_time
from search.results.statistics import CONFIDENCE, Difference, seeds_difference
from tests.scripts.benchmark_data import DATASETS, make_dataset, read_tsv
from trainable.common.errors import UserError
from trainable.config.presets import PRESETS
from trainable.data.wheels import small_encoder
from trainable.engine.metrics import pack_bits, unpack_bits

CODE = Path(__file__).parents[2]
REFERENCES = ("default", "long")
WITHOUT_BUDGET = ("teacher", "default")
SEARCHES = {"recipe": (), "random": ("--searcher", "random", "--scheduler", "fifo")}
WAYS = ("teacher", "default", "long", "random", "recipe", "trainer")
# With the code that ran the search: it knows its own record.
COUNT = (
    "import sys; from pathlib import Path; from search.record.run import read_run; "
    "run = read_run(Path(sys.argv[1])); print(round(run.seconds, 1), len(run.trials))"
)


class Job:
    """One way to get a student for one data set; `run` returns what is recorded of it."""

    def __init__(self, asked, dataset, way, seed, budget):
        self.asked, self.dataset, self.way, self.seed = asked, dataset, way, seed
        self.budget = None if way in WITHOUT_BUDGET else budget
        self.label = asked.label or way
        self.code = asked.code if way in SEARCHES else CODE
        self.data = asked.out / "data" / dataset
        parts = (dataset, self.label, self.budget or "once", f"seed{seed}")
        self.name = "-".join(parts)
        self.student = asked.out / "students" / self.name

    @property
    def key(self):
        """What a result is of."""
        return {
            "dataset": self.dataset,
            "budget": self.budget,
            "seed": self.seed,
            "way": self.label,
        }

    def run(self):
        """Makes the student, and scores it on validation and held-out examples."""
        start = time.monotonic()
        make_dataset(self.dataset, self.data, self.asked.glue, self.asked.sst2)
        self.inputs = self.prepare()
        prepared = time.monotonic()
        shutil.rmtree(self.student, ignore_errors=True)
        if self.way in SEARCHES:
            found = self.search()
        elif self.way == "trainer":
            found = self.trainer()
        elif self.way == "teacher":
            found = self.teacher()
        else:
            found = self.train()
        wall = time.monotonic() - prepared
        validation, heldout = (score(self.student, self.data, s) for s in ("validation", "heldout"))
        return {
            **self.key,
            "accuracy": round(float(heldout.mean()), 5),
            "validation_accuracy": round(float(validation.mean()), 5),
            **found,
            "wall_seconds": round(wall, 1),
            "preparation_seconds": round(prepared - start, 1),
            "core": self.asked.core,
            "commit": commit(self.code),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "examples": len(heldout),
            "correct": pack_bits(heldout),
        }

    def prepare(self):
        """The teacher, fine-tuned once for all ways."""
        import trainable

        options = {"dataset": str(self.data), "cache": str(self.asked.out / "cache")}
        if self.asked.teacher:
            options["teacher"] = str(self.asked.teacher)
        return trainable.prepare("mini", hidden_pools=(), **options)

    def teacher(self, folder=None):
        """The teacher with its tokenizer, as if it were the student."""
        from trainable.models.loading import load_tokenizer

        folder = folder or self.student
        shutil.copytree(self.inputs.teacher.folder, folder, copy_function=shutil.copyfile)
        tokenizer = load_tokenizer(self.asked.teacher or small_encoder())
        tokenizer.model_max_length = PRESETS["mini"].max_length
        tokenizer.save_pretrained(folder)
        return {"seconds": self.inputs.teacher.seconds, "chosen": "teacher", "trials": 0}

    def train(self):
        """The default, or for `long` as many steps of it as the budget has time for."""
        import torch

        from trainable.trial.checkpoint import write_checkpoint
        from trainable.trial.training_loop import Trial

        length = {"max_steps": self.long_steps()} if self.way == "long" else {}
        start = time.monotonic()
        config = self.inputs.config({"seed": self.seed, **length})
        trial = Trial.start(config, self.inputs, torch.device("cpu"))
        evaluations = list(trial.run())
        seconds = time.monotonic() - start
        self.student.mkdir(parents=True)
        write_checkpoint(trial, self.student)
        parts = ("training_seconds", "evaluation_seconds")
        spent = {part: round(sum(getattr(e, part) for e in evaluations), 1) for part in parts}
        label = f"{config.label()}, {trial.step} steps"
        return {
            "seconds": round(seconds, 1),
            **spent,
            "steps": trial.step,
            "chosen": label,
            "trials": 1,
        }

    def long_steps(self):
        """Steps that take the budget, by the times of the default, which must be there."""
        made = [r for r in read_results(self.asked.out) if r["dataset"] == self.dataset]
        timed = [r for r in made if r["way"] == "default"]
        if not timed:
            raise UserError(f"long: needs the time of `default` on {self.dataset}; run that first")
        other = fmean(r["seconds"] - r["training_seconds"] for r in timed)
        step = fmean(r["training_seconds"] / r["steps"] for r in timed)
        return max(timed[0]["steps"], round((parse_time(self.budget) - other) / step))

    def search(self):
        """`search.run` and `search.export` of the code asked for."""
        out, runs = self.asked.out, self.asked.out / "runs"
        shutil.rmtree(runs / self.name, ignore_errors=True)
        flags = ["--preset", "mini", "--dataset", self.data, "--cache", out / "cache"]
        flags += ["--teacher", self.asked.teacher] if self.asked.teacher else []
        flags += ["--time-budget", self.budget, "--seed", self.seed, "--max-concurrent", 1]
        flags += ["--storage", runs, "--name", self.name, *SEARCHES[self.way], *self.asked.more]
        self.call("-m", "search.run", "--space", "recipe", *flags)
        run = runs / self.name
        exported = self.call("-m", "search.export", run, self.student, "--no-check")
        seconds, trials = self.call("-c", COUNT, run).split()[-2:]
        chosen = " ".join(exported.split("Not scored")[0].split())
        return {"seconds": float(seconds), "trials": int(trials), "chosen": chosen}

    def trainer(self):
        """The search of a practitioner."""
        teacher = self.asked.out / "teachers" / self.dataset
        if not teacher.exists():
            self.teacher(teacher)
        flags = ["--budget", parse_time(self.budget), "--seed", self.seed]
        module = ["-m", "tests.scripts.trainer_search"]
        printed = self.call(*module, self.data, teacher, self.student, *flags)
        return json.loads(printed.strip().splitlines()[-1])

    def call(self, *arguments):
        """What a Python command prints; RuntimeError with its last lines where it fails."""
        path = [self.code] if self.way in SEARCHES else [self.code, self.asked.out / "site"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
        log = self.asked.out / "logs" / f"{self.name}.txt"
        log.parent.mkdir(exist_ok=True)
        command = [sys.executable, *map(str, arguments)]
        with log.open("a") as errors:
            streams = {"stdout": subprocess.PIPE, "stderr": errors, "text": True}
            # In a folder that has no packages: `python -m` looks there first.
            done = subprocess.run(command, check=False, cwd=log.parent, env=environment, **streams)
            errors.write(done.stdout)
        if done.returncode:
            raise RuntimeError(f"{arguments[1]} ended with {done.returncode}; see {log}")
        return done.stdout


def score(student, data, split):
    """Which examples of a split a folder's model gets right, bool [N]."""
    from search.export.exported_student import predictions

    examples = read_tsv(data / f"{split}.tsv")
    return predictions(student, examples.texts) == np.array(examples.labels)


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


def run_jobs(asked):
    """All that are not recorded yet; returns how many failed."""
    failed = 0
    for job in [
        Job(asked, dataset, way, seed, budget)
        for dataset in asked.datasets
        for budget in asked.budgets
        for way in asked.only
        for seed in (asked.seeds if way != "teacher" else [0])
    ]:
        with FileLock(asked.out / f"core-{asked.core}.lock"):
            if any(job.key.items() <= r.items() for r in read_results(asked.out)):
                continue
            print(f"{time.strftime('%H:%M:%S')} {job.name}", flush=True)
            try:
                result = job.run()
            except Exception as error:
                failed += 1
                print(f"FAILED {job.name}: {type(error).__name__}: {error}", flush=True)
            else:
                with (asked.out / "results.jsonl").open("a") as file:
                    file.write(json.dumps(result) + "\n")
                print({k: v for k, v in result.items() if k != "correct"}, flush=True)
        time.sleep(1)  # another invocation's turn
    return failed


def difference(first, second):
    """Of two ways' bits, [S, N] and [S', N], paired by example. With two seeds of each the interval
    is for other seeds and examples, else for other examples alone."""
    if min(len(first), len(second)) > 1:
        return seeds_difference(first, second)
    gaps = first.mean(axis=0) - second.mean(axis=0)
    half = norm.ppf((1 + CONFIDENCE) / 2) * gaps.std(ddof=1) / len(gaps) ** 0.5
    return Difference(gaps.mean(), gaps.mean() - half, gaps.mean() + half)


def mean_differences(differences):
    """The mean over D data sets: its interval on these, and for other data sets (D - 1 degrees of
    freedom). Held-out examples that data sets share count as different ones."""
    estimates = np.array([d.estimate for d in differences])
    mean, count = estimates.mean(), len(estimates)
    half = np.sqrt(sum(((d.high - d.low) / 2) ** 2 for d in differences)) / count
    others = np.nan
    if count > 1:
        spread = estimates.std(ddof=1) / count**0.5
        others = student_t.ppf((1 + CONFIDENCE) / 2, count - 1) * spread
    return [Difference(mean, mean - h, mean + h) for h in (half, others)]


def points(gap):
    """`+0.42 (-0.10 to +0.94)`."""
    return f"{100 * gap.estimate:+6.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f})"


def print_table(results, budget):
    """Accuracy held out, and its difference to the references in points."""
    bits = defaultdict(dict)
    for r in results:
        if r["budget"] in (None, budget):
            bits[r["way"], r["dataset"]][r["seed"]] = unpack_bits(r["correct"], r["examples"])
    bits = {key: np.array(list(seeds.values()), dtype=float) for key, seeds in bits.items()}
    gaps = defaultdict(dict)
    print(f"\nbudget {budget}\n{'data set':10}{'way':14}{'seeds':>5} held out", end="")
    print(*[f"{f'points over {name} (95%)':>32}" for name in REFERENCES])
    order = {name: n for n, name in enumerate(DATASETS)}
    for way, dataset in sorted(
        bits, key=lambda k: (order.get(k[1], 99), k[1], list(bits).index(k))
    ):
        ours, row = bits[way, dataset], []
        for reference in REFERENCES:
            theirs = bits.get((reference, dataset))
            if theirs is None or way == reference:
                row.append(f"{'-':>32}")
                continue
            gaps[way, reference][dataset] = difference(ours, theirs)
            row.append(f"{points(gaps[way, reference][dataset]):>32}")
        print(f"{dataset:10}{way:14}{len(ours):5}   {ours.mean():.4f}", *row)
    for (way, reference), found in gaps.items():
        here, elsewhere = map(points, mean_differences(list(found.values())))
        print(f"{way} over {reference}, mean of {len(found)} data sets: {here}", end="")
        print(f"; for other data sets ({elsewhere.split('(')[1]}")


def parse_arguments():
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    comma = {"type": lambda text: text.split(",")}
    parser.add_argument("--out", type=lambda p: Path(p).resolve(), required=True)
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    parser.add_argument("--datasets", **comma, default=list(DATASETS))
    parser.add_argument("--budgets", **comma, default=["4m"])
    parser.add_argument("--seeds", type=lambda t: [int(s) for s in t.split(",")], default=[0])
    parser.add_argument("--only", **comma, default=list(WAYS), help=f"of {', '.join(WAYS)}")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--code", type=lambda p: Path(p).resolve(), default=CODE)
    parser.add_argument("--label", help="name of the one way of --only in the results")
    parser.add_argument("--more", type=str.split, default=[], help="further flags of search.run")
    parser.add_argument("--teacher", type=Path, help="encoder instead of the preset's")
    parser.add_argument("--glue", type=Path, help="folder with cola/train.tsv, validation.tsv")
    parser.add_argument("--sst2", type=Path, help="folder with train.tsv and dev.tsv")
    asked = parser.parse_args()
    if asked.out.is_relative_to(CODE):
        parser.error("--out: give a folder outside the repository")
    if asked.label and len(asked.only) != 1:
        parser.error("--label: names one way; give it with --only")
    for given, known in ((asked.only, WAYS), (asked.datasets, DATASETS)):
        if unknown := set(given) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(known)}")
    return asked


def main():
    asked = parse_arguments()
    if asked.table:
        results = read_results(asked.out)
        for budget in sorted({r["budget"] for r in results} - {None}, key=parse_time):
            print_table(results, budget)
        return 0
    os.sched_setaffinity(0, {asked.core})
    os.environ["OMP_NUM_THREADS"] = "1"
    asked.out.mkdir(parents=True, exist_ok=True)
    return int(run_jobs(asked) > 0)


if __name__ == "__main__":
    sys.exit(main())

"""The first hour on a GPU: a trial, the bench, and the tests that need one.

    python -m tests.gpu_check                 # all three; or one of them:
    python -m tests.gpu_check --part trial

Needs torch and transformers only; pytest for the tests, disentangled-flash for fused attention.
Every command is a process with a time limit, and every file of tests is one, so that no failure
costs more than its own figures. At the end, and when interrupted, it prints tables for the README.
On a machine without a GPU it shows that it works: `--preset mini --steps 6`.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Timer

REPOSITORY = Path(__file__).parent.parent
TESTS = ("tests/invariants", "tests/trainable/models", "tests/search/bench")  # they need no Ray
SST2_BATCHES = 2105  # of 32 of the 67,349 training examples
SECONDS = {"trial": 240, "bench": 240, "tests": 140}  # of each process, at most
GRACE_SECONDS = 5  # between two signals
# What ends a process that is out of time: pytest shows its failures so far at the first, and any
# Python the stack of each thread at the second.
SIGNALS = (signal.SIGINT, signal.SIGABRT, signal.SIGKILL)
# Milliseconds per step at batch 32, by arithmetic: the floor that weights, moments and matrix
# products set at 85 % of peak bandwidth, and what is expected of a step of this design.
FIGURES = {
    ("flash", "sst2", "H100"): ("1.2", "4.7"),
    ("flash", "sst2", "3090"): ("5.8", "8 to 9"),
    ("flash", "imdb", "3090"): ("57", "-"),
    ("graph", "sst2", "H100"): ("1.2", "6.9"),
    ("graph", "sst2", "3090"): ("5.8", "11 to 12"),
    ("graph", "imdb", "3090"): ("57", "-"),
}
HEADER = "variant|ms per step|floor|expected|examples per second|times the plain loop|set-up"


def main():
    """Runs the parts and prints the tables; returns 1 if a process failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="sst2", help="whose shapes and lengths (sst2)")
    parser.add_argument("--steps", type=int, default=SST2_BATCHES, help="batches in an epoch")
    parser.add_argument("--part", choices=SECONDS, help="only this one")
    parser.add_argument("--gigabytes", help="of GPU memory that the trial may use (all)")
    parser.add_argument("--seconds", type=float, help=f"of a process, at most ({SECONDS})")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="folders of tests")
    asked = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGABRT is to leave no core of gigabytes
    lines, outcomes = [], {}
    try:
        for part in [asked.part] if asked.part else SECONDS:
            for name, command in commands(part, asked).items():
                outcomes[name] = 130, "interrupted", 0.0
                seconds, signals = asked.seconds or SECONDS[part], SIGNALS[part != "tests" :]
                outcomes[name] = run(name, command, seconds, signals, lines)
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        print(table(lines), outcome_table(outcomes), sep="\n", flush=True)
    return int(any(code not in (0, 5) for code, *_ in outcomes.values()))  # 5: no such test


def interrupt(*_):
    """Ends the part that runs; `timeout` signals twice, and the tables are to come all the same."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def commands(part, asked):
    """The command lines of a part by name."""
    python, shape = [sys.executable, "-m"], ["--preset", asked.preset]
    if part == "trial":
        trial = [*python, "tests.scripts.gpu_trial", *shape, "--steps", str(asked.steps)]
        return {part: trial + (["--gigabytes", asked.gigabytes] if asked.gigabytes else [])}
    if part == "bench":
        return {part: [*python, "search.bench", *shape, "--steps", str(min(asked.steps, 200))]}
    if find_spec("pytest") is None:
        print("tests: pytest is not installed")
        return {}
    pytest = [*python, "pytest", "-o", "addopts=", "-m", "gpu", "-v", "--tb=short"]
    return {path: [*pytest, path] for path in gpu_tests(asked.tests)}


def gpu_tests(folders):
    """The files of tests that need a GPU, as paths from the repository."""
    files = sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("test_*.py"))
    marked = [path for path in files if "pytest.mark.gpu" in path.read_text()]
    return [os.path.relpath(path, REPOSITORY) for path in marked]


def run(name, command, seconds, signals, lines):
    """Shows what a command prints as it comes, and keeps its JSON lines.

    Returns its exit code, how it ended, and its seconds.
    """
    print(f"\n## {name}: {' '.join(command[1:])}", flush=True)
    start, last = time.monotonic(), ""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a process group of its own, to end all that it starts
    )
    timer = Timer(seconds, end, (process, signals))
    timer.start()
    try:
        for line in process.stdout:
            if not line.startswith("Extension modules: "):  # below a stack, in thousands of letters
                print(line, end="", flush=True)
            last = line.strip("= \n") or last
            with suppress(ValueError):
                lines += [json.loads(line)] if line.startswith("{") else []
        code = process.wait()
    finally:
        timer.cancel()
        end(process, (signal.SIGKILL,))
    took = time.monotonic() - start
    if took >= seconds:
        how = f"out of time after {seconds:g} s"
    elif code < 0:
        how = f"ended by {signal.Signals(-code).name}"
    else:
        how = last if "pytest" in command else f"exit code {code}"
    print(f"{name}: {how}, {took:.0f} s", flush=True)
    return code, how, took


def end(process, signals):
    """Ends a process and its group, by one signal after the other."""
    for number in signals:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)


def table(lines):
    """All that was measured, in Markdown; the ratio is to the loop with a live teacher."""
    rates = {line["variant"]: line.get("examples_per_second") for line in lines}
    live = rates.get("live")
    rows = [f"\n| {HEADER.replace('|', ' | ')} | reserved | notes |", "|---" * 9 + "|"]
    for line in lines:
        if "error" in line:
            rows.append(f"| `{line['variant']}` | {line['error']} |" + " |" * 7)
            continue
        rate, memory = line.get("examples_per_second"), line.get("reserved_gib")
        kind = line.get("like", line["variant"]), line.get("preset"), line.get("device", "")
        known = (FIGURES[key] for key in FIGURES if key[:2] == kind[:2] and key[2] in kind[2])
        figures = next(known, ("-", "-")) if "milliseconds_per_step" in line else ("-", "-")
        cells = [f"`{line['variant']}`", line.get("milliseconds_per_step", "-"), *figures]
        cells += [f"{rate:,.0f}" if rate else "-", f"{rate / live:.1f}" if rate and live else "-"]
        cells += [f"{line['setup_seconds']} s" if "setup_seconds" in line else "-"]
        cells += [f"{memory} GiB" if memory else "-", line.get("notes", "")]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def outcome_table(outcomes):
    """How each process ended, in Markdown."""
    rows = ["\n| process | how it ended | seconds |", "|---|---|---|"]
    rows += [f"| {name} | {how} | {took:.0f} |" for name, (_, how, took) in outcomes.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())

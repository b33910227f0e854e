"""What a dry run prints."""

import math
import os
import shlex
import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from search.disk import in_words, most_checkpoint_bytes
from search.launch import Session
from search.mirrored_cache import original
from search.outlook import Outlook, Times
from search.progress import in_time
from search.record import Run, TrialRecord
from search.strata import stratum_of
from search.trial_probe import Probed
from search.trial_words import wording
from trainable.arguments import default_cache
from trainable.environment import gpu_bytes
from trainable.files import nearest_existing
from trainable.remote import FETCHED
from trainable.stand_in import StandIn

FLAG = "--dry-run"
MOST_ROWS = 40
DONE_NOTHING = "Nothing was run. Start with:"


def say_trials(outlook: Outlook, console: Console) -> None:
    """A row for each trial by stratum, as far as there is room, and what a searcher adds."""
    run, words = outlook.run, wording(outlook.run)
    strata: dict[str, list[tuple[str, int]]] = {}
    for config in outlook.configs:
        trial = run.trials[config.digest]
        stratum = stratum_of(vars(config), run.sweep["compare_within"])
        strata.setdefault(stratum, []).append((words(trial), len(trial.evaluations)))
    table = Table(box=None, pad_edge=False)
    table.add_column("trial", overflow="ellipsis", no_wrap=True)
    table.add_column("evaluations", justify="right")
    evaluations = next(iter(run.trials.values())).config.evaluations
    room = MOST_ROWS
    for stratum, rows in strata.items():
        if room > 0:
            table.add_row(f"{stratum} ({len(rows)})", style="bold")
        for text, done in rows[: max(room, 0)]:
            table.add_row(f"  {text}", f"{done} of {evaluations}" if done else str(evaluations))
        room -= len(rows)
    if strata:
        console.print(table)
    if room < 0:
        console.print(f"... and {-room} more")
    if outlook.more:
        searcher = run.request.searcher
        many = "more" if math.isinf(outlook.more) else f"{outlook.more:.0f} more"
        console.print(f"then {many} suggested by {searcher}")


def say_time(outlook: Outlook, times: Times, console: Console) -> None:
    """`Time: about 12 min (asha), about 31 min (fifo), 2 trials at a time.`"""
    told = [f"{in_time(seconds)} ({name})" for name, seconds in times.by_scheduler.items()]
    text = f"Time: {', '.join(told)}, {outlook.at_a_time} trial(s) at a time"
    _line(f"{text}; this sweep has {outlook.run.sweep['scheduler']}.", console)
    if times.budget is not None:
        ends = [f"{count} ({name})" for name, count in times.fitting.items()]
        fit = f"about {', '.join(ends)} more suggested trials fit" if ends else "all trials fit"
        _line(f"Time budget: {in_time(times.budget).removeprefix('about ')}; {fit} in it.", console)
    before = [
        ("fine-tune and score the teacher", times.teacher),
        ("get its outputs", times.outputs),
    ]
    needed = [f"{in_time(seconds)} to {what}" for what, seconds in before if seconds]
    if needed:
        _line(f"Before that, estimated: {', '.join(needed)}.", console)


def say_memory(outlook: Outlook, probed: Probed, console: Console) -> None:
    """Of a trial's process, times how many run, against what there is."""
    count, each = outlook.at_a_time, probed.bytes_per_trial
    if each:
        free, total = machine_memory()
        text = f"Memory: {count} x {in_words(each)} = {in_words(count * each)}"
        _line(f"{text} of {in_words(free)} free ({in_words(total)} in all).", console)
        if count * each > free:
            _line("warning: that is more than is free; give --max-concurrent", console)
    sharing = outlook.run.sweep.get("gpu_sharing") or {}
    measured = [m["bytes_per_trial"] for m in sharing.get("measurements", ()) if not m["error"]]
    on_gpu = max([probed.gpu_bytes_per_trial, *measured])
    if on_gpu:
        share = min(count, outlook.run.sweep["trials_per_gpu"])
        text = f"GPU memory: {share} x {in_words(on_gpu)} = {in_words(share * on_gpu)} on a GPU"
        _line(f"{text} of {in_words(gpu_bytes())}.", console)


def say_disk(outlook: Outlook, found: StandIn, cache: Path, console: Console) -> None:
    """What the run's folder takes at most, and the cache."""
    run, folder, there = outlook.run, original(outlook.run.folder), original(cache)
    likely = {config.digest: TrialRecord(config) for config in outlook.possible}
    sized = Run(run.folder, run.sweep, {**likely, **run.trials})
    most = most_checkpoint_bytes(sized, outlook.places)
    more = found.bytes_missing + _bytes_in(default_cache() / FETCHED)  # what was fetched to look
    _line(
        f"Disk: at most {in_words(most)} in {folder.parent} ({_free(folder)} free); "
        f"{in_words(more)} more in the cache, which has {in_words(_bytes_in(there))} "
        f"({_free(there)} free).",
        console,
    )


def say_command(session: Session, console: Console) -> None:
    """The same command without the flag, to be pasted into a shell."""
    typed = [word for word in session.arguments if not is_flag(word)]
    console.print(DONE_NOTHING)
    console.print(shlex.join(["python", "-m", session.module, *typed]), soft_wrap=True)


def is_flag(word: str) -> bool:
    """Whether argparse takes this word for `--dry-run`."""
    return len(word) > len("--d") and FLAG.startswith(word)


def machine_memory() -> tuple[int, int]:
    """Bytes that processes can still have, and that there are."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return os.sysconf("SC_AVPHYS_PAGES") * page, total
    kilobytes = {name: value.split()[0] for name, _, value in (x.partition(":") for x in lines)}
    return int(kilobytes["MemAvailable"]) * 1024, total


def _bytes_in(folder: Path) -> int:
    """Of the files themselves, not of links to others."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)


def _free(folder: Path) -> str:
    """On the disk where the folder is or would be."""
    return in_words(shutil.disk_usage(nearest_existing(folder)).free)


def _line(text: str, console: Console) -> None:
    console.print(text, soft_wrap=True)

"""Whatever befalls a file of a run: it is repaired and said, refused in a line, or changes nothing.

`python -m pytest tests/search/record/test_attacks.py --flips 5 -s` flips more bits, attacks every
file in every way, and tells how often each outcome came.
"""

import random
import re
import shutil
import signal
import sys
from collections import Counter

import pandas as pd
import pytest

from search.confirm.__main__ import main as confirm_main
from search.export.__main__ import main as export_main
from search.record.run import read_run
from search.record.trial_record import ENDED
from search.report.__main__ import main as report_main
from search.results.best_trials import best_trials
from search.results.recommendation import recommended
from search.results.table import trials_table
from search.run.__main__ import main as sweep_main
from tests.sweeps import OPTIONS, assert_as_without_ray, run, start_and_hold
from trainable.common.errors import UserError

pytestmark = pytest.mark.slow

RAYS_FILES = ("tuner.pkl", "experiment_state*", "*/result*")
REPORTED = set()  # damage and tables of which there was a report
SCORES = ["digest", "outcome", "evaluations", "best5", "last", "reason"]


@pytest.fixture(scope="module")
def runs(make_command, tmp_path_factory):
    """An interrupted run of five trials, the second under way; and what a copy of it came to, moved
    and with plan, Ray's files and the checkpoint of the trial under way damaged all at once."""
    folder = tmp_path_factory.mktemp("attacks")
    cut, moved = folder / "runs" / "cut", folder / "else where" / "whole"
    process = start_and_hold([*make_command(folder), *OPTIONS, "--name", "cut"], cut, 11)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    shutil.copytree(cut, moved)
    away = cut.rename(cut.with_name("moved away"))
    for pattern in ("sweep.json", *RAYS_FILES, "*/checkpoint_*/training_state*"):
        files = list(moved.glob(pattern))
        assert files, pattern
        for path in files:
            path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.4)])
    done = run([sys.executable, "-m", "search.run"], "--resume", str(moved))
    assert not cut.exists()
    away.rename(cut)
    return {"cut": cut, "whole": moved, "resumed": done}


def test_moved_and_damaged_all_over_it_ends_as_the_undamaged_one(runs):
    outcomes = [trial.outcome for trial in read_run(runs["cut"]).trials.values()]
    assert outcomes == ["finished", "running", "pending", "pending", "pending"]
    printed = runs["resumed"].stdout + runs["resumed"].stderr
    assert runs["resumed"].returncode == 0, printed
    assert "Traceback" not in printed
    assert "Checkpoint cut short, the trial starts again: " in printed
    assert_as_without_ray(read_run(runs["whole"]))


def flipped(content, chance):
    place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def truncated(content, chance):
    return content[: chance.randrange(len(content))]


def zeroed(content, chance):
    start = chance.randrange(len(content))
    stop = chance.randrange(start, len(content)) + 1
    return content[:start] + bytes(stop - start) + content[stop:]


def attack(path, way, chance):
    """Whether the file is another one now; without a way it is deleted."""
    before = path.read_bytes()
    path.unlink()
    if way is not None:
        path.write_bytes(way(before, chance))
    return way is None or path.read_bytes() != before


def attacks(folder, flips):
    """Each file with a way to spoil it; by default only the first of a kind, but bits are flipped
    in each file of the run that is cut."""
    seen = set()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size):
        first = (kind := re.sub(r"\d+", "", path.name)) not in seen or flips > 1
        if first or folder.name == "cut":
            yield from ((path.relative_to(folder), flipped) for _ in range(flips))
        if first:
            ways = (truncated, zeroed, None)
            yield from ((path.relative_to(folder), way) for way in ways)
        seen.add(kind)


@pytest.mark.parametrize("name", ["cut", "whole"])
def test_every_file_attacked_in_every_way(runs, name, tmp_path, monkeypatch, capsys, request):
    monkeypatch.setattr("search.sweep.session.run_trials", lambda *_: None)
    monkeypatch.setattr("search.export.exported_student.TIMED_SECONDS", 0.02)
    flips, chance, counts = request.config.getoption("--flips"), random.Random(name), Counter()
    wanted = trials_table(read_run(runs[name]))
    for file, way in attacks(runs[name], flips):
        folder = shutil.copytree(runs[name], tmp_path / "runs" / name)
        how = way.__name__ if way else "deleted"
        if attack(folder / file, way, chance):
            try:
                outcome = attacked(folder, file, wanted, tmp_path, capsys)
            except BaseException:
                shutil.copytree(folder, tmp_path / "failed", dirs_exist_ok=True)
                print(f"{name}: {file} {how}")
                raise
            counts[how, outcome] += 1
        shutil.rmtree(tmp_path / "runs")
    with capsys.disabled():
        print(f"\n{name}: {dict(counts)}")
    assert sum(counts.values()) > 50


def test_every_command_says_what_is_damaged(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("search.confirm.__main__.start_run", lambda *_: 0)
    monkeypatch.setattr("search.confirm.__main__.score_on_test", lambda folder, code, _: code)
    monkeypatch.setattr("search.export.exported_student.TIMED_SECONDS", 0.02)
    folder = shutil.copytree(runs["whole"], tmp_path / "runs" / "whole")
    (folder / "sweep.json").unlink()
    first = recommended(read_run(folder)).trials[0]
    shutil.rmtree(next(folder.glob(f"{first.config.folder_name}/checkpoint_*")))
    for main, *more in (
        (export_main, str(folder), str(tmp_path / "out"), "--no-check"),
        (confirm_main, str(folder)),
        (sweep_main, "--resume", str(folder), "--dry-run"),
    ):
        assert main(more) == 0
        printed = capsys.readouterr().out
        assert "sweep.json was damaged: its plan taken from record.jsonl.\n" in printed
        next_best = "Not the recommended one: no checkpoint of it is left." in printed
        assert next_best == (main is export_main)


def attacked(folder, file, wanted, tmp_path, capsys):
    """What came of it, after reading, reporting, exporting and resuming."""
    try:
        found = read_run(folder)
    except UserError:
        for main, more in ((report_main, [str(folder)]), (sweep_main, ["--resume", str(folder)])):
            assert main(more) == 2
            assert re.fullmatch("error: RUN .*\n", capsys.readouterr().err)
        return "refused"
    table, damage = trials_table(read_run(folder)), [f"{line}." for line in found.damage]
    if not table.equals(wanted):  # bits are kept once, and what no file has is lost
        assert damage
        lost = any("lost: no copy" in line for line in damage)
        assert lost or table[SCORES].equals(wanted[SCORES])
        assert lost or any("per-example results" in line for line in damage)
    in_checkpoint = len(file.parts) > 2 and file.parts[1].startswith("checkpoint_")
    shown = (*damage, table.to_csv())
    if not in_checkpoint and shown not in REPORTED:  # checkpoints it does not look at
        REPORTED.add(shown)
        assert report_main([str(folder), "--output", str(tmp_path / "report")]) == 0
        printed, page = capsys.readouterr(), (tmp_path / "report" / "report.md").read_text()
        assert printed.err == ""
        assert printed.out.splitlines()[: len(damage)] == damage
        assert all(line in page for line in damage)
        shutil.rmtree(tmp_path / "report")
    ended = {trial.config.folder_name for trial in best_trials(found.trials.values())}
    if in_checkpoint and file.parts[0] in ended:
        answer = recommended(found)
        own = answer and answer.trials[0].config.folder_name == file.parts[0]
        which = [] if own else ["--trial", file.parts[0]]
        assert export_main([str(folder), str(tmp_path / "out"), *which]) == 1
        assert re.match("error: RUN .*: the checkpoint is .*\n$", capsys.readouterr().err)
        assert not (tmp_path / "out").exists()

    unfinished = any(trial.outcome not in ENDED for trial in found.trials.values())
    code = sweep_main(["--resume", str(folder)])
    printed = capsys.readouterr()
    assert (code, printed.err) == (130 if unfinished else 0, "")
    assert all(line in printed.out for line in damage)
    assert ("Checkpoint " in printed.out) == in_checkpoint
    again = trials_table(read_run(folder))
    waiting = table[SCORES].replace({"outcome": {"running": "pending"}})  # no trial has begun since
    pd.testing.assert_frame_equal(again[SCORES], waiting)
    assert all("per-example results" in line for line in read_run(folder).damage)
    return "said" if damage or in_checkpoint else "the same"

"""A run that is cut short, stripped or moved says so in a line, and loses no trial that ended.

`python -m pytest tests/test_damage.py --every-file -s` also trains on after the loss of each file.
"""

import shutil
import signal
import sys

import pandas as pd
import pytest

import search.sweep.session
from search.record.run import read_run
from search.record.trial_record import ENDED
from search.report.__main__ import main as report_main
from search.results.table import trials_table
from search.run.__main__ import main as sweep_main
from tests.sweeps import OPTIONS, numbers, run, start_and_hold

pytestmark = pytest.mark.slow

LENGTHS = (0.0, 0.01, 0.5, 0.99)  # shares of a file that are left


@pytest.fixture(scope="module")
def cut(make_command, tmp_path_factory):
    """An interrupted run: one trial finished, one under way, three to come."""
    folder = tmp_path_factory.mktemp("damage")
    command = [*make_command(folder), *OPTIONS, "--name", "cut"]
    process = start_and_hold(command, folder / "runs" / "cut", 11)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    found = read_run(folder / "runs" / "cut")
    outcomes = [trial.outcome for trial in found.trials.values()]
    assert outcomes == ["finished", "running", "pending", "pending", "pending"]
    assert len(list(found.folder.glob("*/checkpoint_*"))) == 2
    return found.folder


@pytest.fixture(scope="module")
def whole(cut):
    """What the run comes to when it is resumed undamaged."""
    folder = shutil.copytree(cut, cut.with_name("full"))
    done = resume(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return numbers(folder)


def resume(folder):
    return run([sys.executable, "-m", "search.run"], "--resume", str(folder))


def files_of(folder):
    """One of each kind: tokenizers' and Ray's small files are all alike to us."""
    found = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return [file for file in found if "tokenizer" not in file.name and "tfevents" not in file.name]


def truncate(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def ended(folder):
    """Outcome and scores of the trials that ended; bits stand once, and can be lost."""
    bare = {"correct": "", "full_correct": None}
    return {
        digest: (found[0], [{**evaluation, **bare} for evaluation in found[1]])
        for digest, found in numbers(folder).items()
        if found[0] in ENDED
    }


def test_every_file_at_every_length(cut, tmp_path, monkeypatch, capsys):
    """All that resuming does but training: nothing raises, no score that ended is lost."""
    monkeypatch.setattr(search.sweep.session, "_tune", lambda *_: None)
    before, files = ended(cut), files_of(cut)
    assert len(files) > 15
    for file in files:
        for share in LENGTHS:
            folder = shutil.copytree(cut, tmp_path / "copy")
            truncate(folder / file, share)
            code = sweep_main(["--resume", str(folder)])
            printed = capsys.readouterr()
            assert code == 130, (file, share, printed)
            assert printed.err == "", (file, share)
            assert f"--resume {folder}" in printed.out.splitlines()[-1]
            assert ended(folder) == before, (file, share)
            if "checkpoint_" in str(file):
                assert printed.out.count("Checkpoint ") == 1, (file, share)
            shutil.rmtree(folder)


@pytest.mark.parametrize("file", ["sweep.json", "record.jsonl"])
def test_report_and_table_of_a_damaged_run(cut, tmp_path, capsys, file):
    folder = shutil.copytree(cut, tmp_path / "copy")
    truncate(folder / file, 0.6)
    before = {path: (folder / path).read_bytes() for path in files_of(folder)}
    assert report_main([str(folder), "--output", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().err == ""
    scores = ["best5", "last", "outcome", "evaluations"]
    pd.testing.assert_frame_equal(trials_table(folder)[scores], trials_table(cut)[scores])
    assert {path: (folder / path).read_bytes() for path in files_of(folder)} == before


@pytest.mark.parametrize("file", ["sweep.json", "record.jsonl"])
def test_damage_is_reported_once_and_repaired(cut, tmp_path, monkeypatch, capsys, file):
    monkeypatch.setattr(search.sweep.session, "_tune", lambda *_: None)
    folder = shutil.copytree(cut, tmp_path / "copy")
    truncate(folder / file, 0.3)
    sweep_main(["--resume", str(folder)])
    assert f"{file} was damaged" in capsys.readouterr().out
    sweep_main(["--resume", str(folder)])
    assert "damaged" not in capsys.readouterr().out
    assert ended(folder) == ended(cut)


def test_plan_that_is_nowhere_whole_is_one_line(cut, tmp_path, capsys):
    folder = shutil.copytree(cut, tmp_path / "copy")
    for name in ("sweep.json", "record.jsonl"):
        truncate(folder / name, 0.0)
    assert sweep_main(["--resume", str(folder)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_moved_and_damaged_all_over_it_ends_as_the_undamaged_one(cut, whole, tmp_path):
    """Record, Ray's files and the checkpoint of the trial under way, all at once."""
    folder = tmp_path / "elsewhere" / "another name"
    shutil.copytree(cut, folder)
    before = cut.with_name("moved away")
    cut.rename(before)
    ray = ("tuner.pkl", "experiment_state*", "*/result*")
    try:
        for pattern in (*ray, "*/checkpoint_*/training_state*"):
            found = list(folder.glob(pattern))
            assert found, pattern
            for path in found:
                truncate(path, 0.4)
        done = resume(folder)
        assert not cut.exists()
    finally:
        before.rename(cut)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "Traceback" not in printed
    assert "Checkpoint cut short, the trial starts again: " in printed
    assert numbers(folder) == whole


def test_every_file_for_real(cut, whole, tmp_path, request):
    if not request.config.getoption("--every-file"):
        pytest.skip("takes minutes; asked for with --every-file")
    for file in files_of(cut):
        for share in (0.0, 0.6):
            folder = shutil.copytree(cut, tmp_path / "copy")
            truncate(folder / file, share)
            done = resume(folder)
            print(file, share, done.stdout.splitlines()[:2])
            assert done.returncode == 0, (file, share, done.stdout + done.stderr)
            assert "Traceback" not in done.stdout + done.stderr
            found = numbers(folder)
            assert {d: (o, len(e)) for d, (o, e) in found.items()} == {
                d: (o, len(e)) for d, (o, e) in whole.items()
            }
            shutil.rmtree(folder)

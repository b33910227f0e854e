"""The checkpoints of a run's trials: the newest whole one is found, gone on from, and kept."""

import math
import shutil
from dataclasses import replace

import pytest
from pyarrow.fs import LocalFileSystem

from search.plan.time_split import foreseen
from search.policy.progress import describe_bytes
from search.record.checkpoints import (
    bytes_used,
    checkpoint_count,
    kept_checkpoint,
    newest_checkpoint,
)
from search.record.run import read_run
from search.record.storage import local_runs, location
from search.record.trial_record import GIVE_UP, RETRY, RETRY_ALONE
from search.results import best_trials
from search.results.best_trials import kept_trials, prune
from search.sweep import session
from tests.made_runs import asked, evaluated, failed, finish, made_run, recipe
from trainable.common.files import MANIFEST, verified_values, write_manifest
from trainable.config.trial_config import TrialConfig

ENDED = ["best", "good", "poor", "stopped", "stopped early"]  # best first
OPEN = ["running", "pending", "tried again", "waits to be alone"]
CONFIGS = {name: recipe(n, evaluations=3) for n, name in enumerate([*ENDED, "failed", *OPEN])}


def make_checkpoint(folder, number, content="x", files=()):
    """A sealed checkpoint of two files, and these; returns its folder."""
    made = folder / f"checkpoint_{number:06}"
    (made / "deeper").mkdir(parents=True)
    for name in ("model", "deeper/tokenizer", *files):
        (made / name).write_text(content * 100)
    write_manifest(made, {"number": number})
    return made


def found(folder):
    return newest_checkpoint(LocalFileSystem(), str(folder))


def test_newest_whole_checkpoint_is_found_and_a_partial_one_passed_over(tmp_path):
    assert found(tmp_path / "nowhere") is None
    first, second = (make_checkpoint(tmp_path, number) for number in (3, 11))
    (tmp_path / "checkpoint_000099").write_text("no folder")
    (tmp_path / "checkpoint_tmp").mkdir()
    assert found(tmp_path) == (11, str(second))
    manifest, model, deeper = (second / n for n in (MANIFEST, "model", "deeper/tokenizer"))
    for path, content in (
        (manifest, None),
        (manifest, manifest.read_bytes()[:-2]),  # not the closing newline alone
        (manifest, b"[]"),
        (deeper, None),
        (model, model.read_bytes()[:-2]),
    ):
        whole = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        assert found(tmp_path) == (3, str(first))
        path.write_bytes(whole)
    shutil.rmtree(first)
    model.unlink()
    assert found(tmp_path) is None


def test_the_newest_with_a_file_is_found_where_others_lack_it(tmp_path):
    """As of a trial that had finished, which is not known: it can't go on from its student."""
    for number in (3, 4):
        made = make_checkpoint(tmp_path, number)
    (made / "model").unlink()
    write_manifest(made, {})
    assert newest_checkpoint(LocalFileSystem(), str(tmp_path), "model")[0] == 3
    assert found(tmp_path)[0] == 4


def test_what_was_pruned_is_not_looked_at_again(make_run, monkeypatch):
    """Each look is a list of files, in a storage."""
    run, done = make_run(1), set()
    prune(run, done)
    assert len(done) == len(ENDED)  # with the failed one, without the best
    monkeypatch.setattr(best_trials, "remove_checkpoints", lambda *trial: 1 / 0)
    prune(run, done)


@pytest.fixture
def make_run(tmp_path):
    """A run with every outcome, each trial with a checkpoint and a file of its own."""

    def make(keep, folder=tmp_path / "run"):
        run = made_run(folder, list(CONFIGS.values()), asked(keep=keep))
        for name, best5 in (("poor", 0.3), ("best", 0.7), ("good", 0.6)):
            finish(run, CONFIGS[name], best5)
        for name, score in (("stopped", 0.9), ("failed", 0.95), ("running", 0.1)):
            run.append(evaluated(CONFIGS[name], 1, score))
        run.append(evaluated(CONFIGS["stopped early"], 1, 0.8, "stop"))
        run.append(evaluated(CONFIGS["stopped"], 2, 0.9, "stop"))
        for name, then in zip(("failed", *OPEN[2:]), (GIVE_UP, RETRY, RETRY_ALONE), strict=True):
            run.append(failed(CONFIGS[name], then))
        for trial in run.trials.values():
            make_checkpoint(run.trial_folder(trial), 4)
            (run.trial_folder(trial) / "result.json").write_text("{}")
        return run

    return make


def with_checkpoint(run):
    trials = run.trials
    return {n for n, c in CONFIGS.items() if kept_checkpoint(run, trials[c.digest]) is not None}


@pytest.mark.parametrize("keep", [0, 1, 4, 9])
def test_exactly_the_best_and_those_that_have_not_ended_keep_theirs(make_run, keep):
    """Finished trials come before stopped ones, each by falling best5."""
    run = make_run(keep)
    others = {path for path in run.folder.rglob("*") if "checkpoint_" not in str(path)}
    for _ in range(2):
        prune(run)
        assert with_checkpoint(run) == {*ENDED[:keep], *OPEN}
        assert checkpoint_count(run) == len(ENDED[:keep]) + len(OPEN)
    assert {p for p in run.folder.rglob("*") if "checkpoint_" not in str(p)} == others
    assert read_run(run.folder) == run
    if keep == 1:
        for number in (2, 3):
            run.append(evaluated(CONFIGS["running"], number, 0.75))
        prune(run)
        assert with_checkpoint(run) == {*OPEN}  # a better one takes its place


def test_students_on_the_front_are_kept_beside_the_best(tmp_path):
    """The cheapest has the lowest score, and nothing can replace it."""
    configs = [TrialConfig(alpha=0.5, evaluations=1, student_layers=n) for n in (3, 2, 1)]
    request = asked(keep=1, against="depth")
    run = made_run(tmp_path / "run", [*configs, replace(configs[2], seed=1)], request)
    for trial, best5 in zip(run.trials.values(), (0.9, 0.7, 0.75, 0.8), strict=True):
        finish(run, trial.config, best5)
    assert [trial.best5 for trial in kept_trials(run)] == [0.9, 0.8, 0.9]


def test_checkpoints_at_a_uri_are_pruned_there_and_fetched_from_there(
    make_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    run = make_run(1, local_runs(f"file://{tmp_path}/storage") / "mine")
    there = tmp_path / "storage" / "mine"
    shutil.copytree(run.folder, there)
    for trial in run.trials.values():
        shutil.rmtree(run.trial_folder(trial) / "checkpoint_000004")
    assert location(run.folder) == f"file://{there}"
    prune(run)
    kept = {CONFIGS[name].folder_name for name in ("best", *OPEN)}
    assert {path.parent.name for path in there.glob("*/checkpoint_*")} == kept
    best, good = (run.trials[CONFIGS[name].digest] for name in ("best", "good"))
    assert kept_checkpoint(run, good) is None
    for _ in range(2):
        folder = kept_checkpoint(run, best)
        assert folder == run.trial_folder(best) / "checkpoint_000004"
        assert verified_values(folder) == {"number": 4}
        (folder / "model").unlink()  # then it is fetched again


def test_bytes_are_those_of_all_files(tmp_path):
    run = made_run(tmp_path / "run", [])
    written = sum(path.stat().st_size for path in run.folder.iterdir())
    (run.folder / "a" / "b").mkdir(parents=True)
    (run.folder / "a" / "b" / ".hidden").write_bytes(bytes(12345))
    assert bytes_used(run) == written + 12345
    sizes = (0, 94_600_000, 999_000_000, 10**9, 1_740_000_000)
    assert [*map(describe_bytes, sizes)] == ["0 MB", "95 MB", "999 MB", "1.0 GB", "1.7 GB"]


def test_room_for_running_waiting_kept_and_weighed_students():
    """300 bytes with a state, 100 without; while one is replaced, old and new are there."""
    sizes = {1: (100, 30), 3: (300, 100)}
    configs = [TrialConfig(evaluations=8, student_layers=depth) for depth in (1, 3)]
    of = lambda config: sizes[config.student_layers]  # noqa: E731
    for trials, changes, most, end in (
        (40, {"keep": 5}, 2 * 4 * 300 + 5 * 100, 500),
        (40, {"keep": 5, "against": "depth"}, 2 * 4 * 300 + 7 * 100, 700),  # of two depths
        (40, {"keep": 0, "seeds": 2}, (2 * 4 + 4) * 300, 0),  # a seed may wait for another
        (40, {"keep": 0, "seeds": 2, "scheduler": "fifo"}, 2 * 4 * 300, 0),
        (40, {"keep": 5, "scheduler": "promotion"}, (2 * 4 + 20 + 5) * 300, 5 * 300),
        (3, {"keep": 5}, (3 + 4) * 300, 3 * 100),  # no more than there are
        # Of two finals, the default and one alone five seeds each.
        (1, {"keep": 5, "finals": 2}, 2 * 4 * 300 + 21 * 100, 21 * 100),
        # Whatever time allows: 16 at least.
        (foreseen(math.inf), {"keep": 5, "scheduler": "promotion"}, (16 + 4) * 300, 5 * 300),
    ):
        assert session.expected_bytes(asked(**changes), configs, of, trials, 4) == (most, end)
    assert foreseen(39) == 39

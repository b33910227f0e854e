"""A run begun or gone on with: who may write it, what reaches its storage, and the exit code."""

import io
import sys
import traceback
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from rich.console import Console

from search.exit_codes import FAILURES, INTERRUPTED, USER_ERROR
from search.policy.policy import Policy
from search.policy.still_to_come import is_complete
from search.record.events import RECORD
from search.record.run import read_run
from search.record.run_folders import resume_command
from search.record.storage import SESSION_LOCK, RecordCopy, local_runs, location
from search.sweep import session as session_module
from search.sweep.optuna_journal import JOURNAL, write_study
from search.sweep.processes.signals import Interruption
from search.sweep.run_command import Invocation, _run_to_end, resume_run, run_command, start_run
from tests.made_runs import asked, finish, made_plan, made_run, searched_run
from trainable.common.errors import TrainingDivergedError, UserError
from trainable.common.pause import PAUSE
from trainable.config.trial_config import TrialConfig

CONFIG = TrialConfig(alpha=0.5, evaluations=1)


@pytest.fixture
def session():
    console = Console(file=io.StringIO(), width=200)
    with Interruption(console) as interruption:
        yield Invocation("search.run", [], console, interruption)


@pytest.fixture(autouse=True)
def ends(monkeypatch):
    """In the place of the leaderboard: how each session ended."""
    found = []

    def end(run, console, problem=""):
        found.append((len(run.trials), is_complete(run), problem))
        return FAILURES if problem else 0 if is_complete(run) else INTERRUPTED

    def write(run):
        (run.folder / "answers.md").write_text("yes")
        if run.request.searched:
            write_study(run)

    summary = SimpleNamespace(finish=end, write_answers=write)
    monkeypatch.setitem(sys.modules, "search.sweep.summary", summary)
    return found


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The local copies of the runs of a storage."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    return local_runs(f"file://{tmp_path}/storage")


@pytest.fixture
def there(tmp_path):
    return tmp_path / "storage" / "mine"


def run_all(run, copy, console, interruption):
    """In the place of Ray."""
    for trial in run.trials.values():
        finish(run, trial.config)
    copy.copy()


def test_new_run_is_run_to_its_end_and_copied(runs, there, session, monkeypatch, ends):
    monkeypatch.setattr(session_module, "run_trials", run_all)
    assert start_run(runs / "mine", made_plan([CONFIG]), session) == 0
    assert ends == [(1, True, "")]
    told = session.console.file.getvalue()
    assert told == f"If interrupted: python -m search.run --resume {location(runs / 'mine')}\n"
    names = {path.name for path in there.iterdir()}
    assert {RECORD, "sweep.json", "answers.md"} <= names
    assert not {SESSION_LOCK, ".lock"} & names
    with pytest.raises(UserError, match=r"--name mine: .* exists"):
        start_run(runs / "mine", made_plan([CONFIG]), session)


def test_what_of_a_complete_run_the_storage_lacks_is_taken_there(runs, there, session, ends):
    """Its last session was killed, or could not reach the storage."""
    request = asked(space="recipe", searcher="random", samples=1)
    run = searched_run(runs / "mine", request)
    finish(run, run.any_config)
    assert resume_run(run.folder, lambda run: None, session) == 0
    assert "complete; nothing left to run" in session.console.file.getvalue()
    for name in (RECORD, JOURNAL, "answers.md"):
        assert (there / name).read_bytes() == (run.folder / name).read_bytes()


def test_a_storage_that_fails_is_said_and_the_run_ends_as_one_to_go_on_with(
    runs, session, monkeypatch, ends
):
    run = made_run(runs / "mine", [CONFIG])
    finish(run, CONFIG)

    monkeypatch.setattr(RecordCopy, "copy", Mock(side_effect=OSError("no route")))
    assert resume_run(run.folder, lambda run: None, session) == FAILURES
    assert ends == [(1, True, "no route")]


@pytest.mark.parametrize("wrapped", ["as its cause", "as text", "by nothing"])
def test_an_error_nobody_expected_is_named_and_its_traceback_kept(
    tmp_path, session, monkeypatch, ends, wrapped
):
    """Ray Tune wraps those of a searcher in one way, those of a callback in another."""

    def fail(*arguments):
        try:
            raise KeyError("hidden")
        except KeyError as error:
            if wrapped == "as its cause":
                raise RuntimeError("The run failed.\nSee above.") from error
            if wrapped == "as text":
                raise RuntimeError(traceback.format_exc()) from None
            raise

    run = made_run(tmp_path / "mine", [CONFIG])
    monkeypatch.setattr(session_module, "run_trials", fail)
    assert resume_run(run.folder, lambda run: None, session) == FAILURES
    text = run.folder / "error.txt"
    assert ends == [(1, False, f"KeyError: 'hidden' (traceback in {text})")]
    assert 'raise KeyError("hidden")' in text.read_text()


def test_an_error_after_the_trials_is_followed_by_the_command_to_resume(tmp_path, capsys):
    (run := tmp_path / "mine").mkdir()

    def command(session):
        session.interruption.attach(run)
        raise ValueError("hidden")

    assert run_command(command, "search.run", []) == FAILURES
    printed = capsys.readouterr()
    assert printed.err == f"error: ValueError: hidden (traceback in {run / 'error.txt'})\n"
    assert printed.out.splitlines()[-1] == resume_command(run)


def test_a_run_is_not_made_ready_where_another_session_has_it(runs, there, session):
    run = made_run(runs / "mine", [CONFIG])
    there.mkdir(parents=True)
    (there / SESSION_LOCK).write_text('{"session": "other", "host": "far", "pid": 7}')
    (there / PAUSE).touch()
    before, reopened = (run.folder / RECORD).read_bytes(), []
    with pytest.raises(UserError, match=r"^RUN file://.*mine: process 7 on far is running it"):
        resume_run(run.folder, reopened.append, session)
    assert reopened == []
    assert (run.folder / RECORD).read_bytes() == before
    assert (there / PAUSE).exists()  # it was asked to pause, and its trials may not have looked yet


def test_a_run_whose_plan_could_not_be_written_is_not_said_to_go_on(tmp_path, monkeypatch, capsys):
    full = Mock(side_effect=OSError(28, "No space left"))
    monkeypatch.setattr("search.sweep.run_command.create_run", full)
    command = partial(start_run, tmp_path / "mine", made_plan([CONFIG]))
    assert run_command(command, "search.run", []) == FAILURES
    assert "Resume" not in "".join(capsys.readouterr())


def test_a_storage_that_does_not_answer_in_mid_run_is_no_mistake_of_the_user(
    tmp_path, session, monkeypatch, ends
):
    run, said = made_run(tmp_path / "mine", [CONFIG]), "--storage s3://far: no answer in 9 s"
    monkeypatch.setattr(session_module, "run_trials", Mock(side_effect=UserError(said)))
    assert resume_run(run.folder, lambda run: None, session) == FAILURES
    assert ends == [(1, False, said)]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (TrainingDivergedError("loss is nan"), FAILURES, "error: loss is nan"),
        (OSError(28, "No space left"), FAILURES, "error: [Errno 28] No space left"),
        (UserError("--resume a\nb: no"), USER_ERROR, r"error: --resume a\nb: no"),
        (ValueError("hidden\nmore"), FAILURES, "error: ValueError: hidden (traceback in "),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted before the first trial"),
    ],
)
def test_every_error_of_a_command_is_one_line_and_a_code(capsys, error, code, line):
    assert run_command(Mock(side_effect=error), "search.run", []) == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


# A session's first events.


def test_the_night_before_a_session_is_nobodys_time(tmp_path, session, monkeypatch):
    request = asked(space="recipe", seeds=2, time_budget=3600.0, searcher="random")
    made = searched_run(tmp_path / "mine", request)
    made.append({"event": "session", "provenance": {}})
    made.append(*Policy(made).additions(exclusive=True))
    run = read_run(made.folder)
    monkeypatch.setattr(session_module, "run_trials", lambda *arguments: None)
    before = run.seconds
    run.last_time -= 86_400.0  # as if it had been killed a day ago
    _run_to_end(run, RecordCopy(run.folder), lambda: None, session)
    kinds = [event["event"] for event in read_run(run.folder).events]
    assert kinds[-2:] == ["suggestion", "session"]
    assert run.seconds - before < 60
    assert [event["event"] for event in Policy(run).additions(exclusive=True)] == ["suggestion"]

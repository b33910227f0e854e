"""A run that is gone on with: what a complete one still has to do, and what its storage gets."""

import io
import json

import pytest
from rich.console import Console
from search.remote_runs import local_runs
from trainable.storage import Storage

from search.conclusion import JSON, MARKDOWN
from search.draws import starting_draws
from search.exit_codes import FAILURES, INTERRUPTED
from search.finalists import Confirmation
from search.interruption import Interruption
from search.launch import Session, go_on
from search.plan import plan_trials
from search.record import CONFIRMS, PARAMETERS, RECORD, create_run
from search.request import Request
from search.runs import resume_command
from search.suggestions import JOURNAL, study_of
from trainable import lease
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.metrics import pack_bits

CONFIG = TrialConfig(alpha=0.5, evaluations=1)


@pytest.fixture
def session():
    console = Console(file=io.StringIO(), width=200)
    with Interruption(console) as interruption:
        yield Session("search.run", [], console, interruption)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The local copies of the runs of a storage."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine"))
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0)
    return local_runs(f"file://{tmp_path}/storage")


@pytest.fixture
def there(tmp_path):
    return tmp_path / "storage" / "mine"


def complete(folder, plan, configs):
    """A run whose trials have finished."""
    run = create_run(folder, {"keep": 1, **plan}, configs)
    for config in configs:
        for number in range(1, config.evaluations + 1):
            values = {
                "evaluations": number,
                "accuracy": 0.5,
                "best5_accuracy": 0.5,
                "correct": pack_bits([True, False]),
                **dict.fromkeys(("training_seconds", "evaluation_seconds", "saving_seconds"), 1.0),
            }
            event = {"event": "evaluation", "decision": "continue", "evaluation": values}
            run.append(event | {"trial": config.digest})
    return run


def again(run, session, reopen=lambda run: None):
    return go_on(run.folder, reopen, session), session.console.file.getvalue()


def test_what_of_a_complete_run_the_storage_lacks_is_taken_there(runs, there, session, monkeypatch):
    """Its last session was killed, or could not reach the storage."""
    monkeypatch.setattr("search.summary.finish", lambda run, console, problem: 0)
    run = complete(runs / "mine", {}, [CONFIG])
    (there / CONFIG.folder_name).mkdir(parents=True)
    (there / CONFIG.folder_name / "student-1.safetensors").write_bytes(b"weights")

    code, printed = again(run, session)
    assert code == 0
    assert "complete; nothing left to run" in printed
    assert (there / RECORD).read_bytes() == (run.folder / RECORD).read_bytes()
    assert (there / "sweep.json").is_file()
    assert (run.trial_folder(run.trials[CONFIG.digest]) / "student-1.safetensors").is_file()


@pytest.fixture
def confirmation(runs):
    """A confirmation that has ended, and has not said anything yet."""
    made = Confirmation(
        run="source",
        started="",
        finalists=(TrialConfig(alpha=0.25, evaluations=1),),
        scores=(0.5,),
        named=False,
        top=1,
        seeds=(1, 2),
        asked=(2,),
    )
    task = {"sentences": {"evaluation": 2}}
    plan = {CONFIRMS: made.to_dict(), "task": task, "evaluation_sentences": 2}
    return complete(runs / "mine", plan, made.trials())


def test_what_a_confirmation_answers_reaches_its_storage(confirmation, there, session):
    code, printed = again(confirmation, session)
    assert code == 0
    values = json.loads((there / JSON).read_text())
    assert len(values["comparisons"]) > 0
    for comparison in values["comparisons"]:
        assert f"- {comparison['sentence']}\n" in printed
        assert comparison["sentence"] in (there / MARKDOWN).read_text()


def test_it_answers_also_where_its_storage_can_not_be_reached(
    confirmation, there, session, monkeypatch, capsys
):
    def fail(*arguments):
        raise OSError("no route")

    monkeypatch.setattr(Storage, "read", fail)
    code, printed = again(confirmation, session)
    assert code == FAILURES
    assert "Confirmation of source on 2 fresh seeds" in printed
    assert capsys.readouterr().err == "error: no route\n"


def test_a_study_is_written_once_and_reaches_its_storage(runs, there, session, monkeypatch):
    request = Request("recipe", "mini", "", samples=1, searcher="random")
    configs = plan_trials(request)
    plan = {"requests": [request.to_dict()], PARAMETERS: starting_draws(request, configs)}
    run = complete(runs / "mine", plan | {"scheduler": "fifo"}, configs)
    studies = []
    monkeypatch.setattr(
        "search.suggestions.study_of", lambda run: studies.append(study_of(run)) or studies[-1]
    )
    for name in ("print_leaderboard", "print_front"):
        monkeypatch.setattr(f"search.summary.{name}", lambda run, console: None)
    code, printed = again(run, session)
    assert code == 0
    assert len(studies) == 1
    assert f"Its study: optuna-dashboard {run.folder / JOURNAL}" in printed
    assert (there / JOURNAL).read_bytes() == (run.folder / JOURNAL).read_bytes()


def test_a_run_is_not_made_ready_where_another_session_has_it(runs, there, session, monkeypatch):
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0)
    run = complete(runs / "mine", {}, [CONFIG])
    before, looks = (run.folder / RECORD).read_bytes(), iter(range(100))
    held = b'{"session": "other", "host": "far", "pid": 7, "renewed": %d}'
    monkeypatch.setattr(Storage, "read", lambda *arguments: held % next(looks))
    reopened = []
    with pytest.raises(UserError, match=r"^RUN file://.*mine: process 7 on far is running it"):
        again(run, session, reopened.append)
    assert reopened == []
    assert (run.folder / RECORD).read_bytes() == before


def test_an_interruption_while_another_session_is_waited_for_says_how_to_go_on(
    runs, there, session, monkeypatch
):
    run = create_run(runs / "mine", {"keep": 1}, [CONFIG])
    monkeypatch.setattr("search.summary.print_leaderboard", lambda run, console: None)
    there.mkdir(parents=True)
    (there / lease.LEASE).write_text('{"session": "other", "host": "far", "pid": 7}')

    said, reopened = [], []

    class Console:
        def print(self, line, **options):
            said.append(line)
            session.interruption.pause()

    asked = Session("search.run", [], Console(), session.interruption)
    assert go_on(run.folder, reopened.append, asked) == INTERRUPTED
    assert said[-1] == resume_command(run.folder)
    assert reopened == []

"""What a session does around Ray: what it records first, and whose time passes."""

import io

import pytest
from rich.console import Console

from search import session
from search.draws import starting_draws
from search.interruption import Interruption
from search.plan import plan_trials
from search.record import PARAMETERS, create_run, read_events, read_run
from search.request import Request
from search.suggestions import extend_by_suggestion, suggest


@pytest.fixture
def run(tmp_path):
    """A searched run of two seeds, killed between the two of a suggestion."""
    request = Request("recipe", "mini", "", seeds=2, time_budget=3600.0, searcher="random")
    configs = plan_trials(request)
    plan = {"requests": [request.to_dict()], PARAMETERS: starting_draws(request, configs)}
    made = create_run(tmp_path / "mine", plan, configs)
    made.append({"event": "session", "provenance": {}})
    made.add_suggestion(*suggest(made, request))
    return read_run(made.folder)


def test_the_night_before_a_session_is_nobodys_time(run, monkeypatch):
    monkeypatch.setattr(session, "_tune", lambda run, console, interruption: None)
    before = run.seconds
    run.last_time -= 86_400.0  # as if it had been killed a day ago
    console = Console(file=io.StringIO())
    session.run_trials(run, {}, console, Interruption(console))
    kinds = [event["event"] for event in read_events(run.folder)]
    assert kinds[-2:] == ["session", "suggestion"]
    assert run.missing_seeds == []
    assert run.seconds - before < 60
    assert run.to_suggest > 0


def test_nothing_is_missing_after_a_whole_suggestion(run):
    run.add_missing_seeds()
    assert len(extend_by_suggestion(run)) == 2
    assert run.missing_seeds == []

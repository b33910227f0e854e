"""What trials elsewhere are told of a run, from its folder."""

import json

import pytest

from search.desk import NODES, RunDesk, open_remote
from search.record import create_run
from trainable.config import TrialConfig
from trainable.pause import PAUSE

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.75, 0.25)]


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "runs" / "mine", {"task": {"pad_id": 0}}, CONFIGS)


def test_a_pause_is_seen(run):
    desk = RunDesk(run.folder)
    assert not desk.paused()
    (run.folder / PAUSE).touch()
    assert desk.paused()


def test_recorded_evaluations_are_counted(run):
    desk, digest = RunDesk(run.folder), CONFIGS[1].digest
    for number in (1, 2):
        assert desk.recorded(digest) == number - 1
        values = {"evaluations": number, "accuracy": 0.5, "best5_accuracy": 0.5}
        event = {"event": "evaluation", "decision": "continue", "evaluation": values}
        run.append(event | {"trial": digest})
    assert (desk.recorded(digest), desk.recorded(CONFIGS[0].digest)) == (2, 0)


def test_what_nodes_did_is_kept_a_line_each(run):
    desk = RunDesk(run.folder)
    desk.note({"node": "a", "fetched": "1"})
    desk.note({"node": "b", "fetched": "1"})
    lines = [json.loads(line) for line in (run.folder / NODES).read_text().splitlines()]
    assert [(line["node"], line["fetched"]) for line in lines] == [("a", "1"), ("b", "1")]


def test_a_run_in_a_folder_needs_no_desk(run):
    assert open_remote(run, None) is None

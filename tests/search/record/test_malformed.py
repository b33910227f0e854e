"""Events and plans that pass their checksums and are no run's: they work, or are refused in a line.

`--flips N` tries N times as many.
"""

import copy
import json
import os
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from search.record.events import EXHAUSTED, LOST, RECORD, encode
from search.record.plan_file import SWEEP
from search.record.run import read_run, repair
from search.record.trial_record import GIVE_UP, RETRY
from search.report.__main__ import main as report_main
from search.results.table import trials_table
from tests.made_runs import evaluated, failed, finish, made_plan, made_run, started
from trainable.common.errors import UserError
from trainable.common.files import write_checked_json
from trainable.config.trial_config import TrialConfig

CONFIGS = [TrialConfig(alpha=alpha, evaluations=3) for alpha in (0.25, 0.5)]
DRAWN = TrialConfig(alpha=0.75, evaluations=3)
NUMBERS = st.sampled_from([-1, 0, 1, 3, 0.5, -0.5, 1e308, float("nan"), float("inf"), 10**400])
TEXTS = st.sampled_from(["", "plan", "evaluation", "é\x00\n", "====", "gA==", CONFIGS[0].digest])
PLAIN = st.none() | st.booleans() | NUMBERS | st.integers() | TEXTS
JSON = st.recursive(
    PLAIN, lambda j: st.lists(j, max_size=3) | st.dictionaries(TEXTS, j, max_size=3), max_leaves=8
)
SUGGESTION = {"event": "suggestion", "trial": DRAWN.digest, "config": asdict(DRAWN)}
REPORTED = set()  # what reports that were made have depended on
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def events():
    """Those of a run, one of every kind."""
    with TemporaryDirectory() as folder:
        run = made_run(Path(folder) / "mine", CONFIGS)
        run.append({"event": "session", "provenance": {"command": "python -m search.run"}})
        run.append(started(CONFIGS[0]))
        finish(run, CONFIGS[0])
        run.append({"event": "repeated", "evaluations": 2, "trial": CONFIGS[0].digest})
        run.append(failed(CONFIGS[1], RETRY))
        run.append(evaluated(CONFIGS[1], 1, full_score=0.5, full_predictions="gA=="))
        run.append({"event": "stop", "trial": CONFIGS[1].digest})
        run.append({**SUGGESTION, "parameters": {"alpha": 0.75}})
        run.append(failed(DRAWN, GIVE_UP))
        run.append({"event": EXHAUSTED})
        run.append({"event": LOST})
        return read_run(run.folder).events


def parts(values):
    """Each part of nested values, as what it stands in and its key there."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield values, key
        if isinstance(value, dict | list):
            yield from parts(value)


def spoilt(values, data):
    """The same with one part gone, replaced or added."""
    every = list(parts(values := copy.deepcopy(values)))
    inner, last = every[data.draw(st.integers(0, len(every) - 1))]
    how = data.draw(st.sampled_from(["drop", "replace", "replace", "add"]))
    if how == "drop":
        del inner[last]
    elif how == "replace" or isinstance(inner, list):
        inner[last] = data.draw(JSON)
    else:
        inner[data.draw(TEXTS)] = data.draw(JSON)
    return values


def holds(lines, plan=None):
    """Whether a run with this record and plan is read, or refused in a line: nothing else."""
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        folder = Path(place) / "mine"
        folder.mkdir()
        (folder / RECORD).write_bytes(b"".join(lines))
        if plan is not None:
            write_checked_json(folder / SWEEP, plan)
        try:
            run = read_run(folder)
        except UserError as error:
            refused = str(error)
            assert "\n" not in refused
            assert report_main([str(folder)]) == 2
            return False
        sessions = [event for event in run.events if event["event"] == "session"]
        kinds = sorted({repr((event["event"], event.get("trial"))) for event in run.events})
        trials_table(run)
        shown = repr((run.plan, run.trials, run.damage, sessions, kinds))
        if shown not in REPORTED:  # else the report is the same
            REPORTED.add(shown)
            assert report_main([str(folder)]) == (0 if run.trials else 2)
        repair(run)
        read_run(folder)
        return True


@pytest.fixture
def for_all(request):
    """Calls with values of a strategy."""
    flips, health = request.config.getoption("--flips"), list(HealthCheck)
    phases = [Phase.explicit, Phase.generate]
    many = settings(max_examples=20 * flips, phases=phases, suppress_health_check=health)
    return lambda strategy, check: settings(many, deadline=None, derandomize=flips == 1)(
        given(strategy)(check)
    )()


def test_an_event_with_a_part_spoilt(events, for_all):
    def check(data):
        place = data.draw(st.integers(0, len(events) - 1))
        changed = [*events]
        changed[place] = spoilt(events[place], data)
        holds(map(encode, changed))
        holds(map(encode, [*events, changed[place]]))  # two of one number

    for_all(st.data(), check)


def test_a_plan_with_a_part_spoilt(events, for_all):
    whole = json.loads(json.dumps(asdict(made_plan(CONFIGS))))

    def check(data):
        plan = spoilt(whole, data)
        holds(map(encode, events[1:]), plan)
        holds(map(encode, [{**events[0], "plan": {**plan, "revision": 1}}, *events[1:]]), whole)

    for_all(st.data(), check)


def test_events_out_of_order_twice_and_of_trials_that_are_not_there(events, for_all):
    def check(chance):
        lines = [*map(encode, events)]
        block = lines[chance.randrange(len(lines)) :][: chance.randrange(1, 6)]
        unknown = {**events[2], "number": len(events), "trial": "00000000"}
        mixed = [*lines, *block, encode(unknown)]
        chance.shuffle(mixed)
        assert holds(mixed)

    for_all(st.randoms(use_true_random=False), check)


@pytest.mark.parametrize("depth", [100, 500, 900, 980, 100_000])
def test_deeply_nested_and_numbers_that_no_run_has(events, depth):
    for key in ("trial", "plan", "provenance", "anything"):
        start = '{"number": 1, "time": 1.0, "event": "session", "provenance": {}, '
        body = f'{start}"{key}": {"[" * depth}{"]" * depth}}}'.encode()
        line = b'%s, "crc": "%08x"}\n' % (body[:-1], crc32(body))
        holds([encode(events[0]), line, *map(encode, events[2:])])
        holds([*map(encode, events), line])
    holds([*map(encode, events), encode({**events[-1], "number": 10 ** (depth // 100)})])

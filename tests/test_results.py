"""Ray's own files of a run, whatever a kill left of them: as many rows as the record has."""

import json

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial
from search.results import RESULT, mend_results

from search.record import create_run
from trainable.config import TrialConfig

CONFIGS = [TrialConfig(alpha=alpha, evaluations=4) for alpha in (0.25, 0.5, 0.75)]
FIRST, SECOND, THIRD = (config.digest for config in CONFIGS)
TROUBLE = {"trouble": "disk", "reason": "full", "training_iteration": 4, "done": False}


def values(n):
    return {"evaluations": n, "accuracy": 0.5 + n / 100, "best5_accuracy": 0.5, "correct": "AA=="}


@pytest.fixture
def run(tmp_path):
    """A run whose first trial has three evaluations, the second one, the third none."""
    run = create_run(tmp_path / "run", {}, CONFIGS)
    for digest, count in ((FIRST, 3), (SECOND, 1)):
        for n in range(1, count + 1):
            event = {"event": "evaluation", "decision": "continue", "evaluation": values(n)}
            run.append(event | {"trial": digest})
    return run


def row(n, **more):
    """A line as Ray writes it: the evaluation among keys of Ray's own."""
    return json.dumps({**values(n), "training_iteration": n, "pid": 7, "timestamp": n, **more})


def path_of(run, digest):
    return run.trial_folder(run.trials[digest]) / RESULT


def rows(run, digest=FIRST):
    return [json.loads(line) for line in path_of(run, digest).read_text().splitlines()]


def put(run, *lines, digest=FIRST, end="\n"):
    path_of(run, digest).write_text("\n".join(lines) + end)


def assert_mended(run):
    """Three rows of the first trial, those of Ray where it had them; again changes nothing."""
    found = rows(run)
    assert [r["training_iteration"] for r in found] == [1, 2, 3]
    for n, one in enumerate(found, start=1):
        assert {key: one[key] for key in values(n)} == values(n)
    path = path_of(run, FIRST)
    before = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
    mend_results(run)
    assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) == before
    return [n for n, one in enumerate(found, start=1) if "pid" not in one]  # made from the record


def test_whole_file_is_left_untouched(run):
    put(run, row(1), row(2), row(3, done=True))
    put(run, row(1), digest=SECOND)
    before = [
        (path_of(run, d).read_bytes(), path_of(run, d).stat().st_ino) for d in (FIRST, SECOND)
    ]
    mend_results(run)
    assert [
        (path_of(run, d).read_bytes(), path_of(run, d).stat().st_ino) for d in (FIRST, SECOND)
    ] == before


def test_file_cut_at_any_byte_has_all_rows_again(run):
    whole = f"{row(1)}\n{row(2)}\n{row(3)}\n"
    ends = [len(row(1)), len(f"{row(1)}\n{row(2)}"), len(whole) - 1]
    for length in range(0, len(whole), 3):
        path_of(run, FIRST).write_text(whole[:length])
        mend_results(run)
        assert assert_mended(run) == [n for n, end in enumerate(ends, start=1) if length < end]


@pytest.mark.parametrize(
    ("lines", "made"),
    [
        ([row(1), row(3)], [2]),
        ([row(2)], [1, 3]),
        ([row(1), row(2), row(2), row(3)], []),
        ([row(1), row(2), row(3), row(2), row(3)], []),
        ([row(1), row(2), row(3), json.dumps(TROUBLE)], []),
        ([row(1), row(2), json.dumps({**TROUBLE, "training_iteration": 2}), row(3)], []),
        ([row(1), row(2), row(3), row(4)], []),  # which the record does not have
        ([row(1), row(2, accuracy=0.9), row(3)], [2]),
        ([row(1), '{"accuracy": 0.5', row(2), row(3)], []),
        ([row(1), "", "[1]", "null", row(2), row(3)], []),
        ([row(3), row(2), row(1)], []),
        ([""], [1, 2, 3]),
    ],
)
def test_one_row_for_each_recorded_evaluation_rays_where_it_has_one(run, lines, made):
    put(run, *lines)
    mend_results(run)
    assert assert_mended(run) == made


def test_last_of_two_rows_of_one_evaluation_is_kept(run):
    put(run, row(1), row(2), row(2, timestamp=99), row(3))
    mend_results(run)
    assert [one["timestamp"] for one in rows(run)] == [1, 99, 3]


@pytest.mark.parametrize("folder_exists", [True, False])
def test_file_that_is_not_there_is_made_from_the_record(run, folder_exists):
    if not folder_exists:
        folder = path_of(run, FIRST).parent
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    mend_results(run)
    assert assert_mended(run) == [1, 2, 3]
    assert [one["config"] for one in rows(run)] == [CONFIGS[0].to_dict()] * 3
    assert len(rows(run, SECOND)) == 1


@pytest.mark.parametrize(("decision", "done"), [("continue", False), ("stop", True)])
def test_made_row_is_done_where_the_trial_has_ended(run, decision, done):
    """A trial under way goes on below it."""
    last = {"event": "evaluation", "decision": decision, "evaluation": values(2)}
    run.append(last | {"trial": SECOND})
    mend_results(run)
    assert [one["done"] for one in rows(run, SECOND)] == [False, done]


def test_trial_without_evaluations_gets_no_file(run):
    mend_results(run)
    assert not path_of(run, THIRD).exists()
    put_folder = path_of(run, THIRD).parent
    put_folder.mkdir()
    put(run, json.dumps(TROUBLE), digest=THIRD)
    mend_results(run)
    assert rows(run, THIRD) == [TROUBLE]


def test_trial_that_went_back_has_the_rows_that_count(run):
    put(run, row(1), row(2), row(3))
    again = {
        "event": "evaluation",
        "decision": "continue",
        "evaluation": values(2) | {"accuracy": 0.9},
    }
    run.append(again | {"trial": FIRST})
    mend_results(run)
    assert [one["accuracy"] for one in rows(run)] == [values(1)["accuracy"], 0.9]


# Ray's experiment states, one a session.


def entry(number, status="TERMINATED"):
    """A trial in a state file as Ray writes it: two JSON texts."""
    data = {"trial_id": f"ab_{number:05}", "relative_logdir": CONFIGS[number].folder_name}
    return [json.dumps(data | {"status": status}), json.dumps({"last_result": {}})]


def write_state(run, day, *entries, **more):
    path = run.folder / f"experiment_state-2026-11-{day:02}_10-00-00.json"
    path.write_text(json.dumps({"trial_data": list(entries), "runner_data": {}, **more}))
    return path


def statuses(path):
    found = [json.loads(texts[0]) for texts in json.loads(path.read_text())["trial_data"]]
    return {one["relative_logdir"]: one["status"] for one in found}


def names(*numbers):
    return [CONFIGS[number].folder_name for number in numbers]


def test_newest_state_gets_the_trials_of_older_ones_each_once(run):
    older = [write_state(run, 1, entry(0), entry(1, "RUNNING")), write_state(run, 2, entry(1))]
    before = [path.read_bytes() for path in older]
    newest = write_state(run, 3, entry(2, "PENDING"), stats={"start_time": 5})
    mend_results(run)
    terminated = dict.fromkeys(names(0, 1), "TERMINATED")
    assert statuses(newest) == terminated | {names(2)[0]: "PENDING"}
    assert len(json.loads(newest.read_text())["trial_data"]) == 3
    assert json.loads(newest.read_text())["stats"] == {"start_time": 5}
    assert [path.read_bytes() for path in older] == before


def test_newest_entry_of_a_trial_wins(run):
    write_state(run, 1, entry(0, "ERROR"), entry(1, "RUNNING"))
    write_state(run, 2, entry(0, "RUNNING"))
    newest = write_state(run, 3, entry(0), entry(2))
    mend_results(run)
    wanted = dict(zip(names(0, 1, 2), ("TERMINATED", "RUNNING", "TERMINATED"), strict=True))
    assert statuses(newest) == wanted


def test_merging_again_changes_nothing(run):
    write_state(run, 1, entry(0))
    newest = write_state(run, 2, entry(1))
    mend_results(run)
    before = (newest.read_bytes(), newest.stat().st_ino)
    mend_results(run)
    assert (newest.read_bytes(), newest.stat().st_ino) == before


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_states_are_left_as_they_are(run, count):
    before = [write_state(run, 1 + n, entry(n)).read_bytes() for n in range(count)]
    mend_results(run)
    assert [path.read_bytes() for path in run.folder.glob("experiment_state-*")] == before


def test_state_that_knows_all_trials_is_left_as_it_is(run):
    write_state(run, 1, entry(0, "RUNNING"), entry(1))
    newest = write_state(run, 2, entry(1), entry(0), entry(2))
    before = (newest.read_bytes(), newest.stat().st_ino)
    mend_results(run)
    assert (newest.read_bytes(), newest.stat().st_ino) == before


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 1, 40])
def test_state_that_is_cut_short_is_passed_over_and_stays(run, cut, length):
    paths = [write_state(run, 1 + number, entry(number)) for number in range(3)]
    damaged = paths.pop(cut - 1)
    content = damaged.read_bytes()[:length]
    damaged.write_bytes(content)
    mend_results(run)
    assert damaged.read_bytes() == content
    others = [number for number in range(3) if number != cut - 1]
    assert list(statuses(paths[-1])) == names(*others)


def test_entries_are_as_ray_writes_them(tmp_path):
    """The key that tells trials apart is Ray's own."""
    storage = StorageContext(tmp_path, "run", trial_dir_name="trial")
    trial = Trial("unknown", config=CONFIGS[0].to_dict(), stub=True, storage=storage)
    trial.relative_logdir = CONFIGS[0].folder_name
    first, second = trial.get_json_state()
    assert json.loads(first)["relative_logdir"] == CONFIGS[0].folder_name
    assert isinstance(json.loads(second), dict)

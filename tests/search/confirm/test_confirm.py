"""`python -m search.confirm`: its command line, what it refuses, and a whole confirmation."""

import io
import json
import re
import sys
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from search.confirm.__main__ import announce, main
from search.confirm.options import ConfirmOptions, check_asked, choose, request_of, used_seeds
from search.policy.still_to_come import is_complete
from search.record.plan_file import SWEEP
from search.record.run import create_run, read_run
from search.record.storage import RecordCopy, local_runs
from search.record.trial_record import TrialRecord
from search.results.confirmation import Confirmation
from search.results.precision import last_level, spread_in
from search.run.__main__ import main as run_main
from search.students.on_test_split import TEST, score_on_test
from tests.conftest import user_error
from tests.exports import make_run
from tests.made_runs import pack_right
from tests.report_runs import plan, report_evaluations
from tests.sweeps import assert_as_without_ray, assert_evaluated_once, run
from trainable.config.fields import from_plain
from trainable.config.trial_config import TrialConfig
from trainable.trial.training_loop import Trial

CONFIGS = [
    TrialConfig(alpha_schedule=schedule, sharpness=sharpness, evaluations=4)
    for schedule in ("cosine_growth", "cosine_descent")
    for sharpness in (0.5, 1.0, 2.0)
]


@pytest.fixture
def inputs(inputs):
    """With labels that are all 1, as the made evaluations have them."""
    return replace(inputs, labels={"evaluation": pack_right(np.ones(1000))})


@pytest.fixture
def make_plan(inputs):
    def make(**changes):
        given = {"preset": "mini", "max_concurrent": 1, "keep": 0, "retries": 3}
        return replace(plan(*CONFIGS, inputs=inputs, **given), **changes)

    return make


@pytest.fixture
def source(tmp_path, make_plan):
    """A run whose first four trials finished, of falling best5; the others were not begun."""
    made = create_run(tmp_path / "runs" / "mine", make_plan())
    for rank, config in enumerate(CONFIGS[:4]):
        report_evaluations(made, config, (0.9 - rank / 40,) * config.evaluations)
    return read_run(made.folder)


@pytest.fixture
def refuse(tmp_path, refusal_of, monkeypatch):
    """Runs a command that must be refused in one line; returns the line."""
    monkeypatch.chdir(tmp_path)
    return partial(refusal_of, main)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["run"]),
        (["mine", "--seeds", "1"], ["--seeds", "at least 2"]),
        (["mine", "--precision", "0"], ["--precision", "above 0"]),
        (["mine", "--precision", "1", "--seeds", "4"], ["--precision 1: cannot be combined with"]),
        (["mine", "--precision", "0.01"], ["--precision 0.01: no number of seeds is enough with"]),
        (["mine", "--top", "0"], ["--top", "at least 1"]),
        (["mine", "--top", "2", "--trial", "abc"], ["--top 2: cannot be combined with --trial"]),
        (["mine", "--name", "a/b"], ["--name", "a/b"]),
        (["mine", "--keep", "-1"], ["--keep"]),
        (["nothing"], ["RUN nothing: no run of that name"]),
        (["mine", "--trial", "zzzz"], ["--trial zzzz: no such trial in mine"]),
    ],
)
@pytest.mark.usefixtures("source")
def test_refused(refuse, argv, parts):
    error = refuse(*argv)
    assert [part for part in parts if part.lower() not in error.lower()] == []


def test_finalists_are_the_best_and_seeds_fresh(source, refuse, make_plan):
    made = choose(source, ConfirmOptions())
    assert [config.recipe for config in made.finalists] == [c.recipe for c in CONFIGS[:3]]
    assert made.scores == pytest.approx((0.9, 0.875, 0.85))
    assert (made.seeds, made.asked) == ((1, 2, 3, 4, 5), (5,))
    assert len(choose(source, ConfirmOptions(top=9)).finalists) == 4
    create_run(source.folder.parent / "none", make_plan())
    assert "RUN none: no trial of it has finished" in refuse("none")


def test_the_first_finalist_is_not_the_luckiest_but_the_one_expected_to_be_best(
    tmp_path, make_plan, inputs
):
    recipes = [replace(CONFIGS[0], sharpness=1.0 + number / 8) for number in range(8)]
    lucky, steady, *others = recipes
    trials = [lucky, *(replace(steady, seed=seed) for seed in range(9)), *others]
    found = make_plan(trials=tuple(trials), inputs=replace(inputs, examples={"evaluation": 1000}))
    run = create_run(tmp_path / "runs" / "seeds", found)
    for config, right in zip(trials, (881, *[880] * 9, *range(860, 872, 2)), strict=True):
        report_evaluations(run, config, (right / 1000,) * config.evaluations)
    made = choose(run, ConfirmOptions())
    assert made.finalists == (steady, lucky, others[-1])
    assert made.scores == pytest.approx((0.880, 0.881, 0.870))
    named = ConfirmOptions(trials=(lucky.digest, steady.digest))
    assert choose(run, named).finalists == (steady, lucky)
    to_come = TrialRecord(replace(steady, seed=9))
    run.trials[to_come.config.digest] = to_come
    assert choose(run, ConfirmOptions()).finalists == made.finalists


@pytest.mark.parametrize("seed", [0, 1])
def test_a_recipe_with_a_seed_to_come_or_lost_results_is_a_finalist(source, seed):
    """As in a race that was interrupted, where those are the best."""
    if seed:
        to_come = TrialRecord(replace(CONFIGS[0], seed=seed))
        source.trials[to_come.config.digest] = to_come
    else:
        source.trials[CONFIGS[1].digest].evaluations[-1]["predictions"] = ""
    assert choose(source, ConfirmOptions()).finalists == tuple(CONFIGS[:3])


def test_precision_decides_the_number_of_seeds(source, refuse, make_plan):
    spread = spread_in(source)
    for points in (20.0, 10.0):
        made = choose(source, ConfirmOptions(precision=points))
        most = made.asked[0]
        assert made.precision == pytest.approx(points / 100)
        assert 100 * spread.half_width(most, last_level(most)) <= points
        fewer = [spread.half_width(count, last_level(count)) for count in range(2, most)]
        assert all(100 * half > points for half in fewer)
    said = refuse("mine", "--precision", "1")
    least = float(re.search(r"examples; (\S+) is possible with 1,000 seeds", said)[1])
    assert 1 < least == pytest.approx(100 * 1.96 * sqrt(spread.of_examples), rel=0.08)
    choose(source, ConfirmOptions(precision=least))
    command = said.rpartition("with 20: ")[2].split()  # which works
    assert command[:-1] == ["python", "-m", "search.confirm", "mine", "--precision"]
    assert choose(source, ConfirmOptions(precision=float(command[-1]))).asked[0] <= 20
    alone = create_run(source.folder.parent / "alone", make_plan())
    report_evaluations(alone, CONFIGS[0], (0.9,) * 4)
    error = refuse("alone", "--precision", "1")
    assert "two finished recipes" in error
    assert "give --seeds" in error
    gap = 100 * spread.shown_gap(most, len(made.pairs))
    wanted = (
        "9 trials to train, about 2 min at the speed of mine; expected to show a gap of "
        f"{gap:.1f} points (with a chance of 80%)."  # 9 times 4 evaluations, each of 2.5 s
    )
    for run_, ending in ((source, wanted), (read_run(alone.folder), "at the speed of mine.")):
        invocation = SimpleNamespace(console=Console(file=io.StringIO(), width=300))
        announce(made, 9, run_, invocation)
        assert ending in invocation.console.file.getvalue()


def test_trials_can_be_named_instead(source):
    names = (CONFIGS[5].digest[:5], CONFIGS[3].folder_name, CONFIGS[3].digest)
    made = choose(source, ConfirmOptions(trials=names))
    assert made.finalists == (CONFIGS[3], CONFIGS[5])
    assert made.scores == (pytest.approx(0.825), None)


def test_seeds_of_earlier_confirmations_are_not_fresh(source, make_plan):
    first, folder = choose(source, ConfirmOptions(seeds=2)), source.folder.parent
    create_run(folder / "mine-confirm", make_plan(confirms=asdict(first)))
    assert used_seeds(source) == {0, 1, 2}
    assert choose(source, ConfirmOptions(seeds=2)).seeds == (3, 4)
    other = replace(first, run="other", seeds=(7,))
    create_run(folder / "other-confirm", make_plan(confirms=asdict(other)))
    (folder / "damaged").mkdir()
    (folder / "damaged" / SWEEP).write_text("{")
    assert used_seeds(source) == {0, 1, 2}


def test_request_is_the_runs_but_of_listed_trials_that_nothing_stops(source, make_plan):
    budget = {"time_budget": 60.0, "against": "depth", "space_digest": "0123"}
    run, own = source.plan.request, {"space": "recipe", "searcher": "optuna", **budget}
    source.plan = make_plan(requests=(replace(run, **own),))
    made = request_of(source, {"keep": 2})
    assert not made.searched
    assert (made.scheduler, made.strata) == ("fifo", source.plan.compare_within)
    assert (made.against, made.time_budget, made.shapes, made.space_digest) == (None, None, (), "")
    assert (made.keep, made.retries, made.max_concurrent) == (2, 3, 1)
    assert made.teacher == run.teacher


@pytest.fixture
def confirmed(source, make_plan):
    """The confirmation of the run, planned."""
    made = choose(source, ConfirmOptions(seeds=3))
    planned = make_plan(confirms=asdict(made), trials=tuple(made.trials()))
    return create_run(source.folder.parent / "mine-confirm", planned)


ALL_THREE, OTHER_THREE = (tuple(c.digest for c in of) for of in (CONFIGS[2::-1], CONFIGS[1:4]))


@pytest.mark.parametrize("asked", [{}, {"top": 3}, {"seeds": 9}, {"trials": ALL_THREE}])
def test_the_same_is_asked_for_and_other_finalists_are_refused(source, confirmed, asked):
    assert check_asked(source, ConfirmOptions(**asked), confirmed).seeds == (1, 2, 3)
    for other in ({"top": 2}, {"trials": ALL_THREE[:1]}, {"trials": OTHER_THREE}):
        error = user_error(check_asked, source, ConfirmOptions(**other), confirmed)
        assert "mine-confirm: that confirmation has other finalists" in error
    error = user_error(check_asked, source, ConfirmOptions(seeds=2), confirmed)
    assert error == "--seeds 2: mine-confirm has 3 and keeps them"


def test_the_same_number_may_be_asked_for_again_once_more_have_finished(source, make_plan):
    made = choose(source, ConfirmOptions(top=5, seeds=2))
    assert (len(made.finalists), made.top) == (4, 5)  # of four that have finished
    planned = make_plan(trials=tuple(made.trials()), confirms=asdict(made))
    there = create_run(source.folder.parent / "five", planned)
    report_evaluations(source, CONFIGS[4], (0.5,) * 4)
    assert check_asked(source, ConfirmOptions(top=5), there) == made
    assert "has other finalists" in user_error(check_asked, source, ConfirmOptions(top=4), there)


def test_other_runs_are_refused(source, confirmed, refuse, make_plan):
    assert "RUN mine-confirm: a confirmation itself, of mine" in refuse("mine-confirm")
    create_run(source.folder.parent / "other", make_plan())
    assert "--name other: exists and does not confirm mine" in refuse("mine", "--name", "other")
    source.plan.provenance["started"] = "later"
    error = user_error(check_asked, source, ConfirmOptions(), confirmed)
    assert "mine-confirm: exists and does not confirm mine" in error


def test_a_complete_confirmation_asks_for_nothing_to_be_shown_again(source, monkeypatch, capsys):
    """Neither its teacher nor its cluster, which may be gone."""
    made = choose(source, ConfirmOptions(top=1, seeds=2))
    planned = replace(source.plan, trials=tuple(made.trials()), confirms=asdict(made))
    done = create_run(source.folder.with_name("mine-confirm"), planned)
    for config in made.trials():
        report_evaluations(done, config, (0.9,) * config.evaluations)
    assert is_complete(read_run(done.folder))
    monkeypatch.setattr("search.sweep.extend.inputs_again", lambda *arguments: 1 / 0)
    before = read_run(done.folder).events
    command = [str(source.folder), "--top", "1", "--seeds", "2", "--storage"]
    assert main([*command, str(source.folder.parent)]) == 0
    assert read_run(done.folder).events == before
    lacks = "mine recommends a recipe that mine-confirm lacks; --name OTHER confirms it."
    assert lacks not in capsys.readouterr().out
    report_evaluations(source, CONFIGS[5], (0.99,) * 4)  # once the run was extended
    assert main([*command, str(source.folder.parent)]) == 0
    assert lacks in capsys.readouterr().out


def test_the_test_split_that_another_machine_scored_is_not_scored_again(
    source, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = choose(source, ConfirmOptions(top=1, seeds=2))
    inputs = replace(source.plan.inputs, test_digest="0123")
    changes = {"inputs": inputs, "trials": tuple(made.trials()), "confirms": asdict(made)}
    folder = local_runs(f"file://{tmp_path}/storage") / "mine-confirm"
    done = create_run(folder, replace(source.plan, **changes))
    for config in made.trials():
        report_evaluations(done, config, (0.9,) * config.evaluations)
    with RecordCopy(folder) as copy:
        copy.copy()
    (tmp_path / "storage" / "mine-confirm" / TEST).write_text("Test accuracy: 0.9\n")
    monkeypatch.setattr("search.students.unseen.score_once", lambda run: 1 / 0)
    console = Console(file=io.StringIO(), width=300)
    assert score_on_test(folder, 0, console) == 0
    assert console.file.getvalue() == "Test accuracy: 0.9\n"
    assert (folder / TEST).read_text() == "Test accuracy: 0.9\n"
    capsys.readouterr()  # nor where it is gone on with as any run is
    assert run_main(["--resume", str(folder)]) == 0
    assert "Test accuracy: 0.9\n" in capsys.readouterr().out


@pytest.mark.slow
def test_cut_and_resumed_with_more_seeds_its_trials_are_those_without_ray(
    teacher_folder, data_folder, make_config, tmp_path, monkeypatch, cpu
):
    """The confirmation of a run whose evaluations are on a subset, cut in its first trial."""
    sizes = {"epochs": 2, "evaluations": 4, "learning_rate": 3e-3}
    configs = [make_config(**sizes, temperature=temperature) for temperature in (1.0, 2.0)]
    options = {"eval_subset": 30, "max_concurrent": 1, "keep": 0}
    swept = make_run(tmp_path, teacher_folder, data_folder, configs, **options).folder

    def evaluate_twice(run, *_):
        config = run.plan.trials[0]
        run.append({"event": "start", "trial": config.digest})
        for evaluation in islice(Trial.start(config, run.plan.inputs, cpu).run(), 2):
            values = {"evaluation": evaluation.recorded() | {"saving_seconds": 0.0}}
            event = {"event": "evaluation", "decision": "continue", **values}
            run.append(event | {"trial": config.digest})

    with monkeypatch.context() as patched:
        patched.setattr("search.sweep.session.run_trials", evaluate_twice)
        assert main([str(swept), "--top", "1", "--seeds", "2"]) == 130
    confirmed = swept.with_name("mine-confirm")
    assert sum(bool(trial.evaluations) for trial in read_run(confirmed).trials.values()) == 1
    typed = ("search.confirm", str(swept), "--top", "1", "--seeds", "3")
    done = run([sys.executable, "-m", *typed])
    assert done.returncode == 0, done.stderr
    found = read_run(confirmed)
    assert found.plan.confirms["asked"] == [2, 3]
    made = from_plain(Confirmation, found.plan.confirms)
    assert [trial.config for trial in found.trials.values()] == made.trials()
    assert {trial.config.seed for trial in found.trials.values()} == {1, 2, 3}
    assert_as_without_ray(found)
    assert_evaluated_once(confirmed)
    answers = json.loads((confirmed / "confirm.json").read_text())
    assert all(f"- {sentence}\n" in done.stdout for sentence in answers["sentences"])
    assert answers["examples"] == 40

"""`python -m search.report` on runs in every state, without Ray, torch or a trace in the run."""

import pandas as pd
import pytest

from search.record.plan_file import SWEEP
from search.record.run import create_run, read_run
from search.report.__main__ import FIGURES, MARKDOWN, PAGE, TRIALS, main
from search.results.table import trials_table
from tests.conftest import contents
from tests.report_runs import config, plan, report_evaluations, reported

THIRD = config("random", "none")


@pytest.fixture
def run(tmp_path):
    """Two finished, one that goes on."""
    first, second = (0.85, 0.86, 0.86, 0.87), (0.55, 0.56, 0.56, 0.56)
    shares = {config(): first, config(alpha=0.25): second, THIRD: (0.6,)}
    return reported(tmp_path / "runs" / "mine", shares)


def test_report_of_a_running_run_says_so_and_touches_nothing(run, tmp_path, capsys):
    before, output = contents(run.folder), tmp_path / "else" / "where"
    assert main(["mine", "--storage", str(run.folder.parent), "--output", str(output)]) == 0
    assert contents(run.folder) == before
    assert {p.name for p in output.iterdir()} == {FIGURES, MARKDOWN, PAGE, TRIALS}
    *lost, headline, _, tied, place = capsys.readouterr().out.splitlines()
    assert {line[:41] for line in lost} == {"No student is left to export, its result "}
    assert "fixed 0.5. best5 0.8600 (" in headline
    assert tied == "Significantly better than the only other recipe."
    assert str(output / PAGE) in place
    page = (output / PAGE).read_text(encoding="utf-8")
    assert "Not complete: running or interrupted; last event" in page


def test_report_goes_beside_the_run_and_may_be_written_again(run):
    for _ in range(2):
        assert main([str(run.folder)]) == 0
    report = run.folder / "report"
    assert {p.suffix for p in (report / FIGURES).iterdir()} == {".svg"}
    read = pd.read_csv(report / TRIALS, dtype={"digest": str, "aligned_layers": str})
    expected = trials_table(read_run(run.folder))
    assert read.columns.tolist() == expected.columns.tolist()
    columns = ["digest", "best5", "low", "high", "last", "alpha", "evaluations"]
    pd.testing.assert_frame_equal(read[columns], expected[columns], check_dtype=False)


def test_what_can_not_be_reported_is_one_line_and_exit_code_2(run, refusal_of):
    folder = run.folder.parent
    create_run(folder / "none", plan())
    (folder / "lost").mkdir()
    (folder / "lost" / SWEEP).write_text('{"format": 3, "revi')
    (folder / "file").write_text("mine")
    for arguments, reason in (
        (["other"], f"RUN other: no run of that name; runs in {folder}: lost, mine, none\n"),
        (["lost"], "damaged"),
        (["none"], "no trials"),
        (["mine", "--output", f"{folder}/file"], f"--output '{folder}/file': cannot be written to"),
        (["mine", "--watch", "--port", "65536"], "--port 65536: give one from 0 to 65535"),
        (["mine", "--port", "0"], "--port 0: only with --watch"),
        (["mine", "--watch", "--output", "here"], "--output here: not with --watch, which writes"),
        (["mine", "--metric", "spearman"], "the labels are 2 classes; give accuracy, f1, macro_f1"),
    ):
        error = refusal_of(main, *arguments, "--storage", str(folder))
        assert error.startswith("error: ")
        assert reason in error
    assert (folder / "file").read_text() == "mine"


def test_a_report_by_another_metric_says_and_scores_it_everywhere(run, capsys):
    """All labels are 1: F1 of a student that gets 86 % right is 2 x 0.86 / 1.86."""
    report_evaluations(run, THIRD, (0.6, 0.6), stop=True)
    assert main([str(run.folder), "--metric", "f1"]) == 0
    printed, again = capsys.readouterr().out, run.folder / "report-f1"
    assert "best5 0.9247 (" in printed
    line = "Scored again by F1; accuracy chose what was stopped, kept and exported."
    assert line in printed
    assert not (run.folder / "report").exists()
    markdown = (again / MARKDOWN).read_text(encoding="utf-8")
    for said in ("Teacher F1: ", "F1 at each evaluation.", line):
        assert said in markdown
    assert "ccuracy" not in markdown.replace(line, "")
    assert "## Stopped early" not in markdown
    assert set(pd.read_csv(again / TRIALS)["metric"]) == {"f1"}
    assert main([str(run.folder)]) == 0
    assert "Stopped early" in (run.folder / "report" / MARKDOWN).read_text(encoding="utf-8")


def test_report_loads_neither_ray_nor_torch(printed_by, run):
    code = (
        "import sys; from search.report.__main__ import main; "
        f"assert main([{str(run.folder)!r}]) == 0; "
        "print([m for m in ('torch', 'ray', 'transformers') if m in sys.modules])"
    )
    assert printed_by(code)[-1] == "[]"

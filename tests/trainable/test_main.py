"""`python -m trainable`: one trial as plain Python."""

import json
from dataclasses import replace

import pytest

from trainable.__main__ import main
from trainable.config.presets import PRESETS
from trainable.trial.training_loop import Trial

SMALL = ["--student-layers", "2", "--batch-size", "8", "--epochs", "1", "--evaluations", "3"]
OURS = ["--aligned-layers", "all", "--learning-rate", "1e-3", "--precision", "fp32"]


@pytest.fixture
def trial_command(teacher_folder, data_folder, tmp_path):
    """Runs a trial on the tiny inputs; returns exit code, lines printed and lines of complaint."""
    places = ["--teacher", str(teacher_folder), "--dataset", str(data_folder)]
    sizes = ["--preset", "mini", "--max-length", "16", "--cache", str(tmp_path)]
    sizes += ["--allow-weak-teacher"]

    def run(capsys, *more):
        try:
            code = main([*places, *sizes, *SMALL, *more])
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run


def test_prints_what_the_trial_yields(trial_command, capsys, sampled_inputs, make_config, cpu):
    code, lines, said = trial_command(capsys, *OURS, "--eval-subset", "13")
    expected = [
        e.scalars("accuracy") for e in Trial.start(make_config(), sampled_inputs, cpu).run()
    ]
    found = [json.loads(line) for line in lines]
    assert code == 0
    assert said[-1] == f"Teacher accuracy: {sampled_inputs.describe_teacher()}."
    assert [set(line) for line in found] == [set(evaluation) for evaluation in expected]
    assert "full_score" in found[-1]
    for key in expected[-1].keys() - {"training_seconds", "evaluation_seconds"}:
        assert [line.get(key) for line in found] == [e.get(key) for e in expected]


def test_few_examples_are_passed_over_more_often(trial_command, capsys, monkeypatch):
    monkeypatch.setitem(PRESETS, "mini", replace(PRESETS["mini"], least_steps=30))
    monkeypatch.setattr(f"{__name__}.SMALL", SMALL[:2])  # 3 steps a pass
    _, lines, _ = trial_command(capsys)
    assert json.loads(lines[-1])["step"] == 30


def test_mistakes_get_one_line_and_code_2(trial_command, capsys, tmp_path, teacher_folder):
    own = ["--student", str(teacher_folder), "--initialisation", "pretrained"]
    for more, said in (
        (["--student", "."], "--student: has no effect without --initialisation pretrained"),
        (["--test", "."], "--test: has no effect here"),
        (own, "student_layers: is 4 of "),
        (["--student-layers", "3"], "student_layers: 3 does not divide the teacher's 4 layers"),
        (["--hidden-weight", "100"], "hidden_weight: has no effect"),
        (["--eval-subset", "41"], "--eval-subset 41: the validation split has 40"),
        (["--dataset", "no/where"], "--dataset no/where: "),
        (["--teacher", "no/where"], "--teacher no/where: "),
        (["--preset", "minni"], "did you mean mini?"),
    ):
        code, lines, complaints = trial_command(capsys, *more)
        assert (code, lines, len(complaints)) == (2, [], 1)
        assert said in complaints[0]
        assert not (tmp_path / "teachers").exists()

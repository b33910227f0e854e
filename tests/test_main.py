"""`python -m trainable`: one trial as plain Python."""

import json

import pytest

from trainable.__main__ import main
from trainable.trial import EVALUATION_KEYS, Trial

NOT_PRINTED = {"correct", "whole_correct", "whole_accuracy"}  # where there is no whole
SMALL = ["--student-layers", "2", "--batch-size", "8", "--epochs", "1", "--evaluations", "3"]


@pytest.fixture
def trial_command(teacher_folder, data_folder, tmp_path):
    """Runs a trial on the tiny inputs; returns exit code, lines printed and lines of complaint."""
    inputs = ["--teacher", str(teacher_folder), "--dataset", str(data_folder)]
    sizes = ["--preset", "mini", "--max-length", "16", "--cache", str(tmp_path)]

    def run(capsys, *more):
        try:
            code = main([*inputs, *sizes, *SMALL, *more])
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run


def test_prints_what_the_trial_yields(trial_command, capsys, task, make_config, cpu):
    options = ["--initialisation", "random", "--aligned-layers", "lower", "--learning-rate", "1e-3"]
    code, lines, _ = trial_command(capsys, *options, "--precision", "fp32")
    config = make_config(initialisation="random", aligned_layers="1")
    expected = [e.to_dict() for e in Trial.start(config, task, cpu).run()]
    found = [json.loads(line) for line in lines]
    assert code == 0
    assert [set(line) for line in found] == [set(EVALUATION_KEYS) - NOT_PRINTED] * 3
    for key in ("accuracy", "best5_accuracy", "loss", "alpha", "step"):
        assert [line[key] for line in found] == [e[key] for e in expected]


def test_a_sample_is_looked_at_and_the_whole_scored_at_the_end(
    trial_command, capsys, sampled_task, make_config, cpu
):
    options = ["--search-sentences", "13", "--aligned-layers", "all", "--precision", "fp32"]
    options += ["--learning-rate", "1e-3", "--initialisation", "teacher_spread"]
    code, lines, said = trial_command(capsys, *options)
    expected = [e.to_dict() for e in Trial.start(make_config(), sampled_task, cpu).run()]
    found = [json.loads(line) for line in lines]
    assert code == 0
    assert said[-1] == f"teacher's accuracy {sampled_task.teacher_in_words()}"
    assert [line["accuracy"] for line in found] == [e["accuracy"] for e in expected]
    assert ["whole_accuracy" in line for line in found] == [False, False, True]
    assert found[-1]["whole_accuracy"] == expected[-1]["whole_accuracy"]
    assert not any("whole_correct" in line for line in found)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--alpha-schedule", "cosine_grwoth"], "did you mean cosine_growth?"),
        (["--alpha", "1.5"], "alpha: 1.5 must be at most 1.0"),
        (["--alpha-schedule", "cosine_growth", "--sharpness", "0"], "sharpness: 0.0 must be above"),
        (["--sharpness", "2"], "sharpness: 2.0 given, but alpha_schedule fixed has none"),
        (["--aligned-layers", "3"], "layer 3 is outside the student, whose layers are 1 to 2"),
        (["--student-layers", "3"], "student_layers: 3 does not divide the teacher's 4 layers"),
        (["--hidden-weight", "100"], "hidden_weight: changes nothing"),
        (["--alpha", "1", "--temperature", "4"], "temperature: changes nothing"),
        (["--max-length", "512"], "--max-length 512: too long for this teacher, which has 64"),
        (["--max-length", "2"], "--max-length 2: must be at least 3"),
        (["--seed", "5000000000"], "seed: 5000000000 must be at most 4294967295"),
        (["--search-sentences", "41"], "--search-sentences 41: the evaluation split has 40"),
        (["--search-sentences", "1"], "--search-sentences 1: too few to have each label"),
        (["--search-sentences", "0"], "--search-sentences: '0' is not a whole number of at least"),
        (["--epochs", "many"], "epochs: 'many' is not a whole number"),
        (["--dataset", "no/where"], "--dataset no/where: "),
        (["--teacher", "no/where"], "--teacher no/where: "),
        (["--preset", "minni"], "did you mean mini?"),
    ],
)
def test_mistakes_get_one_line_and_code_2(trial_command, capsys, tmp_path, more, said):
    code, lines, complaints = trial_command(capsys, *more)
    assert (code, lines, len(complaints)) == (2, [], 1)
    assert said in complaints[0]
    assert not (tmp_path / "teachers").exists()

"""The command as its user runs it, on a tiny teacher."""

import json
import subprocess
import sys

import pytest
import torch

from search import bench, bench_rungs
from search.bench_arguments import BASELINE, CPU_RUNGS, RUNG_WORDS, rung_names
from search.bench_rungs import CannotRunHere

TINY = ["--preset", "mini", "--steps", "2", "--warmup", "1", "--repeats", "2", "--batch-size", "4"]


@pytest.fixture
def tiny(teacher_folder):
    return [*TINY, "--precision", "fp32", "--teacher", str(teacher_folder)]


@pytest.fixture
def run(capsys):
    def command(*arguments):
        try:
            code = bench.main(list(arguments))
        except SystemExit as leave:
            code = leave.code
        printed = capsys.readouterr()
        return code, [json.loads(line) for line in printed.out.splitlines()], printed.err

    return command


def test_lines(run, tiny, teacher_folder):
    code, lines, errors = run(*tiny, "--hidden-pool", "tokens", "--seed", "3")
    assert code == 0, errors
    assert [line["rung"] for line in lines] == list(CPU_RUNGS)
    assert list(RUNG_WORDS) == list(bench_rungs.RUNGS)
    assert lines[0]["rung"] == "live"
    assert lines[0]["ratio_to_live"] == 1.0
    for line in lines:
        expected = {"batch_size": 4, "steps": 2, "repeats": 2, "warmup": 1, "seed": 3}
        expected |= {"sentences": 8, "student_layers": 2, "aligned_layers": "1,2"}
        expected |= {"hidden_pool": "tokens", "precision": "fp32", "preset": "mini"}
        expected |= {"teacher": str(teacher_folder), "threads": 1}
        assert expected.items() <= line.items()
        assert line["command"].startswith("python -m search.bench --preset mini")
        told, ours = line["versions"]["torch"], torch.__version__
        assert told.partition("+")[0] == ours.partition("+")[0]  # which build, not every one tells
        assert {"transformers"} <= set(line["versions"])
        assert {"commit", "device", "lengths", "started", "load_average_before"} <= set(line)
        assert line["milliseconds_per_step_min"] <= line["milliseconds_per_step"]
        assert line["milliseconds_per_step"] <= line["milliseconds_per_step_max"]
        assert line["peak_allocated_gib"] is None
        assert line["gpu_busy_share"] is None
    table = errors.splitlines()[-len(lines) - 1 :]
    assert [row.split()[0] for row in table] == ["rung", *CPU_RUNGS]


def test_live_is_always_run_and_first(run, tiny):
    code, lines, _ = run(*tiny, "--rungs", "lengths")
    assert code == 0
    assert [line["rung"] for line in lines] == ["live", "lengths"]
    assert rung_names("lengths,live,lengths") == (BASELINE, "lengths")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rungs", "live,grph"], "--rungs: 'grph' is not known"),
        (["--rungs", "length"], "did you mean lengths?"),
        (["--steps", "0"], "--steps: '0' is not a whole number of at least 1"),
        (["--preset", "sst3"], "--preset: 'sst3' is not known; did you mean sst2?"),
        (["--precision", "fp16"], "--precision: 'fp16' is not known"),
        (["--student-layers", "3"], "student_layers: 3 does not divide the teacher's 4"),
        (["--preset", "imdb"], "--max-length: sentences of 512 tokens"),
        (["--teacher", "no/such/folder/anywhere"], "--teacher no/such/folder/anywhere"),
    ],
)
def test_mistakes_are_one_line(run, tiny, flags, said):
    code, lines, errors = run(*tiny, *flags)
    assert (code, lines) == (2, [])
    assert said in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_rung_that_cannot_run_is_skipped_and_one_that_fails_shows(run, tiny, monkeypatch):
    def cannot(workload):
        raise CannotRunHere("needs a CUDA GPU")

    def fails(workload):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(bench_rungs.RUNGS, "cached", cannot)
    code, lines, errors = run(*tiny)
    assert code == 0
    assert lines[1]["skipped"] == "needs a CUDA GPU"
    assert "ratio_to_live" in lines[2]
    assert {"command", "commit", "device"} <= set(lines[1])
    assert "cached: skipped: needs a CUDA GPU" in errors
    monkeypatch.setitem(bench_rungs.RUNGS, "cached", fails)
    code, lines, _ = run(*tiny, "--rungs", "cached,lengths")
    assert code == 1
    assert lines[1]["error"] == "OutOfMemoryError: CUDA out of memory"
    assert "ratio_to_live" in lines[2]


def test_interrupted(run, tiny, monkeypatch):
    def interrupt(workload):
        raise KeyboardInterrupt

    monkeypatch.setitem(bench_rungs.RUNGS, "lengths", interrupt)
    code, lines, errors = run(*tiny)
    assert (code, lines) == (130, [])
    assert errors.splitlines()[-1].startswith("interrupted")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_memory_and_busy_share_on_a_gpu(run, tiny):
    _, lines, errors = run(*tiny)
    assert len(lines) == len(RUNG_WORDS)
    for line in lines:
        assert "error" not in line, errors
        if "skipped" not in line:
            assert 0 < line["gpu_busy_share"] <= 1
            assert line["gpu_operations_per_step"] > 0
            assert 0 < line["peak_allocated_gib"] <= line["peak_reserved_gib"]


def test_threads_are_as_before(run, tiny):
    torch.set_num_threads(2)
    run(*tiny, "--rungs", "live")
    assert torch.get_num_threads() == 2


def test_neither_ray_nor_datasets_is_loaded(repository, tiny):
    """The machines with a GPU may have neither."""
    code = (
        "import sys\n"
        "sys.modules['ray'] = sys.modules['datasets'] = None  # importing them fails\n"
        "from search.bench import main\n"
        f"sys.exit(main({tiny!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(CPU_RUNGS)


@pytest.mark.parametrize("rung", ["graph", "flash", "compiled", "batch64"])
def test_rungs_that_need_a_gpu_are_skipped_by_name(run, tiny, rung):
    code, lines, _ = run(*tiny, "--rungs", rung)
    assert code == 0
    assert [line["rung"] for line in lines] == ["live", rung]
    assert "ratio_to_live" not in lines[1]
    assert lines[1]["skipped"] in (
        "steps are captured on a CUDA GPU",
        "bert has no such kernel",
    )

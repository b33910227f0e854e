"""Files classified in pieces: every kind, every row, in order, with neither torch nor Ray."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from search.predict import tables
from search.predict.__main__ import main
from tests.conftest import random_sentences, tiny_classifier
from trainable.serving.onnx_export import export_onnx
from trainable.serving.served_model import ServedModel

TEXTS = random_sentences(25, seed=5).texts
ROWS = pd.DataFrame({"id": [f"{n:03}" for n in range(25)], "text": TEXTS, "other": TEXTS[::-1]})


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    tiny_classifier("roberta", **labels).save_pretrained(folder)
    tokenizer.model_max_length = 32
    tokenizer.save_pretrained(folder)
    export_onnx(folder, folder / "onnx" / "model.onnx")
    return folder


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 10)


WRITE = {
    ".csv": lambda path: ROWS.to_csv(path, index=False),
    ".tsv": lambda path: ROWS.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda path: ROWS.to_json(path, orient="records", lines=True),
    ".parquet": lambda path: ROWS.to_parquet(path, index=False),
}
READ = {
    ".csv": lambda path: pd.read_csv(path, dtype={"id": str}),
    ".tsv": lambda path: pd.read_csv(path, sep="\t", dtype={"id": str}),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype={"id": str}),
    ".parquet": pd.read_parquet,
}


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_labels_and_probabilities_stand_beside_the_rows(folder, tmp_path, capsys, suffix):
    WRITE[suffix](tmp_path / f"texts{suffix}")
    assert main([str(folder), str(tmp_path / f"texts{suffix}"), "--form", "onnx"]) == 0
    found = READ[suffix](tmp_path / f"texts.predictions{suffix}")
    pd.testing.assert_frame_equal(found[[*ROWS.columns]], ROWS, check_dtype=False)
    model = ServedModel.load(folder)
    logits = model.logits(TEXTS)
    expected = np.array(["bad", "good"])[logits.argmax(axis=1)]
    assert found["prediction"].tolist() == expected.tolist()
    columns = found[["probability of bad", "probability of good"]].to_numpy()
    np.testing.assert_allclose(columns, model.probabilities(logits), atol=2e-6)
    assert "25 rows" in capsys.readouterr().out


def test_neither_torch_nor_ray_is_loaded_for_onnx(folder, tmp_path):
    WRITE[".csv"](tmp_path / "texts.csv")
    code = (
        "import sys\n"
        "from search.predict.__main__ import main\n"
        f"main([{str(folder)!r}, {str(tmp_path / 'texts.csv')!r}, '--form', 'onnx'])\n"
        "print(sorted({'torch', 'ray', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text-column", "review"], "--text-column review: the columns are id, text, other"),
        (["--threads", "2"], "--threads 2: at least 1, and for an ONNX form only"),
        (["--output", "no/x.csv"], "--output no/x.csv: its folder does not exist"),
        (["--output", "x.txt"], "--output x.txt: give one of .csv, .tsv, .jsonl, .parquet"),
        (["--form", "onnx-int8"], "has none; make it with search.export --int8"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_file(
    folder, tmp_path, capsys, arguments, said
):
    WRITE[".csv"](tmp_path / "texts.csv")
    assert main([str(folder), str(tmp_path / "texts.csv"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["texts.csv"]


def test_an_output_is_not_predicted_on_and_a_file_without_rows_has_none(folder, tmp_path, capsys):
    ROWS.assign(prediction="good").to_csv(tmp_path / "again.csv", index=False)
    assert main([str(folder), str(tmp_path / "again.csv")]) == 2
    assert "has a column prediction already; rename it" in capsys.readouterr().err
    for suffix in (".csv", ".parquet"):
        empty = tmp_path / f"empty{suffix}"
        (ROWS[:0].to_csv if suffix == ".csv" else ROWS[:0].to_parquet)(empty, index=False)
        assert main([str(folder), str(empty)]) == 0
        assert len(READ[suffix](tmp_path / f"empty.predictions{suffix}")) == 0


def test_a_row_without_a_text_is_named_and_no_half_file_stays(folder, tmp_path, capsys):
    broken = ROWS.assign(text=[*TEXTS[:17], None, *TEXTS[18:]])
    broken.to_json(tmp_path / "texts.jsonl", orient="records", lines=True)
    assert main([str(folder), str(tmp_path / "texts.jsonl")]) == 2
    assert "row 17 has no text in text" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]

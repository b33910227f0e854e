"""Files classified in pieces: every kind, every row, in order, with neither torch nor Ray."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import softmax

from search.predict import tables
from search.predict.__main__ import main
from tests.conftest import make_teacher, random_sentences
from trainable.serving.onnx_export import export_onnx
from trainable.serving.served_model import ServedModel

TEXTS = random_sentences(25, seed=5).texts
ROWS = pd.DataFrame({"id": [f"{n:03}" for n in range(25)], "text": TEXTS, "other": TEXTS[::-1]})


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    tokenizer.model_max_length = 32
    make_teacher("roberta", tokenizer, folder, **labels)
    export_onnx(folder, folder / "onnx" / "model.onnx")
    return folder


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 10)


@pytest.fixture
def write(tmp_path):
    """Writes rows as a file of a kind, and returns its path."""

    def write(rows, suffix=".csv"):
        path = tmp_path / f"texts{suffix}"
        if suffix == ".jsonl":
            rows.to_json(path, orient="records", lines=True)
        elif suffix == ".parquet":
            rows.to_parquet(path, index=False)
        else:
            rows.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
        return str(path)

    return write


READ = {
    ".csv": lambda path: pd.read_csv(path, dtype={"id": str}),
    ".tsv": lambda path: pd.read_csv(path, sep="\t", dtype={"id": str}),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype={"id": str}),
    ".parquet": pd.read_parquet,
}


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_labels_and_probabilities_stand_beside_the_rows(folder, tmp_path, write, capsys, suffix):
    assert main([str(folder), write(ROWS, suffix), "--form", "onnx"]) == 0
    found = READ[suffix](tmp_path / f"texts.predictions{suffix}")
    pd.testing.assert_frame_equal(found[[*ROWS.columns]], ROWS, check_dtype=False)
    model = ServedModel.load(folder)
    logits = model.logits(TEXTS)
    expected = np.array(["bad", "good"])[logits.argmax(axis=1)]
    assert found["prediction"].tolist() == expected.tolist()
    columns = found[["probability of bad", "probability of good"]].to_numpy()
    np.testing.assert_allclose(columns, softmax(logits, axis=1), atol=2e-6)
    assert "25 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("trained", "flags", "column"),
    [
        ("other", [], "other"),
        ("other", ["--text-column", "text"], "text"),
        ("review", [], "text"),
        ("id,other", [], "id and other"),
    ],
)
def test_texts_are_in_the_columns_that_were_trained_on(
    folder, tmp_path, write, capsys, trained, flags, column
):
    own = shutil.copytree(folder, tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "text_column": trained}))
    assert main([str(own), write(ROWS), "--form", "onnx", *flags]) == 0
    found = pd.read_csv(tmp_path / "texts.predictions.csv")["probability of good"]
    texts = [*ROWS[column.split(" and ")].itertuples(index=False, name=None)]
    logits = ServedModel.load(folder).logits([t if len(t) == 2 else t[0] for t in texts])
    np.testing.assert_allclose(found, softmax(logits, axis=1)[:, 1], atol=2e-6)
    assert f"25 rows, texts read from {column}, " in " ".join(capsys.readouterr().out.split())


def test_neither_torch_nor_ray_is_loaded_for_onnx(folder, write, printed_by):
    code = (
        "import sys\n"
        "from search.predict.__main__ import main\n"
        f"main([{str(folder)!r}, {write(ROWS)!r}, '--form', 'onnx'])\n"
        "print(sorted({'torch', 'ray', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    assert printed_by(code)[-1] == "[]"


def test_what_cannot_be_done_is_one_line_and_leaves_no_file(folder, tmp_path, write, refusal_of):
    without = ROWS.assign(text=[*TEXTS[:17], None, *TEXTS[18:]])
    for rows, arguments, said in (
        (ROWS, ["--text-column", "review"], "--text-column review: the columns are id, text, oth"),
        (ROWS, ["--threads", "2"], "--threads 2: at least 1, and for an ONNX form only"),
        (ROWS, ["--output", "no/x.csv"], "--output no/x.csv: its folder does not exist"),
        (ROWS, ["--output", "x.txt"], "--output x.txt: give one of .csv, .tsv, .jsonl, .parquet"),
        (ROWS, ["--form", "onnx-int8"], "has none; make it with search.export --int8"),
        (ROWS.assign(prediction=""), [], "has a column prediction already; rename it"),
        (without, [], "row 17 has no text in text"),
    ):
        assert said in refusal_of(main, str(folder), write(rows, ".jsonl"), *arguments)
        assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]


def test_empty_texts_are_counted(folder, write, capsys):
    rows = ROWS.assign(text=["", " ", *TEXTS[2:]])
    assert main([str(folder), write(rows), "--form", "onnx"]) == 0
    assert "so that the label means nothing: 2 rows." in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_in_a_file_of_texts_alone_an_empty_line_is_one(folder, tmp_path, suffix):
    (path := tmp_path / f"texts{suffix}").write_text("\n \ntext\nw1 w2\n\nw3\n")
    assert main([str(folder), str(path), "--form", "onnx"]) == 0
    found = READ[suffix](tmp_path / f"texts.predictions{suffix}")
    assert found["text"].fillna("").tolist() == ["w1 w2", "", "w3"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_without_rows_has_an_output_without(folder, tmp_path, write, suffix):
    assert main([str(folder), write(ROWS[:0], suffix)]) == 0
    assert len(READ[suffix](tmp_path / f"texts.predictions{suffix}")) == 0


def test_json_lines_may_have_other_keys_in_each_piece(folder, tmp_path):
    """And a byte order mark; what a row lacks is null, as strict parsers know it."""
    rows = [{"text": text} for text in TEXTS[:-1]] + [{"text": TEXTS[-1], "note": "late"}]
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8-sig")
    assert main([str(folder), str(path), "--form", "onnx"]) == 0
    lines = (tmp_path / "texts.predictions.jsonl").read_text().splitlines()
    notes = [json.loads(line, parse_constant=pytest.fail)["note"] for line in lines]
    assert notes == [*[None] * 24, "late"]


def test_half_a_character_of_json_is_one_that_stands_for_it(folder, tmp_path):
    """Of an emoji that a text was cut in; a whole one stays."""
    lines = '{"text": "one \\ud83d", "note": ["\\uD83D"]}\n{"text": "two \\ud83d\\ude00"}\n'
    (tmp_path / "texts.jsonl").write_text(lines)
    assert main([str(folder), str(tmp_path / "texts.jsonl"), "--form", "onnx"]) == 0
    written = (tmp_path / "texts.predictions.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = map(json.loads, written)
    assert (first["text"], first["note"], second["text"]) == ("one \ufffd", ["\ufffd"], "two 😀")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_long_lists_of_parquet_are_written_whole(folder, tmp_path, suffix):
    lists = [[number + 1 / 3 for number in range(2000)], None]
    pd.DataFrame({"text": TEXTS[:2], "values": lists}).to_parquet(tmp_path / "texts.parquet")
    output = tmp_path / f"found{suffix}"
    command = [str(folder), str(tmp_path / "texts.parquet"), "--form", "onnx"]
    assert main([*command, "--output", str(output)]) == 0
    found = READ[suffix](output)["values"]
    first = found[0] if suffix == ".jsonl" else json.loads(found[0])
    assert (len(first), pd.isna(found[1])) == (2000, True)
    np.testing.assert_allclose(first, lists[0], rtol=1e-12)


PAIR_COLUMNS = {"text": TEXTS, "question": TEXTS, "sentence": TEXTS[::-1]}


@pytest.mark.parametrize(
    ("pairs", "columns"),
    [(False, "sentence"), (True, "question and sentence"), (None, "question and sentence")],
)
def test_a_student_of_single_texts_reads_no_pairs_and_one_of_pairs_no_single_ones(
    folder, tmp_path, write, capsys, refusal_of, pairs, columns
):
    own = shutil.copytree(folder, tmp_path / "own")
    config = json.loads((own / "config.json").read_text()) | {"text_pairs": pairs}
    (own / "config.json").write_text(json.dumps(config))
    path = write(pd.DataFrame(PAIR_COLUMNS))
    assert main([str(own), path, "--form", "onnx"]) == 0
    assert f"texts read from {columns}, " in " ".join(capsys.readouterr().out.split())
    wrong = {False: "question,sentence", True: "text", None: "question,sentence,text"}[pairs]
    output = str(tmp_path / "other.csv")
    said = refusal_of(main, str(own), path, "--text-column", wrong, "--output", output)
    wanted = "one" if pairs is False else "A,B for pairs"
    assert f"--text-column {wrong}: the columns are text, question, sentence" in said
    assert f"name {wanted} with" in said


def test_a_carriage_return_within_a_text_ends_no_row(folder, tmp_path, refusal_of):
    rows = pd.DataFrame({"text": ["one\rtwo", "three"], "id": ["01", "2"]})
    rows.to_csv(tmp_path / "texts.csv", index=False, quoting=csv.QUOTE_ALL)
    command = [str(folder), str(tmp_path / "texts.csv"), "--form", "onnx"]
    assert main(command) == 0
    found = pd.read_csv(tmp_path / "texts.predictions.csv", dtype={"id": str})
    pd.testing.assert_frame_equal(found[["text", "id"]], rows)
    said = refusal_of(main, *command, "--output", str(tmp_path / "texts.tsv"))
    assert "a tab or a line break within a field" in said


def test_a_column_that_is_there_twice_is_refused(folder, tmp_path, refusal_of):
    twice = pa.table([pa.array(["one"]), pa.array(["two"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "texts.parquet")
    said = refusal_of(main, str(folder), str(tmp_path / "texts.parquet"))
    assert "it has the column text twice" in said


def test_json_lines_without_rows_are_an_empty_parquet_file(folder, tmp_path):
    (tmp_path / "texts.jsonl").write_text("")
    output = tmp_path / "found.parquet"
    assert main([str(folder), str(tmp_path / "texts.jsonl"), "--output", str(output)]) == 0
    assert len(pd.read_parquet(output)) == 0


def test_a_full_disk_is_no_mistake_of_the_user(folder, write, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    path = write(ROWS, ".parquet")
    monkeypatch.setattr(tables, "_write_parquet", full)
    assert main([str(folder), path, "--form", "onnx"]) == 1
    assert "No space left on device" in capsys.readouterr().err

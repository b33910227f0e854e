"""Values that pass through unchanged, and files that can't be written as asked."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.predict import tables
from search.predict.tables import read_pieces, writer
from tests.conftest import user_error


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 2)


def copied(source, target):
    with writer(target, target) as write:
        for piece in read_pieces(source):
            write(piece)


def test_json_numbers_and_parquet_types_stay_what_they_are(tmp_path):
    """Also where a whole piece has no value."""
    rows = [{"n": None, "f": 0.1234567890123456, "text": "ä"}] * 2
    rows += [{"n": 1234567890123456789012, "f": 1.0, "text": "b"}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    copied(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").open()] == rows
    values = {"n": [None, None, 2**53 + 1], "b": [None, None, True], "l": [None, None, [1]]}
    pq.write_table(pa.table(values), tmp_path / "a.parquet")
    copied(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").to_pydict() == values


def test_files_are_utf8_in_any_locale(tmp_path, printed_by, monkeypatch):
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "a.csv").write_text("text\nä\n", encoding="utf-8")
    source, target = str(tmp_path / "a.csv"), str(tmp_path / "b.jsonl")
    printed_by(
        "from pathlib import Path; from tests.search.predict.test_tables import copied; "
        f"copied(Path({source!r}), Path({target!r}))"
    )
    assert json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8")) == {"text": "ä"}


def test_what_a_file_cannot_hold_is_one_line(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\n1,"a\tb"\n')
    assert "can't hold these rows" in user_error(copied, tmp_path / "a.csv", tmp_path / "b.tsv")
    for line in ("7,w1,more", "7,w1,"):  # neither moves the columns
        (tmp_path / "c.csv").write_text(f"id,text\n{line}\n")
        assert "can't be read" in user_error(copied, tmp_path / "c.csv", tmp_path / "d.csv")

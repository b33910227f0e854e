"""Labelled examples from real small files, and every way in which they are refused."""

import json
import os
import re
import socket
from dataclasses import replace
from unittest.mock import Mock

import datasets
import numpy as np
import pandas
import pytest
from huggingface_hub import constants

from tests.conftest import user_error
from trainable.data import tables
from trainable.data.datasets import LabelledTexts
from trainable.data.loading import load_dataset, load_texts, with_test

# Words that readers take for missing values, quotes that open and never close, trailing spaces.
AWKWARD = ["null", "NA", '"half a quote', "it's 5 \" long ", "none", '"full"', "café, naïve", "1.0"]
LABELS = [0, 1, 0, 1, 1, 0, 1, 0]
READERS = (".csv", ".jsonl", ".parquet")  # one suffix for each
AB, TWO = ["a", "b"], [0, 1]


def write(path, texts, labels, columns=("sentence", "label")):
    """As users have such files; nothing in a TSV file is quoted, as in GLUE's."""
    if path.suffix in (".parquet", ".csv"):
        table = pandas.DataFrame(dict(zip(columns, (texts, labels), strict=True)))
        table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
        return
    rows = list(zip(texts, labels, strict=True))
    if path.suffix == ".tsv":
        lines = ["\t".join(str(cell) for cell in row) for row in [columns, *rows]]
    else:
        made = [dict(zip(columns, row, strict=True)) for row in rows]
        lines = [json.dumps(row, ensure_ascii=False) for row in made]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """Asks for hosts, of which there is none, as on a machine without a network."""
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", asked := Mock(side_effect=error))
    return asked


@pytest.fixture
def load(tmp_path):
    """Loads a path in the test's own folder, with a cache beside it."""

    def load_path(path, configuration=None, columns=(None, None), **kind):
        path = path if isinstance(path, dict) else str(path)
        return load_dataset(path, configuration, tmp_path / "cache", columns, **kind)

    return load_path


@pytest.fixture
def refusal(load):
    """What is said of a path that is refused: one line, after the flag and the path."""

    def message_for(path):
        message, start = user_error(load, path), f"--dataset {path}: "
        assert message.startswith(start)
        return message.removeprefix(start)

    return message_for


@pytest.fixture
def folder(tmp_path):
    """A folder as it should be, of which tests change what they are about."""
    made = tmp_path / "data"
    made.mkdir()
    write(made / "train.tsv", ["bad", "good"], [0, 1])
    write(made / "dev.tsv", ["fine"], [1])
    return made


@pytest.mark.parametrize("suffix", [*READERS, ".tsv", ".json"])
def test_a_folder_of_train_and_dev_files(tmp_path, load, network, capfd, suffix):
    write(tmp_path / f"train{suffix}", AWKWARD, LABELS)
    write(tmp_path / f"dev{suffix}", ["null", "fine"], [1, 0])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "notes.tsv").write_text("no columns to speak of\n")
    found = load(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert not network.called
    assert found.train == LabelledTexts(AWKWARD, LABELS)
    assert found.evaluation == LabelledTexts(["null", "fine"], [1, 0])
    assert found.label_names == ["0", "1"]


@pytest.mark.parametrize("suffix", READERS)
def test_a_file_whose_content_changed_is_read_anew_whatever_its_time(tmp_path, load, suffix):
    path = tmp_path / f"train{suffix}"
    write(tmp_path / "dev.tsv", ["fine"], [1])
    for labels in ([0, 1], [1, 0]):
        write(path, ["bad", "good"], labels)
        os.utime(path, (1e9, 1e9))
        assert load(tmp_path).train == LabelledTexts(["bad", "good"], labels)
    for texts in (["one", " ", ""], ["two", " ", ""]):
        write(path, texts, [0, 1, 1])
        os.utime(path, (1e9, 1e9))
        assert load_texts(str(path), None, tmp_path / "cache", None, pair=False) == texts


def test_two_files_of_one_split_are_refused(folder, refusal):
    write(folder / "notes.csv", ["a"], [0])
    write(folder / "notes.tsv", ["a"], [0])
    write(folder / "train.csv", ["bad", "good"], [1, 0])
    assert refusal(folder) == "has train.csv and train.tsv; keep one"


def test_rows_merged_and_columns_repeated(tmp_path, load, refusal):
    """By a stray quote, and by mistake."""
    for header, rows, said in (
        ("text,label", ['"{0},{1}\n'], "row 0 has two rows in text"),
        ("label,text", ['{1},"{0}\r\n'], "row 0 has two rows in text"),
        ("id,text,label,from", ['7,"{0},{1},web\n'], "row 0 has two rows in text"),
        ("from,text,label", ['"web,{0},{1}\n'], "row 0 has two rows in from"),
        ("text,label", ["{0},{1}\n", '"{0},{1}\n', "{0},{1}\n", '{0}",{1}\n'], "row 1 has two"),
        ("text,label,text", ["{0},{1},{0}\n"], "has the column text twice; keep one"),
        ("text,label", ['"{0} costs 1,000,\n1,234, and 3",{1}\n'], None),
        ("text,label", ['"{0} costs 1, 0\nor 1, 1",{1}\n'], None),
        ("text,label", ['"{0} had\n10,{1}\nand more",{1}\n'], None),
    ):
        written = "".join(rows[n % len(rows)].format(f"film {n}", n // 2 % 2) for n in range(40))
        (path := tmp_path / "all.csv").write_bytes(f"{header}\n{written}".encode())
        if said is None:
            assert len(load(path).train) == 36
        else:
            assert refusal(path).startswith(said)


def test_what_only_later_rows_have(tmp_path, load):
    """Of columns that are used and others: no type is taken from the first rows alone."""
    count, wide = 12_000, "x" * 2500  # JSON lines were read in pieces of 10 MB
    labels = [*[1] * (count - 2), 0.25, 0.75]
    stars = [*range(count - 1), ""]
    csv = "".join(f"text {n},{labels[n]},{stars[n]}\n" for n in range(count))
    (tmp_path / "a.csv").write_text(f"text,label,stars\n{csv}")
    rows = [{"text": wide, "label": label} for label in labels]
    rows[-1]["late"] = "seen"
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("a.csv", "a.jsonl"):
        found = load(tmp_path / name)
        assert len(found.train) + len(found.evaluation) == count
        assert {0.25, 0.75} <= {*found.train.labels, *found.evaluation.labels} <= {0.25, 0.75, 1.0}


def test_more_fields_than_columns_and_quotes_where_they_are_text(tmp_path, refusal):
    for rows in ("a,0,\nb,1,\n", "nice, movie,0\na, film,1\n"):
        (path := tmp_path / "all.csv").write_text(f"text,label\n{rows * 20}")
        assert refusal(path) == "cannot be read as csv: its rows have more fields than its header"
    (path := tmp_path / "all.tsv").write_text('text\tlabel\n"he said ""hi"""\t0\n')
    assert refusal(path).startswith("row 0 is quoted in text, as in CSV; give it as CSV or JSON")


def test_devices_and_pipes_are_not_opened(tmp_path, refusal):
    os.mkfifo(pipe := tmp_path / "pipe")
    for special in ("/dev/null", "/dev/zero", pipe):
        assert refusal(special) == "is neither a file nor a folder"


def test_which_split_is_the_evaluation_split(load):
    names = ["validation", "dev", "val", "valid", "eval", "evaluation"]
    names += ["validation_matched", "test"]
    tables = {name: pandas.DataFrame({"text": [name], "label": [0]}) for name in reversed(names)}
    tables["train"] = pandas.DataFrame({"text": AB, "label": TWO})
    for name in names[:-1]:
        assert load(tables).evaluation.texts == [name]
        del tables[name]


def declared(labels, names):
    """A table of these labels, whose classes are declared by name."""
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    rows = {"text": list("abcd"[: len(labels)]), "label": labels}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


@pytest.fixture
def save(tmp_path):
    """Saves splits of a dataset of three declared classes, each its first examples."""

    def save_splits(**counts):
        every = declared([0, 1, 2], ["negative", "neutral", "positive"])
        splits = {name: every.select(range(count)) for name, count in counts.items()}
        datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
        return tmp_path / "saved"

    return save_splits


def test_a_saved_dataset_keeps_its_label_names(save, load):
    found = load(save(train=3, validation=2, test=1))
    assert found.label_names == ["negative", "neutral", "positive"]
    assert found.train == LabelledTexts(["a", "b", "c"], [0, 1, 2])
    assert found.evaluation == LabelledTexts(AB, TWO)


@pytest.mark.parametrize(
    ("splits", "complaint"),
    [
        ({"test": 2, "unlabelled": 2}, "no split train, only test, unlabelled; in a"),
        ({"train": 2, "test": 2}, "the training split has none of positive; give some of each "),
        ({"train": 0, "test": 3}, "a split is empty"),
        ({"train": 3, "test": 0}, "a split is empty"),
    ],
)
def test_a_saved_dataset_without_a_split_or_a_class(save, refusal, splits, complaint):
    assert refusal(save(**splits)).startswith(complaint)


def test_a_tenth_of_a_single_file_is_held_out(load, tmp_path):
    """The same each time, and of a folder with nothing but such a file."""
    labels = {f"sentence {row}": int(row % 4 == 0) for row in range(200)}
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "all.tsv", tmp_path / "folder" / "train.tsv"):
        write(path, labels.keys(), labels.values())
    found = load(tmp_path / "all.tsv")
    np.random.seed(5)
    again = load_dataset(str(tmp_path / "folder"), None, tmp_path / "other cache", (None, None))
    assert again == found
    assert (len(found.train), len(found.evaluation)) == (180, 20)
    assert sorted(found.train.texts + found.evaluation.texts) == sorted(labels)
    assert found.evaluation.labels.count(1) == 5
    twice = {
        f"{word} {row}{end}": row % 2 for row in range(100) for word, end in (("A", ""), ("a", "!"))
    }
    write(tmp_path / "twice.tsv", twice.keys(), twice.values())
    both = load(tmp_path / "twice.tsv")
    letters = [{text.strip("!").lower() for text in s.texts} for s in (both.train, both.evaluation)]
    assert letters[1]
    assert not letters[0] & letters[1]  # no near copy of one is trained on
    for split in (found.train, found.evaluation):
        assert split.labels == [labels[text] for text in split.texts]


@pytest.mark.parametrize("name", ["ünï v1.0", "a,b", "data[1]", "train.csv"])
def test_folders_of_unusual_names_are_read_at_home_too(folder, load, monkeypatch, name):
    renamed = folder.rename(folder.parent / name)
    monkeypatch.setenv("HOME", str(folder.parent))
    for path in (renamed, f"~/{name}"):
        assert load(path).evaluation.texts == ["fine"]


PAIR, TABLE = ("sentence1", "sentence2"), {"id": [7, 8], "mood": [0, 1]}


def test_columns_by_their_usual_names_and_by_those_given(load):
    for columns, given, texts in (
        (["sentence", "text", "review"], (None, None), ("sentence",)),
        (["text", "review"], (None, None), ("text",)),
        (["sentence", "question"], (None, None), ("question", "sentence")),
        (["text", "text_pair", "sentence"], (None, None), ("text", "text_pair")),
        (["hypothesis", "premise"], (None, None), ("premise", "hypothesis")),
        (["question2", "question1"], (None, None), ("question1", "question2")),
        ([*PAIR, "body"], ("body", None), ("body",)),
        ([*PAIR, "body"], ("sentence2, body", None), ("sentence2", "body")),
        (["a,b", "a", "b"], ("a,b", None), ("a,b",)),
    ):
        rows = {name: [f"{name} {row}" for row in range(2)] for name in columns}
        splits = {name: pandas.DataFrame(rows | TABLE) for name in ("train", "dev")}
        found = load(splits, columns=(given[0], "mood"))
        expected = [tuple(f"{name} {row}" for name in texts) for row in range(2)]
        pairs = len(texts) == 2
        assert found.train.texts == (expected if pairs else [each[0] for each in expected])
        assert found.pairs == pairs
        named = f"{' and '.join(texts)}{' (pairs)' if pairs else ''}"
        assert found.description == f"Texts: {named}; labels: mood (0, 1)"


SCALE = "scale the labels to a few units: at most 20 to"
FEW = "give some of each label, of at least two"


def test_tables_that_can_not_be_trained_on(load):
    for table, columns, said in (
        ({}, ("txt", None), "--text-column txt: {}: 'txt' is not known; did you mean text? "),
        ({}, ("text,x", None), "--text-column x: {}: 'x' is not known; choose from text, label"),
        ({}, ("text,label,x", None), "--text-column text,label,x: {} needs one column, or two for"),
        ({}, (None, "lable"), "--label-column lable: {}: 'lable' is not known; did you mean lab"),
        ({"label": [0.5, 2013.0]}, (), f"{{}}: label 2013 in row 1; {SCALE}"),
        ({"label": [0.5, -20.5]}, (), f"{{}}: label -20.5 in row 1; {SCALE}"),
        ({"label": [-100.0, 0.5]}, (), f"{{}}: label -100 in row 0; {SCALE}"),
        ({"label": [[0], [1]]}, (), "{}: label has several values in a row; give each row one"),
        ({"label": [{"a": 1}, {"a": 2}]}, (), "{}: label has several values in a row; give each"),
        ({"label": [-1, -1]}, (), f"{{}} has no labelled examples; {FEW}"),
        ({"label": [0, 0]}, (), f"{{}} has examples of one label; {FEW}"),
        ({"label": [0.5, 0.5]}, (), f"{{}} has examples of one label; {FEW}"),
        ({"text_pair": ["x", None]}, (), "{}: row 1 has no text in text_pair"),
        (
            {"text": (names := [f"name {row}" for row in range(150)]), "label": names},
            (),
            "{}: 150 different labels in 150 examples; name the labels' column with --label-column",
        ),
    ):
        frame = pandas.DataFrame({"text": AB, "label": TWO} | table)
        message = user_error(load, {"train": frame, "dev": frame}, columns=columns or (None, None))
        assert message.startswith(said.format("dataset: the training split"))


def test_the_only_example_of_a_class_is_trained_on(load):
    labels = ["a", "b"] * 12 + ["c"]  # whose place in the order of `hold_out` is among the first
    train = pandas.DataFrame({"text": [f"text {row}" for row in range(25)], "label": labels})
    found = load({"train": train})
    assert found.train.texts[-1] == "text 24"  # given back
    assert (len(found.train), found.evaluation.labels) == (24, [1])
    said = "dataset: the training split, less a tenth for validation, has none of c; "
    few = train.iloc[[*range(12), 24]]  # where none would be left to evaluate on
    assert user_error(load, {"train": few}) == f"{said}{FEW}"


def test_tables_are_those_of_datasets_too_and_nothing_else(load):
    frame = pandas.DataFrame({"text": ["a", "b"], "label": ["no", "yes"]})
    splits = {"train": frame, "validation": frame[:1], "test": frame[1:]}
    tables = {n: datasets.Dataset.from_pandas(s, preserve_index=False) for n, s in splits.items()}
    found = load(splits)
    assert load(datasets.DatasetDict(tables)) == found
    for kind in ("torch", "pandas", "arrow"):
        formatted = {n: table.with_format(kind, ["label"]) for n, table in tables.items()}
        assert load(datasets.DatasetDict(formatted)) == found
    assert (found.evaluation, found.test) == (LabelledTexts(["a"], [0]), LabelledTexts(["b"], [1]))
    said = "dataset: no split train, only dev; in a folder, name a file train.csv"
    assert user_error(load, {"dev": frame}) == said
    assert user_error(load, {"train": [1]}).startswith("dataset: train is no table of plain ")


def test_a_split_whose_name_is_misspelt_is_refused(folder, load, refusal):
    """It would not be used, and a part of the training examples held out in its place."""
    frame = pandas.DataFrame({"text": ["a", "b"], "label": ["no", "yes"]})
    said = "dataset: split {} is not known; call it {}"
    for name, right in (
        ("Validation", "validation"),
        ("Test", "test"),
        ("validaton", "validation"),
    ):
        given = {"train": frame, name: frame}
        assert user_error(load, given) == said.format(name, right)
    assert user_error(load, {"Train": frame}) == said.format("Train", "train")
    others = {"validation_mismatched": frame[:1], "unsupervised": frame}
    assert load({"train": frame, "validation": frame, **others}).evaluation.texts == ["a", "b"]
    write(folder / "Test.csv", AB, TWO)
    assert refusal(folder) == "split Test is not known; call it test"


@pytest.mark.parametrize("suffix", READERS)
def test_what_labels_stand_for(tmp_path, load, suffix):
    for labels, names, numbers in (
        (["pos", "neg", "pos"], ["neg", "pos"], [1, 0, 1]),
        ([5, 1, 10], ["1", "5", "10"], [1, 0, 2]),
        ([2.0, 0.0, 0.0], ["0", "2"], [1, 0, 0]),
        (["2", "0", "10"], ["0", "2", "10"], [1, 0, 2]),
        (["7", "007", "010"], ["007", "010", "7"], [2, 0, 1]),
        (["007", "x", "10"], ["007", "10", "x"], [0, 2, 1]),
        ([True, False, True], ["False", "True"], [1, 0, 1]),
        ([0, 10**9, 0], ["0", "1000000000"], [0, 1, 0]),
        ([10**15, 5, 10], ["5", "10", "1000000000000000"], [2, 0, 1]),
        ([2**53 + 1, 5, 2**53], ["5", "9007199254740992", "9007199254740993"], [2, 0, 1]),
        ([0.5, 3.0, -1.0], [], [0.5, 3.0, -1.0]),
    ):
        for name in ("train", "dev"):
            write(tmp_path / f"{name}{suffix}", ["a", "b", "c"], labels)
        found = load(tmp_path)
        assert found.label_names == names
        assert found.train.labels == found.evaluation.labels == numbers
        assert {type(label) for label in found.train.labels} == {int if names else float}


@pytest.mark.parametrize("suffix", READERS)
def test_rows_that_are_labelled_minus_one_have_no_label(tmp_path, load, suffix):
    write(tmp_path / f"train{suffix}", list("abcdefghij"), [0, 1] * 5)
    write(tmp_path / f"dev{suffix}", ["v"], [-1])
    write(tmp_path / f"test{suffix}", ["t"], [-1])
    found = load(tmp_path)
    assert sorted(found.train.texts + found.evaluation.texts) == list("abcdefghij")
    assert found.test is None
    assert found.description == (
        "Texts: sentence; labels: label (0, 1); validation: a tenth of the training examples; "
        "test: not used, it has no labels"
    )
    write(path := tmp_path / "other.csv", ["o", "p"], [0, 1], ("sentence", "label"))
    tested = with_test(found, str(path), None, tmp_path / "cache", (None, None))
    assert tested.description + "; test: not used, it has no labels" == found.description


def test_minus_one_is_no_label_where_classes_are_declared_and_else_refused(load):
    split = declared([0, -1, 1, -1], ["no", "yes"])
    found = load({"train": split, "dev": split})
    assert found.train == found.evaluation == LabelledTexts(["a", "c"], [0, 1])
    assert found.description.endswith("; left out: 2 rows labelled -1, without label")
    frame = pandas.DataFrame({"text": split["text"][:], "label": split["label"][:]})
    splits = {"train": frame, "dev": frame}
    said = "dataset: the training split: 2 rows of 4 labelled -1, which means no label; leave"
    assert user_error(load, splits).startswith(said)
    assert load(splits, regression=True).train.labels == [0.0, -1.0, 1.0, -1.0]


def test_other_splits_have_the_columns_of_the_training_split(load, tmp_path):
    rows = {"text": ["a", "b"], "label": [0, 1]}
    more = {**rows, "sentence": ["never", "taken"]}
    splits = {"train": rows, "dev": more, "test": more}
    found = load({name: pandas.DataFrame(split) for name, split in splits.items()})
    assert found.evaluation == found.test == LabelledTexts(["a", "b"], [0, 1])
    for columns in ({**rows, "sentence": "never"}, {"review": AB, "label": TWO}):
        pandas.DataFrame(columns).to_csv(path := tmp_path / "other.csv", index=False)
        assert with_test(found, str(path), None, tmp_path, (None, None)).test == found.test


def test_a_test_split_is_never_the_validation_split(folder, load, tmp_path):
    write(folder / "test.tsv", ["tested", "too"], [1, 0])
    found = load(folder)
    assert found.test == LabelledTexts(["tested", "too"], [1, 0])
    assert found.digest == replace(found, test=None).digest
    assert found.test_digest
    (folder / "dev.tsv").unlink()
    write(folder / "train.tsv", list("abcdefghij"), [0, 1] * 5)
    found = load(folder)
    assert sorted(found.train.texts + found.evaluation.texts) == list("abcdefghij")
    other = with_test(found, str(folder / "test.tsv"), None, tmp_path / "cache", (None, None))
    assert other == found == with_test(found, str(folder), None, tmp_path / "cache", (None, None))


def test_a_test_source_that_does_not_fit(folder, load, tmp_path):
    dataset, path = load(folder), tmp_path / "other.csv"
    for texts, labels, text, said in (
        (AB, [0, 2], "sentence", ": label 2 is not among those of the training"),
        (["a", ""], TWO, "sentence", ": row 1 has no text in sentence"),
        ([" ", ""], TWO, "sentence", ": row 0 has no text in sentence; 2 rows have none, leave"),
        (AB, [-1, -1], "sentence", " has no labels; give labelled examples"),
        (AB, ["no", "yes"], "sentence", ": label no is not among those of the"),
        (AB, TWO, "body", " has columns body, label; it needs sentence, text"),
    ):
        write(path, texts, labels, (text, "label"))
        message = user_error(with_test, dataset, str(path), None, tmp_path, (None, None))
        assert message.startswith(f"--test {path}{said}")


BODY, MOOD = ("body", "label"), ("sentence", "mood")


@pytest.mark.parametrize(
    ("file", "rows", "complaint"),
    [
        ("dev.tsv", (["fine"], [2]), "the validation split: label 2 is not among those of the"),
        ("dev.tsv", (["fine"], [0.5]), "the validation split: label 0.5 is not among those of"),
        ("train.tsv", (AB, [0, ""]), "the training split: label '' in row 1; give each"),
        ("train.csv", (AB, [0, ""]), "the training split: label '' in row 1; give each"),
        ("train.jsonl", (AB, [0, None]), "the training split: label None in row 1; give each"),
        ("train.csv", (AB, ["no", " "]), "the training split: label ' ' in row 1; give each"),
        ("train.csv", (AB, [0, "x"]), "the training split: label 'x' in row 1, a word among"),
        ("train.csv", (AB, [0, "nan"]), "the training split: label 'nan' in row 1, a word"),
        ("train.jsonl", (["bad", None], TWO), "the training split: row 1 has no text in sentence"),
        ("train.csv", (["bad", " \n"], TWO), "the training split: row 1 has no text in sentence"),
        ("dev.tsv", (["", "fine"], TWO), "the validation split: row 0 has no text in sentence"),
        ("train.tsv", (AB, TWO, BODY), "the training split has columns body, label; it needs sen"),
        ("train.tsv", (AB, TWO, MOOD), "the training split has columns sentence, mood; it needs l"),
        ("dev.tsv", (AB, TWO, BODY), "the validation split has columns body, label; it needs sen"),
        ("dev.tsv", (AB, TWO, MOOD), "the validation split has columns sentence, mood; it needs l"),
    ],
)
def test_a_row_or_column_that_is_at_fault_is_named(folder, refusal, file, rows, complaint):
    if file.startswith("train"):
        (folder / "train.tsv").unlink()
    write(folder / file, *rows)
    assert refusal(folder).startswith(complaint)


def test_a_folder_that_is_called_like_a_file_is_none(folder, load, refusal):
    (folder / "train.csv").mkdir()
    (folder / "dev.csv").mkdir()
    assert load(folder).train.texts == ["bad", "good"]
    assert load(folder).evaluation.texts == ["fine"]
    (folder / "train.tsv").unlink()
    assert refusal(folder).startswith("no split train, only dev; ")


def test_of_five_examples_none_can_be_held_out_and_of_six_one(folder, load, refusal):
    (folder / "dev.tsv").unlink()
    texts = [f"text {row}" for row in range(6)]
    write(folder / "train.tsv", texts[:5], [0, 1, 0, 1, 0])
    said = "5 examples are too few to hold out a tenth for validation; give more, or a folder with"
    assert refusal(folder).startswith(said)
    write(folder / "train.tsv", texts, [0, 1] * 3)
    assert len(load(folder).evaluation) == 1


def test_a_file_that_cannot_be_read(tmp_path, refusal, capfd):
    for name, content, expected in (
        ("all.jsonl", b'{"text": "bad", "label": 0\n{]\n', "cannot be read as jsonl: .+"),
        ("all.csv", b'sentence,label\n"never closed,0\nbad,1\n', "cannot be read as csv: .+"),
        ("all.csv", b"sentence,label\na,0\nb,1,2,3\n", "cannot be read as csv: .+"),
        ("all.tsv", b"sentence\tlabel\n\xff\xfe\xfa\t0\n", "cannot be read as tsv: .+"),
        ("all.parquet", b"not parquet at all", "cannot be read as parquet: .+"),
        ("all.tsv", b"sentence\tlabel\n", "it is empty"),
        ("all.csv", b"", "it is empty"),
        ("all.jsonl", b"", "it is empty"),
        ("all.tsv.gz", b"label\n", r"give one of .tsv, .csv, .jsonl, .json, .parquet, a folder .+"),
    ):
        (tmp_path / name).write_bytes(content)
        assert re.fullmatch(expected, refusal(tmp_path / name))
        assert capfd.readouterr() == ("", "")


def test_a_hub_out_of_reach_is_said_at_once(refusal, monkeypatch, network, capfd):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    complaint = refusal("no-such-owner/no-such-dataset")
    assert "the hub cannot be reached" in complaint
    assert complaint.endswith("give a local path or a hub id (--preset mini needs no hub)")
    asked = [call.args[0] for call in network.call_args_list]
    assert asked in (["huggingface.co"], ["huggingface.co"] * 2)  # no retries
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["/no/such/file.tsv", "no/such/folder"])
def test_a_path_that_does_not_exist(refusal, network, name):
    assert refusal(name) == "neither a local path nor on the hub; give a local path or a hub id"
    assert not network.called


def test_a_hub_id_and_its_configuration_are_asked_for(load, refusal, monkeypatch):
    """And what the hub refuses is one line."""
    monkeypatch.setattr(tables, "require_on_hub", lambda *_: None)
    monkeypatch.setattr(datasets, "load_dataset", hub := Mock())
    split, unlabelled = declared(TWO, ["no", "yes"]), declared([-1], ["no", "yes"])
    hub.return_value = {"test": unlabelled, "validation": split.select([1]), "train": split}
    found = load("nyu-mll/glue", "sst2")
    assert [call.args for call in hub.call_args_list] == [("nyu-mll/glue", "sst2")]
    assert (found.train, found.test) == (LabelledTexts(AB, TWO), None)
    assert found.evaluation == LabelledTexts(["b"], [1])
    hub.side_effect = ValueError("BuilderConfig 'sst3' not found.\nAvailable: ['sst2']")
    assert refusal("nyu-mll/glue") == "BuilderConfig 'sst3' not found."

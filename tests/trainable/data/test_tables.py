"""Labelled examples from real small files, and every way in which they are refused."""

import json
import os
import re
import socket
from dataclasses import replace

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
QUOTED_CSV = 'label,sentence\n0,"a, b"\n1,"say ""no"""\n0,NA\n1,"two\nlines"\n'
SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
READERS = (".csv", ".jsonl", ".parquet")  # one suffix for each


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
    """The hosts that were asked for; there is none, as on a machine without a network."""
    asked = []

    def no_such_host(host, *_, **__):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
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

    def message_for(path, file=None):
        message, start = user_error(load, path), f"--dataset {path}{f'/{file}' if file else ''}: "
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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_of_train_and_dev_files(tmp_path, load, network, capfd, suffix):
    write(tmp_path / f"train{suffix}", AWKWARD, LABELS)
    write(tmp_path / f"dev{suffix}", ["null", "fine"], [1, 0])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "notes.tsv").write_text("no columns to speak of\n")
    found = load(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert network == []
    assert found.train == LabelledTexts(AWKWARD, LABELS)
    assert found.evaluation == LabelledTexts(["null", "fine"], [1, 0])
    assert found.label_names == ["0", "1"]


def test_quotes_of_a_csv_file_are_its_grammar(folder, load):
    (folder / "train.tsv").unlink()
    (folder / "train.csv").write_text(QUOTED_CSV)
    assert load(folder).train == LabelledTexts(
        ["a, b", 'say "no"', "NA", "two\nlines"], [0, 1, 0, 1]
    )


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


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("text,label", ['"{0},{1}\n'], "row 0 has two rows in text"),
        ("label,text", ['{1},"{0}\r\n'], "row 0 has two rows in text"),
        ("id,text,label,from", ['7,"{0},{1},web\n'], "row 0 has two rows in text"),
        ("from,text,label", ['"web,{0},{1}\n'], "row 0 has two rows in from"),
        ("text,label", ["{0},{1}\n", '"{0},{1}\n', "{0},{1}\n", '{0}",{1}\n'], "row 1 has two"),
        ("text,label,text", ["{0},{1},{0}\n"], "has the column text twice; keep one"),
        ("text,label", ['"{0} costs 1,000,\n1,234, and 3",{1}\n'], None),
    ],
)
def test_rows_that_a_stray_quote_merges_and_columns_that_are_there_twice(
    *, tmp_path, load, refusal, header, rows, said
):
    written = "".join(rows[n % len(rows)].format(f"film {n}", n // 2 % 2) for n in range(40))
    (path := tmp_path / "all.csv").write_bytes(f"{header}\n{written}".encode())
    if said is None:
        assert len(load(path).train) == 36
    else:
        assert refusal(path).startswith(said)


@pytest.mark.parametrize("special", ["/dev/null", "/dev/zero", "pipe"])
def test_devices_and_pipes_are_not_opened(tmp_path, refusal, special):
    if special == "pipe":
        os.mkfifo(special := str(tmp_path / "pipe"))
    assert refusal(special) == "is neither a file nor a folder"


def test_sentence_goes_before_text(folder, load):
    rows = ["label\ttext\tsentence", "0\tno\tyes", "1\tnein\tja"]
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    assert load(folder).train.texts == ["yes", "ja"]


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (("test", "dev", "validation"), "validation"),
        (("test", "val", "dev", "evaluation"), "dev"),
        (("test", "evaluation", "valid"), "valid"),
    ],
)
def test_which_file_is_the_evaluation_split(folder, load, present, chosen):
    (folder / "dev.tsv").unlink()
    for name in present:
        write(folder / f"{name}.tsv", [f"from {name}"], [0])
    assert load(folder).evaluation.texts == [f"from {chosen}"]


def test_a_saved_dataset_keeps_its_label_names(tmp_path, load):
    features = datasets.Features(
        {
            "sentence": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["negative", "neutral", "positive"]),
        }
    )
    rows = {"sentence": ["bad", "so so", "good"], "label": [0, 1, 2]}
    split = datasets.Dataset.from_dict(rows, features=features)
    saved = datasets.DatasetDict(train=split, validation=split.select([2]), test=split.select([0]))
    saved.save_to_disk(tmp_path / "saved")
    found = load(tmp_path / "saved")
    assert found.label_names == ["negative", "neutral", "positive"]
    assert found.train == LabelledTexts(["bad", "so so", "good"], [0, 1, 2])
    assert found.evaluation == LabelledTexts(["good"], [2])


@pytest.mark.parametrize(
    ("splits", "complaint"),
    [
        ({"test": 2, "unlabelled": 2}, "no split train, only test, unlabelled; in a"),
        (
            {"train": 2, "test": 2},
            "the training split has none of c; give some of each label, of at",
        ),
        ({"train": 0, "test": 3}, "a split is empty"),
        ({"train": 3, "test": 0}, "a split is empty"),
    ],
)
def test_a_saved_dataset_without_a_split_or_a_class(tmp_path, refusal, splits, complaint):
    label = datasets.ClassLabel(names=["a", "b", "c"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    rows = {"text": ["x", "y", "z"], "label": [0, 1, 2]}
    whole = datasets.Dataset.from_dict(rows, features=features)
    saved = {name: whole.select(range(count)) for name, count in splits.items()}
    datasets.DatasetDict(saved).save_to_disk(tmp_path / "saved")
    assert refusal(tmp_path / "saved").startswith(complaint)


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
    for split in (found.train, found.evaluation):
        assert split.labels == [labels[text] for text in split.texts]


@pytest.mark.parametrize("name", ["ünï v1.0", "a,b", "data[1]", "train.csv"])
def test_folders_of_unusual_names_are_read_at_home_too(folder, load, monkeypatch, name):
    renamed = folder.rename(folder.parent / name)
    monkeypatch.setenv("HOME", str(folder.parent))
    for path in (renamed, f"~/{name}"):
        assert load(path).evaluation.texts == ["fine"]


@pytest.mark.parametrize("split", ["training", "validation"])
@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("body", "label"), "has columns body, label; it needs sentence"),
        (("sentence", "mood"), "has columns sentence, mood; it needs label, "),
        (("text", "label"), "has columns text, label; it needs sentence, too"),
    ],
)
def test_a_missing_column(folder, refusal, columns, said, split):
    file = {"training": "train.tsv", "validation": "dev.tsv"}[split]
    write(folder / file, ["bad", "good"], [0, 1], columns)
    if split == "training" and "text" in columns:
        split, said = "validation", "has columns sentence, label; it needs text, too"
    assert refusal(folder).startswith(f"the {split} split {said}")


PAIR, TABLE = ("sentence1", "sentence2"), {"id": [7, 8], "mood": [0, 1]}


@pytest.mark.parametrize(
    ("columns", "given", "texts"),
    [
        (["sentence", "text", "review"], (None, None), ("sentence",)),
        (["text", "review"], (None, None), ("text",)),
        (["sentence", "question"], (None, None), ("question", "sentence")),
        (["text", "text_pair", "sentence"], (None, None), ("text", "text_pair")),
        (["hypothesis", "premise"], (None, None), ("premise", "hypothesis")),
        (["question2", "question1"], (None, None), ("question1", "question2")),
        ([*PAIR, "body"], ("body", None), ("body",)),
        ([*PAIR, "body"], ("sentence2, body", None), ("sentence2", "body")),
        (["a,b", "a", "b"], ("a,b", None), ("a,b",)),
    ],
)
def test_columns_by_their_usual_names_and_by_those_given(load, columns, given, texts):
    rows = {name: [f"{name} {row}" for row in range(2)] for name in columns}
    splits = {name: pandas.DataFrame(rows | TABLE) for name in ("train", "dev")}
    found = load(splits, columns=(given[0], "mood"))
    expected = [tuple(f"{name} {row}" for name in texts) for row in range(2)]
    assert found.train.texts == (expected if len(texts) == 2 else [each[0] for each in expected])
    assert found.pairs == (len(texts) == 2)
    assert found.description == (
        f"Texts: {' and '.join(texts)}{' (pairs)' if found.pairs else ''}; labels: mood (0, 1)"
    )


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("revue", None), "--text-column revue: {}: 'revue' is not known; did you mean review? "),
        (("review,x", None), "--text-column x: {}: 'x' is not known; choose from review, label"),
        (
            ("review,label,x", None),
            "--text-column review,label,x: {} needs one column, or two for pai",
        ),
        ((None, "lable"), "--label-column lable: {}: 'lable' is not known; did you mean label? "),
    ],
)
def test_a_column_that_is_given_and_not_there(load, columns, said):
    frame = pandas.DataFrame({"review": ["a", "b"], "label": [0, 1]})
    message = user_error(load, {"train": frame, "dev": frame}, columns=columns)
    assert message.startswith(said.format("dataset: the training split"))


def test_tables_are_those_of_datasets_too_and_nothing_else(load):
    frame = pandas.DataFrame({"text": ["a", "b"], "label": ["no", "yes"]})
    splits = {"train": frame, "validation": frame[:1], "test": frame[1:]}
    tables = {n: datasets.Dataset.from_pandas(s, preserve_index=False) for n, s in splits.items()}
    found = load(splits)
    assert load(datasets.DatasetDict(tables)) == found
    assert (found.evaluation, found.test) == (LabelledTexts(["a"], [0]), LabelledTexts(["b"], [1]))
    assert (
        user_error(load, {"dev": frame})
        == "dataset: no split train, only dev; in a folder, name a file train.csv"
    )
    assert user_error(load, {"train": [1]}).startswith("dataset: train is no table; ")


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["pos", "neg", "pos"], ["neg", "pos"], [1, 0, 1]),
        ([5, 1, 10], ["1", "5", "10"], [1, 0, 2]),
        ([2.0, 0.0, 0.0], ["0", "2"], [1, 0, 0]),
        (["2", "0", "10"], ["0", "2", "10"], [1, 0, 2]),
        ([True, False, True], ["False", "True"], [1, 0, 1]),
        ([0, 10**9, 0], ["0", "1000000000"], [0, 1, 0]),
        ([0.5, 3.0, -1.0], [], [0.5, 3.0, -1.0]),
    ],
)
@pytest.mark.parametrize("suffix", READERS)
def test_what_labels_stand_for(*, tmp_path, load, labels, names, numbers, suffix):
    for name in ("train", "dev"):
        write(tmp_path / f"{name}{suffix}", ["a", "b", "c"], labels)
    found = load(tmp_path)
    assert (found.label_names, found.train.labels, found.evaluation.labels) == (
        names,
        *[numbers] * 2,
    )
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
    rows = {"text": list("abcd"), "label": [0, -1, 1, -1]}
    label = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"text": datasets.Value("string"), "label": label})
    split = datasets.Dataset.from_dict(rows, features=features)
    found = load({"train": split, "dev": split})
    assert found.train == found.evaluation == LabelledTexts(["a", "c"], [0, 1])
    assert found.description.endswith("; left out: 2 rows labelled -1, without label")
    splits = {"train": pandas.DataFrame(rows), "dev": pandas.DataFrame(rows)}
    assert user_error(load, splits) == (
        "dataset: the training split: 2 rows of 4 labelled -1, which means no label; leave them "
        "out, or give the class another name"
    )
    assert load(splits, regression=True).train.labels == [0.0, -1.0, 1.0, -1.0]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([0.5, 2013.0], "label 2013 in row 1; scale the labels to a few units: at most 1,000 to "),
        ([0.5, -1000.5], "label -1000.5 in row 1; scale the labels to a few units: at most 1,000"),
        ([-100.0, 0.5], "label -100 in row 0; scale the labels to a few units: at most 1,000 to "),
        ([[0], [1]], "label has several values in a row; give each row one label"),
        ([{"a": 1}, {"a": 2}], "label has several values in a row; give each row one label"),
    ],
)
def test_labels_that_can_not_be_trained_on(load, numbers, said):
    frame = pandas.DataFrame({"text": ["a", "b"], "label": numbers})
    message = user_error(load, {"train": frame, "dev": frame})
    assert message.startswith(f"dataset: the training split: {said}")


def test_the_only_example_of_a_class_may_be_held_out(load):
    labels = ["a", "b"] * 12 + ["c"]  # whose place in the order of `hold_out` is among the first
    train = pandas.DataFrame({"text": [f"text {row}" for row in range(25)], "label": labels})
    assert user_error(load, {"train": train}) == (
        "dataset: the training split, less a tenth for validation, has none of c; give some of "
        "each label, of at least two"
    )


def test_other_splits_have_the_columns_of_the_training_split(load, tmp_path):
    rows = {"text": ["a", "b"], "label": [0, 1]}
    more = {**rows, "sentence": ["never", "taken"]}
    splits = {"train": rows, "dev": more, "test": more}
    found = load({name: pandas.DataFrame(split) for name, split in splits.items()})
    assert found.evaluation == found.test == LabelledTexts(["a", "b"], [0, 1])
    for columns in ({"text": "text"}, {"text": "review"}):
        frame = pandas.DataFrame(more).drop(columns="sentence").rename(columns=columns)
        frame.assign(**({} if "review" in frame else {"sentence": "never"})).to_csv(
            path := tmp_path / "other.csv", index=False
        )
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


@pytest.mark.parametrize(
    ("texts", "labels", "columns", "said"),
    [
        (["a", "b"], [0, 2], ("sentence", "label"), ": label 2 is not among those of the training"),
        (["a", ""], [0, 1], ("sentence", "label"), ": row 1 has no text in sentence"),
        (["a", "b"], [-1, -1], ("sentence", "label"), " has no labels; give labelled examples"),
        (["a", "b"], ["no", "yes"], ("sentence", "label"), ": label no is not among those of the"),
        (
            ["a", "b"],
            [0, 1],
            ("body", "label"),
            " has columns body, label; it needs sentence, text",
        ),
    ],
)
def test_a_test_source_that_does_not_fit(*, folder, load, tmp_path, texts, labels, columns, said):
    write(path := tmp_path / "other.csv", texts, labels, columns)
    message = user_error(with_test, load(folder), str(path), None, tmp_path / "cache", (None, None))
    assert message.startswith(f"--test {path}{said}")


def test_a_pair_of_which_one_text_is_missing(load):
    frame = pandas.DataFrame(
        {"sentence1": ["a", "b", "c"], "sentence2": ["x", None, "z"], "label": [0, 1, 1]}
    )
    assert user_error(load, {"train": frame, "dev": frame}) == (
        "dataset: the training split: row 1 has no text in sentence2"
    )


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ([-1, -1], "the training split has no labelled examples; give some of each"),
        ([0, 0], "the training split has examples of one label; give some of each"),
        ([0.5, 0.5], "the training split has examples of one label; give some of each"),
    ],
)
@pytest.mark.parametrize("suffix", READERS)
def test_labels_of_which_nothing_can_be_learned(tmp_path, refusal, labels, complaint, suffix):
    write(tmp_path / f"train{suffix}", ["bad", "good"], labels)
    assert refusal(tmp_path).startswith(complaint)


def test_a_column_of_names_is_no_column_of_labels(tmp_path, refusal):
    names = [f"name {row}" for row in range(150)]
    write(tmp_path / "all.csv", names, names)
    assert refusal(tmp_path / "all.csv") == (
        "the training split: 150 different labels in 150 examples; name the labels' column with "
        "--label-column"
    )


@pytest.mark.parametrize(
    ("file", "rows", "complaint"),
    [
        (
            "dev.tsv",
            (["fine"], [2]),
            "the validation split: label 2 is not among those of the train",
        ),
        (
            "train.tsv",
            (["bad", "odd"], [0, ""]),
            "the training split: label '' in row 1; give each",
        ),
        (
            "train.csv",
            (["bad", "odd"], [0, ""]),
            "the training split: label '' in row 1; give each",
        ),
        (
            "train.jsonl",
            (["bad", "odd"], [0, None]),
            "the training split: label None in row 1; giv",
        ),
        ("train.csv", (["bad", "odd"], [0, "x"]), "the training split: label 'x' in row 1, a word"),
        ("train.csv", (["bad", "odd"], [0, "nan"]), "the training split: label 'nan' in row 1, a"),
        (
            "dev.tsv",
            (["fine"], [0.5]),
            "the validation split: label 0.5 is not among those of the tr",
        ),
        ("train.jsonl", (["bad", None], [0, 1]), "the training split: row 1 has no text in sen"),
        ("dev.tsv", (["", "fine"], [0, 1]), "the validation split: row 0 has no text in s"),
        ("train.csv", (["bad", " \n"], [0, 1]), "the training split: row 1 has no text in sen"),
    ],
)
def test_a_row_that_is_at_fault_is_named(folder, refusal, file, rows, complaint):
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
    assert refusal(folder).startswith(
        "no split train, only dev; in a folder, name a file train.csv"
    )


@pytest.mark.parametrize("rows", [5, 6])
def test_of_too_few_examples_none_can_be_held_out(folder, load, refusal, rows):
    (folder / "dev.tsv").unlink()
    write(folder / "train.tsv", [f"text {row}" for row in range(rows)], [0, 1, 0, 1, 0, 1][:rows])
    if rows == 6:
        assert len(load(folder).evaluation) == 1
    else:
        assert refusal(folder) == (
            "5 examples are too few to hold out a tenth for validation; give more, or a folder "
            "with a train and a validation file"
        )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("all.jsonl", b'{"text": "bad", "label": 0\n{]\n'),
        ("all.csv", b'sentence,label\n"never closed,0\nbad,1\n'),
        ("all.csv", b"sentence,label\na,0\nb,1,2,3\n"),
        ("all.tsv", b"sentence\tlabel\n\xff\xfe\xfa\t0\n"),
        ("all.parquet", b"not parquet at all"),
        ("all.tsv", b"sentence\tlabel\n"),
        ("all.csv", b""),
        ("all.jsonl", b""),
        ("all.tsv.gz", b"sentence\tlabel\nbad\t0\n"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, refusal, capfd, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    complaint = refusal(path)
    assert capfd.readouterr() == ("", "")
    if path.suffix == ".gz":
        expected = r"give one of .tsv, .csv, .jsonl, .json, .parquet, a folder or a hub id"
    elif content.strip() in (b"", b"sentence\tlabel"):
        expected = "it is empty"
    else:
        expected = rf"cannot be read as {path.suffix[1:]}: .+"
    assert re.fullmatch(expected, complaint)


def test_a_hub_out_of_reach_is_said_at_once(refusal, monkeypatch, network, capfd):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    complaint = refusal("no-such-owner/no-such-dataset")
    assert "the hub cannot be reached" in complaint
    assert complaint.endswith("give a local path or a hub id (--preset mini needs no hub)")
    assert network in (["huggingface.co"], ["huggingface.co"] * 2)  # no retries
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["/no/such/file.tsv", "no/such/folder"])
def test_a_path_that_does_not_exist(refusal, network, name):
    assert refusal(name) == "neither a local path nor on the hub; give a local path or a hub id"
    assert network == []


@pytest.fixture
def hub(monkeypatch):
    """Calls to the hub's `load_dataset`, which answers with what a test puts under "answer"."""
    state = {"asked": [], "answer": None}

    def load_from_hub(*names, **_):
        state["asked"].append(names)
        if isinstance(state["answer"], Exception):
            raise state["answer"]
        return state["answer"]

    monkeypatch.setattr(datasets, "load_dataset", load_from_hub)
    monkeypatch.setattr(tables, "require_on_hub", lambda *_: None)
    return state


def test_a_hub_id_and_its_configuration_are_asked_for(load, hub):
    split = datasets.Dataset.from_dict({"sentence": ["bad", "good"], "label": [0, 1]})
    unlabelled = datasets.Dataset.from_dict({"sentence": ["?"], "label": [-1]})
    hub["answer"] = datasets.DatasetDict(test=unlabelled, validation=split.select([1]), train=split)
    found = load("nyu-mll/glue", "sst2")
    assert hub["asked"] == [("nyu-mll/glue", "sst2")]
    assert found.train.texts == ["bad", "good"]
    assert found.evaluation == LabelledTexts(["good"], [1])


def test_what_the_hub_refuses_is_said_in_one_line(refusal, hub):
    hub["answer"] = ValueError("BuilderConfig 'sst3' not found.\nAvailable: ['sst2']")
    assert refusal("nyu-mll/glue") == "BuilderConfig 'sst3' not found."

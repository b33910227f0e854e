"""Labelled examples from real small files, and every way in which they are refused."""

import json
import os
import re
import socket

import datasets
import numpy as np
import pandas
import pytest
from huggingface_hub import constants

from tests.conftest import user_error
from trainable.data import tables
from trainable.data.datasets import LabelledTexts, load_dataset, load_texts

# Words that readers take for missing values, quotes that open and never close, trailing spaces.
AWKWARD = ["null", "NA", '"half a quote', "it's 5 \" long ", "none", '"full"', "café, naïve", "1.0"]
LABELS = [0, 1, 0, 1, 1, 0, 1, 0]
QUOTED_CSV = 'label,sentence\n0,"a, b"\n1,"say ""no"""\n0,NA\n1,"two\nlines"\n'
SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")


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

    def load_path(path, configuration=None):
        return load_dataset(str(path), configuration, tmp_path / "cache")

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


@pytest.mark.parametrize("suffix", SUFFIXES)
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
        assert load_texts("--transfer", str(path), None, tmp_path / "cache") == texts


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
        (("test", "dev", "evaluation"), "dev"),
        (("test", "evaluation"), "evaluation"),
        (("test",), "test"),
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
        ({"test": 2, "unlabelled": 2}, "no training split, only test, unlabelled"),
        ({"train": 2, "test": 2}, "the training split has labels [0, 1]; they must be"),
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
    assert load_dataset(str(tmp_path / "folder"), None, tmp_path / "other cache") == found
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


@pytest.mark.parametrize(
    ("columns", "found"),
    [(("review", "label"), "review, label"), (("sentence", "sentiment"), "sentence, sentiment")],
)
@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_missing_column(folder, refusal, columns, found, split):
    file = {"training": "train.tsv", "validation": "dev.tsv"}[split]
    write(folder / file, ["bad", "good"], [0, 1], columns)
    assert refusal(folder) == (
        f"the {split} split has columns {found}; it needs label and sentence or text"
    )


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (["neg", "pos"], "label 'neg' in the training split; labels must be whole numbers from 0"),
        ([0.5, 1.5], "label 0.5 in the training split; labels must be whole numbers from 0"),
        ([True, False], "label True in the training split; labels must be whole numbers from 0"),
        ([-1, 0], "label -1 in the training split; labels must be "),
        ([1, 2], "the training split has labels [1, 2]; they must be 0..C-1"),
        ([0, 2], "the training split has labels [0, 2]; they must be 0..C-1"),
        ([0, 0], "the training split has labels [0]; they must be 0..C-1 with at least two "),
        ([0, 3], "label 3 in the training split of 2 examples; labels must be 0..C-1, each pr"),
        ([0, 10**9], "label 1000000000 in the training split of 2 examples; labels must be 0..C"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_that_are_not_0_to_c(tmp_path, refusal, labels, complaint, suffix):
    write(tmp_path / f"train{suffix}", ["bad", "good"], labels)
    write(tmp_path / f"dev{suffix}", ["bad", "good"], labels)
    assert refusal(tmp_path).startswith(complaint)


@pytest.mark.parametrize(
    ("file", "rows", "complaint"),
    [
        ("dev.tsv", (["fine"], [2]), "label 2 in the validation split; labels must be 0 to 1"),
        ("train.tsv", (["bad", "odd"], [0, ""]), "label '' in the training split; labels"),
        ("train.csv", (["bad", "odd"], [0, ""]), "label '' in the training split; labels"),
        ("train.jsonl", (["bad", "odd"], [0, None]), "label None in the training split; labels"),
        ("train.csv", (["bad", "odd"], [0, "nan"]), "label 'nan' in the training split; labels"),
        ("dev.tsv", (["fine"], [10**9]), "label 1000000000 in the validation split; labels"),
        ("train.jsonl", (["bad", None], [0, 1]), "row 1 of the training split has no text in sent"),
        ("dev.tsv", (["", "fine"], [0, 1]), "row 0 of the validation split has no text in sent"),
        ("train.csv", (["bad", " \n"], [0, 1]), "row 1 of the training split has no text in sent"),
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
    assert refusal(folder).startswith("no train file; ")


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

"""Labelled sentences from real small files, and every way in which they are refused."""

import json
import os
import socket

import datasets
import numpy as np
import pandas
import pytest
from huggingface_hub import constants

from trainable import tables
from trainable.data import LabelledTexts, load_dataset
from trainable.errors import UserError

# Words that readers take for missing values, quotes that open and never close, trailing spaces.
AWKWARD = [
    "null",
    "NA",
    '"half a quote',
    "it's 5 \" long ",
    "none",
    '"whole"',
    "café, naïve",
    "1.0",
]
LABELS = [0, 1, 0, 1, 1, 0, 1, 0]
QUOTED_CSV = 'label,sentence\n0,"a, b"\n1,"say ""no"""\n0,NA\n1,"two\nlines"\n'


def write_tsv(path, texts, labels, columns=("sentence", "label")):
    rows = [columns, *zip(texts, labels, strict=True)]
    lines = ["\t".join(str(cell) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_json_lines(path, texts, labels):
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def write_csv(path, texts, labels):
    pandas.DataFrame({"id": range(len(texts)), "text": texts, "label": labels}).to_csv(
        path, index=False
    )


def write_parquet(path, texts, labels):
    pandas.DataFrame({"sentence": texts, "label": labels}).to_parquet(path)


WRITERS = {
    ".tsv": write_tsv,
    ".csv": write_csv,
    ".jsonl": write_json_lines,
    ".json": write_json_lines,
    ".parquet": write_parquet,
}


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
        with pytest.raises(UserError) as caught:
            load(path)
        message = str(caught.value)
        start = f"--dataset {path}{f'/{file}' if file else ''}: "
        assert message.startswith(start)
        assert "\n" not in message
        return message.removeprefix(start)

    return message_for


@pytest.fixture
def folder(tmp_path):
    """A folder with a train file of both labels, to which tests add what they are about."""
    made = tmp_path / "data"
    made.mkdir()
    write_tsv(made / "train.tsv", ["bad", "good"], [0, 1])
    return made


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_folder_of_train_and_dev_files(tmp_path, load, suffix):
    WRITERS[suffix](tmp_path / f"train{suffix}", AWKWARD, LABELS)
    WRITERS[suffix](tmp_path / f"dev{suffix}", ["null", "fine"], [1, 0])
    found = load(tmp_path)
    assert found.train == LabelledTexts(AWKWARD, LABELS)
    assert found.evaluation == LabelledTexts(["null", "fine"], [1, 0])
    assert found.label_names == ["0", "1"]


def test_quotes_of_a_csv_file_are_its_grammar(tmp_path, load):
    (tmp_path / "train.csv").write_text(QUOTED_CSV)
    write_tsv(tmp_path / "dev.tsv", ["x"], [0])
    found = load(tmp_path)
    assert found.train == LabelledTexts(["a, b", 'say "no"', "NA", "two\nlines"], [0, 1, 0, 1])


def test_sentence_goes_before_text(folder, load):
    rows = ["label\ttext\tsentence", "0\tno\tyes", "1\tnein\tja"]
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    write_tsv(folder / "dev.tsv", ["x"], [0])
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
    for name in present:
        write_tsv(folder / f"{name}.tsv", [f"from {name}"], [0])
    assert load(folder).evaluation.texts == [f"from {chosen}"]


def test_files_of_other_kinds_are_passed_over(folder, load):
    write_tsv(folder / "dev.tsv", ["fine"], [1])
    (folder / "README.md").write_text("about")
    (folder / "notes.tsv").write_text("no columns to speak of\n")
    assert load(folder).evaluation.texts == ["fine"]


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


def test_a_saved_dataset_without_a_train_split(tmp_path, refusal):
    split = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [0, 1]})
    datasets.DatasetDict(test=split, unlabelled=split).save_to_disk(tmp_path / "saved")
    assert refusal(tmp_path / "saved") == "no train split, only test, unlabelled"


def test_a_saved_dataset_whose_train_split_lacks_a_class(tmp_path, refusal):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    split = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}, features=features)
    datasets.DatasetDict(train=split, test=split).save_to_disk(tmp_path / "saved")
    assert refusal(tmp_path / "saved").startswith("the train split has labels [0, 1]; they must be")


@pytest.fixture
def single_file(tmp_path):
    """200 sentences, a quarter of which are positive."""
    path = tmp_path / "all.tsv"
    write_tsv(
        path, [f"sentence {row}" for row in range(200)], [int(r % 4 == 0) for r in range(200)]
    )
    return path


def test_a_tenth_of_a_single_file_is_held_out(single_file, load):
    found = load(single_file)
    texts = found.train.texts + found.evaluation.texts
    assert (len(found.train), len(found.evaluation)) == (180, 20)
    assert sorted(texts) == sorted(f"sentence {row}" for row in range(200))
    assert found.evaluation.labels.count(1) == 5
    labels = {f"sentence {row}": int(row % 4 == 0) for row in range(200)}
    for split in (found.train, found.evaluation):
        assert split.labels == [labels[text] for text in split.texts]


def test_the_same_tenth_is_held_out_each_time(single_file, load, tmp_path):
    np.random.seed(5)
    again = load_dataset(str(single_file), None, tmp_path / "other cache")
    assert load(single_file) == again


def test_a_folder_without_an_evaluation_file_is_held_out_as_a_single_file(single_file, load):
    whole = load(single_file)
    folder = single_file.parent / "folder"
    folder.mkdir()
    single_file.rename(folder / "train.tsv")
    assert load(folder) == whole


def test_a_changed_file_is_read_anew(folder, load):
    write_tsv(folder / "dev.tsv", ["before"], [0])
    before = load(folder)
    write_tsv(folder / "dev.tsv", ["after_"], [1])  # of the same size
    later = (folder / "dev.tsv").stat().st_mtime + 2
    os.utime(folder / "dev.tsv", (later, later))
    after = load(folder)
    assert after.evaluation == LabelledTexts(["after_"], [1])
    assert after.digest != before.digest


@pytest.mark.parametrize("name", ["with space", "ünï", "a,b", "v1.0", "data[1]"])
def test_folders_of_unusual_names_are_read(folder, load, name):
    write_tsv(folder / "dev.tsv", ["fine"], [1])
    renamed = folder.rename(folder.parent / name)
    assert load(renamed).evaluation.texts == ["fine"]


def test_the_users_home_is_understood(folder, load, monkeypatch):
    write_tsv(folder / "dev.tsv", ["fine"], [1])
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load("~/data").evaluation.texts == ["fine"]


def test_loading_prints_nothing(folder, load, capfd):
    write_tsv(folder / "dev.tsv", ["fine"], [1])
    load(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (("review", "label"), "review, label"),
        (("sentence", "sentiment"), "sentence, sentiment"),
        (("Sentence", "Label"), "Sentence, Label"),
    ],
)
@pytest.mark.parametrize("split", ["train", "evaluation"])
def test_a_missing_column(folder, refusal, columns, found, split):
    write_tsv(folder / "dev.tsv", ["fine"], [1])
    file = {"train": "train.tsv", "evaluation": "dev.tsv"}[split]
    write_tsv(folder / file, ["bad", "good"], [0, 1], columns)
    assert refusal(folder) == (
        f"the {split} split has columns {found}; it needs label and sentence or text"
    )


def test_a_missing_column_in_a_single_file(tmp_path, refusal):
    path = tmp_path / "all.tsv"
    write_tsv(path, ["bad", "good"], [0, 1], ("review", "label"))
    assert "columns review, label; it needs label and sentence or text" in refusal(path)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (["neg", "pos"], "label 'neg' in the train split; labels must be whole numbers from 0"),
        ([0.5, 1.5], "label 0.5 in the train split; labels must be whole numbers from 0"),
        ([True, False], "label True in the train split; labels must be whole numbers from 0"),
        ([-1, 0], "label -1 in the train split; labels must be "),
        ([1, 2], "the train split has labels [1, 2]; they must be 0..C-1"),
        ([0, 2], "the train split has labels [0, 2]; they must be 0..C-1"),
        ([0, 0], "the train split has labels [0]; they must be 0..C-1 with at least two classes"),
    ],
)
@pytest.mark.parametrize("suffix", WRITERS)
def test_labels_that_are_not_0_to_c(tmp_path, refusal, labels, complaint, suffix):
    WRITERS[suffix](tmp_path / f"train{suffix}", ["bad", "good"], labels)
    WRITERS[suffix](tmp_path / f"dev{suffix}", ["bad", "good"], labels)
    assert refusal(tmp_path).startswith(complaint)


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_that_training_never_sees(folder, refusal, label):
    write_tsv(folder / "dev.tsv", ["fine"], [label])
    complaint = f"label {label} in the evaluation split; labels must be 0 to 1"
    assert refusal(folder) == complaint


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_the_label_complained_of_is_the_missing_one(tmp_path, refusal, suffix):
    missing = None if suffix == ".jsonl" else ""
    WRITERS[suffix](tmp_path / f"train{suffix}", ["bad", "good", "odd"], [0, 1, missing])
    write_tsv(tmp_path / "dev.tsv", ["fine"], [1])
    assert refusal(tmp_path).startswith(f"label {missing!r} in the train split")


def test_a_missing_text(tmp_path, refusal):
    write_json_lines(tmp_path / "train.jsonl", ["bad", None, "good"], [0, 1, 1])
    write_tsv(tmp_path / "dev.tsv", ["fine"], [1])
    assert refusal(tmp_path) == "row 1 of the train split has no text in text"


@pytest.mark.parametrize("name", ["train", "dev"])
@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".parquet"])
def test_a_file_without_rows_is_called_empty(tmp_path, load, name, suffix):
    for file in ("train", "dev"):
        rows = ([], []) if file == name else (["bad", "good"], [0, 1])
        WRITERS[suffix](tmp_path / f"{file}{suffix}", *rows)
    with pytest.raises(UserError, match=rf"^--dataset {tmp_path}.*({name}|evaluation).* empty"):
        load(tmp_path)


@pytest.mark.parametrize("empty", ["train", "evaluation"])
def test_an_empty_split_of_a_saved_dataset(tmp_path, refusal, empty):
    full = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    splits = {"train": full, "evaluation": full, empty: full.select([])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert refusal(tmp_path / "saved") == f"the {empty} split is empty"


def test_a_saved_dataset_that_lost_its_files(tmp_path, refusal):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert refusal(folder) != ""


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_single_file_too_short_to_hold_out_a_tenth(tmp_path, refusal, rows):
    path = tmp_path / "all.tsv"
    write_tsv(path, ["a", "b", "c", "d"][:rows], [0, 1, 0, 1][:rows])
    assert refusal(path) == "the evaluation split is empty"


@pytest.mark.parametrize("files", [[], ["dev.tsv"], ["train.txt"], ["training.tsv"]])
def test_a_folder_without_a_train_file(tmp_path, refusal, files):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in files:
        write_tsv(folder / name, ["bad", "good"], [0, 1])
    assert refusal(folder).startswith("no train file; the folder needs train and validation")


@pytest.mark.parametrize("name", ["all.txt", "all.xlsx", "all", "all.tsv.gz"])
def test_an_unknown_suffix(tmp_path, refusal, name):
    (tmp_path / name).write_text("sentence\tlabel\nbad\t0\n")
    assert refusal(tmp_path / name) == (
        "give one of .tsv, .csv, .jsonl, .json, .parquet, a folder or a hub id"
    )


@pytest.mark.parametrize("name", ["all.jsonl", "all.tsv"])
def test_a_file_of_no_bytes(tmp_path, refusal, name):
    (tmp_path / name).write_bytes(b"")
    assert refusal(tmp_path / name) == "it is empty"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("all.jsonl", b'{"text": "bad", "label": 0\n{]\n'),
        ("all.csv", b'sentence,label\n"never closed,0\nbad,1\n'),
        ("all.csv", b"sentence,label\na,0\nb,1,2,3\n"),
        ("all.tsv", b"sentence\tlabel\n\xff\xfe\xfa\t0\n"),
        ("all.parquet", b"not parquet at all"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, refusal, capfd, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    complaint = refusal(path)
    assert capfd.readouterr() == ("", "")
    assert complaint.startswith(f"cannot be read as {path.suffix[1:]}: ")
    assert len(complaint) > len(f"cannot be read as {path.suffix[1:]}: ")


def test_a_local_file_asks_nothing_of_the_network(folder, load, network):
    write_tsv(folder / "dev.tsv", ["fine"], [1])
    load(folder)
    assert network == []


@pytest.mark.parametrize("name", ["no-such-owner/no-such-dataset", "no-such-dataset"])
def test_a_hub_out_of_reach_is_said_at_once(refusal, monkeypatch, network, capfd, name):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    complaint = refusal(name)
    assert "hub is out of reach" in complaint
    assert complaint.endswith("give a local path, or use --preset mini")
    assert network in (["huggingface.co"], ["huggingface.co"] * 2)  # no retries
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["/no/such/file.tsv", "no/such/folder", "./none.csv"])
def test_a_path_that_does_not_exist(refusal, network, name):
    assert refusal(name) == (
        "neither a local path nor on the hub; give a local path, or use --preset mini"
    )
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

"""The hub's answers, without a hub."""

from unittest.mock import MagicMock

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from trainable.common.errors import UserError
from trainable.common.hub import model_at_hand, require_on_hub


def answer(monkeypatch, error):
    def ask(self, name, timeout):
        if error is not None:
            raise error

    monkeypatch.setattr(HfApi, "model_info", ask)
    monkeypatch.setattr(HfApi, "dataset_info", ask)


@pytest.mark.parametrize(("flag", "kind"), [("--teacher", "model"), ("--dataset", "dataset")])
def test_out_of_reach_names_the_flag_and_the_way_out(monkeypatch, flag, kind):
    answer(monkeypatch, ConnectionError("no route"))
    with pytest.raises(UserError) as caught:
        require_on_hub(flag, kind, "some/name")
    assert str(caught.value) == (
        f"{flag} some/name: no such local path, and the hub cannot be reached (ConnectionError); "
        "give a local path or a hub id (--preset mini needs no hub)"
    )


def test_unknown_to_the_hub(monkeypatch):
    answer(monkeypatch, None)
    require_on_hub("--teacher", "model", "some/name")  # known
    answer(monkeypatch, RepositoryNotFoundError("gone", response=MagicMock()))
    with pytest.raises(UserError, match="neither a local path nor on the hub"):
        require_on_hub("--teacher", "model", "some/name")


def test_at_hand(teacher_folder):
    assert model_at_hand(str(teacher_folder))
    assert not model_at_hand("some/name")
    assert not model_at_hand("../not/there/at/all")

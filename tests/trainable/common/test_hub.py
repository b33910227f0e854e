"""The hub's answers, without a hub."""

from unittest.mock import MagicMock

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from tests.conftest import user_error
from trainable.common.errors import UserError
from trainable.common.hub import require_model, require_on_hub


def answer(monkeypatch, error):
    def ask(self, name, timeout):
        if error is not None:
            raise error

    monkeypatch.setattr(HfApi, "model_info", ask)
    monkeypatch.setattr(HfApi, "dataset_info", ask)


@pytest.mark.parametrize(("flag", "kind"), [("--teacher", "model"), ("--dataset", "dataset")])
def test_out_of_reach_names_the_flag_and_the_way_out(monkeypatch, flag, kind):
    answer(monkeypatch, ConnectionError("no route"))
    assert user_error(require_on_hub, flag, kind, "some/name") == (
        f"{flag} some/name: no such local path, and the hub cannot be reached (ConnectionError); "
        "give a local path or a hub id (--preset mini needs no hub)"
    )


def test_unknown_to_the_hub(monkeypatch):
    answer(monkeypatch, None)
    require_on_hub("--teacher", "model", "some/name")  # known
    answer(monkeypatch, RepositoryNotFoundError("gone", response=MagicMock()))
    with pytest.raises(UserError, match="neither a local path nor on the hub"):
        require_on_hub("--teacher", "model", "some/name")


def test_only_what_is_not_at_hand_is_asked_for(monkeypatch, teacher_folder):
    answer(monkeypatch, ConnectionError("no route"))
    require_model("--teacher", str(teacher_folder))
    for name in ("some/name", "../not/there/at/all"):
        with pytest.raises(UserError, match=f"--teacher {name}: "):
            require_model("--teacher", name)

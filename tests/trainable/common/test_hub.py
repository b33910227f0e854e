"""The hub's answers, without a hub."""

import json
from unittest.mock import Mock

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from trainable.common.errors import UserError
from trainable.common.hub import require_model, require_on_hub, size_of


def answer(monkeypatch, error):
    for kind in ("model_info", "dataset_info"):
        monkeypatch.setattr(HfApi, kind, Mock(side_effect=error))


def test_unknown_to_the_hub(monkeypatch):
    answer(monkeypatch, None)
    require_on_hub("--teacher", "model", "some/name")  # known
    answer(monkeypatch, RepositoryNotFoundError("gone", response=Mock()))
    with pytest.raises(UserError, match="neither a local path nor on the hub"):
        require_on_hub("--teacher", "model", "some/name")


def test_only_what_is_not_at_hand_is_asked_for(monkeypatch, teacher_folder):
    answer(monkeypatch, ConnectionError("no route"))
    require_model("--teacher", str(teacher_folder))
    for name in ("some/name", "../not/there/at/all"):
        with pytest.raises(UserError, match=f"--teacher {name}: "):
            require_model("--teacher", name)


@pytest.mark.parametrize("names", [("num_hidden_layers", "hidden_size"), ("n_layers", "dim")])
def test_depth_and_width_are_read_from_the_configuration_alone(tmp_path, names):
    (tmp_path / "config.json").write_text(json.dumps(dict(zip(names, (6, 768), strict=True))))
    assert size_of("--teacher", str(tmp_path)) == (6, 768)
    (tmp_path / "config.json").write_text("{")
    assert size_of("--teacher", str(tmp_path)) == (None, None)

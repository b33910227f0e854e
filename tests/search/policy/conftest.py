import os

import pytest


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Hundreds of events are recorded, and nobody pulls the plug."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

"""The study's file during a sweep: written now and then, and a full disk pauses the sweep."""

import pickle

import pytest
from search.study_writer import LEAST_SECONDS, StudyWriter

from search import study_writer


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


class Asked:
    """Stands for the interruption."""

    said = ""

    def pause(self, why):
        self.said = why


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(study_writer, "time", made)
    return made


@pytest.fixture
def written(monkeypatch):
    found = []
    monkeypatch.setattr(study_writer, "write_study", found.append)
    return found


def test_it_is_written_when_a_trial_has_ended_but_not_too_often(clock, written):
    writer = StudyWriter("run", Asked())
    for seconds, count in ((0.0, 1), (LEAST_SECONDS - 1, 1), (1.0, 2), (1.0, 2)):
        clock.now += seconds
        writer.on_trial_complete(1, [], None)
        assert written == ["run"] * count


def test_a_full_disk_pauses_the_sweep(clock, monkeypatch):
    def full(run):
        raise OSError("no space left")

    monkeypatch.setattr(study_writer, "write_study", full)
    interruption = Asked()
    StudyWriter("run", interruption).on_trial_complete(1, [], None)
    assert interruption.said == "no space left"


def test_nothing_of_it_is_kept_in_rays_files(clock):
    assert vars(pickle.loads(pickle.dumps(StudyWriter("run", Asked())))) == {}

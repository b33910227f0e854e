"""Leases by hand: one session at a time has a run in a storage, whatever ends the one before it."""

import json
import os
import socket
import threading

import pytest
from trainable.lease import (
    LEASE,
    LEASE_SECONDS,
    SETTLE_SECONDS,
    Lease,
    LeaseLostError,
    check_lease,
    session_of,
)
from trainable.locks import LockedError
from trainable.storage import Storage

from trainable import lease as lease_module

HERE = f"process {os.getpid()} on {socket.gethostname()}"


class Clock:
    """Passes only while somebody sleeps; `meanwhile` happens then, once."""

    def __init__(self):
        self.now, self.meanwhile = 0.0, lambda: None

    def monotonic(self):
        return self.now

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Leases are renewed only where a test has it so."""
    made = Clock()
    monkeypatch.setattr(lease_module, "time", made)
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 3600)
    return made


@pytest.fixture
def there(tmp_path):
    return Storage(f"file://{tmp_path}/storage/mine")


@pytest.fixture
def make(there, tmp_path):
    """Leases of sessions on machines with these names; what ended them is in their `told`."""
    made = []

    def of(machine):
        copy = tmp_path / machine
        copy.mkdir(exist_ok=True)
        told = []
        lease = Lease(there, copy, told.append)
        lease.told = told
        made.append(lease)
        return lease

    yield of
    for lease in made:
        if lease._thread.ident is not None:
            lease.release()


def take(lease, on_wait=lambda holder: None, stopped=lambda: False):
    lease.take(on_wait, stopped)


def kill(lease):
    """As if its process had gone: it renews nothing, and gives nothing back."""
    lease._over.set()
    lease._thread.join()


def test_says_who_has_it_while_it_is_held(make, there):
    lease = make("first")
    take(lease)
    said = json.loads(there.read(LEASE))
    assert (said["host"], said["pid"]) == (socket.gethostname(), os.getpid())
    assert set(said) == {"session", "host", "pid", "renewed"}
    check_lease(there, lease.session)
    lease.release()
    assert there.sizes() == {}
    assert (lease.lost, lease.told) == ("", [])


def test_one_that_was_given_back_is_free_at_once(make, clock):
    for machine in ("first", "second"):
        waited = []
        lease = make(machine)
        take(lease, waited.append)
        lease.release()
        assert waited == []
    assert clock.now == 2 * SETTLE_SECONDS


def test_a_session_that_renews_it_is_not_disturbed(make, there, clock):
    first, second = make("first"), make("second")
    take(first)
    clock.meanwhile = first._write
    with pytest.raises(LockedError, match=f"^{HERE}$"):
        take(second)
    check_lease(there, first.session)
    assert session_of(second._copy) == ""


def test_what_a_killed_session_left_runs_out(make, there, clock):
    first, second = make("first"), make("second")
    take(first)
    kill(first)
    waited, before = [], clock.now
    take(second, waited.append)
    assert waited == [HERE]
    assert clock.now - before == LEASE_SECONDS + SETTLE_SECONDS
    check_lease(there, second.session)


def test_one_that_is_given_back_meanwhile_is_free(make, clock):
    first, second = make("first"), make("second")
    take(first)
    clock.meanwhile, before = first.release, clock.now
    take(second)
    assert clock.now - before < LEASE_SECONDS


def test_of_the_same_copy_there_is_nothing_to_wait_for(make, there):
    """Its lock is ours, so that whoever had it is gone."""
    first, again = make("first"), make("first")
    take(first)
    kill(first)
    waited = []
    take(again, waited.append)
    assert waited == []
    check_lease(there, again.session)


def test_a_damaged_one_runs_out_too(make, there):
    for content in (b"", b"[]", b'{"host": "x"}'):
        there.write(LEASE, content)
        waited = []
        lease = make("first")
        take(lease, waited.append)
        assert waited == ["another session"]
        lease.release()


def test_waiting_can_be_interrupted(make, there):
    first, second = make("first"), make("second")
    take(first)
    with pytest.raises(KeyboardInterrupt):
        take(second, stopped=lambda: True)
    check_lease(there, first.session)


def test_of_two_that_find_it_free_at_the_same_time_one_goes_on(make, there, clock):
    """The other has written its own before the first looks again."""
    first, second = make("first"), make("second")
    clock.meanwhile = second._write
    with pytest.raises(LockedError, match=f"^{HERE}$"):
        take(first)
    check_lease(there, second.session)


def test_one_that_could_not_be_seen_to_be_its_own_is_given_back(make, there, clock, monkeypatch):
    """The storage fails just then; the next session finds nothing to wait for."""
    lease = make("first")
    real = Storage.read

    def fail(storage, name):
        monkeypatch.setattr(Storage, "read", real)
        raise OSError("no route")

    clock.meanwhile = lambda: monkeypatch.setattr(Storage, "read", fail)
    with pytest.raises(OSError, match="no route"):
        take(lease)
    assert there.read(LEASE) is None


def test_it_is_renewed(make, there, clock, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.001)
    renewed, lease = threading.Event(), make("first")
    write, written = lease._write, []

    def count():
        clock.now += 1
        write()
        written.append(there.read(LEASE))
        if len(written) == 3:
            renewed.set()

    monkeypatch.setattr(lease, "_write", count)
    take(lease)
    assert renewed.wait(30)
    kill(lease)
    assert len(set(written)) == len(written)


def test_it_outlives_a_storage_that_fails_for_a_while(make, there, monkeypatch):
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.001)
    failed, renewed, lease = threading.Event(), threading.Event(), make("first")
    take(lease)

    def fail():
        failed.set()
        raise ValueError("no such thing")

    monkeypatch.setattr(lease, "_write", fail)
    assert failed.wait(30)
    monkeypatch.setattr(lease, "_write", renewed.set)
    assert renewed.wait(30)
    assert (lease.lost, lease.told) == ("", [])


def test_one_that_another_session_has_taken_over_is_lost(make, there, monkeypatch):
    first, second = make("first"), make("second")
    take(first)
    second._write()
    with pytest.raises(LeaseLostError, match=f"{there.uri}: {HERE} has gone on with it"):
        check_lease(there, first.session)
    kill(first)
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.001)
    first._over.clear()
    first._renew()  # returns
    first.lose("again")
    assert first.told == [first.lost]
    assert HERE in first.lost
    first.release()
    check_lease(there, second.session)


def test_one_that_is_gone_is_lost(make, there):
    lease = make("first")
    take(lease)
    there.remove(LEASE)
    with pytest.raises(LeaseLostError, match="another session has gone on with it"):
        check_lease(there, lease.session)

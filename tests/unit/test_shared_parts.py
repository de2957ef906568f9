"""Parts of pages that viewers share."""

import threading

import pytest

from autotask.admin.dashboard import shared
from autotask.admin.dashboard.shared import SharedParts
from tests.helpers import wait_until


@pytest.fixture(autouse=True)
def kept_for_long(monkeypatch):
    """However slow this machine is, no part gets too old."""
    monkeypatch.setattr(shared, "KEPT", 3600.0)


def test_a_part_is_made_once_in_a_while_for_each_key(monkeypatch):
    parts, made = SharedParts(), iter("abcd")
    assert [parts.get("key", made.__next__) for _ in range(3)] == ["a", "a", "a"]
    assert parts.get("other", made.__next__) == "b"

    monkeypatch.setattr(shared, "KEPT", 0)
    parts = SharedParts()
    assert [parts.get("key", made.__next__) for _ in range(2)] == ["c", "d"]


def test_those_that_ask_at_once_wait_for_the_one_that_makes_it():
    # Given: one that makes it
    parts, began, go_on = SharedParts(), threading.Event(), threading.Event()
    got = []

    def make() -> str:
        began.set()
        assert go_on.wait(60)
        return "made"

    threads = [threading.Thread(target=lambda: got.append(parts.get("key", make)))]
    threads[0].start()
    assert began.wait(60)

    # When another one asks
    threads.append(threading.Thread(target=lambda: got.append(parts.get("key", lambda: "made again"))))
    threads[1].start()
    wait_until(threads[1].is_alive)
    go_on.set()
    for thread in threads:
        thread.join()

    # Then
    assert got == ["made", "made"]


def test_a_failure_is_not_kept():
    parts = SharedParts()
    with pytest.raises(ZeroDivisionError):
        parts.get("key", lambda: str(1 / 0))
    assert parts.get("key", lambda: "made") == "made"


def test_no_more_than_some_are_kept(monkeypatch):
    monkeypatch.setattr(shared, "MOST_KEPT", 3)
    parts = SharedParts()
    for number in range(20):
        assert parts.get(number, str(number).__str__) == str(number)
    assert len(parts._parts) <= 3

"""States as their author sees them, and ids that grow with time."""

import time
import uuid
from itertools import pairwise

import pytest

from autotask import task
from autotask.task import CANCELLED, DONE, ERROR, RUNNING, WAITING, State, Status, new_id


@pytest.fixture
def clock(monkeypatch):
    """Set the time that ids are made at, in milliseconds since 1970."""

    def set_milliseconds(value):
        monkeypatch.setattr(task.time, "time_ns", lambda: value * 1_000_000 + 999_999)

    return set_milliseconds


def test_an_id_is_a_uuid_of_version_7_and_of_the_variant_of_rfc_9562():
    for _ in range(1000):
        made = new_id()
        assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_the_first_48_bits_of_an_id_are_the_milliseconds():
    # Given
    before = time.time_ns() // 1_000_000

    # When
    made = new_id()

    # Then
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_the_layout_is_that_of_the_example_in_the_rfc(clock, monkeypatch):
    # Given the moment and the random bits of RFC 9562, appendix A.6
    clock(0x017F22E279B0)
    random = (0xCC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    monkeypatch.setattr(task.os, "urandom", lambda size: random)

    # When, then
    assert new_id() == uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


@pytest.mark.parametrize("bits", [b"\x00", b"\xff"], ids=["all bits 0", "all bits 1"])
@pytest.mark.parametrize("milliseconds", [0, 1, 2**47, 2**48 - 1])
def test_random_bits_reach_neither_version_nor_variant_nor_time(clock, monkeypatch, bits, milliseconds):
    clock(milliseconds)
    monkeypatch.setattr(task.os, "urandom", lambda size: bits * size)
    made = new_id()
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, milliseconds)


def test_an_id_of_a_later_millisecond_is_greater(clock):
    ids = []
    for milliseconds in [0, 1, 255, 256, 1_700_000_000_000, 1_700_000_000_001, 2**47]:
        clock(milliseconds)
        ids.append(new_id())
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert all(earlier.bytes < later.bytes for earlier, later in pairwise(ids)), "PostgreSQL compares the bytes"


def test_ids_of_the_same_millisecond_differ(clock):
    clock(1_700_000_000_000)
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_a_status_is_text():
    assert [str(status) for status in (WAITING, RUNNING, DONE, ERROR, CANCELLED)] == [
        "waiting",
        "running",
        "done",
        "error",
        "cancelled",
    ]
    assert DONE == "done"
    assert f"{ERROR}" == "error"
    assert Status("cancelled") is CANCELLED


@pytest.mark.parametrize(
    ("state", "status", "ended"),
    [
        (State.SCHEDULED, WAITING, False),
        (State.READY, WAITING, False),
        (State.RUNNING, RUNNING, False),
        (State.DONE, DONE, True),
        (State.ERROR, ERROR, True),
        (State.CANCELLED, CANCELLED, True),
        (State.RETRY, WAITING, False),
        (State.LOST, WAITING, False),
    ],
)
def test_each_state_has_a_public_status(state, status, ended):
    assert (state.status, state.ended) == (status, ended)


def test_no_state_is_without_a_status():
    assert {state.status for state in State} == set(Status)

"""States as their author sees them, and ids that grow with time."""

import copy
import math
import pickle
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from autotask import task
from autotask.task import CANCELLED, DONE, ERROR, RUNNING, WAITING, State, Status, new_id, new_ids


@pytest.fixture
def clock(monkeypatch):
    """Set the time that ids are made at, in milliseconds since 1970; no id was made before."""

    def set_milliseconds(value, nanoseconds=0):
        monkeypatch.setattr(task.time, "time_ns", lambda: value * 1_000_000 + nanoseconds)

    monkeypatch.setattr(task, "_last", 0)
    return set_milliseconds


def test_an_id_is_a_uuid_of_version_7_and_of_the_variant_of_rfc_9562():
    for _ in range(1000):
        made = new_id()
        assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_an_id_is_like_any_other_uuid():
    # Given
    made = new_id()
    other = uuid.UUID(int=made.int)

    # Then
    assert (made, hash(made), str(made), made.is_safe) == (other, hash(other), str(other), other.is_safe)
    assert pickle.loads(pickle.dumps(made)) == copy.copy(made) == made


def test_the_first_48_bits_of_an_id_are_the_milliseconds():
    # Given
    before = time.time_ns() // 1_000_000

    # When
    made = new_id()

    # Then: other tests may have made a few thousand ids just now
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 10


def test_the_layout_is_that_of_the_example_in_the_rfc(clock, monkeypatch):
    # Given the moment and the random bits of RFC 9562, appendix A.6, whose first twelve count parts of the millisecond
    clock(0x017F22E279B0, nanoseconds=math.ceil(0xCC3 / 4096 * 1_000_000))
    monkeypatch.setattr(task.os, "urandom", lambda size: bytes.fromhex("18C4DC0C0C07398F"))

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


def test_ids_of_the_same_moment_grow(clock):
    clock(1_700_000_000_000)
    ids = [new_id(), *new_ids(5_000), new_id(), *new_ids(5_000)]
    assert all(earlier < later for earlier, later in pairwise(ids))


def test_many_ids_have_the_layout_of_one():
    ids = new_ids(1000)
    assert all((made.version, made.variant) == (7, uuid.RFC_4122) for made in ids)
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert len({made.int & 2**62 - 1 for made in ids}) == 1000, "their random bits differ"


def test_ids_grow_in_each_thread_however_many_make_them_at_once():
    def make(_):
        return [id for _ in range(200) for id in (new_id(), *new_ids(10))]

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(8)))
    assert all(earlier < later for ids in made for earlier, later in pairwise(ids))
    assert len({id for ids in made for id in ids}) == 8 * 200 * 11


def test_ids_go_on_to_grow_while_the_clock_is_a_little_behind(clock):
    clock(1_700_000_000_000)
    before = new_id()
    clock(1_699_999_999_500)
    assert new_id() > before


def test_a_clock_that_was_set_back_counts(clock):
    clock(1_700_000_000_000)
    new_id()
    clock(1_600_000_000_000)
    assert new_id().int >> 80 == 1_600_000_000_000


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

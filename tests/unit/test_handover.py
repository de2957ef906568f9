"""What a worker is given of a task that was stored as claimed by it."""

import base64
import select
import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from autotask import handover
from autotask.offer import Offer
from autotask.own_worker import own
from autotask.store.enqueue import Kind, NewTask
from autotask.task import MAX_PRIORITY, MIN_PRIORITY
from autotask.wakeup import handing

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=100)


def new_task(name="a.b", queue="default", priority=0, retries=0, payload=b"", **more):
    kind = Kind(name=name, queue=queue, priority=priority, delay=0.0, run_after=None, retries=retries, ttl=60.0, **more)
    return NewTask(uuid.uuid4(), kind, "", payload)


@given(
    names,
    names,
    st.integers(MIN_PRIORITY, MAX_PRIORITY),
    st.integers(0, 2**31 - 1),
    st.binary(max_size=1000),
    st.integers(1, 2**63 - 1),
    st.binary(max_size=1000),
)
def test_the_worker_gets_what_was_stored(name, queue, priority, retries, payload, fence, row):
    task, offer = new_task(name, queue, priority, retries, payload), Offer(uuid.uuid4(), 2**32 - 1)
    got, of = handover.load(handover.dump(task, fence, offer, "00042", row))
    assert of == offer
    assert (got.row, got.reply) == (row, "00042")
    assert (got.id, got.name, got.queue, got.priority, got.retries) == (task.id, name, queue, priority, retries)
    assert (got.payload, got.fence, got.worker_id, got.attempt) == (payload, fence, offer.worker_id, 1)


@given(names, names, st.integers(0, 5000))
def test_whatever_is_handed_over_can_be_written_to_a_pipe_at_once(name, queue, size):
    task = new_task(name, queue, payload=b"x" * size)
    if handover.can_be_handed(task):
        assert len(handing(handover.dump(task, 2**63 - 1, Offer(uuid.uuid4(), 1)))) <= select.PIPE_BUF
    else:
        assert size > select.PIPE_BUF / 2


@given(names, names, st.integers(0, 5000), st.integers(1, 5000))
def test_a_row_goes_along_only_if_there_is_room(name, queue, size, row):
    task, offer = new_task(name, queue, payload=b"x" * size), Offer(uuid.uuid4(), 1)
    if not handover.can_be_handed(task):
        return
    body = handover.dump(task, 2**63 - 1, offer, row=b"r" * row)
    got, _ = handover.load(body)
    assert len(handing(body)) <= select.PIPE_BUF
    assert got.payload == task.payload
    assert got.row == b"r" * row or (not got.row and row + size > select.PIPE_BUF / 2)


def test_a_row_counts_only_if_it_comes_through_the_pipe():
    # Anybody who can connect to the database can notify, and a row is unpickled.
    task, worker_id = new_task(), uuid.uuid4()
    words = base64.b64encode(handover.dump(task, 0, Offer(worker_id, 0), row=b"row")).decode()
    got = handover.told(handover.as_told("a_channel", f"7 {words}"), worker_id)
    assert (got.id, got.row) == (task.id, b"")


def test_only_plain_tasks_that_are_due_are_handed_over():
    assert handover.can_be_handed(new_task())
    for special in ({"timeout": 1.0}, {"expires": 1.0}, {"at_most_once": True}, {"executor": "coroutine"}):
        assert not handover.can_be_handed(new_task(**special))
    delayed = new_task()
    assert not handover.can_be_handed(delayed._replace(kind=replace(delayed.kind, delay=1.0)))


@given(st.binary(max_size=300))
def test_what_other_code_hands_over_is_refused_as_such(body):
    if body[:1] not in (b"\1", b"\5"):
        with pytest.raises(ValueError, match="a form that this version of autotask does not know"):
            handover.load(body)


def test_what_was_cut_off_is_refused_too():
    for row in (b"", b"row"):
        body = handover.dump(new_task(), 1, Offer(uuid.uuid4(), 1), row=row)
        for length in range(len(body) - len("a.b\0default\0") - 2 - len(row)):
            with pytest.raises(ValueError):
                handover.load(body[:length])


def test_a_call_for_a_background_worker_takes_the_same_way(monkeypatch):
    sent = []
    assert not handover.call_for("shop.tasks.send")
    monkeypatch.setattr(own, "line", SimpleNamespace(hand_over=sent.append))
    assert handover.call_for("shop.tasks.send")
    assert [handover.called_for(body) for body in sent] == ["shop.tasks.send"]
    assert not handover.call_for("x" * handover.LARGEST)  # it would not be written at once
    assert handover.called_for(b"") is None
    assert handover.called_for(handover.dump(new_task(), 1, Offer(uuid.uuid4(), 1))) is None


def test_an_offer_that_was_not_used_comes_back():
    offer = Offer(uuid.uuid4(), 2**40)
    assert handover.given_back(handover.back(offer)) == offer
    assert handover.called_for(handover.back(offer)) is None
    for body in (b"", handover.back(offer)[:-1], handover.dump(new_task(), 1, offer)):
        assert handover.given_back(body) is None

"""What comes with word of the end of a task."""

import base64
import time
import uuid

import pytest
from hypothesis import given, strategies as st

from autotask import payload
from autotask.context import Progress
from autotask.store import finish, notify, progress, read
from autotask.store.connection import current
from autotask.store.finish import Outcome
from autotask.store.told import LARGEST, told_task
from autotask.task import State
from tests.integration.store.shapes import put, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)


def told_of(value, state=State.DONE, words=None):
    """End a task whose end is awaited, and return it with what was told of it."""
    (id,) = put(1)
    (task,) = take(sign_on())
    if words:
        progress.note(current(), {(task.id, task.fence): words}, wait=True)
    listener = notify.ChannelListener(current(), notify.ended_channel(task.id))
    assert read.ask_to_be_told(current(), task.id)
    sealed = payload.dump_result(value, id=task.id, fence=task.fence, name="a.b")
    outcome = Outcome(task.id, task.fence, state, ended_at=time.monotonic(), seconds=0.0, value=sealed)
    assert finish.end(current(), [outcome], now=time.monotonic(), error_ttl=60) == 1
    listener.wait(10)
    listener.close()
    return read.task(current(), task.id), told_task(task.id, listener.told)


@pytest.mark.parametrize("words", [None, Progress(1, None), Progress(0.25, 3)])
def test_what_is_told_is_what_would_be_read(words):
    stored, told = told_of({"a": [1, "ö"]}, words=words)
    for name in ("id", "state", "fence", "attempt", "failures", "progress", "value", "error_message"):
        assert getattr(told, name) == getattr(stored, name), name
    assert payload.load_result(told.value, id=told.id, fence=told.fence) == {"a": [1, "ö"]}


def test_the_largest_result_that_is_told_can_be_and_a_larger_one_is_only_told_of():
    frame = len(payload.dump_result(b"", id=uuid.uuid4(), fence=1, name="a.b"))
    for size in range(LARGEST - frame - 10, LARGEST - frame + 10):
        stored, told = told_of(b"x" * size)
        assert (told is not None) == (len(stored.value) <= LARGEST)


@pytest.mark.parametrize(("value", "state"), [(None, State.DONE), (1, State.CANCELLED), (1, State.ERROR)])
def test_what_is_not_signed_or_not_a_result_is_only_told_of(value, state):
    stored, told = told_of(value, state)
    assert told is None
    assert stored.state is state


def test_what_is_signed_for_another_task_or_attempt_is_no_result():
    stored, told = told_of("value")
    value = base64.b64encode(stored.value).decode()
    assert told_task(stored.id, f"{stored.fence} 1 - - {value}") is not None
    assert told_task(stored.id, f"{stored.fence + 1} 1 - - {value}") is None
    assert told_task(uuid.uuid4(), f"{stored.fence} 1 - - {value}") is None


@given(st.one_of(st.text(), st.lists(st.sampled_from(["1", "-", "x", "1e400", "nan", "gASV", "9" * 30])).map(" ".join)))
def test_whatever_else_somebody_says_is_no_result(words):
    assert told_task(uuid.uuid4(), words) is None

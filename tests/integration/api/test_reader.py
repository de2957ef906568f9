"""What requests read before they wait: in one thread and on one connection for all of a process."""

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory

from autotask.api import reader
from autotask.api.endpoint import Endpoint
from autotask.store.connection import current, execute, rows
from tests.helpers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def waiting(**headers):
    return RequestFactory().get("/tasks/1/?wait=5", headers={"Authorization": "bearer x", **headers})


def backend(call=None):
    """Return the process of the connection of this thread."""
    return rows(current(), "SELECT pg_backend_pid()")[0][0]


def is_alive(pid):
    return rows(current(), "SELECT count(*) FROM pg_stat_activity WHERE pid = %(pid)s", {"pid": pid})[0][0] > 0


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "autotask-reader"]


@pytest.fixture(autouse=True)
def ends(monkeypatch):
    """Have the thread end soon."""
    monkeypatch.setattr(reader, "IDLE", 0.1)
    yield
    wait_until(lambda: not threads())


def test_all_requests_of_a_process_read_on_one_connection_which_is_closed_when_none_comes():
    # Given
    found = []
    view = Endpoint(waits=True, GET=lambda call: HttpResponse(found.append(backend()) or "read"))
    requests = [RequestFactory().get(f"/?wait={number}") for number in range(20)]

    async def ask():
        return await asyncio.gather(*(view(request, public=True) for request in requests))

    # When
    answers = asyncio.run(ask())

    # Then
    assert [answer.content for answer in answers] == [b"read"] * 20
    [pid] = set(found)
    assert pid != backend()
    wait_until(lambda: not threads() and not is_alive(pid))


def test_a_page_that_never_waits_holds_up_nobody_who_does():
    def answer(call):
        connection.close()
        return HttpResponse(threading.current_thread().name)

    view = Endpoint(GET=answer)

    async def ask():
        return await view(RequestFactory().get("/tasks/?wait=5"), public=True)

    assert asyncio.run(ask()).content != b"autotask-reader"


def test_a_connection_that_was_cut_meanwhile_is_replaced():
    async def read_twice():
        pid = await reader.read(backend)
        await asyncio.to_thread(cut, pid)
        return pid, await reader.read(backend)

    def cut(pid):
        execute(current(), "SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
        wait_until(lambda: not is_alive(pid))
        connection.close()

    first, second = asyncio.run(read_twice())
    assert first != second


def test_what_fails_or_is_cancelled_stops_no_other():
    def fail():
        raise ValueError("no")

    async def read():
        with pytest.raises(ValueError, match="no"):
            await reader.read(fail)
        # Not yet begun: the thread is held up by the one before.
        held = asyncio.ensure_future(reader.read(lambda: gate.wait(10)))
        gone = asyncio.ensure_future(reader.read(fail))
        await asyncio.sleep(0)
        gone.cancel()
        gate.set()
        return await held, await reader.read(lambda: "read")

    gate = threading.Event()
    assert asyncio.run(read()) == (True, "read")


@pytest.mark.parametrize("error", [StopIteration("of a result"), SystemExit(3)], ids=repr)
def test_whatever_the_code_of_a_result_raises_reaches_only_who_has_asked_for_it(error):
    def fail():
        raise error

    async def read():
        with pytest.raises(RuntimeError) as failed:
            await asyncio.wait_for(reader.read(fail), 10)
        return failed.value.__cause__, await asyncio.wait_for(reader.read(lambda: "read"), 10)

    assert asyncio.run(read()) == (error, "read")


@pytest.mark.parametrize(
    ("request_", "is_served"),
    [
        (waiting(), True),
        (waiting(Cookie="sessionid=x"), True),
        (RequestFactory().get("/tasks/1/?wait=5"), True),
        (RequestFactory().get("/tasks/1/?wait=5", headers={"Cookie": "sessionid=x"}), False),
        (waiting(Cookie="sessionid=x", Authorization="Basic eDp4"), False),
        (RequestFactory().get("/tasks/1/", headers={"Authorization": "Bearer x"}), False),
        (RequestFactory().post("/tasks/1/retry?wait=5", headers={"Authorization": "Bearer x"}), False),
    ],
    ids=["key", "key and session", "nobody", "session", "password of the server", "no wait", "act"],
)
def test_only_requests_that_read_and_wait_without_a_session_share_it(request_, is_served):
    async def serves():
        return reader.serves(request_)

    assert asyncio.run(serves()) is is_served
    assert async_to_sync(serves)() is False  # as in tests of a site, whose thread has an open transaction

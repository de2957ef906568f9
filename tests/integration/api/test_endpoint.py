"""What a view does when there is no database, or no room for one more connection."""

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.db import OperationalError, connection
from django.http import HttpResponse

from autotask.api import endpoint, waiting
from autotask.api.endpoint import Endpoint
from autotask.store.connection import execute

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def refusing(monkeypatch):
    """Make views that find no connection some times, and list the tries."""
    monkeypatch.setattr(endpoint, "PAUSES", (0.01, 0.01))
    tries = []

    def refuse():
        raise OperationalError("sorry, too many clients already")

    def make(times: int) -> Endpoint:
        connect = waiting.connect

        def connect_or_not():
            tries.append("connect")
            return refuse() if len(tries) <= times else connect()

        def handler(call):
            tries.append("handler")
            return refuse() if len(tries) <= times else HttpResponse("done")

        monkeypatch.setattr(waiting, "connect", connect_or_not)
        return Endpoint(GET=handler)

    make.tries = tries
    return make


def answer(view, request):
    async def run():
        return await view(request, public=True)

    return async_to_sync(run)()


def test_on_an_event_loop_a_request_waits_for_a_connection(refusing, request_with):
    assert answer(refusing(1), request_with()).status_code == 200
    assert refusing.tries == ["connect", "connect", "handler"]


def test_without_a_connection_the_answer_is_503(refusing, request_with):
    response = answer(refusing(99), request_with())
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert refusing.tries == ["connect", "connect", "handler"]
    refusing.tries.clear()
    assert refusing(99)(request_with(), public=True).status_code == 503
    assert refusing.tries == ["handler"]


@pytest.mark.parametrize("address", ["", "00000000-0000-0000-0000-000000000000/reason"])
def test_before_migrate_the_answer_is_503(api, address):
    execute(connection, "ALTER TABLE autotask_api_key RENAME TO autotask_gone")
    try:
        response = api.get(f"/tasks/{address}")
    finally:
        execute(connection, "ALTER TABLE autotask_gone RENAME TO autotask_api_key")
    assert (response.status_code, response.value["code"]) == (503, "unavailable")


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_request_that_may_have_done_something_is_not_tried_again(request_with, is_closed):
    tries = []

    def handler(call):
        tries.append(call)
        if is_closed:  # as Django does when a commit has failed, which the server may have made all the same
            connection.close()
        raise OperationalError("server closed the connection unexpectedly")

    assert answer(Endpoint(GET=handler), request_with()).status_code == 503
    assert len(tries) == 1


def test_a_view_is_a_coroutine_function_on_an_event_loop_only():
    view = Endpoint(GET=lambda call: HttpResponse())

    async def inside():
        return iscoroutinefunction(view)

    assert not iscoroutinefunction(view)
    assert async_to_sync(inside)()

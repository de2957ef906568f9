"""What a view does when there is no database, or no room for one more connection."""

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.db import OperationalError, connection
from django.http import HttpResponse

from autotask.api import endpoint
from autotask.api.endpoint import Endpoint

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def refusing(monkeypatch):
    """Make views that find no connection some times, and count their tries."""
    monkeypatch.setattr(endpoint, "PAUSES", (0.01, 0.01))
    tries = []

    def make(times: int, is_connected: bool = False) -> Endpoint:
        def handler(call):
            tries.append(call)
            if len(tries) > times:
                return HttpResponse("done")
            connection.ensure_connection() if is_connected else connection.close()
            raise OperationalError("sorry, too many clients already")

        return Endpoint(GET=handler)

    make.tries = tries
    return make


def answer(view, request):
    async def run():
        return await view(request, public=True)

    return async_to_sync(run)()


def test_on_an_event_loop_a_request_waits_for_a_connection(refusing, request_with):
    assert answer(refusing(2), request_with()).status_code == 200
    assert len(refusing.tries) == 3


def test_without_a_connection_the_answer_is_503(refusing, request_with):
    response = answer(refusing(99), request_with())
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert len(refusing.tries) == 3
    refusing.tries.clear()
    assert refusing(99)(request_with(), public=True).status_code == 503
    assert len(refusing.tries) == 1


def test_a_request_that_may_have_done_something_is_not_tried_again(refusing, request_with):
    assert answer(refusing(1, is_connected=True), request_with()).status_code == 503
    assert len(refusing.tries) == 1


def test_a_view_is_a_coroutine_function_on_an_event_loop_only():
    view = Endpoint(GET=lambda call: HttpResponse())

    async def inside():
        return iscoroutinefunction(view)

    assert not iscoroutinefunction(view)
    assert async_to_sync(inside)()

"""Answers that are held outside Django: what a client gets is what Django says when the wait is over."""

import asyncio
import json
import subprocess
import sys
import uuid
from types import SimpleNamespace

import pytest
from django.core.asgi import get_asgi_application
from django.db import OperationalError, connections

from autotask import listener
from autotask.acts import keys
from autotask.api import asgi, waiting
from autotask.api.asgi import hold_waits
from autotask.handle import TaskHandle
from autotask.store.connection import current, execute
from tests.integration.api.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)

#: The paths of the requests that have passed the middleware, with the status of the answers.
passed = []


def note(get_response):
    async def middleware(request):
        response = await get_response(request)
        passed.append((request.path, response.status_code))
        response["X-Middleware"] = "yes"
        return response

    return middleware


note.async_capable, note.sync_capable = True, False


class Exchange:
    """One request of a client, and what the server has of it."""

    def __init__(self, application, path, secret="", **headers):
        path, _, query = path.partition("?")
        headers = {"authorization": f"Bearer {secret}", "host": "testserver"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        self.scope = {
            **{"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": ""},
            **{"path": path, "raw_path": path.encode(), "query_string": query.encode()},
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.sent = []
        self.asked = 0
        self._received = asyncio.Queue()
        self._received.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.task = asyncio.ensure_future(application(self.scope, self._receive, self._send))

    def leave(self):
        self._received.put_nowait({"type": "http.disconnect"})

    async def answer(self):
        await asyncio.wait_for(self.task, 20)
        start, *bodies = self.sent
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        content = b"".join(body["body"] for body in bodies)
        value = json.loads(content) if content else None
        return SimpleNamespace(status=start["status"], headers=headers, value=value)

    async def _receive(self):
        self.asked += 1
        return await self._received.get()

    async def _send(self, message):
        self.sent.append(message)


def test_a_site_may_answer_on_one_event_loop_after_another(settings):
    settings.ROOT_URLCONF = "tests.integration.api.urls"

    async def answer(scope, receive, send):
        await asyncio.sleep(0)

    async def crowd():
        scope = {"type": "http", "method": "GET", "query_string": b"wait=1", "path": f"/tasks/{uuid.UUID(int=0)}/"}
        await asyncio.gather(*(held(scope, None, None) for _ in range(asgi.AT_A_TIME + 1)))

    held = hold_waits(answer)
    asyncio.run(crowd())
    asyncio.run(crowd())


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def apart(act, *args):
    """Do something in a thread with a connection of its own."""

    def act_and_close():
        try:
            act(*args)
        finally:
            connections.close_all()

    await asyncio.to_thread(act_and_close)


async def waits(id):
    """Wait until a client is waited for, and Django has forgotten its request."""
    await until(lambda: (f"/tasks/{id}/", 202) in passed and waiters())


def waiters():
    known = listener._listener
    return [waiter for waiter in known._waiters if not waiter.future.done()]


@pytest.fixture
def secret(key):
    return key("submit", "read", "cancel", "metadata")


@pytest.fixture
def application(settings):
    settings.ROOT_URLCONF = "tests.integration.api.urls"
    settings.MIDDLEWARE = ["tests.integration.api.test_holding.note"]
    passed.clear()
    return hold_waits(get_asgi_application())


@pytest.fixture
def id():
    return str(add.using(delay=3600)(1).id)


def test_the_answer_comes_when_the_task_has_ended_and_passes_the_middleware(application, secret, id):
    async def ask():
        exchange = Exchange(application, f"/tasks/{id}/?wait=20", secret)
        await waits(id)
        assert not exchange.sent
        await apart(TaskHandle(id).cancel)
        return await exchange.answer(), exchange.asked

    answer, asked = asyncio.run(ask())
    assert (answer.status, answer.value["status"], answer.headers["x-middleware"]) == (200, "cancelled", "yes")
    assert answer.headers["etag"]
    assert passed == [(f"/tasks/{id}/", 202), (f"/tasks/{id}/", 200)]
    assert asked == 2  # for the request, and once for its end


@pytest.mark.parametrize("path", ["", "result"])
def test_after_its_time_a_wait_is_answered_with_what_is_so(application, secret, id, path):
    async def ask(**headers):
        return await Exchange(application, f"/tasks/{id}/{path}?wait=0.05", secret, **headers).answer()

    answer = asyncio.run(ask())
    if path:
        assert (answer.status, answer.value["code"]) == (409, "not_finished")
    else:
        assert (answer.status, answer.value["status"]) == (200, "waiting")
        assert asyncio.run(ask(if_none_match=answer.headers["etag"])).status == 304


def test_what_needs_no_wait_is_answered_at_once(application, secret, id):
    async def ask(path, secret=secret):
        return await Exchange(application, path, secret).answer()

    assert asyncio.run(ask(f"/tasks/{id}/")).status == 200
    assert asyncio.run(ask(f"/tasks/{id}/?wait=20", "wrong")).status == 401
    assert asyncio.run(ask(f"/tasks/{id}/?wait=x")).status == 400
    assert asyncio.run(ask(f"/tasks/{id}/?wait=0")).status == 200
    TaskHandle(id).cancel()
    assert asyncio.run(ask(f"/tasks/{id}/?wait=20")).value["status"] == "cancelled"
    assert {status for _, status in passed} == {200, 400, 401}


def test_a_key_that_is_revoked_meanwhile_gets_no_answer(application, secret, id):
    async def ask():
        exchange = Exchange(application, f"/tasks/{id}/?wait=20", secret)
        await waits(id)
        await apart(keys.revoke, "key-0")
        await apart(TaskHandle(id).cancel)
        return await exchange.answer()

    assert asyncio.run(ask()).status == 401


def test_a_task_that_is_deleted_meanwhile_is_not_found(application, secret, id):
    async def ask():
        exchange = Exchange(application, f"/tasks/{id}/?wait=20", secret)
        await waits(id)
        await apart(lambda: execute(current(), "DELETE FROM autotask_task"))
        return await exchange.answer()

    assert asyncio.run(ask()).status == 404


def test_a_wait_counts_as_one_request(application, secret, id, settings):
    settings.AUTOTASK_API_RATE = 1

    async def ask():
        return await Exchange(application, f"/tasks/{id}/?wait=0.05", secret).answer()

    assert [asyncio.run(ask()).status for _ in range(2)] == [200, 429]


def test_nobody_waits_for_a_client_that_has_left(application, secret, id):
    async def ask():
        exchange = Exchange(application, f"/tasks/{id}/?wait=60", secret)
        await waits(id)
        exchange.leave()
        await asyncio.wait_for(exchange.task, 20)
        await until(lambda: not waiters())
        return exchange.sent

    assert asyncio.run(ask()) == []
    assert len(passed) == 1


def test_a_server_that_stops_ends_the_wait(application, secret, id):
    async def ask():
        exchange = Exchange(application, f"/tasks/{id}/?wait=60", secret)
        await waits(id)
        exchange.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange.task
        await until(lambda: not waiters())

    asyncio.run(ask())


def test_a_database_that_goes_away_meanwhile_is_503(application, secret, id, monkeypatch):
    async def fail(*_):
        raise OperationalError("the server is gone")

    monkeypatch.setattr(waiting, "ended", fail)

    async def ask():
        return await Exchange(application, f"/tasks/{id}/?wait=20", secret).answer()

    answer = asyncio.run(ask())
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_asgi_py_can_import_it_before_there_are_settings():
    code = "import autotask.api.asgi, sys; sys.exit('django.db' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_few_requests_at_a_time_are_inside_django_before_they_are_held(application, secret, id, monkeypatch):
    most, inside = 0, 0

    async def counted(scope, receive, send):
        nonlocal most, inside
        if scope[asgi._KEY].over:
            return await django(scope, receive, send)
        inside += 1
        most = max(most, inside)
        await django(scope, receive, send)
        inside -= 1

    async def ask():
        counting = hold_waits(counted)
        exchanges = [Exchange(counting, f"/tasks/{id}/?wait=0.5", secret) for _ in range(8)]
        await until(lambda: len(passed) == 8)
        found = most
        return found, [(await exchange.answer()).status for exchange in exchanges]

    django = get_asgi_application()
    monkeypatch.setattr(asgi, "AT_A_TIME", 2)
    found, statuses = asyncio.run(ask())
    assert (found, statuses) == (2, [200] * 8)


def test_requests_to_other_views_take_no_turn(application, secret, id, monkeypatch):
    monkeypatch.setattr(asgi, "AT_A_TIME", 2)

    async def ask():
        async def answer(scope, receive, send):
            if scope["path"].startswith("/tasks/"):
                await django(scope, receive, send)
            else:
                began.append(scope["path"])
                await asyncio.sleep(60)

        both, began = hold_waits(answer), []
        others = [Exchange(both, f"/orders/{id}/?wait=60", secret) for _ in range(5)]
        await until(lambda: len(began) == 5)
        answered = await Exchange(both, f"/tasks/{id}/?wait=0.05", secret).answer()
        for other in others:
            other.task.cancel()
        return answered.status

    django = get_asgi_application()
    assert asyncio.run(ask()) == 200


def test_an_api_below_a_prefix_takes_turns(settings):
    settings.ROOT_URLCONF = "tests.integration.api.urls"
    path = f"/app/tasks/{uuid.UUID(int=0)}/"
    assert not asgi._is_of_api({"path": path})
    assert asgi._is_of_api({"path": path, "root_path": "/app"})
    settings.FORCE_SCRIPT_NAME = "/app"
    assert asgi._is_of_api({"path": path})


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "http", "method": "GET", "path": "/search/", "query_string": b"wait=20"},
        {"type": "http", "method": "POST", "path": f"/tasks/{uuid.UUID(int=0)}/", "query_string": b"wait=20"},
        {"type": "websocket", "path": f"/tasks/{uuid.UUID(int=0)}/", "query_string": b"wait=20"},
    ],
)
def test_other_requests_get_through_untouched(scope):
    scopes = []

    async def note_scope(scope, receive, send):
        scopes.append(scope)

    asyncio.run(hold_waits(note_scope)(scope, None, None))
    assert scopes[0] is scope

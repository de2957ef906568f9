"""Progress bars: what they show, who may see it, and the stream that all browsers of a process share."""

import asyncio
import json
import uuid

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.template import Context, Template
from django.test import AsyncClient, Client

from autotask import listener
from autotask.api.progress.tokens import token_of
from autotask.exceptions import AddressesMissing, InvalidOption, InvalidOptionType
from autotask.store import progress
from autotask.store.connection import current, rows
from autotask.task import new_id
from tests.helpers import ended, patient, wait_until
from tests.integration.api import tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.integration.api.progress_urls")]


NOBODY = uuid.UUID("00000000-0000-7000-8000-000000000000")


@pytest.fixture
def gate():
    """What tasks.slow waits for."""
    tasks.opened.clear()
    yield tasks.opened
    tasks.opened.set()


@pytest.fixture
def running(gate, start_worker):
    """A task that runs and has reported progress."""
    start_worker()
    handle = tasks.slow()
    wait_until(lambda: handle.progress, what="the progress")
    return handle


def seen(handle_id):
    return Client().get(f"/progress/{token_of(handle_id)}/").json()


def test_a_waiting_task_has_no_fraction():
    handle = tasks.add.using(delay=3600)(1)
    assert seen(handle.id) == {
        **{"status": "waiting", "ended": False, "text": "waiting"},
        **{"done": None, "total": None, "fraction": None},
    }


def test_a_running_task_shows_its_fraction_and_a_done_one_is_full(running, gate):
    assert seen(running.id) == {
        **{"status": "running", "ended": False, "text": "50%"},
        **{"done": 1, "total": 2, "fraction": 0.5},
    }
    gate.set()
    assert running.wait(20) == 0
    assert (seen(running.id)["text"], seen(running.id)["fraction"], seen(running.id)["ended"]) == ("done", 1, True)


def test_why_a_task_failed_is_not_shown(start_worker):
    start_worker()
    handle = tasks.fail("a secret")
    ended(handle)
    shown = seen(handle.id)
    assert (shown["status"], shown["text"], shown["ended"]) == ("error", "failed", True)
    assert "secret" not in json.dumps(shown)


def test_a_task_that_is_not_there_is_the_end():
    assert (seen(new_id())["status"], seen(new_id())["ended"]) == ("gone", True)


@pytest.mark.parametrize("token", [f"{NOBODY}:abc", "x", str(NOBODY), f"7:{NOBODY}"])
@pytest.mark.parametrize("end", ["", "stream/"])
def test_only_addresses_that_the_site_has_made_show_anything(token, end):
    answer = Client().get(f"/progress/{token}/{end}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_page_shows_what_is_so_and_follows_it(running):
    page = Client().get(f"/page/{running.id}/").content.decode()
    assert f'data-autotask-progress="/progress/{token_of(running.id)}/"' in page
    assert 'value="0.5000"' in page and 'aria-label="Report"' in page and ">50%<" in page
    assert "data-reload" in page and "data-stream" not in page and "autotask/progress.js" in page


def test_a_page_of_a_task_that_has_ended_needs_no_script(start_worker):
    start_worker()
    handle = tasks.add(1)
    ended(handle)
    page = Client().get(f"/page/{handle.id}/").content.decode()
    assert "data-ended" in page and "<script" not in page and "Refresh" not in page


def test_under_asgi_pages_have_a_stream():
    handle = tasks.add.using(delay=3600)(1)
    page = async_to_sync(AsyncClient().get)(f"/page/{handle.id}/").content.decode()
    assert f'data-stream="/progress/{token_of(handle.id)}/stream/"' in page


def test_a_stream_says_that_it_needs_asgi():
    assert Client().get(f"/progress/{token_of(new_id())}/stream/").status_code == 406


def render(task):
    return Template("{% load autotask %}{% autotask_progress task %}").render(Context({"task": task}))


@pytest.mark.urls("tests.integration.api.urls")
def test_without_the_addresses_the_tag_says_what_to_add():
    with pytest.raises(AddressesMissing, match=r'path\("progress/", include\("autotask.api.progress"\)\)'):
        render(new_id())


@pytest.mark.parametrize(("task", "error"), [("seven", InvalidOption), (None, InvalidOptionType)])
def test_the_tag_takes_tasks_only(task, error):
    with pytest.raises(error, match="UUID"):
        render(task)


# --- streams --------------------------------------------------------------------------------------------------------


async def come_true(condition):
    """Wait for a condition. The thread of sync code is free meanwhile: the views need it."""
    async with asyncio.timeout(patient(20)):
        while not await sync_to_async(condition)():
            await asyncio.sleep(0.02)


async def events(id, found):
    """Collect the events of a stream up to the last."""
    answer = await AsyncClient().get(f"/progress/{token_of(id)}/stream/")
    assert answer.headers["Content-Type"] == "text/event-stream"
    stream = answer.streaming_content
    try:
        async for part in stream:
            text = part.decode()
            if text.startswith("data:"):
                found.append(json.loads(text.removeprefix("data:")))
                if found[-1]["ended"]:
                    break
    finally:
        await stream.aclose()


def test_a_stream_shows_each_change_and_ends_with_the_task(gate, start_worker):
    seen = []

    def newest():
        return seen[-1] if seen else {"status": "", "text": ""}

    async def watch():
        handle = await sync_to_async(tasks.slow)()
        stream = asyncio.create_task(events(handle.id, seen))
        await come_true(lambda: newest()["status"] == "waiting")
        await sync_to_async(start_worker)()
        await come_true(lambda: newest()["text"] == "50%")
        gate.set()
        await asyncio.wait_for(stream, patient(20))

    async_to_sync(watch)()
    assert (newest()["status"], newest()["text"], newest()["ended"]) == ("done", "done", True)


def test_a_stream_of_what_is_gone_ends_at_once():
    async_to_sync(events)(new_id(), seen := [])
    assert [event["status"] for event in seen] == ["gone"]


def test_a_stream_ends_after_its_time_so_that_a_server_can_stop(settings):
    settings.AUTOTASK_API_WAIT = 0.1
    handle = tasks.add.using(delay=3600)(1)
    async_to_sync(events)(handle.id, seen := [])
    assert [event["status"] for event in seen] in ([], ["waiting"])


def test_nobody_waits_any_more_for_a_client_that_has_left_at_once(monkeypatch):
    awaited = []
    wait = listener.ended
    monkeypatch.setattr(listener, "ended", lambda id: awaited.append(wait(id)) or awaited[-1])
    handle = tasks.add.using(delay=3600)(1)

    async def leave():
        answer = await AsyncClient().get(f"/progress/{token_of(handle.id)}/stream/")
        await anext(answer.streaming_content)
        await answer.streaming_content.aclose()

    async_to_sync(leave)()
    assert [future.cancelled() for future in awaited] == [True]


def test_many_streams_share_one_connection_which_is_closed_after_them(monkeypatch):
    handles = tasks.add.using(delay=3600).enqueue_many([(n,) for n in range(30)])
    watched = set()
    look = progress.seen
    monkeypatch.setattr(progress, "seen", lambda connection, ids: watched.update(ids) or look(connection, ids))

    def connections():
        mine = "FROM pg_stat_activity WHERE datname = current_database()"  # Tests in other processes listen, too.
        return rows(current(), f"SELECT count(*) {mine} AND application_name LIKE '%%listener%%'")[0][0]

    async def watch():
        streams = [asyncio.create_task(events(handle.id, [])) for handle in handles]
        await come_true(lambda: len(watched) == 30)
        during = await sync_to_async(connections)()
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        return during

    assert async_to_sync(watch)() == 1
    wait_until(lambda: connections() == 0, what="the end of the listener")

"""Tasks are put into Redis, for clients whose engine is redis; with a real server."""

import logging

import pytest
from django.db import connection

from autotask.acts import pausing
from autotask.models import Task
from autotask.worker import relay
from autotask.worker.relay import Relay
from tests import redis_server
from tests.helpers import wait_until
from tests.integration.st2app.models import HelloTask, InsideTask
from tests.integration.store.shapes import edit

redis = pytest.importorskip("redis")
pytestmark = pytest.mark.skipif(not redis_server.IS_INSTALLED, reason="redis-server is not installed")


class Lists:
    """What a client sees of Redis."""

    def __init__(self, server):
        self.server = server
        self.redis = redis.Redis.from_url(server.url, decode_responses=True)

    def of(self, channel="default"):
        return self.redis.lrange(f"django-simpletask2:channels:{channel}", 0, -1)

    def take(self, channel="default"):
        return self.redis.lpop(f"django-simpletask2:channels:{channel}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server.running(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def lists(puller, server, settings):
    """The lists, which are empty; the site puts tasks there."""
    settings.AUTOTASK_PULL_REDIS = server.url
    found = Lists(server)
    found.redis.flushall()
    yield found
    found.redis.close()


def look(service=None):
    """Let the service look once; return the seconds until it looks again."""
    return (service or Relay()).run_once(connection)


def hello(count=1, **values):
    return HelloTask.objects.bulk_create([HelloTask(name=str(number), **values) for number in range(count)])


def lapsed():
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '31 s' WHERE state = 1")


def test_ready_tasks_are_in_the_lists_of_their_channels_in_order(lists):
    rows = hello(3)
    (west,) = hello(region="west")
    InsideTask.objects.create()
    look()
    assert lists.of() == [row.task_info for row in rows]
    assert lists.of("west") == [west.task_info]
    assert lists.redis.dbsize() == 2


def test_a_worker_puts_them_there_and_a_client_has_them_run(lists, puller, worker):
    (row,) = hello()
    task_info = wait_until(lists.take, what="the task")
    assert task_info == row.task_info
    assert puller.step(task_info)["continue_flag"] is False
    assert HelloTask.objects.get(pk=row.pk).success


def test_a_client_that_is_lost_costs_half_a_minute_and_nothing_is_there_twice(lists):
    first, second = hello(2)
    look()
    assert lists.take() == first.task_info
    look()
    assert lists.of() == [second.task_info]
    lapsed()
    look()
    assert lists.of() == [second.task_info, first.task_info]


def test_the_lists_stay_short_and_are_filled_as_clients_take(lists, monkeypatch):
    monkeypatch.setattr(relay, "MOST", 3)
    rows, service = hello(7), Relay()
    assert look(service) == relay.SOON
    assert lists.of() == [row.task_info for row in rows[:3]]
    lapsed()
    assert relay.SOON < look(service) < relay.LONGEST  # the list is full: look less often
    assert lists.of() == [row.task_info for row in rows[:3]]
    assert [lists.take() for _ in range(3)] == [row.task_info for row in rows[:3]]
    edit(
        "UPDATE autotask_task SET ready_at = now() + interval '30 s' WHERE id = ANY(%s)",
        ([row.task_id for row in rows[:3]],),
    )
    look(service)
    assert lists.of() == [row.task_info for row in rows[3:6]]
    assert [lists.take(), lists.take()] == [row.task_info for row in rows[3:5]]
    look(service)
    assert lists.of() == [row.task_info for row in rows[5:]]
    lists.take()
    assert look(service) == relay.LONGEST  # nothing else waits


def test_others_follow_once_half_of_a_list_is_taken_and_not_one_by_one(lists, monkeypatch):
    monkeypatch.setattr(relay, "MOST", 4)
    rows, service = hello(6), Relay()
    look(service)
    lists.take()
    assert look(service) == relay.SOON  # clients take some
    assert lists.of() == [row.task_info for row in rows[1:4]]
    lists.take()
    assert look(service) == relay.SOON
    assert lists.of() == [row.task_info for row in rows[2:]]


def test_while_a_list_has_enough_a_new_task_hurries_the_service_less(lists, monkeypatch):
    monkeypatch.setattr(relay, "MOST", 4)
    service = Relay()
    assert service.told("") == 0.0
    hello(6)
    look(service)
    assert service.told("") == relay.AT_ONCE
    for _ in range(2):
        while lists.take():
            pass
        look(service)
    assert service.told("") == 0.0


def test_a_paused_channel_is_left_out(lists):
    hello(region="west")
    pausing.pause(queue="west")
    look()
    assert lists.of("west") == []
    pausing.resume(queue="west")
    look()
    assert len(lists.of("west")) == 1


def test_redis_being_away_is_weather(lists, caplog):
    caplog.set_level(logging.INFO, "autotask.worker")
    (row,) = hello()
    service = Relay()
    lists.server.stop()
    try:
        for _ in range(3):
            assert look(service) == relay.LONGEST
        assert [record.levelname for record in caplog.records if "Redis" in record.message] == ["WARNING"]
        assert lists.server.url not in caplog.text
    finally:
        lists.server.start()
    look(service)
    assert lists.of() == [row.task_info]
    assert "Can put tasks into Redis again" in caplog.text


def test_what_could_not_be_put_there_is_offered_to_others(lists, puller, monkeypatch):
    (row,) = hello()
    before = Task.objects.get(id=row.task_id).ready_at
    monkeypatch.setattr(redis.Redis, "rpush", lambda *args: lists.server.stop() or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        look()
    lists.server.start()
    assert Task.objects.get(id=row.task_id).ready_at == before
    assert puller.pull() == row.task_info


def test_a_worker_without_the_setting_uses_no_redis(puller, worker):
    assert not relay.can_run()


def test_a_setting_that_is_no_address_is_logged_without_its_value(puller, settings, caplog):
    settings.AUTOTASK_PULL_REDIS = "http://user:password@example.org"
    assert not relay.can_run()
    assert "Tasks are not put into Redis: AUTOTASK_PULL_REDIS must be an address" in caplog.text
    assert "password" not in caplog.text

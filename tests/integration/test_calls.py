"""Calls that make no task of their own: unique, debounced and throttled ones, by every way to call."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, connections, transaction
from django.utils.connection import ConnectionDoesNotExist

from autotask.exceptions import AlreadyEnqueued, InvalidOptionType, NotRetryable
from autotask.handle import TaskHandle
from autotask.signals import task_enqueued
from autotask.store.connection import current, execute
from autotask.task import DONE, WAITING, State
from autotask.tasks import Debounce, Limit, Rate, delayed_task
from autotask.testing import captured_tasks, immediate
from tests.helpers import patient
from tests.integration.store.shapes import count, sign_on, stored, take

pytestmark = pytest.mark.django_db(transaction=True)

RAN = []


@delayed_task(unique="account_id")
def sync(account_id, full=False):
    RAN.append((account_id, full))


@delayed_task(unique=True, on_conflict="raise")
def close(account_id): ...


@delayed_task(unique="account_id", on_conflict="replace", concurrency=Limit(1, key="account_id"))
def remind(account_id, text=""):
    RAN.append((account_id, text))


@delayed_task(unique="account_id", unique_for="waiting")
def refresh(account_id): ...


@delayed_task(unique="account_id", unique_for=timedelta(hours=1))
def greet(account_id): ...


@delayed_task(throttle=Rate("1/10m", key="user_id"))
def notify(user_id, text): ...


@delayed_task(debounce=Debounce(5, key="document_id", at_most=60))
def index(document_id, version):
    RAN.append((document_id, version))


def both(old, new):
    return {**new, "pages": sorted({*old["pages"], *new["pages"]})}


@delayed_task(debounce=Debounce(5, key="document_id", merge=both))
def render(document_id, pages, *, colour="grey"):
    RAN.append((document_id, pages, colour))


class Changed(Exception):
    """Somebody changed his mind."""


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()


def arguments(handle):
    return stored(handle.id).arguments


# --- unique ---------------------------------------------------------------------------------------------------------


def test_a_further_call_returns_the_task_that_is_there():
    first, second, other = sync(7), sync(7, full=True), sync(8)
    assert (first.created, second.created, other.created) == (True, False, True)
    assert first == second and arguments(first) == "account_id=7"
    assert TaskHandle(first.id).created is None


def test_a_plain_call_creates_its_task():
    @delayed_task(name="plain")
    def plain(): ...

    assert plain().created is True
    assert [handle.created for handle in plain.enqueue_many([(), ()])] == [True, True]


def test_raise():
    first = close(7)
    with pytest.raises(AlreadyEnqueued, match=rf"{first.id} is there already") as caught:
        close(7)
    assert caught.value.id == first.id
    with pytest.raises(AlreadyEnqueued):
        close.enqueue_many([(8,), (7,)])
    assert count("autotask_task") == 1


@pytest.mark.parametrize("unique_for", ["unfinished", "waiting", 60])
def test_two_items_with_one_key_are_refused_as_such(unique_for):
    sync_once = sync.using(on_conflict="raise", unique_for=unique_for)
    said = r"the task of an earlier item is there already, with the unique key tests\.\S*sync\(account_id=8\)"
    with pytest.raises(AlreadyEnqueued, match=said):
        sync_once.enqueue_many([(7,), (8,), (8,)])
    assert count("autotask_task") == 0


def test_replace_changes_the_arguments_that_the_function_gets():
    first = remind(7, "old")
    second = remind(7, "new")
    assert (second.id, second.created) == (first.id, False)
    assert arguments(first) == "account_id=7, text='new'"
    with captured_tasks() as tasks:
        tasks.drain()
    assert RAN == [(7, "new")] and first.status is DONE


def test_a_call_may_be_unique_or_not():
    first = sync(7)
    assert sync.using(unique=False)(7).created
    assert sync.using(unique_for="waiting")(7).created  # a key of its own
    with pytest.raises(AlreadyEnqueued):
        sync.using(on_conflict="raise")(7)
    second = sync.using(on_conflict="replace", delay=60)(7, full=True)
    assert second == first and stored(first.id).state is State.SCHEDULED


def test_unique_while_it_waits():
    first = refresh(7)
    assert refresh(7) == first
    take(sign_on())
    second = refresh(7)
    assert second.created and second != first


def test_unique_for_some_time_even_if_it_has_run():
    first = greet(7)
    with captured_tasks() as tasks:
        tasks.drain()
    assert first.status is DONE
    second = greet(7)
    assert (second.id, second.created) == (first.id, False)


def test_many_at_once_with_one_insert(django_assert_num_queries):
    first = sync(3)
    with transaction.atomic(), django_assert_num_queries(2 + 2):  # with a savepoint and its release
        handles = sync.enqueue_many([(number % 5,) for number in range(10)])
    assert [handle.created for handle in handles] == [True, True, True, False, True] + [False] * 5
    assert handles[3] == handles[8] == first
    assert sync.enqueue_many([]) == []


def test_from_a_coroutine():
    async def twice():
        return await asyncio.gather(sync.aenqueue(7), sync.aenqueue(7))

    first, second = async_to_sync(twice)()
    assert first == second and {first.created, second.created} == {True, False}


def test_in_a_transaction_that_is_rolled_back():
    with pytest.raises(Changed), transaction.atomic():
        assert sync(7).created
        assert not sync(7).created
        raise Changed
    assert sync(7).created


@pytest.mark.parametrize("unique_for", ["unfinished", "waiting"])
def test_a_task_is_not_retried_while_another_one_has_its_key(unique_for):
    sync_once = sync.using(unique_for=unique_for)
    first = sync_once(7)
    first.cancel()
    second = sync_once(7)
    said = rf"task {second.id} has its unique key 'tests\.\S*sync\(account_id=7\)' now"
    with pytest.raises(NotRetryable, match=said):
        first.retry()
    second.cancel()
    first.retry()
    assert first.status is WAITING and sync_once(7) == first


def test_signals_are_sent_for_new_tasks_only():
    told = []

    def receiver(task_id, **_):
        told.append(task_id)

    task_enqueued.connect(receiver)
    try:
        first = remind(7)
        remind(7)
        many = remind.enqueue_many([(7,), (8,)])
    finally:
        task_enqueued.disconnect(receiver)
    assert told == [first.id, many[1].id]


def test_it_runs_at_once_with_immediate():
    with immediate():
        assert sync(7).created and sync(7).created
    assert RAN == [(7, False)] * 2


# --- a database of its own ------------------------------------------------------------------------------------------


@pytest.fixture
def own_database(settings, monkeypatch, transactional_db):
    """Have autotask reach its tables by another connection than the default one."""
    other = connection.copy("jobs")
    other.ensure_connection()
    monkeypatch.setitem(connections.settings, "jobs", other.settings_dict)
    connections["jobs"] = other
    settings.AUTOTASK_DATABASE = "jobs"
    yield
    other.close()
    del connections["jobs"]


def test_a_call_names_the_setting_if_there_is_no_such_database(settings):
    settings.AUTOTASK_DATABASE = "defualt"
    with pytest.raises(ConnectionDoesNotExist, match="AUTOTASK_DATABASE is 'defualt', but DATABASES .* has 'default'"):
        sync(7)


def test_before_the_commit_it_is_not_known_whether_a_task_is_created(own_database):
    there = sync(7)
    with transaction.atomic():
        first, again, second = sync(7), sync(8), sync(8)
        assert first.created is again.created is second.created is None
        assert first != there and first.status is WAITING
    assert (first.created, again.created, second.created) == (False, True, False)
    assert first == there and again == second
    assert count("autotask_task") == 2


def test_a_call_that_is_cancelled_before_the_commit_takes_no_key(own_database):
    with transaction.atomic():
        first, second = sync.enqueue_many([(7,), (7,)])
        assert first.cancel()
    assert (first.created, second.created) == (None, True)


# --- throttle -------------------------------------------------------------------------------------------------------


def test_further_calls_in_the_time_return_the_first():
    first = notify(1, "a")
    many = notify.enqueue_many([(1, "b"), (2, "c"), (2, "d")])
    assert [handle.created for handle in (first, *many)] == [True, False, True, False]
    assert many[0] == first and many[1] == many[2]
    execute(current(), "UPDATE autotask_bucket SET full_at = clock_timestamp()")
    assert notify(1, "e").created


def test_of_many_threads_one_gets_through():
    handles = []

    def run():
        handles.append(notify(1, "a"))
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(30))
    assert [handle.created for handle in handles].count(True) == 1 and len(set(handles)) == 1


# --- debounce -------------------------------------------------------------------------------------------------------


def test_the_last_call_wins_and_runs_after_a_silence():
    first = index(1, 1)
    assert first.created and stored(first.id).state is State.SCHEDULED
    execute(
        current(), "UPDATE autotask_task SET run_at = run_at - interval '3 s', created_at = created_at - interval '3 s'"
    )
    second = index(1, 2)
    assert (second.id, second.created) == (first.id, False)
    row = stored(first.id)
    assert row.arguments == "document_id=1, version=2"
    assert 7.9 < (row.run_at - row.created_at).total_seconds() < 9
    execute(current(), "UPDATE autotask_task SET created_at = created_at - interval '100 s'")
    index(1, 3)
    assert stored(first.id).run_at < datetime.now(UTC)


def test_a_debounced_task_that_has_begun_is_followed_by_another():
    first = index.using(debounce=0)(1, 1)
    take(sign_on())
    second = index(1, 2)
    assert second.created and second != first


def test_the_arguments_of_both_calls_are_merged():
    first = render(1, [1, 2])
    again = render(1, pages=[2, 3], colour="red")
    assert again == first and arguments(first) == "document_id=1, pages=[1, 2, 3], colour='red'"
    render.enqueue_many([(1, [5]), (1, [4])])
    with captured_tasks() as tasks:
        tasks.drain()
    assert RAN == [(1, [1, 2, 3, 4, 5], "grey")]


def test_a_merge_that_fails_changes_nothing():
    def neither(old, new):
        return {"document": 1}

    def fails(old, new):
        raise Changed

    first = render(1, [1])
    with transaction.atomic():
        with pytest.raises(InvalidOptionType, match="dict with the names of parameters"):
            render.using(debounce=Debounce(5, key="document_id", merge=neither))(1, [2])
        with pytest.raises(Changed):
            render.using(debounce=Debounce(5, key="document_id", merge=fails)).enqueue_many([(2, [2]), (1, [2])])
        assert arguments(first) == "document_id=1, pages=[1]"
    assert count("autotask_task") == 1


# --- tests of a site ------------------------------------------------------------------------------------------------


def test_what_is_captured_are_the_tasks_with_their_last_arguments():
    with captured_tasks() as tasks:
        sync(7)
        sync(7)
        index(1, 1)
        index(1, 2)
        with pytest.raises(Changed), transaction.atomic():
            index(1, 3)
            raise Changed
    assert [(call.name.rpartition(".")[2], call.args) for call in tasks] == [("sync", (7,)), ("index", (1, 2))]
    tasks.run_pending()
    assert RAN == [(7, False)]
    tasks.run_pending(timedelta(seconds=10))
    assert RAN == [(7, False), (1, 2)]

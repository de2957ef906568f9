"""New tasks: inside the caller's transaction, all or none, ready or scheduled."""

from datetime import UTC, datetime, timedelta

import freezegun
import pytest
from django.db import IntegrityError, OperationalError, transaction

from autotask import bulk
from autotask.exceptions import InvalidArguments, PayloadTooLarge, UnpicklableArgument
from autotask.handle import TaskHandle
from autotask.own_worker import own
from autotask.signals import task_enqueued
from autotask.store import enqueue, hearing, many, notify
from autotask.store.connection import current, execute, rows
from autotask.task import WAITING, State, new_id
from autotask.tasks import delayed_task
from tests.integration.store.shapes import count, new_task, put, state, stored

pytestmark = pytest.mark.django_db(transaction=True)


@delayed_task(queue="mail", priority=7, retries=2, ttl=60)
def greet(name, *, greeting="Hello"):
    return f"{greeting} {name}"


@delayed_task(at_most_once=True)
def burn(bridge): ...


class Changed(Exception):
    """Somebody changed his mind."""


@pytest.fixture
def woken(monkeypatch):
    """Collect the moments at which a worker would be woken."""
    calls = []
    monkeypatch.setattr(own, "wake", lambda: calls.append(count("autotask_task")))
    return calls


@pytest.fixture
def announced():
    """Collect what the signal tells."""
    calls = []

    def receiver(sender, signal, **facts):
        calls.append(facts)

    task_enqueued.connect(receiver)
    yield calls
    task_enqueued.disconnect(receiver)


# --- one ------------------------------------------------------------------------------------------------------------


def test_a_call_is_a_row():
    # When
    handle = greet("Ann")

    # Then
    row = stored(handle.id)
    assert (row.name, row.queue, row.priority, row.retries) == (greet.name, "mail", 7, 2)
    assert (row.state, row.attempt, row.failures, row.lost) == (State.READY, 0, 0, 0)
    assert row.arguments == "name='Ann'"
    assert row.created_at <= row.run_at <= row.created_at + timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_a_moment_in_the_past_is_due_now_and_one_in_the_future_is_not(seconds):
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    row = stored(greet.using(run_after=moment)("Ann").id)
    assert row.state is (State.SCHEDULED if seconds > 0 else State.READY)
    assert row.run_at == moment


def test_a_delay_counts_from_the_call_also_in_a_long_transaction():
    with transaction.atomic():
        rows(current(), "SELECT pg_sleep(0.05)")
        row = stored(greet.using(delay=10)("Ann").id)
        ((begun,),) = rows(current(), "SELECT now()")
    assert row.run_at - row.created_at == timedelta(seconds=10)
    assert row.created_at - begun >= timedelta(seconds=0.05)


@pytest.mark.parametrize("delay", [1e-9, 0.0000004])
def test_a_delay_too_short_for_the_clock_is_none(delay):
    assert state(put(delay=delay)[0]) is State.READY


def test_arguments_that_hold_what_postgresql_cannot_store_are_shown_somehow():
    row = stored(greet("a\0b\ud800").id)
    assert "a" in row.arguments


def test_wrong_arguments_are_a_type_error_that_shows_the_signature():
    with pytest.raises(TypeError, match=r"greet\(name, \*, greeting='Hello'\): missing .*'name'. Nothing was enqueued"):
        greet()
    assert count("autotask_task") == 0


# --- expires and at_most_once ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("expires", [60, timedelta(minutes=1)])
@pytest.mark.parametrize("delay", [0, 10])
def test_seconds_to_expire_in_count_from_the_moment_when_the_task_is_due(expires, delay):
    row = stored(greet.using(expires=expires, delay=delay)("Ann").id)
    assert row.expires_at == row.run_at + timedelta(minutes=1)
    assert row.run_at - row.created_at == timedelta(seconds=delay)


def test_a_moment_to_expire_at_is_that_moment():
    moment = datetime.now(UTC) + timedelta(hours=1)
    handle = greet.using(expires=moment, delay=7200)("Ann")
    assert stored(handle.id).expires_at == moment


def test_many_tasks_expire_each_in_its_time():
    handles = greet.using(expires=60).enqueue_many([("Ann",), ("Bob",)])
    for row in (stored(handle.id) for handle in handles):
        assert row.expires_at == row.run_at + timedelta(minutes=1)


def test_without_a_word_a_task_never_expires_and_is_run_again_when_its_worker_dies():
    row = stored(greet("Ann").id)
    assert (row.expires_at, row.at_most_once) == (None, False)


def test_a_task_carries_that_it_may_run_once_only():
    assert stored(burn("x").id).at_most_once is True
    (handle,) = burn.enqueue_many([("y",)])
    assert stored(handle.id).at_most_once is True


# --- tags -----------------------------------------------------------------------------------------------------------


def test_tags_are_carried_however_a_call_is_stored():
    tagged = greet.using(tags=["billing", "eu"])
    for handle in (tagged("Ann"), *tagged.enqueue_many([("Ann",), ("Bob",)])):
        assert stored(handle.id).tags == ["billing", "eu"]


def test_kinds_with_and_without_tags_are_stored_with_one_statement():
    tasks = [new_task(tags=tags) for tags in (["a"], None, ["b", "c"])]
    many.insert_many(current(), tasks)
    assert [stored(task.id).tags for task in tasks] == [["a"], None, ["b", "c"]]


def test_a_call_without_tags_takes_no_room_for_them():
    for handle in (greet("Ann"), greet.using(tags=["eu"]).using(tags=[], delay=60)("Ann")):
        assert stored(handle.id).tags is None


def test_tags_are_kept_by_a_result_and_by_a_retry():
    handle = greet.using(tags=["eu"])("Ann")
    assert handle.cancel()
    assert (stored(handle.id).state, stored(handle.id).tags) == (State.CANCELLED, ["eu"])
    handle.retry()
    assert (stored(handle.id).state, stored(handle.id).tags) == (State.READY, ["eu"])


# --- transactions ---------------------------------------------------------------------------------------------------


def test_a_call_in_a_transaction_that_is_rolled_back_leaves_nothing(woken, announced):
    # When
    with pytest.raises(Changed), transaction.atomic():
        greet("Ann")
        greet.enqueue_many([("Bob",), ("Carl",)])
        raise Changed

    # Then
    assert count("autotask_task") == 0
    assert woken == []
    assert announced == []


def test_a_call_in_a_savepoint_that_is_rolled_back_leaves_nothing(woken):
    with transaction.atomic():
        kept = greet("Ann")
        with pytest.raises(Changed), transaction.atomic():
            greet("Bob")
            raise Changed
    assert count("autotask_task") == 1
    assert kept.status is WAITING


def test_nobody_else_sees_a_task_before_the_commit(other_connection, woken, announced):
    with transaction.atomic():
        handle = greet("Ann")
        assert rows(other_connection, "SELECT count(*) FROM autotask_live") == [(0,)]
        assert woken == []
        assert announced == []
    assert rows(other_connection, "SELECT count(*) FROM autotask_live") == [(1,)]
    assert woken == [1]
    assert announced == [{"task_id": handle.id, "name": greet.name, "queue": "mail"}]


def test_outside_of_a_transaction_a_call_is_committed_at_once(other_connection, woken):
    greet("Ann")
    assert rows(other_connection, "SELECT count(*) FROM autotask_live") == [(1,)]
    assert woken == [1]


def test_a_receiver_that_fails_harms_nobody():
    def receiver(**_):
        raise Changed

    task_enqueued.connect(receiver)
    try:
        handle = greet("Ann")
    finally:
        task_enqueued.disconnect(receiver)
    assert handle.status is WAITING


def test_a_program_that_commits_by_hand_can_call_too(other_connection):
    # Given
    connection = current()
    connection.set_autocommit(False)
    try:
        # When
        greet("Ann")
        assert rows(other_connection, "SELECT count(*) FROM autotask_live") == [(0,)]
        connection.commit()
    finally:
        connection.rollback()
        connection.set_autocommit(True)

    # Then
    assert rows(other_connection, "SELECT count(*) FROM autotask_live") == [(1,)]


# --- many -----------------------------------------------------------------------------------------------------------


def test_many_calls_are_stored_in_order_with_one_statement(django_assert_num_queries, monkeypatch):
    monkeypatch.setattr(own, "wake", lambda: None)
    with django_assert_num_queries(1):
        handles = greet.enqueue_many([("Ann",), {"name": "Bob", "greeting": "Hi"}, ("Carl",)])
    assert all(isinstance(handle, TaskHandle) for handle in handles)
    assert [stored(handle.id).arguments for handle in handles] == [
        "name='Ann'",
        "name='Bob', greeting='Hi'",
        "name='Carl'",
    ]
    assert len({handle.id for handle in handles}) == 3


def test_many_may_be_none(django_assert_num_queries, woken):
    with django_assert_num_queries(0):
        assert greet.enqueue_many([]) == []
        assert greet.enqueue_many(iter(())) == []
    assert woken == []


def test_many_may_be_very_many():
    handles = greet.using(delay=60).enqueue_many((str(number),) for number in range(3000))
    assert count("autotask_task") == len(handles) == 3000
    assert rows(current(), "SELECT DISTINCT state, queue, priority, retries, ttl FROM autotask_live") == [
        (0, "mail", 7, 2, 60.0)
    ]


@pytest.mark.parametrize(
    ("item", "error", "told"),
    [
        ("Bob", InvalidArguments, "must be a tuple of positional or a dict of keyword arguments, but is 'Bob'"),
        (["Bob"], InvalidArguments, r"but is \['Bob'\]"),
        (5, InvalidArguments, "but is 5"),
        (None, InvalidArguments, "but is None"),
        ((), TypeError, "missing a required argument: 'name'"),
        (("a", "b"), TypeError, "too many positional arguments"),
        ({"name": "Bob", "wibble": 1}, TypeError, "unexpected keyword argument 'wibble'"),
        ({5: "Bob"}, TypeError, "must be strings"),
        ((lambda: None,), UnpicklableArgument, r"The argument args\[0\] of"),
        (("x" * 1_000_000,), PayloadTooLarge, "take 1000.* bytes when pickled, more than the limit of 262144 bytes"),
    ],
    ids=lambda value: repr(value)[:25],
)
@pytest.mark.parametrize("index", [0, 1, 300])
def test_with_a_bad_item_none_is_stored_and_the_message_names_the_item(
    item, error, told, index, woken, django_assert_num_queries
):
    # Given
    items = [("Ann",)] * 301
    items[index] = item

    # When
    with django_assert_num_queries(0), pytest.raises(error, match=told) as caught:
        greet.enqueue_many(items)

    # Then
    assert str(caught.value).startswith(f"Item {index} of {greet.name}.enqueue_many()")
    assert count("autotask_task") == 0
    assert woken == []


def test_the_first_of_several_bad_items_is_named():
    with pytest.raises(UnpicklableArgument, match=r"^Item 2 of .*enqueue_many\(\): The argument greeting of"):
        greet.enqueue_many([("Ann",), ("Bob",), {"name": "Carl", "greeting": lambda: None}, 5])


def test_why_an_item_cannot_be_pickled_is_its_cause():
    with pytest.raises(UnpicklableArgument) as caught:
        greet.enqueue_many([(lambda: None,)])
    assert "pickle" in str(caught.value.__cause__)


def test_items_that_cannot_be_read_to_their_end_store_nothing():
    def items():
        yield ("Ann",)
        raise Changed

    with pytest.raises(Changed):
        greet.enqueue_many(items())
    assert count("autotask_task") == 0


@pytest.mark.parametrize("bad", [(lambda: None,), ("x" * 1_000_000,), 5], ids=["unpicklable", "large", "no tuple"])
def test_a_bad_item_in_a_transaction_spoils_only_its_own_call(bad):
    with transaction.atomic():
        kept = greet("Ann")
        with pytest.raises((TypeError, ValueError)):
            greet.enqueue_many([("Bob",), bad])
        also_kept = greet("Carl")
    assert [kept.status, also_kept.status] == [WAITING] * 2
    assert count("autotask_task") == 2


def test_when_the_database_refuses_one_none_is_stored(monkeypatch):
    # Given
    monkeypatch.setattr(bulk, "new_ids", lambda count: [new_id()] * count)

    # When
    with pytest.raises(IntegrityError):
        greet.enqueue_many([("Ann",), ("Bob",), ("Carl",)])

    # Then
    assert count("autotask_task") == 0


def test_a_single_argument_that_cannot_be_pickled_stores_nothing():
    with pytest.raises(UnpicklableArgument, match="greet"):
        greet("Ann", greeting=lambda: None)
    assert count("autotask_task") == 0


@pytest.mark.parametrize("call", [greet, greet.enqueue, greet.using(delay=60)], ids=["call", "enqueue", "later"])
def test_a_megabyte_is_refused_with_the_limit_in_the_message(call, woken, django_assert_num_queries):
    with (
        django_assert_num_queries(0),
        pytest.raises(PayloadTooLarge, match=r"take 1000\d+ bytes when pickled, more than the limit of 262144 bytes"),
    ):
        call("x" * 1_000_000)
    assert count("autotask_task") == 0
    assert woken == []


def test_many_items_may_be_larger_together_than_one_may_be_alone():
    handles = greet.using(delay=60).enqueue_many([("x" * 200_000,)] * 20)
    assert count("autotask_task") == len(handles) == 20


def test_a_call_is_one_query_whether_or_not_workers_are_told(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(own, "wake", None)
    for _ in range(2):
        monkeypatch.setattr(notify, "_last_sent", float("-inf"))
        for _ in range(2):
            with django_assert_num_queries(1):
                greet("Ada")
            with django_assert_num_queries(1):
                greet.enqueue_many([("Ada",), ("Bob",)])


@pytest.mark.parametrize("delay", [0, 60], ids=["plain", "later"])
def test_a_call_outside_a_transaction_notifies_in_its_own_statement(monkeypatch, other_connection, delay):
    # Given
    monkeypatch.setattr(own, "wake", None)
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    monkeypatch.setattr(
        notify, "_notify", lambda connection: pytest.fail("a second statement, and a second transaction")
    )
    execute(other_connection, f"LISTEN {notify.WORK_CHANNEL}")

    # When
    greet.using(delay=delay).enqueue("Ada")

    # Then
    rows(other_connection, "SELECT 1")  # Whatever has been told has arrived before the answer to this.
    assert list(hearing.heard(other_connection)) == [notify.WORK_CHANNEL]
    assert count("autotask_task") == 1


@pytest.mark.parametrize("options", [{}, {"unique_for": "waiting"}], ids=["unfinished", "waiting"])
def test_a_unique_call_outside_a_transaction_notifies_in_its_own_statement(monkeypatch, other_connection, options):
    # Given: a call to which the task of another one is returned, so that there was nothing to tell
    monkeypatch.setattr(own, "wake", None)
    unique = greet.using(unique=True, **options)
    first = unique.enqueue("Ada")
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    monkeypatch.setattr(notify, "_notify", lambda *_: pytest.fail("a second statement, and a second transaction"))
    execute(other_connection, f"LISTEN {notify.WORK_CHANNEL}")
    assert unique.enqueue("Ada").id == first.id
    rows(other_connection, "SELECT 1")
    assert not hearing.heard(other_connection)

    # When
    unique.enqueue("Bob")

    # Then
    rows(other_connection, "SELECT 1")  # Whatever has been told has arrived before the answer to this.
    assert list(hearing.heard(other_connection)) == [notify.WORK_CHANNEL]


def test_a_call_that_replaces_the_one_that_waits_wakes_workers(woken):
    unique = greet.using(unique=lambda *_, **__: 1, on_conflict="replace")
    first = unique.using(delay=60).enqueue("Ada")
    del woken[:]
    assert unique.enqueue("Bob").id == first.id
    assert len(woken) == 1


def test_a_clock_that_was_in_the_future_keeps_nobody_from_notifying(monkeypatch, other_connection):
    # Given
    monkeypatch.setattr(own, "wake", None)
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    with freezegun.freeze_time("2050-01-01"):
        greet("Ada")
    execute(other_connection, f"LISTEN {notify.WORK_CHANNEL}")

    # When
    greet("Ada")

    # Then
    rows(other_connection, "SELECT 1")
    assert list(hearing.heard(other_connection)) == [notify.WORK_CHANNEL]


def test_a_call_inside_a_transaction_notifies_after_the_commit_only(monkeypatch, other_connection):
    # Given
    monkeypatch.setattr(own, "wake", None)
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    execute(other_connection, f"LISTEN {notify.WORK_CHANNEL}")
    statements = []

    def note(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    # When
    with transaction.atomic(), current().execute_wrapper(note):
        greet("Ada")

    # Then
    assert not [sql for sql in statements if "notify" in sql.lower()]
    rows(other_connection, "SELECT 1")
    assert list(hearing.heard(other_connection)) == [notify.WORK_CHANNEL]


def test_a_call_is_stored_without_telling_anybody_where_the_queue_of_notifications_is_full(monkeypatch):
    class Full(OperationalError):
        sqlstate = pgcode = "54000"

    # Given
    monkeypatch.setattr(own, "wake", None)
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    insert = enqueue.execute

    def full(connection, sql, params):
        if "pg_notify" in sql:
            raise Full("too many notifications in the NOTIFY queue") from Full()
        return insert(connection, sql, params)

    monkeypatch.setattr(enqueue, "execute", full)

    # When
    greet("Ada")

    # Then
    assert count("autotask_task") == 1

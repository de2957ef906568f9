"""Very many calls at once: by COPY, part by part, in one transaction."""

import contextlib
import gc
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from django.test.utils import CaptureQueriesContext

from autotask import bulk, garbage
from autotask.exceptions import UnsuitableKey
from autotask.own_worker import own
from autotask.payload import load_arguments
from autotask.signals import task_enqueued
from autotask.store import many
from autotask.store.connection import current, execute, rows
from autotask.store.enqueue import STATED
from autotask.task import WAITING
from autotask.tasks import Debounce, delayed_task
from tests.integration.store.shapes import count, new_task, stored

pytestmark = pytest.mark.django_db(transaction=True)


@delayed_task(queue="mail", priority=7, retries=2, ttl=60)
def greet(name, *, greeting="Hello"):
    return f"{greeting} {name}"


def of_a_bulk(monkeypatch, part=10_000):
    """Let a few calls be stored as very many are."""
    monkeypatch.setattr(many, "MANY_ENOUGH", 2)
    monkeypatch.setattr(bulk, "PART", part)


EVERYTHING = {
    "plain": {},
    "later": {"delay": 60},
    "at a moment": {"run_after": datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)},
    "at a moment that is over": {"run_after": datetime(2020, 1, 1, tzinfo=UTC)},
    "expires": {"expires": 60, "delay": 5},
    "expires at a moment": {"expires": datetime(2200, 1, 1, tzinfo=UTC)},
    "tags": {"tags": ["billing", "ä"], "timeout": 5.5, "ttl": 0, "priority": -3, "retries": 9, "queue": "ü"},
}


ITEMS = [("Ann",), {"name": "Bob", "greeting": "Hi"}, ('ö "\\ \t \0 \ud800 {}',), ([1, "x"],)]

#: A row, without what is its own; its moments as seconds from the call.
ROW = """
SELECT to_jsonb(t) - '{id,payload,created_at,run_at,ready_at,expires_at}'::text[], ready_at IS NOT NULL,
       ARRAY[extract(epoch FROM run_at - created_at), extract(epoch FROM expires_at - created_at)]::float8[], payload
FROM autotask_live t WHERE id = %(id)s
"""


@pytest.mark.parametrize("options", EVERYTHING.values(), ids=EVERYTHING)
def test_very_many_calls_have_the_same_rows_as_few(options, monkeypatch):
    # Given
    task = greet.using(**options)
    few = [row_of(handle) for handle in task.enqueue_many(ITEMS)]

    # When
    of_a_bulk(monkeypatch)
    with CaptureQueriesContext(current()) as captured:
        handles = task.enqueue_many(ITEMS)

    # Then
    assert any(query["sql"].startswith("COPY autotask_task") for query in captured)
    for handle, item, (facts, is_ready, seconds, _) in zip(handles, ITEMS, few, strict=True):
        *others, payload = row_of(handle)
        assert handle.created is True
        assert others == [facts, is_ready, [second and pytest.approx(second, abs=60) for second in seconds]]
        args = (item, {}) if isinstance(item, tuple) else ((), item)
        assert load_arguments(payload, id=handle.id, name=task.name) == args


def test_of_very_many_calls_the_server_reads_no_column_in_which_all_have_the_default(monkeypatch):
    of_a_bulk(monkeypatch)
    with CaptureQueriesContext(current()) as captured:
        greet.using(timeout=5.5).enqueue_many(ITEMS)
    (sql,) = (query["sql"] for query in captured if query["sql"].startswith("COPY autotask_task"))
    assert "timeout" in sql
    assert not [name for name in ("executor", "tags", "metadata", "expires_at") if name in sql]


def row_of(handle):
    ((facts, *others),) = rows(current(), ROW, {"id": str(handle.id)})
    return [facts if isinstance(facts, dict) else json.loads(facts), *others]


def test_very_many_calls_are_ready_in_their_order(monkeypatch):
    of_a_bulk(monkeypatch, part=10)
    handles = greet.enqueue_many([(str(n),) for n in range(35)])
    by_ready = rows(current(), "SELECT arguments, id FROM autotask_live ORDER BY ready_at")
    assert [arguments for arguments, _ in by_ready] == [f"name='{n}'" for n in range(35)]
    assert [id for _, id in by_ready] == [handle.id for handle in handles] == sorted(handle.id for handle in handles)
    assert rows(current(), "SELECT count(DISTINCT ready_at), min(ready_at) >= min(run_at) FROM autotask_live") == [
        (35, True)
    ]


def test_parts_are_stored_in_one_transaction(monkeypatch):
    # Given
    of_a_bulk(monkeypatch, part=10)
    woken, told = [], []
    monkeypatch.setattr(own, "wake", lambda: woken.append(count("autotask_task")))

    def receiver(sender, signal, task_id, **_):
        told.append(task_id)

    task_enqueued.connect(receiver)

    # When
    try:
        handles = greet.enqueue_many((str(n),) for n in range(35))
    finally:
        task_enqueued.disconnect(receiver)

    # Then
    assert count("autotask_task") == 35
    assert told == [handle.id for handle in handles]
    assert set(woken) == {35}, "only after the commit of all"


@pytest.mark.parametrize(
    "bad", [5, ("a", "b"), (lambda: None,), ("x" * 1_000_000,)], ids=["int", "two", "unpicklable", "large"]
)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_bad_item_of_a_later_part_undoes_the_earlier_ones(bad, in_transaction, monkeypatch):
    of_a_bulk(monkeypatch, part=10)
    with transaction.atomic() if in_transaction else contextlib.nullcontext():
        kept = greet("Ann")
        with pytest.raises((TypeError, ValueError), match=r"^Item 33 of .*enqueue_many\(\)"):
            greet.enqueue_many(bad if n == 33 else (str(n),) for n in range(40))
        also_kept = greet("Carl")
    assert [kept.status, also_kept.status] == [WAITING] * 2
    assert count("autotask_task") == 2


def test_items_may_come_from_the_same_connection(monkeypatch):
    # Given
    of_a_bulk(monkeypatch, part=10)
    first = greet("first")

    def items():
        for n in range(35):
            yield (f"{n} after {stored(first.id).arguments}",)

    # When
    handles = greet.enqueue_many(items())

    # Then
    assert "34 after" in stored(handles[34].id).arguments


def test_calls_that_items_make_themselves_have_smaller_ids(monkeypatch):
    of_a_bulk(monkeypatch, part=10)
    monkeypatch.setattr(bulk, "_READ", 1)
    inner = []

    def items():
        for n in range(15):
            inner.append(greet(f"inner {n}"))
            yield (f"outer {n}",)

    outer = greet.enqueue_many(items())
    assert all(one.id < other.id for one, other in zip(inner, outer, strict=True))
    assert count("autotask_task") == 30


def test_when_the_database_refuses_one_of_a_bulk_none_is_stored(monkeypatch):
    of_a_bulk(monkeypatch)
    tasks = [new_task() for _ in range(9)]
    with pytest.raises(IntegrityError):
        many.insert_many(current(), [*tasks, tasks[0]])
    assert count("autotask_task") == 0


@pytest.fixture
def ready_table_refuses():
    """The second of the two tables refuses its rows."""
    execute(current(), "ALTER TABLE autotask_ready ADD CONSTRAINT refuses CHECK (false) NOT VALID")
    yield
    execute(current(), "ALTER TABLE autotask_ready DROP CONSTRAINT refuses")


@pytest.mark.parametrize("task", [greet, greet.using(unique="name")], ids=["plain", "unique"])
def test_when_the_second_table_refuses_its_rows_none_is_stored(task, ready_table_refuses, monkeypatch):
    of_a_bulk(monkeypatch)
    with pytest.raises(IntegrityError, match="refuses"):
        task.enqueue_many([("Ann",), ("Bob",)])
    assert count("autotask_task") == 0


def test_few_items_of_very_many_bytes_need_no_long_statement(monkeypatch):
    monkeypatch.setattr(many, "LARGEST_STATEMENT", 100_000)
    with CaptureQueriesContext(current()) as captured:
        handles = greet.enqueue_many([("x" * 30_000,)] * 10)
    assert [stored(handle.id).id for handle in handles] == [handle.id for handle in handles]
    assert max(len(query["sql"]) for query in captured) < 1000


def test_a_million_bytes_of_arguments_are_read_by_the_driver_in_pieces(monkeypatch):
    of_a_bulk(monkeypatch)
    handles = greet.enqueue_many((letter * 200_000,) for letter in "abcdefgh")
    ((payload,),) = rows(current(), "SELECT payload FROM autotask_live WHERE id = %(id)s", {"id": str(handles[7].id)})
    assert load_arguments(payload, id=handles[7].id, name=greet.name) == (("h" * 200_000,), {})


def test_each_column_of_a_kind_can_be_copied():
    assert {how.type for how in STATED.values()} <= many.WRITTEN.keys()


@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
def test_unique_calls_stay_one_transaction_in_the_order_of_their_keys(make, monkeypatch):
    of_a_bulk(monkeypatch, part=10)
    handles = greet.using(unique="name").enqueue_many(make([(str(n % 15),) for n in range(30)]))
    assert [handle.created for handle in handles] == [True] * 15 + [False] * 15
    assert [handle.id for handle in handles[15:]] == [handle.id for handle in handles[:15]]


UNIQUE = {
    "unique": {"unique": "name"},
    "later": {"unique": "name", "delay": 60},
    "until it is claimed": {"unique": True, "unique_for": "waiting"},
    "debounced": {"debounce": Debounce(60, key="name")},
}


@pytest.mark.parametrize("options", UNIQUE.values(), ids=UNIQUE)
def test_very_many_unique_calls_have_the_same_rows_as_few(options, monkeypatch):
    # Given
    task = greet.using(**options)
    names = ["b", 'ö "\\ \t', "a", 10**40, 3, True]
    few = [both_rows_of(handle) for handle in task.enqueue_many([(name,) for name in names])]
    execute(current(), "TRUNCATE autotask_task, autotask_ready")

    # When
    of_a_bulk(monkeypatch)
    with CaptureQueriesContext(current()) as captured:
        handles = task.enqueue_many([(name,) for name in names])

    # Then
    assert any(query["sql"].startswith("COPY autotask_task") for query in captured)
    assert [handle.created for handle in handles] == [True] * len(names)
    assert [both_rows_of(handle) for handle in handles] == few
    assert [row for (row,) in rows(current(), "SELECT id FROM autotask_ready ORDER BY ready_at")] in (
        [],
        [handle.id for handle in handles],
    )


def both_rows_of(handle):
    """What there is of a task, without its moments."""
    facts, is_ready, *_ = row_of(handle)
    ready = rows(
        current(), "SELECT queue, priority, suspect, resets FROM autotask_ready WHERE id = %s", [str(handle.id)]
    )
    return facts, is_ready, ready


def test_of_very_many_unique_calls_those_whose_keys_are_taken_get_the_tasks_that_have_them(monkeypatch):
    of_a_bulk(monkeypatch)
    task = greet.using(unique="name")
    there = task("d")
    handles = task.enqueue_many([(name,) for name in "edcba"])
    assert [handle.created for handle in handles] == [True, False, True, True, True]
    assert handles[1].id == there.id
    again = task.enqueue_many([(name,) for name in "abcde"])
    assert [(handle.id, handle.created) for handle in again] == [(handle.id, False) for handle in reversed(handles)]
    assert count("autotask_task") == count("autotask_ready") == 5


def test_with_unsuitable_values_the_message_of_very_many_unique_calls_has_the_place(monkeypatch):
    of_a_bulk(monkeypatch)
    with pytest.raises(UnsuitableKey, match=r"^Item 2 of .*enqueue_many\(\): .*a value of type complex"):
        greet.using(unique="name").enqueue_many([("a",), ("b",), (1j,)])


@pytest.fixture
def under_row_level_security():
    """The connection has a role to which row-level security applies."""
    role = f"tenant_{uuid.uuid4().hex}"
    execute(current(), f"CREATE ROLE {role}")
    execute(current(), f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    execute(current(), "ALTER TABLE autotask_task ENABLE ROW LEVEL SECURITY")
    execute(current(), "CREATE POLICY all_rows ON autotask_task USING (true)")
    execute(current(), f"SET ROLE {role}")
    yield
    execute(current(), "RESET ROLE")
    execute(current(), "DROP POLICY all_rows ON autotask_task")
    execute(current(), "ALTER TABLE autotask_task DISABLE ROW LEVEL SECURITY")
    execute(current(), f"DROP OWNED BY {role}")
    execute(current(), f"DROP ROLE {role}")


def test_under_row_level_security_very_many_calls_are_inserted(under_row_level_security, monkeypatch):
    monkeypatch.setattr(many, "MANY_ENOUGH", 2)
    many.insert_many(current(), [new_task(), new_task(), new_task()])
    assert count("autotask_task") == 3


def test_under_row_level_security_very_many_unique_calls_are_inserted(under_row_level_security, monkeypatch):
    monkeypatch.setattr(many, "MANY_ENOUGH", 2)
    assert all(handle.created for handle in greet.using(unique="name").enqueue_many([("Ann",), ("Bob",)]))


def test_while_very_many_calls_are_stored_python_seldom_searches_for_garbage(db, monkeypatch):
    monkeypatch.setattr(bulk, "PART", 2)
    before, during = gc.get_threshold(), []

    def items():
        for name in ("Ann", "Bob", "Cid", "Dan", "Eve"):
            during.append((gc.isenabled(), gc.get_threshold()[0]))
            yield (name,)

    monkeypatch.setattr(bulk, "_READ", 1)
    monkeypatch.setattr(bulk, "_READ_IF_SMALL", 1)
    assert len(greet.enqueue_many(items())) == 5
    assert all(enabled for enabled, _ in during)
    assert during[-1][1] == garbage.SELDOM
    assert gc.get_threshold() == before


def test_after_a_bulk_that_fails_python_searches_for_garbage_as_before(db, monkeypatch):
    monkeypatch.setattr(bulk, "PART", 1)
    before = gc.get_threshold()
    with pytest.raises(TypeError):
        greet.enqueue_many([("Ann",), ("Bob",), ("Cid", "too many", "names")])
    assert gc.get_threshold() == before
    assert gc.isenabled()

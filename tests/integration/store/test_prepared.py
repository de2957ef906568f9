"""Statements that come often on a connection are planned once."""

import contextlib
import os
import threading
import uuid
from zoneinfo import ZoneInfo

import pytest
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.models import Task
from autotask.store import claim, enqueue, prepared
from autotask.store.claim import BoundedLane, Lane
from autotask.store.connection import current, dedicated, execute, rows
from autotask.store.prepared import (
    bare_rows,
    bare_rows_for_caller,
    bound_rows_for_caller,
    prepared_ahead,
    prepared_rows,
    rows_for_caller,
)
from tests.helpers import wait_until
from tests.integration.store.shapes import new_task, put, sign_on

pytestmark = pytest.mark.django_db(transaction=True)

#: The columns that differ between two calls.
OF_A_CALL = ("id", "payload", "created_at", "run_at", "ready_at")

ASK = "SELECT %(number)s::bigint, %(texts)s::text[], %(number)s::bigint"


@pytest.fixture
def own():
    """A connection as a worker has it."""
    connection = dedicated("tests")
    yield connection
    connection.close()


def names(connection):
    return {name for (name,) in rows(connection, "SELECT name FROM pg_prepared_statements")}


def test_what_comes_often_is_prepared_and_gives_the_same_rows(own):
    asked = [{"number": number, "texts": [f"it's {number}", None, "100 %"]} for number in range(prepared.OFTEN + 2)]
    answers = [prepared_rows(own.wrapper, ASK, params) for params in asked]
    assert answers == [[(one["number"], one["texts"], one["number"])] for one in asked]
    assert len(names(own.wrapper)) == 1


def test_what_comes_seldom_is_not_prepared(own):
    for _ in range(prepared.OFTEN - 1):
        prepared_rows(own.wrapper, "SELECT 1")
    assert names(own.wrapper) == set()


def test_a_small_claim_is_not_planned_again_each_time(own):
    # Given: of ten lanes in an array PostgreSQL would expect more rows than it finds, and make a plan for each array
    worker = sign_on()
    put(count=60)
    lanes = [BoundedLane(Lane("default", 0), None)]

    # When
    claims = [claim.claim(own.wrapper, worker, lanes, per_lane=5, limit=5) for _ in range(12)]

    # Then
    assert [len(tasks) for tasks in claims] == [5] * 12
    planned = rows(own.wrapper, "SELECT generic_plans, custom_plans FROM pg_prepared_statements")
    assert planned == [(12 - prepared.OFTEN + 1, 0)]


def test_a_claim_that_was_planned_when_there_were_no_tasks_does_not_read_all_of_them(own):
    # Given: tables that PostgreSQL has found empty
    worker = sign_on()
    for table in ("autotask_task", "autotask_ready"):
        execute(current(), f"VACUUM ANALYZE {table}")
    lanes = [BoundedLane(Lane("default", 0), None)]
    for _ in range(prepared.OFTEN):
        assert claim.claim(own.wrapper, worker, lanes, per_lane=5, limit=5) == []
    put(count=300)

    # When
    execute(own.wrapper, "BEGIN")
    tasks = claim.claim(own.wrapper, worker, lanes, per_lane=50, limit=50)

    # Then
    whole = "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_tup_read > 0 AND relname LIKE 'autotask%'"
    assert (len(tasks), rows(own.wrapper, whole)) == (50, [])
    execute(own.wrapper, "COMMIT")


def test_nothing_is_prepared_on_the_connections_of_the_application():
    for _ in range(2 * prepared.OFTEN):
        assert prepared_rows(current(), "SELECT 1") == [(1,)]
    assert names(current()) == set()


def test_the_one_that_was_not_used_for_longest_makes_room(own):
    # Given
    for number in range(prepared.MOST):
        for _ in range(prepared.OFTEN):
            prepared_rows(own.wrapper, f"SELECT {number}")
    before = names(own.wrapper)
    prepared_rows(own.wrapper, "SELECT 0")

    # When
    for _ in range(prepared.OFTEN):
        prepared_rows(own.wrapper, "SELECT 'one more'")

    # Then
    assert len(names(own.wrapper)) == prepared.MOST
    assert len(before - names(own.wrapper)) == 1
    assert [prepared_rows(own.wrapper, f"SELECT {number}") for number in (0, 1)] == [[(0,)], [(1,)]]


def test_a_new_connection_begins_anew(own):
    # Given
    for _ in range(prepared.OFTEN):
        prepared_rows(own.wrapper, "SELECT 1")
    own.close()

    # When, then
    assert prepared_rows(own.wrapper, "SELECT 1") == [(1,)]
    assert names(own.wrapper) == set()


def test_a_prepared_claim_takes_what_one_that_is_not_prepared_takes(own):
    # Given
    worker, lanes = sign_on(), [BoundedLane(Lane("default", 5), None), BoundedLane(Lane("default", 0), None)]
    low, high = put(6), put(2, priority=5)

    # When
    taken = [claim.claim(own.wrapper, worker, lanes, per_lane=1, limit=1) for _ in range(9)]

    # Then
    assert [task.id for tasks in taken for task in tasks] == [*high, *low]
    assert len(names(own.wrapper)) == 1


def test_where_the_application_binds_in_the_server_a_worker_does_not():
    # Given
    current().settings_dict["OPTIONS"]["server_side_binding"] = True
    try:
        connection = dedicated("tests")
    finally:
        del current().settings_dict["OPTIONS"]["server_side_binding"]

    # When, then
    params = {"number": 1, "texts": ["a"]}
    answers = [prepared_rows(connection.wrapper, ASK, params) for _ in range(prepared.OFTEN + 1)]
    connection.close()
    assert answers == [[(1, ["a"], 1)]] * len(answers)


def test_after_a_change_of_a_table_a_prepared_statement_is_planned_anew(own):
    # Given
    execute(current(), "CREATE TABLE changing (number int)")
    try:
        for _ in range(prepared.OFTEN):
            prepared_rows(own.wrapper, "SELECT number FROM changing")

        # When
        execute(current(), "ALTER TABLE changing ADD COLUMN other int")

        # Then
        assert prepared_rows(own.wrapper, "SELECT number FROM changing") == []
    finally:
        execute(current(), "DROP TABLE changing")


def test_a_worker_goes_on_when_the_columns_of_a_prepared_statement_have_another_type(own):
    # Given
    execute(current(), "CREATE TABLE changing (number int)")
    try:
        for _ in range(prepared.OFTEN):
            prepared_rows(own.wrapper, "SELECT number FROM changing")

        # When
        execute(current(), "ALTER TABLE changing ALTER COLUMN number TYPE bigint")

        # Then
        for _ in range(prepared.OFTEN + 1):
            assert prepared_rows(own.wrapper, "SELECT number FROM changing") == []
    finally:
        execute(current(), "DROP TABLE changing")


def test_a_worker_goes_on_when_what_it_has_prepared_is_gone(own):
    # Given
    asked = {"number": 1, "texts": []}
    for _ in range(prepared.OFTEN):
        prepared_rows(own.wrapper, ASK, asked)

    # When
    execute(own.wrapper, "DEALLOCATE ALL")

    # Then
    assert [prepared_rows(own.wrapper, ASK, asked) for _ in range(4)] == [[(1, [], 1)]] * 4
    assert len(names(own.wrapper)) == 1


def test_a_doubled_per_cent_sign_is_one_whether_a_statement_is_prepared_or_not(own):
    asked = [prepared_rows(own.wrapper, "SELECT 7 %% %(n)s::int, '%%'", {"n": 4}) for _ in range(prepared.OFTEN + 1)]
    assert asked == [[(3, "%")]] * len(asked)


@pytest.fixture
def caller():
    """A connection of the application, as it was opened."""
    connection = current()
    connection.close()
    yield connection
    connection.close()


def ask_often(caller):
    params = {"number": 1, "texts": ["100 %"]}
    answers = [rows_for_caller(caller, ASK, params) for _ in range(prepared.OFTEN + 1)]
    assert answers == [[(1, ["100 %"], 1)]] * len(answers)


def test_a_caller_may_have_what_comes_often_prepared(caller):
    ask_often(caller)
    assert len(names(caller)) == 1


@pytest.mark.parametrize("run", [prepared_rows, bare_rows])
def test_the_watch_sees_each_statement_that_waits(caller, run):
    ask, params, seen = "SELECT pg_advisory_lock(%(number)s::bigint)::text", {"number": 7}, []
    with contextlib.closing(dedicated("tests", lock_timeout=60)) as own:
        [(pid,)] = rows(own.wrapper, "SELECT pg_backend_pid()")
        waits = f"SELECT FROM pg_locks WHERE pid = {pid} AND NOT granted"
        for _ in range(prepared.OFTEN + 1):
            # Given a statement that waits for a lock
            execute(caller, "SELECT pg_advisory_lock(7)")
            asking = threading.Thread(target=run, args=(own.wrapper, ask, params))
            asking.start()
            wait_until(lambda: rows(caller, waits), what="a statement that waits")

            # When
            seen.append(own.asked_at is not None)

            # Then
            execute(caller, "SELECT pg_advisory_unlock(7)")
            asking.join()
            rows(own.wrapper, "SELECT pg_advisory_unlock(7)")
        assert seen == [True] * (prepared.OFTEN + 1) and own.asked_at is None


def test_a_caller_whose_connection_is_opened_anew_begins_anew(caller):
    # Given
    ask_often(caller)

    # When
    caller.close()
    rows_for_caller(caller, ASK, {"number": 1, "texts": []})

    # Then
    assert names(caller) == set()


def test_what_a_caller_has_prepared_may_be_discarded(caller):
    # Given
    ask_often(caller)

    # When
    execute(caller, "DISCARD ALL")

    # Then
    ask_often(caller)
    assert len(names(caller)) == 1


def test_what_a_caller_has_discarded_need_not_make_room_for_others(caller):
    # Given a caller that has prepared as much as may be
    for number in range(prepared.MOST):
        for _ in range(prepared.OFTEN):
            rows_for_caller(caller, f"SELECT {number}")

    # When
    execute(caller, "DISCARD ALL")

    # Then
    for _ in range(prepared.OFTEN + 1):
        assert rows_for_caller(caller, "SELECT 'one more'") == [("one more",)]
    assert len(names(caller)) == 1


def test_what_a_caller_has_prepared_may_change_its_columns(caller):
    # Given
    execute(caller, "CREATE TABLE changing (number int)")
    try:
        for _ in range(prepared.OFTEN):
            rows_for_caller(caller, "SELECT * FROM changing")

        # When
        execute(caller, "ALTER TABLE changing ALTER COLUMN number TYPE text")
        execute(caller, "INSERT INTO changing VALUES ('one')")

        # Then
        for _ in range(prepared.OFTEN + 1):
            assert rows_for_caller(caller, "SELECT * FROM changing") == [("one",)]
    finally:
        execute(caller, "DROP TABLE changing")


def test_inside_a_transaction_a_caller_prepares_nothing(caller):
    with transaction.atomic():
        ask_often(caller)
        assert names(caller) == set()


def test_a_call_that_comes_often_is_prepared_and_stored_as_in_a_transaction(caller):
    # When
    calls = [new_task() for _ in range(2 * prepared.OFTEN)]
    for call in calls[1:]:
        enqueue.insert(caller, call)
    with transaction.atomic():
        enqueue.insert(caller, calls[0])

    # Then
    assert len(names(caller)) == 1
    ready = {id for (id,) in rows(caller, "SELECT id FROM autotask_ready")}
    assert ready == {call.id for call in calls}
    columns = ", ".join(field.column for field in Task._meta.fields if field.column not in OF_A_CALL)
    assert len(rows(caller, f"SELECT DISTINCT {columns} FROM autotask_task")) == 1


def test_behind_a_pooler_a_caller_prepares_nothing(caller, monkeypatch):
    # Given
    rows(caller, "SELECT 1")
    monkeypatch.setattr("autotask.store.prepared.driver_process_id", lambda connection: -1)

    # When
    ask_often(caller)

    # Then
    assert names(caller) == set()


def test_where_the_server_binds_a_caller_prepares_nothing(caller):
    caller.settings_dict["OPTIONS"]["server_side_binding"] = True
    try:
        ask_often(caller)
        assert names(caller) == set()
    finally:
        del caller.settings_dict["OPTIONS"]["server_side_binding"]
        caller.close()


SAID = (
    "SELECT %(words)s::text, %(value)s::bytea, %(number)s::bigint, %(seconds)s::float8, %(id)s::uuid, %(nothing)s::text"
)


def said(**changes):
    """Return arguments of every type that can be bound."""
    some = {
        "words": "it's ü %s",
        "value": b"\0\xff",
        "number": -7,
        "seconds": 0.1,
        "id": uuid.UUID(int=5),
        "nothing": None,
    }
    return some | changes


def kept(connection, params, *, run=rows_for_caller):
    """Run a statement often, and return what arrived at the server each time, as texts."""
    sql = f"SELECT row_to_json(said)::text FROM ({SAID}) AS said (words, value, number, seconds, id, nothing)"
    found = [run(connection, sql, params) for _ in range(prepared.OFTEN + 2)]
    texts = [value.decode() if isinstance(value, bytes) else value for ((value,),) in found]
    return texts


@pytest.mark.parametrize("params", [said(), said(words=""), said(words=None), said(number=2**40), said(seconds=1e-300)])
def test_bound_arguments_arrive_as_literals_do(own, caller, params):
    literal = kept(own.wrapper, params, run=prepared_rows)
    assert (
        set(literal)
        == set(kept(caller, params, run=bare_rows_for_caller))
        == set(kept(own.wrapper, params, run=bare_rows))
    )
    assert len(set(literal)) == 1


def test_rows_with_bound_arguments_are_those_of_a_cursor_of_django(caller):
    # Given a value of each type that a row of a model may have
    sql = """SELECT %(number)s::bigint, 1.50::numeric, 'ü'::text, '{"a": [1, null]}'::jsonb, '\\x00ff'::bytea, true, NULL,
        '2026-03-29 02:30:00+02'::timestamptz, '2026-03-29'::date, '01:02:03'::time, '1 day 2 s'::interval,
        '00000000-0000-0000-0000-000000000005'::uuid, ARRAY['a', NULL], '10.0.0.1'::inet, 0.1::float8, int4range(1, 5)"""
    params = {"number": 2**40}

    # When
    found = [bound_rows_for_caller(caller, sql, params) for _ in range(prepared.OFTEN + 2)]

    # Then
    expected = rows(caller, sql, params)
    assert found == [expected] * len(found)
    types = [[type(value) for value in row] for row in expected]
    assert [[type(value) for value in row] for row in found[-1]] == types


@pytest.mark.parametrize("zone", ["Europe/Berlin", None])
def test_bound_rows_have_the_times_of_a_connection_whose_zone_has_changed(caller, monkeypatch, zone):
    # Given
    params = {"number": 1}
    sql = "SELECT %(number)s::int, '2026-07-01 12:00:00+00'::timestamptz"
    for _ in range(prepared.OFTEN + 1):
        bound_rows_for_caller(caller, sql, params)

    # When
    monkeypatch.setitem(vars(caller), "timezone", zone and ZoneInfo(zone))

    # Then
    found, expected = bound_rows_for_caller(caller, sql, params), rows(caller, sql, params)
    assert found == expected
    assert found[0][1].tzinfo == expected[0][1].tzinfo


def test_bare_rows_that_have_numbers_are_read_by_int(own):
    found = [bare_rows(own.wrapper, "SELECT %(number)s::bigint, 2", {"number": 1}) for _ in range(prepared.OFTEN + 1)]
    assert [[int(value) for value in row] for (row,) in found] == [[1, 2]] * len(found)


#: A statement whose only argument is bound by psycopg 3.
BINDABLE = "SELECT %(number)s::bigint"


def test_who_wraps_statements_sees_those_with_bound_arguments(caller):
    # Given
    seen = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    for _ in range(prepared.OFTEN + 1):
        bare_rows_for_caller(caller, BINDABLE, {"number": 1})

    # When
    with caller.execute_wrapper(note):
        bare_rows_for_caller(caller, BINDABLE, {"number": 1})

    # Then
    assert len(seen) == 1


@pytest.mark.parametrize("method", ["cursor", "_cursor", "create_cursor"])
def test_a_backend_that_does_something_for_each_cursor_sees_those_with_bound_arguments(caller, monkeypatch, method):
    # Given one that says where the tables are, as the backend of django-tenants does
    seen = []
    plain = getattr(type(caller), method)

    def note(self, *args, **kwargs):
        seen.append(method)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(caller, "__class__", type("DatabaseWrapper", (type(caller),), {method: note}))
    for _ in range(prepared.OFTEN + 1):
        bare_rows_for_caller(caller, BINDABLE, {"number": 1})
    seen.clear()

    # When
    bare_rows_for_caller(caller, BINDABLE, {"number": 1})

    # Then
    assert seen


def test_the_proxy_of_the_default_connection_serves_as_well():
    found = [bare_rows_for_caller(connection, BINDABLE, {"number": 1}) for _ in range(prepared.OFTEN + 2)]
    assert [int(number) for ((number,),) in found] == [1] * len(found)


def test_an_argument_that_cannot_be_bound_is_written_as_a_literal(own):
    found = [bare_rows(own.wrapper, ASK, {"number": 1, "texts": ["a", "b"]}) for _ in range(prepared.OFTEN + 1)]
    assert found == [[(1, ["a", "b"], 1)]] * len(found)


def test_a_text_that_the_server_cannot_store_is_refused_and_not_cut_off(own):
    for _ in range(prepared.OFTEN + 1):
        bare_rows(own.wrapper, "SELECT length(%(words)s::text)", {"words": "before"})
    with pytest.raises((ValueError, DatabaseError)):
        bare_rows(own.wrapper, "SELECT length(%(words)s::text)", {"words": "before\0after"})


def test_a_statement_with_bound_arguments_that_fails_raises_what_django_raises(caller):
    # Given
    sql = "SELECT 1 / %(number)s::int"
    for _ in range(prepared.OFTEN + 1):
        bare_rows_for_caller(caller, sql, {"number": 1})

    # When, then
    with pytest.raises(DatabaseError, match="division by zero"):
        bare_rows_for_caller(caller, sql, {"number": 0})
    assert len(bare_rows_for_caller(caller, sql, {"number": 1})) == 1


def test_a_statement_with_bound_arguments_whose_commit_fails_raises_what_django_raises(caller):
    # Given
    execute(caller, "CREATE TEMPORARY TABLE late (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    sql = "INSERT INTO late VALUES (%(number)s::int) RETURNING number"
    for number in range(prepared.OFTEN + 1):
        bare_rows_for_caller(caller, sql, {"number": number})

    # When, then: the rows come before the error
    with pytest.raises(IntegrityError, match="late_number_key"):
        bare_rows_for_caller(caller, sql, {"number": 0})
    assert len(bare_rows_for_caller(caller, sql, {"number": number + 1})) == 1


def test_on_a_closed_connection_a_statement_raises_what_django_raises(own):
    # Given
    connection = own.wrapper
    for _ in range(prepared.OFTEN + 1):
        bare_rows(connection, "SELECT %(number)s::int", {"number": 1})

    # When
    connection.connection.close()

    # Then
    with pytest.raises((OperationalError, InterfaceError)):
        bare_rows(connection, "SELECT %(number)s::int", {"number": 1})


def test_what_was_prepared_and_is_gone_is_run_with_literals(caller):
    # Given
    for _ in range(prepared.OFTEN + 1):
        bare_rows_for_caller(caller, "SELECT %(number)s::int", {"number": 1})

    # When
    execute(caller, "DISCARD ALL")

    # Then
    found = [bare_rows_for_caller(caller, "SELECT %(number)s::int", {"number": n}) for n in range(prepared.OFTEN + 2)]
    assert [int(value) for ((value,),) in found] == list(range(len(found)))


@pytest.mark.skipif(not is_psycopg3, reason="only psycopg 3 can send ahead")
def test_a_statement_is_sent_ahead_whatever_the_number_of_the_descriptor_is(own):
    # Given a worker with more than a thousand descriptors, and so much to send that the socket is full meanwhile
    said = {"number": 7, "texts": ["a" * 10_000_000]}
    with contextlib.ExitStack() as opened:
        for _ in range(1024):
            opened.enter_context(open(os.devnull))
        for _ in range(prepared.OFTEN):
            prepared_rows(own.wrapper, ASK, {**said, "texts": []})

    # When
    ahead = prepared_ahead(own.wrapper, ASK, said)
    ahead.send()

    # Then
    assert ahead.answer() == 7


@pytest.mark.skipif(not is_psycopg3, reason="only psycopg 3 can send ahead")
def test_a_statement_that_is_sent_ahead_and_whose_commit_fails_raises_what_django_raises(own):
    # Given
    execute(own.wrapper, "CREATE TEMPORARY TABLE late (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    sql = "INSERT INTO late VALUES (%(number)s::int) RETURNING number"
    for number in range(prepared.OFTEN):
        prepared_rows(own.wrapper, sql, {"number": number})

    # When
    ahead = prepared_ahead(own.wrapper, sql, {"number": 0})
    ahead.send()

    # Then
    with pytest.raises(IntegrityError, match="late_number_key"):
        ahead.answer()

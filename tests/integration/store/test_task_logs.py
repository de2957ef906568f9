"""Pieces of log lines: which of them are read for a task, and what of them."""

import uuid

import pytest

from autotask.store import task_logs
from autotask.store.connection import current, execute, rows
from autotask.store.task_logs import NewPiece, marked
from autotask.task import new_ids
from tests.integration.store.plans import explained

pytestmark = pytest.mark.django_db

#: Pieces with the lines of twenty tasks each, of which ten were enqueued in a millisecond.
MANY = """
INSERT INTO autotask_log (first_id, last_id, at, text)
SELECT id_of(n), id_of(n + 1), now(), E'\\x01' || replace(id_of(n)::text, '-', '') || E' 1\\n' || repeat(E'a line\\n', 100)
FROM generate_series(1, 20000) AS n
"""

BULK = """
INSERT INTO autotask_log (first_id, last_id, at, text)
SELECT id, id, now(), E'\\x01' || replace(id::text, '-', '') || E' 1\\na line\\n' FROM (
    SELECT ('01938000000770008000' || lpad(to_hex(n), 12, '0'))::uuid AS id FROM generate_series(1, 50000) AS n
) AS task
"""

_ID_OF = """
CREATE FUNCTION pg_temp.id_of(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
AS $$ SELECT (lpad(to_hex(n * 2 + 1764561000000), 12, '0') || '70008000000000000000')::uuid $$
"""


def id_of(number: int) -> uuid.UUID:
    return uuid.UUID(int=(number * 2 + 1764561000000) << 80 | 0x7000_8000_0000_0000_0000)


@pytest.mark.parametrize("is_analysed", [False, True])
def test_the_lines_of_a_task_are_found_by_its_id(is_analysed):
    # Given
    execute(current(), _ID_OF)
    execute(current(), MANY.replace("id_of", "pg_temp.id_of"))
    if is_analysed:
        execute(current(), "ANALYZE autotask_log")
    # When
    with explained(current()) as plans:
        found = task_logs.lines(current(), id_of(19_000))
        last = task_logs.last_lines(current(), id_of(19_000), 10)
        nothing = task_logs.lines(current(), id_of(19_000 + 10**9))
    # Then
    assert found == last == "a line\n" * 100 and nothing == ""
    assert len(plans) == 3
    for plan in plans:
        assert (
            plan.indexes == {"autotask_log_of_tasks", "autotask_log_shared"}
            and plan.buffers < 50
            and plan.discarded < 10
        )


@pytest.mark.parametrize("is_analysed", [False, True])
def test_the_lines_of_a_task_are_found_among_those_of_a_bulk_that_runs_longer(is_analysed):
    # Given: pieces of one task each, all enqueued within the same seconds, and some that are shared
    execute(current(), _ID_OF)
    execute(current(), BULK)
    execute(current(), MANY.replace("id_of", "pg_temp.id_of").replace("20000", "100"))
    if is_analysed:
        execute(current(), "ANALYZE autotask_log")
    [(id,)] = rows(current(), "SELECT first_id FROM autotask_log WHERE first_id = last_id OFFSET 40000 LIMIT 1")
    # When
    with explained(current()) as plans:
        found = [task_logs.lines(current(), id), task_logs.last_lines(current(), id, 1000)]
    # Then
    assert found == ["a line\n"] * 2
    for plan in plans:
        assert plan.indexes == {"autotask_log_of_tasks", "autotask_log_shared"} and plan.buffers < 50


def test_a_task_has_its_own_lines_of_a_piece_in_their_order():
    ids = new_ids(3)
    for turn in range(3):
        sections = [marked(id.int, attempt, f"{turn}\n") for id in ids for attempt in (1, 12)]
        task_logs.write(current(), [NewPiece(ids[0], ids[-1], "".join(sections))])
    for id in ids:
        assert task_logs.lines(current(), id) == "0\n0\n1\n1\n2\n2\n"
        assert task_logs.lines(current(), id, 1) == task_logs.lines(current(), id, 12) == "0\n1\n2\n"
        assert task_logs.last_lines(current(), id, 3) == "2\n2\n"
        assert "".join(task_logs.each_piece(current(), id)) == "0\n0\n1\n1\n2\n2\n"
    assert task_logs.lines(current(), ids[0], 2) == ""


@pytest.mark.parametrize("number", [0, 2**128 - 1, 2**92, 2**92 - 1])
def test_an_id_of_any_kind_has_lines(number):
    id = uuid.UUID(int=number)
    task_logs.write(current(), [task_logs.alone(id, 1, "one\n")])
    assert task_logs.lines(current(), id) == "one\n"


def test_lines_of_others_that_name_a_task_hide_none_of_its_own():
    ids = new_ids(3)
    for _ in range(task_logs.SOME_PIECES + 1):
        text = marked(ids[0].int, 1, f"waits for {ids[1].hex} \n") + marked(ids[2].int, 1, "x\n")
        task_logs.write(current(), [NewPiece(ids[0], ids[2], text)])
    task_logs.write(current(), [task_logs.alone(ids[1], 1, "one\n")])
    assert "".join(task_logs.each_piece(current(), ids[1])) == "one\n"
    for _ in range(task_logs.SOME_PIECES + 1):
        text = marked(ids[0].int, 1, f"waits for {ids[1].hex} \n") + marked(ids[2].int, 1, "x\n")
        task_logs.write(current(), [NewPiece(ids[0], ids[2], text)])
    assert task_logs.last_lines(current(), ids[1], 10) == "one\n"


def test_new_lines_are_returned_once_and_pieces_that_are_deleted_are_forgotten():
    # Given
    id, place = new_ids(1)[0], task_logs.Place()
    for number in range(3):
        task_logs.write(current(), [task_logs.alone(id, 1, f"{number}\n"), task_logs.alone(id, 2, "x\n")])
    # When
    assert task_logs.new_lines(current(), id, 1, place) == "0\n1\n2\n"
    assert task_logs.new_lines(current(), id, 1, place) == ""
    task_logs.forget(current(), [(id, 1, 2)])
    task_logs.write(current(), [task_logs.alone(id, 1, "3\n")])
    # Then
    assert task_logs.new_lines(current(), id, 1, place) == "3\n"
    assert len(place.seen) == 2


def test_a_line_says_how_many_are_missing_before_the_others_of_an_attempt():
    # Given
    id = new_ids(1)[0]
    line = "2026-11-29 06:00:00.104Z | {} | INFO | shop - {}\n"
    pieces = [(1, 0, "a"), (2, 1234, "b\n  more"), (1, 1, "c"), (2, 1235, "d"), (1, 3, "e")]
    task_logs.write(
        current(), [task_logs.alone(id, each[0], line.format(each[0], each[2]), each[1]) for each in pieces]
    )
    # When
    place = task_logs.Place()
    ways = [
        task_logs.lines(current(), id),
        "".join(task_logs.each_piece(current(), id)),
        task_logs.last_lines(current(), id, 10_000),
        task_logs.new_lines(current(), id, None, place),
    ]
    # Then
    gap = "2026-11-29 06:00:00.104Z | {} | WARNING | autotask.task - {} not kept\n"
    expected = [
        line.format(1, "a"),
        gap.format(2, "1,234 earlier lines are") + line.format(2, "b\n  more"),
        line.format(1, "c"),
        line.format(2, "d"),
        gap.format(1, "1 earlier line is") + line.format(1, "e"),
    ]
    assert ways == ["".join(expected)] * 4
    assert task_logs.lines(current(), id, 2) == expected[1] + expected[3]
    # And: what was not asked for is not missing
    assert task_logs.last_lines(current(), id, 150) == line.format(2, "b\n  more") + "".join(expected[2:])
    task_logs.write(current(), [task_logs.alone(id, 1, line.format(1, "f"), 4)])
    assert task_logs.new_lines(current(), id, None, place) == line.format(1, "f")

"""The pages stay fast with very many tasks."""

import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from autotask.admin import TaskAdmin, filters, listing
from autotask.models import ReadyTask
from autotask.store.prune import prune
from autotask.task import State
from tests.integration.admin.pages import TASKS, WORKERS, ended, listed, page, page_of, registered
from tests.integration.store.shapes import edit, let_run


def test_the_number_of_queries_does_not_grow_with_the_rows(admin):
    # Given
    page(admin, TASKS)
    handle = ended(State.ERROR, worker_id=registered().id)
    with CaptureQueriesContext(connection) as few:
        page(admin, TASKS)
        page(admin, WORKERS)

    # When
    for _ in range(30):
        ended(State.ERROR, worker_id=registered().id)

    # Then
    with CaptureQueriesContext(connection) as many:
        page(admin, TASKS)
        page(admin, WORKERS)
    assert len(many) == len(few) <= 14
    with CaptureQueriesContext(connection) as one:
        page(admin, page_of(handle))
    assert len(one) <= 10


SEED = """
INSERT INTO autotask_result (id, state, queue, priority, name, arguments, created_at, run_at, started_at, attempt,
                             retries, ttl, fence, ended_at, kept_until, value, error_message)
SELECT ('01990000-' || lpad(to_hex(n / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       CASE WHEN n %% 2000 = 0 THEN 5 WHEN n %% 500 = 1 THEN 4 ELSE 3 END, 'default', 0,
       CASE WHEN n = 1 THEN 'rare' ELSE 'task' || n %% 40 END, 'n=' || n, now(), now(), now(), 1,
       0, 300, n, now(), now() + interval '1 day', repeat('x', 100)::bytea, ''
FROM generate_series(1, %(ended)s) n
"""

SEED_LIVE = """
INSERT INTO autotask_task (id, state, queue, priority, name, arguments, created_at, run_at, ready_at, retries, ttl,
                           payload, gate, passed, flow)
SELECT ('01990001-' || lpad(to_hex(n / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       CASE WHEN n < 8 THEN 1 WHEN n %% 10 = 0 THEN 0 WHEN n %% 10 = 1 THEN 8 ELSE 1 END, 'default', 0,
       'task' || n %% 40, 'n=' || n, now(), now(), CASE WHEN n < 8 OR n %% 10 > 1 THEN now() END, 0, 300, repeat('x', 100)::bytea,
       CASE WHEN n >= 8 AND n %% 10 = 1 THEN 'limit:some(n=' || n %% 3 || ')' END,
       CASE WHEN n >= 8 AND n %% 10 = 1 THEN 0 END,
       CASE WHEN n >= 8 AND n %% 10 = 1 THEN '{"gates": [], "unique": null}'::jsonb END
FROM generate_series(1, %(live)s) n
"""


@pytest.fixture
def many_tasks(admin, monkeypatch) -> Client:
    """The pages over 50 000 tasks, with a window of 1000."""
    monkeypatch.setattr(listing, "WINDOW", 1000)
    with connection.cursor() as cursor:
        cursor.execute(SEED, {"ended": 45_000})
        cursor.execute(SEED_LIVE, {"live": 5_000})
        cursor.execute("SELECT id FROM autotask_task ORDER BY id LIMIT 7")
        let_run(*(id for (id,) in cursor.fetchall()))
        edit("SELECT")
        cursor.execute("VACUUM ANALYZE autotask_result")
        cursor.execute("VACUUM ANALYZE autotask_task")
    return admin


def test_no_page_of_the_list_looks_at_all_rows_or_sorts_them(many_tasks):
    for query in (
        "",
        "p=2",
        "state=error",
        "state=cancelled",
        "state=done",
        "state=waiting",
        "state=scheduled",
        "state=running",
        "state=held",
        "gate=limit:some(n%3D1)",
        "task=rare",
        "task=task3",
        "queue=nothing",
        "tag=nothing",
        "state=done&task=rare",
        "q=rare",
        "q=01990000-0000-7000-8000-000000000007",
        "q=01990001-0",
    ):
        for sql in queries_of(many_tasks, query):
            plan = explained(sql)
            assert plan["Plan"]["Plans"], sql
            assert rows_read(plan["Plan"]) <= 12_000, (query, sql, plan)
            # The few that run are sorted; nothing else is.
            assert all(node["Plan Rows"] <= 100 for node in nodes(plan["Plan"]) if node["Node Type"] == "Sort"), (
                query,
                plan,
            )


def test_a_gate_at_which_nobody_waits_needs_no_search(many_tasks):
    with CaptureQueriesContext(connection) as queries:
        page(many_tasks, f"{TASKS}?gate=limit:nothing")
    assert not [entry["sql"] for entry in queries if "autotask_record" in entry["sql"]]


def test_the_tasks_at_one_gate_are_found_without_reading_those_at_others(many_tasks, monkeypatch):
    monkeypatch.setattr(filters, "FEW", 0)
    for sql in queries_of(many_tasks, "gate=limit:some(n%3D1)"):  # a thirtieth of the live tasks
        assert rows_read(explained(sql)["Plan"]) <= 500, sql


@pytest.mark.parametrize("few", [1000, 0], ids=["few", "many"])
def test_the_tasks_in_a_state_are_found_without_reading_those_in_others(many_tasks, monkeypatch, few):
    # Given
    monkeypatch.setattr(filters, "FEW", few)
    of_ended = {"autotask_result", "autotask_history"}
    none_of = dict.fromkeys(("error", "cancelled"), {"autotask_task"}) | dict.fromkeys(("scheduled", "held"), of_ended)

    # When, Then
    for state, others in none_of.items():
        for sql in queries_of(many_tasks, f"state={state}"):
            read = [node for node in nodes(explained(sql)["Plan"]) if node.get("Relation Name") in others]
            assert all(rows_read(node) == 0 for node in read), (state, sql, read)
    for state in (
        "scheduled",
        "held",
        *(["running"] if few else []),
    ):  # 1/10 of the live tasks each, and seven that run
        for sql in queries_of(many_tasks, f"state={state}"):
            assert rows_read(explained(sql)["Plan"]) <= 1_500, (state, sql)


@pytest.mark.parametrize("state", ["error", "cancelled"])
def test_failed_tasks_are_counted_from_their_index_however_early_the_table_would_have_enough_of_them(
    admin, monkeypatch, state
):
    # Given one in twenty has failed and as many were cancelled, so that the first pages of the table have as many as are counted
    monkeypatch.setattr(listing, "COUNTED", 100)
    with connection.cursor() as cursor:
        cursor.execute(SEED.replace("% 2000 = 0", "% 20 = 0").replace("% 500 = 1", "% 20 = 1"), {"ended": 20_000})
        cursor.execute("ANALYZE autotask_result")  # not vacuumed: an index alone does not do

    # When
    with CaptureQueriesContext(connection) as queries:
        page(admin, f"{TASKS}?state={state}")

    # Then
    found = [entry["sql"] for entry in queries if re.search("autotask_(record|result)", entry["sql"])]
    plans = [explained(sql)["Plan"] for sql in found]
    read = [node for plan in plans for node in nodes(plan) if node.get("Relation Name") == "autotask_result"]
    assert read
    assert not [node for node in read if node["Node Type"] == "Seq Scan"]
    assert sum(rows_read(node) for node in read) <= 5_500  # of these, the counts of all states read 2,000 entries


def test_what_has_expired_is_counted_with_the_failed_tasks(admin):
    # Given
    past = timezone.now() - timedelta(days=1)
    ended(State.ERROR, kept_until=past), ended(State.CANCELLED, kept_until=past), ended(State.DONE, kept_until=past)
    prune(connection, keeps=True)
    ended(State.ERROR), ended(State.ERROR, queue="elsewhere"), ended(State.CANCELLED)

    # Then
    for query, number in (("error", 3), ("cancelled", 2), ("error&queue=elsewhere", 1), ("error&q=some.task", 3)):
        changes = admin.get(f"{TASKS}?state={query}").context["cl"]
        assert changes.result_count == len(changes.result_list) == number, query


def test_a_class_that_leaves_tasks_out_counts_only_its_own(admin, monkeypatch):
    # Given
    ended(State.ERROR), ended(State.ERROR, queue="elsewhere")
    every = TaskAdmin.get_queryset
    monkeypatch.setattr(TaskAdmin, "get_queryset", lambda *given: every(*given).filter(queue="default"))

    # Then
    assert admin.get(f"{TASKS}?state=error").context["cl"].result_count == 1

    # Given one that leaves out all of them
    monkeypatch.setattr(TaskAdmin, "get_queryset", lambda *given: every(*given).none())

    # Then
    assert admin.get(f"{TASKS}?state=error").context["cl"].result_count == 0


def test_the_list_of_workers_reads_no_task_but_those_that_run(many_tasks):
    registered()
    with CaptureQueriesContext(connection) as queries:
        page(many_tasks, WORKERS)
    [sql] = [entry["sql"] for entry in queries if "running_tasks" in entry["sql"]]
    assert rows_read(explained(sql)["Plan"]) <= 100, sql


def test_no_page_of_the_dashboard_reads_a_table_of_tasks(many_tasks):
    for address in ("", "?range=7d", "types/", "errors/"):
        with CaptureQueriesContext(connection) as queries:
            page(many_tasks, f"/admin/autotask/dashboard/{address}")
        found = [entry["sql"] for entry in queries if re.search("autotask_(task|result)", entry["sql"])]
        assert found
        for sql in found:
            plan = explained(sql)["Plan"]
            scanned = [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
            assert not {"autotask_task", "autotask_result"}.intersection(scanned), (address, sql, plan)
            assert rows_read(plan) <= 20_000, (address, sql, plan)


def queries_of(client: Client, query: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        page(client, f"{TASKS}?{query}")
    found = [entry["sql"] for entry in queries if "autotask_record" in entry["sql"]]
    assert found
    return found


def explained(sql: str) -> dict:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + sql.replace("%", "%%"))
        return cursor.fetchone()[0][0]


def nodes(node: dict):
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def rows_read(plan: dict) -> int:
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan)
        if "Scan" in node["Node Type"] and "Relation Name" in node
    )


def test_names_are_looked_for_among_the_newest_tasks_only(many_tasks):
    # Given: a recent one, and one behind the window
    recent = ended(name="rare")

    # Then
    assert listed(many_tasks, q="rare") == [recent.id]


def test_old_tasks_that_live_or_failed_are_found_by_name_all_the_same(many_tasks):
    # Then: the first failure has the name, and lies behind the window over all tasks
    [id] = listed(many_tasks, q="rare", state="error")
    assert id == uuid.UUID("01990000-0000-7000-8000-000000000001")


def test_many_tasks_are_estimated_and_filtered_ones_counted_up_to_a_limit(many_tasks):
    # When
    everything, done = (many_tasks.get(f"{TASKS}{query}") for query in ("", "?state=waiting"))

    # Then
    assert everything.context["cl"].result_count == pytest.approx(50_000, rel=0.1)
    assert "is an estimate" in everything.content.decode()
    assert done.context["cl"].result_count == ReadyTask.objects.count()
    assert "There are more tasks" not in done.content.decode()

    # And
    more = many_tasks.get(f"{TASKS}?q=01990000-")
    assert more.context["cl"].result_count == listing.COUNTED
    assert "There are more tasks" in more.content.decode()


def test_no_page_lies_behind_the_window(many_tasks):
    assert many_tasks.get(f"{TASKS}?p={1000 // 50}").status_code == 200
    assert many_tasks.get(f"{TASKS}?p={1000 // 50 + 1}").status_code == 302


def test_few_tasks_are_counted_exactly_whatever_the_estimate(admin):
    # Given: nobody has analyzed the tables
    for _ in range(3):
        ended()

    # Then
    response = admin.get(TASKS)
    assert response.context["cl"].result_count == 3
    assert "is an estimate" not in response.content.decode()

"""What the planner makes of the statements of background workers."""

from django.db import connection

from autotask.store import background, inbox
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Start


def test_the_next_messages_are_found_by_their_index(start: Start) -> None:
    for number in range(200):
        tasks.sender.put(number)
    connection.cursor().execute("ANALYZE autotask_task")
    sql = inbox.CLAIM.format(limit=8)
    params = {
        "plain": tasks.sender.name,
        "place": "",
        "fence": 1,
        "worker_id": "00000000-0000-0000-0000-000000000000",
        "name": background.PREFIX + tasks.sender.name,
        "in_hand": "{}",
    }
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert plan.count("autotask_message") == 1, plan
    assert "Sort" not in plan, plan

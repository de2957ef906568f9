"""Tasks that leave transactions open, next to others that do not (fault 63)."""

import pytest

from autotask.store.connection import execute, rows
from autotask.task import State
from tests.faults.app import tasks

EACH = 40


@pytest.mark.fault(63, quick=True)
@pytest.mark.parametrize("where", tasks.WRITERS)
def test_rows_of_done_tasks_are_there_whatever_transactions_others_leave_open(world, figures, where):
    # Given: connections that are kept from task to task
    world.max_age = None
    execute(world.database, "CREATE TABLE written (text text)")
    write, leave_open = tasks.WRITERS[where]

    # When
    innocent, guilty = {}, {}
    for number in range(EACH):
        innocent[world.call(write, f"{number}")] = f"{number}"
        guilty[world.call(leave_open, f"open {number}")] = f"open {number}"
    world.worker("--threads=2", "--processes=2")
    world.until(lambda: world.live() == 0, 60, "the end of all tasks")

    # Then
    states = {id: world.ended(id).state for id in (*innocent, *guilty)}
    written = {text for (text,) in rows(world.database, "SELECT text FROM written")}
    figures.exactly("innocent tasks done", sum(states[id] is State.DONE for id in innocent), EACH)
    figures.exactly("rows of done tasks lost", len(set(innocent.values()) - written), 0)
    figures.exactly("tasks done with an open transaction", sum(states[id] is State.DONE for id in guilty), 0)
    figures.exactly("rows of failed tasks", len(set(guilty.values()) & written), 0)

"""Which worker hosts a background worker, and what happens when that one dies or is paused."""

import os
import signal
import time

from django.db import connection

from autotask.models import Result, Task
from autotask.store.connection import execute
from autotask.task import State
from tests.helpers import patient, wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start

#: A lease that is over soon.
SHORT = {"LEASE": 3, "HEARTBEAT": 0.5}


def test_there_is_one_in_the_site_one_on_the_host_and_one_in_each_process(start: Start, lines: Lines) -> None:
    workers = (tasks.endless, tasks.of_host, tasks.of_process)
    for worker in workers:
        worker.start()
    programs = {start().pid for _ in range(3)}
    for word in ("endless", "of_host"):
        assert len({line[1] for line in lines.wait_for(word, 10)}) == 1
    wait_until(lambda: {line[1] for line in lines.all("of_process")} == programs)


def test_workers_share_them(start: Start, lines: Lines) -> None:
    one, other = start(), start()
    workers = [tasks.endless, tasks.tick, tasks.coroutine, tasks.patient]
    for worker in workers:
        worker.start()
    for word in ("endless", "tick", "coroutine", "patient"):
        lines.wait_for(word)
    hosts = [lines.all(word)[0][1] for word in ("endless", "tick", "coroutine", "patient")]
    assert set(hosts) == {one.pid, other.pid}


def test_another_worker_takes_over_soon_after_a_kill(start: Start, lines: Lines) -> None:
    tasks.endless.start()
    program = start()
    lines.wait_for("endless", 3)
    other = start()
    program.kill()
    killed = time.time()
    wait_until(lambda: other.pid in {line[1] for line in lines.all("endless")})
    taken = next(line[0] for line in lines.all("endless") if line[1] == other.pid)
    assert taken - killed < patient(1.5)


def test_another_worker_takes_over_at_once_when_one_stops(start: Start, lines: Lines) -> None:
    tasks.endless.start()
    program = start()
    lines.wait_for("endless", 3)
    other = start()
    program.signal(signal.SIGTERM)
    lines.wait_for("endless", 1)
    program.wait()
    wait_until(lambda: other.pid in {line[1] for line in lines.all("endless")})
    mine = [line[0] for line in lines.all("endless") if line[1] == program.pid]
    others = [line[0] for line in lines.all("endless") if line[1] == other.pid]
    assert max(mine) < min(others) < max(mine) + patient(1)


def test_one_that_was_paused_beyond_its_lease_ends_and_its_outcome_is_refused(start: Start, lines: Lines) -> None:
    tasks.handle.start()
    tasks.endless.start()
    program = start(**SHORT)
    lines.wait_for("endless")
    handle = tasks.handle.put({"seconds": 2})
    lines.wait_for("handle")
    program.signal(signal.SIGSTOP)
    other = start(**SHORT)
    wait_until(lambda: other.pid in {line[1] for line in lines.all("endless")})
    wait_until(lambda: handle.ready)
    ended_at = Result.objects.get(id=handle.id)
    woken = time.time()
    program.signal(signal.SIGCONT)
    # The function goes on in the former host: nothing can take that back. But its outcome is refused.
    lines.wait_for("handled", 2)
    wait_until(lambda: "continues as a new worker" in program.output())
    time.sleep(1)
    again = Result.objects.get(id=handle.id)
    assert (again.ended_at, again.fence) == (ended_at.ended_at, ended_at.fence)
    late = [line[0] - woken for line in lines.all("endless") if line[1] == program.pid and line[0] > woken]
    assert all(seconds < patient(0.6) for seconds in late), late
    assert tasks.endless.is_started()


def test_nobody_takes_what_a_living_worker_hosts(start: Start, lines: Lines) -> None:
    tasks.endless.start()
    first = start()
    lines.wait_for("endless")
    for _ in range(2):
        start()
    count = len(lines.all("endless"))
    assert {line[1] for line in lines.wait_for("endless", count + 10)} == {first.pid}


def test_puts_survive_kills_in_order_and_at_most_one_is_handled_twice(start: Start, lines: Lines) -> None:
    count = 1000
    for number in range(count):
        tasks.handle.put(number)
    tasks.handle.start()
    program = start()
    lines.wait_for("handle", 300)
    os.kill(program.pid, signal.SIGKILL)
    program.process.wait()
    start()
    wait_until(lambda: not Task.objects.exists(), 60)
    handled = lines.words("handle")
    twice = len(handled) - count
    assert twice in (0, 1)
    repeated = [number for number, (one, two) in enumerate(zip(handled, handled[1:], strict=False)) if one == two]
    assert len(repeated) == twice
    assert list(dict.fromkeys(handled)) == list(range(count))
    assert Result.objects.filter(name=tasks.handle.definition.name, state=State.DONE).count() == count


def test_workers_whose_code_does_not_have_it_leave_it_alone(start: Start, lines: Lines) -> None:
    execute(
        connection,
        "INSERT INTO autotask_background (name, kind, per, queue, wanted, start_id, declared_at) "
        "VALUES ('gone', 'queue', 'site', 'default', true, gen_random_uuid(), clock_timestamp())",
    )
    tasks.endless.start()
    program = start()
    lines.wait_for("endless", 3)
    assert "gone" not in program.output()

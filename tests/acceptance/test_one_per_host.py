"""``AUTOTASK_COMPANION = "host"``: one companion works, and another one takes over as soon as it does not any more."""

import shutil
import signal
import time

import psutil
import pytest

from autotask.store import notify
from autotask.store.connection import rows
from autotask.task import State
from tests.acceptance import processes
from tests.acceptance.site import START
from tests.helpers import LONG, wait_until

#: Seconds until another one works; more where tests share a machine.
TAKEOVER = 1.0 if LONG else 10.0


@pytest.fixture
def server(site, tmp_path, monkeypatch):
    """A gunicorn with three workers on a host of its own, as far as locks go."""
    locks = tmp_path / "locks"
    locks.mkdir()
    monkeypatch.setenv("TMPDIR", str(locks))
    return site.gunicorn("--workers=3", COMPANION="host", SHUTDOWN_GRACE=60)


def settled(site, server):
    """The companion that works, when a next one stands by and each process of the server has a guard."""
    working = site.companions()
    known = {str(process.pid) for process in site.processes()}
    waiting = {line[1] for line in server.lines(r"worker (\d+) stands by")} & known
    if len(working) == 1 and waiting - {str(working[0].worker)} and len(site.guards()) == 3:
        return working[0]
    return None


def wait_until_settled(site, server):
    return wait_until(lambda: settled(site, server), START, "one that works and one that stands by")


def seconds_until_another_works(site, old):
    began = time.monotonic()
    wait_until(lambda: {each.pid for each in site.registered()} - {old.worker}, what="another worker")
    return time.monotonic() - began


def test_one_companion_works_and_when_it_is_killed_the_next_one_works_within_a_second(site, server, tmp_path):
    # Given
    first = wait_until_settled(site, server)
    sessions = "SELECT count(DISTINCT client_port) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'autotask %%'"
    assert rows(site.database, sessions)[0][0] <= 4
    idle = [process for process in site.processes() if processes.is_worker(process) and process.pid != first.worker]
    small, large = sorted(process.memory_info().rss for process in idle)
    assert small < large / 2, "those that are not next have no Django"

    # Then a call is handed to the one that works, since that of the calling process may only stand by
    site.wait_for_end(server.call("who"))

    # When
    sign = tmp_path / "sign"
    task = server.call("wait_for", str(sign))
    wait_until(lambda: site.task(task).state is State.RUNNING, what="the start of the task")

    # Then whoever enqueues tells all workers, since nobody is free
    listener = notify.ChannelListener(site.database, notify.WORK_CHANNEL)

    def is_told():
        # The process of the companion may have an offer of before, and hand the first of these over.
        server.call("who")
        return listener.heard()

    wait_until(is_told, what="the word")

    # When
    psutil.Process(first.worker).kill()

    # Then
    assert seconds_until_another_works(site, first) < TAKEOVER
    sign.touch()
    assert site.wait_for_end(task).lost == 1
    second = wait_until_settled(site, server)
    assert second.worker != first.worker

    # When
    psutil.Process(second.django).kill()

    # Then
    assert seconds_until_another_works(site, second) < TAKEOVER
    wait_until(lambda: not processes.is_alive(second.worker), what="the end of the former one")
    wait_until_settled(site, server)
    site.wait_for_end(server.call("who"))
    assert "Traceback" not in server.output()


def test_the_next_one_works_while_the_former_one_finishes_what_it_runs(site, server, tmp_path):
    # Given
    first = wait_until_settled(site, server)
    sign = tmp_path / "sign"
    long = server.call("wait_for", str(sign))
    wait_until(lambda: site.task(long).state is State.RUNNING, what="the start of the task")

    # When
    psutil.Process(first.django).send_signal(signal.SIGTERM)

    # Then
    assert seconds_until_another_works(site, first) < 2 * TAKEOVER, "gunicorn takes a moment to stop"
    assert site.result(site.wait_for_end(server.call("who"))) != first.worker
    sign.touch()
    assert site.wait_for_end(long).attempt == 1


def test_when_the_folder_of_the_locks_is_gone_there_is_still_one_that_works(site, server, tmp_path):
    # Given
    first = wait_until_settled(site, server)
    waiting = {int(line[1]) for line in server.lines(r"worker (\d+) stands by")}
    shutil.rmtree(tmp_path / "locks")

    # When
    psutil.Process(first.worker).kill()

    # Then: the next one works by the lock of a file that is no more
    assert seconds_until_another_works(site, first) < TAKEOVER
    wait_until(lambda: {each.pid for each in site.registered()} & waiting - {first.worker}, what="the next one")

    # And whoever starts anew works beside it
    wait_until(lambda: server.lines("there is no lock any more"), START, "a line that says so")
    site.wait_for_end(server.call("who"))
    assert "Traceback" not in server.output()

"""gunicorn's workers come and go, and each has one companion as long as it lives."""

import os
import signal
import sys
import urllib.request

import psutil
import pytest

from autotask.task import State
from tests.acceptance import processes
from tests.acceptance.site import BEYOND_GRACE, GRACE, START
from tests.helpers import LONG, wait_until

LINUX = sys.platform == "linux"


def settled(site, server, count=2):
    """The companions, when each of gunicorn's workers has one, and nobody else; they share a guard on Linux."""
    companions = site.companions()
    served = [companion.django for companion in companions]
    guards = len(site.guards()) == (1 if LINUX else count)
    if len(served) == count and guards and set(served) == processes.children(server.pid):
        return companions
    return None


def wait_until_settled(site, server, seconds=START, count=2):
    return wait_until(lambda: settled(site, server, count), seconds, "a companion for each worker of gunicorn")


def all_gone(*pids):
    return lambda: not any(map(processes.is_alive, pids))


both = pytest.mark.parametrize("options", [(), ("--preload",)], ids=["gunicorn", "gunicorn --preload"])


@both
def test_each_worker_of_gunicorn_has_a_companion_and_one_that_is_killed_is_replaced(site, options):
    # Given
    server = site.gunicorn(*options)
    before = wait_until_settled(site, server)
    assert server.pid not in {companion.django for companion in before}
    site.wait_for_end(server.call("who"))

    # When
    [victim, survivor] = before
    psutil.Process(victim.django).kill()

    # Then
    wait_until(all_gone(victim.worker), GRACE + BEYOND_GRACE, "the end of the companion")
    assert survivor in wait_until_settled(site, server, 5 if LONG else START)
    site.wait_for_end(server.call("who"))
    assert "Traceback" not in server.output()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may work with the rights of others")
def test_companions_have_the_rights_of_the_workers_of_gunicorn_and_not_those_of_its_master(site):
    # Given: forks of the master, which give up its group after the fork
    server = site.gunicorn("--preload", "--group=65534")

    # When: whether they share a guard does not matter here
    companions = wait_until(lambda: found if len(found := site.companions()) == 2 else None, START, "two companions")

    # Then
    of_autotask = {pid for companion in companions for pid in (companion.guard, companion.worker)}
    for pid in {*of_autotask, *(companion.django for companion in companions)}:
        assert psutil.Process(pid).gids() == (65534, 65534, 65534)
    site.wait_for_end(server.call("who"))


@pytest.mark.parametrize("options", [(), ("--preload",)] if LONG else [()], ids=" ".join)
def test_companions_go_with_a_gunicorn_whose_master_is_killed(site, options):
    # Given a gunicorn whose idle workers look twice in this timeout whether their master lives
    server = site.gunicorn("--timeout=6", *options)
    companions = wait_until_settled(site, server)

    # When
    server.process.kill()
    server.wait(10)

    # Then
    wait_until(
        all_gone(*(companion.django for companion in companions)), 6 if LONG else START, "the end of gunicorn's workers"
    )
    site.wait_until_gone()


def test_recycled_workers_of_gunicorn_leave_the_right_number_of_companions_and_lose_nothing(site, tmp_path):
    # Given
    server = site.gunicorn("--max-requests=5")
    first = wait_until_settled(site, server)

    sign = tmp_path / "sign"
    long = server.call("wait_for", str(sign))
    wait_until(lambda: site.task(long).state is State.RUNNING, START, "the start of the long task")

    # When
    def recycled():
        released = server.lines(f"wait_for {long} was interrupted because its worker has to stop; it is released")
        return released and not {companion.django for companion in first} & processes.children(server.pid)

    calls = 0
    while not recycled():
        task = site.wait_for_end(server.call("work", 0.1, str(tmp_path / "diary")))
        assert (task.attempt, task.lost, task.failures) == (1, 0, 0)
        calls += 1
        assert calls < 100
    sign.touch()

    # Then
    task = site.wait_for_end(long)
    assert (task.attempt, task.lost, task.failures) == (1, 0, 0)
    wait_until_settled(site, server)
    assert processes.zombies(server.pid) == []
    assert "Traceback" not in server.output()


def test_a_reload_by_hup_replaces_the_companions(site):
    # Given
    server = site.gunicorn()
    before = wait_until_settled(site, server)

    # When
    server.signal(signal.SIGHUP)

    # Then
    wait_until(
        lambda: not {companion.django for companion in before} & processes.children(server.pid), what="new workers"
    )
    after = wait_until_settled(site, server)
    assert not {companion.worker for companion in before} & {companion.worker for companion in after}
    site.wait_for_end(server.call("who"))
    assert "Traceback" not in server.output()


@pytest.mark.skipif(not LONG, reason="gunicorn looks at its workers once in a while")
def test_a_worker_that_gunicorn_gives_up_goes_with_its_companion(site):
    # Given
    server = site.gunicorn("--timeout=2")
    before = wait_until_settled(site, server)

    # When
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{server.url}hang/", timeout=10)

    # Then
    [victim] = wait_until(lambda: set(before) - set(settled(site, server) or before), START, "a new companion")
    assert all_gone(victim.django, victim.worker)()
    assert processes.zombies(server.pid) == []
    site.wait_for_end(server.call("who"))

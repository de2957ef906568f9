"""Under every server, each process that serves has one companion, which works, is replaced, and goes with it."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.acceptance import processes
from tests.acceptance.kinds import OLD_UWSGI
from tests.acceptance.site import BEYOND_GRACE, GRACE, START
from tests.helpers import LONG, wait_until

#: How many tasks are enqueued, and by how many clients at a time.
TASKS = 40
CLIENTS = 4

#: Seconds after which a new worker is ready to claim when the last one was killed; more where tests share a machine.
REPLACED = 3.0 if LONG else START


def settled(site, server, kind):
    """The companions, when each process that serves has one, and nobody else."""
    answering = {server.get() for _ in range(2 * kind.serving)}  # under some, a request is what starts them
    companions = site.companions()
    served = {companion.django for companion in companions}
    if len(site.guards()) == kind.guards and len(companions) == len(served) == kind.serving and answering <= served:
        return companions
    return None


def wait_until_settled(site, server, kind, seconds=START):
    return wait_until(lambda: settled(site, server, kind), seconds, "a companion for each process that serves")


def seconds_until(condition, most, what):
    began = time.monotonic()
    wait_until(condition, most, what)
    return time.monotonic() - began


def megabytes(pid):
    """The memory of a process, with its share of what it shares with others."""
    return psutil.Process(pid).memory_full_info().pss / 1e6


def gone(companion, *, guard=True):
    """Whether nothing is left of a companion; its guard may be that of others, too."""
    return lambda: not any(map(processes.is_alive, [companion.worker, *([companion.guard] if guard else [])]))


def replaced(site, companion):
    """Whether a process that serves has another companion than this one."""
    return lambda: any(
        found.django == companion.django and found.worker != companion.worker for found in site.companions()
    )


def test_each_process_that_serves_has_a_companion_that_runs_each_task_once_and_is_replaced(
    site, kind, measured, tmp_path
):
    # Given
    server = site.serve(kind)

    # Then
    def complete():
        if kind.on_request:
            server.get()
        return len(site.guards()) == kind.guards

    measured["late"] = seconds_until(complete, 1.0 if LONG else START, "all guards")
    companions = wait_until_settled(site, server, kind)
    measured.update(serving=kind.serving, companions=len(companions))

    # When
    diary = tmp_path / "diary"
    with ThreadPoolExecutor(CLIENTS) as clients:
        ids = list(clients.map(lambda _: server.call("work", 0.0, str(diary)), range(TASKS)))
    tasks = [site.wait_for_end(id) for id in ids]

    # Then
    measured.update(enqueued=len(tasks), executed=diary.read_text().split().count("finished"))
    assert measured["executed"] == measured["enqueued"] == TASKS
    assert {(task.attempt, task.lost, task.failures) for task in tasks} == {(1, 0, 0)}
    for part in ("django", "guard", "worker"):
        measured[f"{part} MB"] = megabytes(getattr(companions[0], part))

    # When
    victim = companions[0]
    psutil.Process(victim.worker).kill()

    # Then
    measured["worker"] = seconds_until(replaced(site, victim), REPLACED, "a new worker")

    # When
    [victim] = [found for found in wait_until_settled(site, server, kind) if found.django == victim.django]
    psutil.Process(victim.guard).kill()

    # Then
    measured["guard"] = seconds_until(replaced(site, victim), REPLACED, "a new guard and worker")
    assert gone(victim)()
    companions = wait_until_settled(site, server, kind)
    site.wait_for_end(server.call("who"))

    # When
    began = time.monotonic()
    server.signal_group(signal.SIGINT)

    # Then
    site.wait_until_gone()
    measured["interrupt"] = time.monotonic() - began
    assert kind.noisy or "Traceback" not in server.output()
    for companion in companions:
        assert len(server.lines(f"worker {companion.worker} stopped")) == 1
    assert site.registered() == []


def test_nothing_of_a_companion_is_left_when_the_process_it_serves_is_killed(site, kind, measured):
    # Given
    server = site.serve(kind)
    victim, *others = wait_until_settled(site, server, kind)

    # When
    psutil.Process(victim.django).kill()

    # Then
    left = gone(victim, guard=not kind.shares)
    measured["gone"] = seconds_until(left, GRACE + BEYOND_GRACE, "the end of the companion")
    if kind.respawns:
        again = wait_until_settled(site, server, kind)
        assert set(others) <= set(again)
        assert processes.zombies(server.pid) == []

    # When
    companions = site.companions()
    if not server.has_ended():
        server.process.kill()
    server.wait(10)

    # Then those who serve on, without their master, keep their companions, and nobody else does
    def orphans_gone():
        return all(
            processes.is_alive(companion.django) or gone(companion, guard=not kind.shares)() for companion in companions
        )

    measured["master"] = seconds_until(orphans_gone, GRACE + BEYOND_GRACE, "the end of the companions of the dead")
    for process in site.processes():
        if not processes.is_companion(process):
            process.kill()
    site.wait_until_gone()


@pytest.mark.skipif(not LONG, reason="one version of one server")
def test_a_uwsgi_without_threads_says_how_to_have_them_and_has_companions_meanwhile(site, tmp_path):
    # Given
    if not OLD_UWSGI.version():
        pytest.skip("not installed")
    server = site.serve(OLD_UWSGI)

    # Then
    advice = "uWSGI runs no Python threads outside requests.*enable-threads = true"
    assert len(wait_until(lambda: server.lines(advice), what="the advice")) == 1
    companions = wait_until_settled(site, server, OLD_UWSGI)
    site.wait_for_end(server.call("who"))

    # When
    psutil.Process(companions[0].worker).kill()

    # Then
    wait_until(replaced(site, companions[0]), REPLACED, "a new worker")

    # When
    server.signal_group(signal.SIGKILL)

    # Then
    site.wait_until_gone()

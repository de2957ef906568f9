"""The processes of one gunicorn share a guard, and their workers are forks of one template; each may be killed at any time."""

import signal
import sys

import psutil
import pytest

from tests.acceptance import processes
from tests.acceptance.site import BEYOND_GRACE, GRACE, START
from tests.helpers import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

#: Four processes, each with a companion.
COUNT = 4

TASKS = """
from autotask.tasks import delayed_task

@delayed_task
def answer():
    return {answer!r}
"""

#: Reads neither files nor settings, so the module is there at once; the thread is there as long as the process.
THREAD = """
import threading

threading.Thread(target=threading.Event().wait, name="of-the-project", daemon=True).start()
"""


def family(site, server, guards=1):
    """The companions, when each process of gunicorn has one, and nobody else; by the process that each one serves."""
    companions = {companion.django: companion for companion in site.companions()}
    complete = len(site.companions()) == COUNT and len(site.guards()) == guards
    return companions if complete and set(companions) == processes.children(server.pid) else None


def await_family(site, server, guards=1):
    return wait_until(lambda: family(site, server, guards), START, "a companion for each process of gunicorn")


def templates(site):
    return [process.pid for process in site.processes() if processes.is_template(process)]


def replacement(site, server, victim):
    """The companion of the same Django process after that one was killed."""

    def replaced():
        found = (family(site, server) or {}).get(victim.django)
        return found if found and found.worker != victim.worker else None

    return wait_until(replaced, START, "the next worker")


def call_all(site, server):
    """Have tasks run, and return the workers that have run them."""
    return {site.result(site.wait_for_end(server.call("who"))) for _ in range(3)}


@pytest.fixture
def server(site):
    return site.gunicorn(f"--workers={COUNT}")


def test_a_killed_worker_a_killed_template_and_a_killed_guard_are_replaced(site, server):
    # Given
    before = await_family(site, server)
    [template] = templates(site)
    assert {companion.guard for companion in before.values()} == {processes.parent(psutil.Process(template))}
    assert call_all(site, server) <= {companion.worker for companion in before.values()}

    # When
    [victim, *others] = before.values()
    psutil.Process(victim.worker).kill()

    # Then its successor is a fork of the same template
    after = replacement(site, server, victim)
    assert after.guard == victim.guard
    assert templates(site) == [template]
    assert set(others) <= set(site.companions())

    # When
    psutil.Process(template).kill()

    # Then all go on, and the next worker gets a template
    wait_until(lambda: template not in templates(site), what="the end of the template")
    assert set(family(site, server).values()) == {*others, after}
    psutil.Process(after.worker).kill()
    last = replacement(site, server, after)
    assert len(templates(site)) == 1
    assert call_all(site, server) <= {last.worker, *(companion.worker for companion in others)}

    # When
    family_of_one_guard = [last, *others]
    [template] = templates(site)
    psutil.Process(victim.guard).kill()

    # Then
    gone = [template, *(companion.worker for companion in family_of_one_guard)]
    wait_until(lambda: not any(map(processes.is_alive, gone)), what="the end of all that belongs to the guard")
    after = await_family(site, server)
    assert victim.guard not in {companion.guard for companion in after.values()}
    assert call_all(site, server) <= {companion.worker for companion in after.values()}
    assert processes.zombies(server.pid) == []
    assert "Traceback" not in server.output()


def test_a_guard_outlives_the_process_that_has_started_it_and_goes_with_the_last_one(site, server):
    # Given
    before = await_family(site, server)
    guard = psutil.Process(site.guards()[0].pid)

    # When
    starter = before[guard.ppid()]
    psutil.Process(starter.django).kill()

    # Then
    wait_until(lambda: not processes.is_alive(starter.worker), GRACE + BEYOND_GRACE, "the end of its worker")
    after = await_family(site, server)
    assert {companion.guard for companion in after.values()} == {guard.pid}
    assert {companion for django, companion in before.items() if django != starter.django} <= set(after.values())
    assert call_all(site, server) <= {companion.worker for companion in after.values()}

    # When
    for django in after:
        processes.kill(psutil.Process(django))
    server.process.kill()
    server.wait(10)

    # Then
    for process in site.processes():
        if not processes.is_companion(process):
            processes.kill(process)  # one that the master has started meanwhile
    site.wait_until_gone()


def test_a_reload_brings_the_new_code_by_another_template(site):
    # Given
    tasks = site.app("changing", tasks=TASKS.format(answer="old")) / "tasks.py"
    server = site.gunicorn(f"--workers={COUNT}")
    before = await_family(site, server)
    [template] = templates(site)
    assert site.result(site.wait_for_end(server.call("changing.tasks.answer"))) == "old"

    # When
    tasks.write_text(TASKS.format(answer="a newer one"))
    server.signal(signal.SIGHUP)

    # Then
    wait_until(lambda: not set(before) & processes.children(server.pid), START, "new processes")
    await_family(site, server)
    [new] = templates(site)
    assert new != template
    assert site.result(site.wait_for_end(server.call("changing.tasks.answer"))) == "a newer one"
    assert "Traceback" not in server.output()


ROTATED = """
from pathlib import Path

from tests.acceptance.app.settings import *

TOKEN = Path(__file__).with_name("token").read_text()
"""

TOKEN = """
from autotask.tasks import delayed_task
from django.conf import settings

@delayed_task
def token():
    return settings.TOKEN
"""


def test_a_reload_brings_settings_that_are_read_from_elsewhere(site):
    # Given
    app = site.app("rotated", settings=ROTATED, tasks=TOKEN)
    (app / "token").write_text("old")
    server = site.gunicorn(f"--workers={COUNT}", "--env=DJANGO_SETTINGS_MODULE=rotated.settings")
    before = await_family(site, server)
    assert site.result(site.wait_for_end(server.call("rotated.tasks.token"))) == "old"

    # When no code has changed
    (app / "token").write_text("new")
    server.signal(signal.SIGHUP)

    # Then
    wait_until(lambda: not set(before) & processes.children(server.pid), START, "new processes")
    await_family(site, server)
    assert site.result(site.wait_for_end(server.call("rotated.tasks.token"))) == "new"


def test_where_the_project_forbids_forks_each_worker_loads_it_and_one_line_tells_why(site):
    # Given
    site.app("threading_app", tasks=THREAD)

    # When
    server = site.gunicorn(f"--workers={COUNT}")

    # Then
    companions = await_family(site, server)
    assert templates(site) == []
    [line] = server.lines("each worker loads the project itself, not as a fork that shares its memory: .*")
    assert "something that the project imports has started threads" in line[0]
    assert call_all(site, server) <= {companion.worker for companion in companions.values()}


def test_without_forks_each_process_has_a_guard_of_its_own(site):
    server = site.gunicorn(f"--workers={COUNT}", FORK=False)

    await_family(site, server, guards=COUNT)
    assert templates(site) == []


BROKEN = """
import os
from pathlib import Path

if "AUTOTASK_GUARD" in os.environ and not Path(__file__).with_name("healed").exists():
    raise RuntimeError("this worker is broken")
"""


def test_a_project_that_cannot_be_loaded_is_tried_again_until_it_can(site):
    # Given
    app = site.app("broken", tasks=BROKEN)
    server = site.gunicorn(f"--workers={COUNT}")
    wait_until(lambda: server.lines("next one starts in"), START, "the second death")

    # When
    (app / "healed").touch()

    # Then
    await_family(site, server)
    assert len(templates(site)) == 1
    assert server.lines("the worker failed:.*")
    site.wait_for_end(server.call("who"))

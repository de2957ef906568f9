"""Where a companion comes into being, and where it does not."""

import re

import pytest

from autotask.task import WAITING
from tests.acceptance.site import START
from tests.helpers import LONG, wait_until

INTRODUCTION = r"worker (\d+) started as the companion of Django process (\d+) \(queues: all; threads: 4\)"


@pytest.mark.parametrize("options", [(), ("--noreload",)], ids=["runserver", "runserver --noreload"])
def test_a_call_from_a_page_runs_in_a_worker_process_and_one_line_tells_of_it(site, options):
    # Given
    server = site.runserver(*options)

    # When
    task = site.wait_for_end(server.call("who"))

    # Then
    [companion] = site.companions()
    django = server.get()
    assert companion.django == django != companion.worker
    assert task.worker_id is not None and task.attempt == 1
    assert [line.groups() for line in server.lines(INTRODUCTION)] == [(str(companion.worker), str(django))]
    assert "Traceback" not in server.output()


def test_a_companion_that_comes_before_the_tables_waits_for_them_quietly(new_site):
    # Given
    server = new_site.runserver("--noreload")
    waiting = "Waiting for the tables of autotask: python manage.py migrate"
    wait_until(lambda: server.lines(waiting), START, "a line that tells what is missing")
    [guard] = new_site.guards()

    # When
    new_site.manage("migrate", "--verbosity=0")

    # Then
    companion = new_site.companion(server)
    assert companion.guard == guard.pid
    new_site.wait_for_end(server.call("who"))
    assert [line[1] for line in server.lines(INTRODUCTION)] == [str(companion.worker)]
    assert len(server.lines(re.escape(waiting))) == 1
    assert not server.lines("Traceback|(ERROR|WARNING) autotask|does not exist")


#: The test has a server of its own, and that one gets a request; but it serves nobody.
TEST_CASE = """
from urllib.request import urlopen
from django.test import LiveServerTestCase
from tests.acceptance.app.tasks import who

class ATest(LiveServerTestCase):
    def test_a_call_and_a_request(self):
        assert who().status == "waiting"
        assert urlopen(self.live_server_url).status == 200
"""


@pytest.mark.parametrize(
    "command",
    [
        ("migrate",),
        ("check",),
        ("test", "tested"),
        ("makemigrations", "--check"),
        ("collectstatic", "--dry-run", "--no-input"),
        ("shell", "-c", "from tests.acceptance.app.tasks import who; print(who().status)"),
    ],
    ids=lambda command: command[0],
)
def test_no_command_starts_a_companion(site, command):
    site.app("tested", tests=TEST_CASE)

    output = site.manage(*command)

    assert site.companions_started() == []
    assert command[0] != "shell" or WAITING in output


PYTEST = """
from urllib.request import urlopen

def test_a_request(live_server):
    assert urlopen(live_server.url).status == 200
"""


def test_neither_pytest_nor_its_live_server_starts_a_companion(site):
    home = site.app("tested", test_it=PYTEST)

    program = site.program(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--create-db", f"--rootdir={home}", str(home)
    )

    assert program.wait(START) == 0, program.output()
    assert "1 passed" in program.output()
    assert site.companions_started() == []


CELERY = """
from celery import Celery

app = Celery(broker="memory://")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""

RQ = """
import django
django.setup()
import fakeredis, rq

queue = rq.Queue(connection=fakeredis.FakeStrictRedis())
job = queue.enqueue("operator.add", 1, 2)
rq.SimpleWorker([queue], connection=queue.connection).work(burst=True)
print("ended", job.is_finished)
"""


@pytest.mark.skipif(not LONG, reason="takes other queues")
def test_a_worker_of_celery_has_no_companion(site):
    pytest.importorskip("celery")
    site.app("other", queue=CELERY)

    program = site.program("-m", "celery", "-A", "other.queue", "worker", "--pool=solo", "--loglevel=INFO")

    wait_until(lambda: program.lines("ready\\."), START, "a worker of Celery")
    assert site.companions_started() == []


@pytest.mark.skipif(not LONG, reason="takes other queues")
def test_a_worker_of_rq_has_no_companion(site):
    pytest.importorskip("rq")
    pytest.importorskip("fakeredis")

    program = site.script(RQ)

    assert program.wait(START) == 0
    assert "ended True" in program.output()
    assert site.companions_started() == []


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_commands_work_before_the_tables_are_there(new_site, command):
    assert "Traceback" not in new_site.manage(command)

    assert new_site.companions_started() == []


PROGRAM = """
import autotask.companion, django, time
django.setup()
from tests.acceptance.app.tasks import who
"""


def test_a_program_has_no_companion_unasked(site):
    program = site.script(PROGRAM + "print(who().status)")

    assert program.wait(START) == 0
    assert WAITING in program.output()
    assert site.companions_started() == []


def test_a_program_gets_one_companion_when_it_asks_for_it(site):
    # When
    program = site.script(
        PROGRAM
        + "print('asked:', autotask.companion.start(), autotask.companion.start())\n"
        + "print('result:', who().wait(20))\n"
        + "time.sleep(60)"
    )
    [answer] = wait_until(lambda: program.lines(r"result: (\d+)\n"), START, "the result")

    # Then
    [companion] = site.companions()
    assert (companion.django, str(companion.worker)) == (program.pid, answer[1])
    assert "asked: True True\n" in program.output()


@pytest.mark.parametrize("settings", [{"COMPANION": "off"}, {"IS_ACTIVE": False}], ids=["off", "not active"])
def test_a_server_has_no_companion_where_it_is_switched_off(site, settings):
    server = site.runserver("--noreload", **settings)

    assert server.get() == server.pid
    assert site.companions_started() == []
    assert [process.pid for process in site.processes()] == [server.pid]

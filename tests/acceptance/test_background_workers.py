"""Background workers under real servers: the examples of the manual of atasker, and how many there are in a site."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.site import START, Site
from tests.helpers import LONG, wait_until

#: Seconds until another one runs; more where tests share a machine.
TAKEOVER = 5.0 if LONG else 20.0

NOTE = """
import json, os, time

def note(*words):
    path = os.path.join(os.path.dirname(os.environ["ACCEPTANCE_STARTED"]), "lines")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (json.dumps([time.time(), os.getpid(), *words]) + "\\n").encode())
    os.close(descriptor)
"""

#: The examples of the manual, with note() for print().
MANUAL = (
    NOTE
    + """
from autotask.background import (
    BackgroundAsyncWorker, BackgroundEventWorker, BackgroundQueueWorker, BackgroundWorker, background_worker,
)
from autotask.tasks import delayed_task

@background_worker
def myfunc(*args, **kwargs):
    note("I am background worker")

class MyWorker(BackgroundWorker):
    def run(self, *args, **kwargs):
        note("I am a worker too")

myfunc.start()
myworker2 = MyWorker()
myworker2.start()

@background_worker
async def async_worker(**kwargs):
    note("I am async worker")

async_worker.start()

class MyAsyncWorker(BackgroundAsyncWorker):
    async def run(self, *args, **kwargs):
        note("I am async worker too")

worker = MyAsyncWorker()
worker.start()

@background_worker(q=True)
def f(task, **kwargs):
    note("Got task from queue", task)

class MyQueueWorker(BackgroundQueueWorker):
    def run(self, task, *args, **kwargs):
        note("my task is", task)

f.start()
worker3 = MyQueueWorker()
worker3.start()

@background_worker(e=True)
def g(task, **kwargs):
    note("happened")

class MyEventWorker(BackgroundEventWorker):
    def run(self, *args, **kwargs):
        note("happened too")

g.start()
worker4 = MyEventWorker()
worker4.start()

@background_worker(interval=1)
def every_second(**kwargs):
    note("I run every second!")

@background_worker(interval=1)
async def every_second_async(**kwargs):
    note("I run every second and I am async!")

every_second.start()
every_second_async.start(_interval=0.5)

@delayed_task
def use():
    of_process.put("task")
    f.put("task 1")
    worker3.put("task 3")
    g.trigger()
    worker4.trigger()

from manual.myworker import MyWorker as OfProcess
of_process = OfProcess()
of_process.start()

def put_here():
    return f.put("from the server")

@delayed_task
def stop():
    myfunc.stop()
    myworker2.stop(wait=False)
"""
)

#: Of the manual, in a module of its own.
OF_PROCESS = """
from autotask.background import BackgroundQueueWorker
from manual.tasks import note

class MyWorker(BackgroundQueueWorker):
    @staticmethod
    def run(task, *args, **kwargs):
        note("in a process", task)
        return "<task result>"

    def process_result(self, result):
        note("processed", result)
"""

COUNTED = (
    NOTE
    + """
from autotask.background import background_worker

@background_worker(per="site", poll_delay=0.2)
def of_site(**kwargs):
    note("site")

@background_worker(per="host", poll_delay=0.2)
def of_host(**kwargs):
    note("host")

@background_worker(per="process", poll_delay=0.2)
def of_process(**kwargs):
    note("process")
"""
)

Lines = Callable[[str], list[list[Any]]]


@pytest.fixture
def lines(site: Site) -> Lines:
    """Returns the lines with a first word."""

    def read(word: str) -> list[list[Any]]:
        path = Path(site.folder / "lines")
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in found if line[2] == word]

    return read


def test_the_examples_of_the_manual_run_under_runserver(site: Site, lines: Lines) -> None:
    site.app("manual", tasks=MANUAL, myworker=OF_PROCESS)
    server = site.runserver()
    for word in ("I am background worker", "I am a worker too", "I am async worker", "I am async worker too"):
        wait_until(lambda word=word: len(lines(word)) > 2, START, word)
    server.call("manual.tasks.use")
    for word in ("Got task from queue", "my task is", "happened", "happened too", "processed"):
        wait_until(lambda word=word: lines(word), START, word)
    assert (lines("Got task from queue")[0][3], lines("my task is")[0][3]) == ("task 1", "task 3")
    [(_, elsewhere, *what)], [(_, host, *processed)] = lines("in a process"), lines("processed")
    assert (what, processed, elsewhere != host) == (["in a process", "task"], ["processed", "<task result>"], True)
    # Its companion hears of it through the pipe.
    server.call("manual.tasks.put_here")
    wait_until(lambda: len(lines("Got task from queue")) == 2, START)
    wait_until(lambda: len(lines("I run every second!")) > 3, START)
    wait_until(lambda: len(lines("I run every second and I am async!")) > 6, START)
    server.call("manual.tasks.stop")

    def is_quiet() -> bool:
        before = len(lines("I am background worker")), len(lines("I am a worker too"))
        time.sleep(0.5)
        return before == (len(lines("I am background worker")), len(lines("I am a worker too")))

    wait_until(is_quiet, START)
    assert server.stop() == 0
    assert "Traceback" not in server.output()


def test_eight_processes_have_one_per_site_one_per_host_and_eight_per_process(site: Site, lines: Lines) -> None:
    site.app("counted", tasks=COUNTED)
    site.gunicorn("--workers=8", THREADS=1)
    wait_until(lambda: len({each.worker for each in site.companions()}) == 8, 2 * START, "eight companions")

    def hosts(word: str, since: float) -> set[int]:
        return {line[1] for line in lines(word) if line[0] > since}

    def is_right() -> bool:
        since = time.time()
        time.sleep(1.5)
        workers = {each.worker for each in site.companions()}
        return (
            len(workers) == 8
            and hosts("process", since) == workers
            and all(len(hosts(word, since)) == 1 for word in ("site", "host"))
        )

    wait_until(is_right, TAKEOVER, "one, one and eight")
    for victim in ("worker", "django"):
        host = lines("site")[-1][1]
        hosting = next(each for each in site.companions() if each.worker == host)
        psutil.Process(getattr(hosting, victim)).send_signal(signal.SIGKILL)
        killed = time.time()
        wait_until(lambda host=host, killed=killed: hosts("site", killed) - {host}, TAKEOVER, "another one")
        wait_until(is_right, TAKEOVER, "one, one and eight again")


DEPLOYED = (
    NOTE
    + """
from autotask.background import background_worker

@background_worker(interval={interval})
def tick(**kwargs):
    note("tick", {interval})
"""
)

LEAVING = """
@background_worker(interval=0.2)
def leaving(**kwargs):
    note("leaving")
"""


def test_a_rolling_deploy_changes_an_interval_and_removes_a_background_worker(site: Site, lines: Lines) -> None:
    # Given
    home = site.app("deployed", tasks=DEPLOYED.format(interval=0.2) + LEAVING)
    old = site.worker()
    for word in ("tick", "leaving"):
        wait_until(lambda word=word: len(lines(word)) > 2, START, word)

    # When the new code comes beside the old one, which then goes
    (home / "tasks.py").write_text(DEPLOYED.format(interval=0.3))
    new = site.worker()
    wait_until(lambda: len(site.registered()) == 2, START, "the new worker")
    assert old.stop() == 0
    stopped = time.time()
    wait_until(lambda: len([line for line in lines("tick") if line[0] > stopped]) > 4, START, "ticks of the new code")

    # Then
    ticks, after = lines("tick"), [line for line in lines("tick") if line[1] != old.pid]
    assert {line[3] for line in after} == {0.3}
    assert max(line[0] for line in ticks if line[1] == old.pid) < after[0][0]
    assert {line[1] for line in lines("leaving")} == {old.pid}
    assert new.stop() == 0
    assert "Traceback" not in old.output() + new.output()

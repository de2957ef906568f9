"""``manage.py autotask``, called in this process or started in one of its own, and what there is for it to show."""

import io
import json
import os
import subprocess
import sys
import uuid
from unittest import mock

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from autotask.management.commands.autotask import Command
from autotask.store import enqueue, workers
from autotask.store.enqueue import Kind, NewTask
from autotask.store.workers import WorkerIdentity
from tests.helpers import ROOT, environment


class Outcome:
    """What a command did: its exit code, what it printed, what it complained of."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


def manage(*words: object) -> Outcome:
    """Call the command in this process, whose environment stays as it is."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with mock.patch.dict(os.environ):
            call_command(Command(), *words, stdout=out, stderr=err)
    except CommandError as error:
        return Outcome(error.returncode, out.getvalue(), err.getvalue() + str(error))
    return Outcome(0, out.getvalue(), err.getvalue())


def start(*words: str, **more: str) -> subprocess.Popen:
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *words],
        cwd=ROOT / "testproject",
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def process(*words: str, **more: str) -> Outcome:
    """Run the command in a process of its own, to its end."""
    started = start(*words, **more)
    out, err = started.communicate(timeout=60)
    return Outcome(started.returncode, out, err)


def insert(id: uuid.UUID, queue: str = "default") -> None:
    """Store a task that nobody can run."""
    enqueue.insert(
        connection,
        NewTask(
            id,
            Kind(name="some.name", queue=queue, priority=0, delay=0, run_after=None, retries=0, ttl=60),
            arguments="",
            payload=b"",
        ),
    )


def sign_on(queues: tuple[str, ...] = ()) -> None:
    """Register a worker that lives for a minute and takes nothing."""
    identity = WorkerIdentity(
        id=uuid.uuid4(),
        kind="worker",
        host="elsewhere",
        boot_id="x",
        pid=7,
        pid_started=0,
        serves_pid=None,
        queues=queues,
        threads=3,
        version="1",
    )
    workers.sign_on(connection, identity, 60)

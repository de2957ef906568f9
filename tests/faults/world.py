"""A database for one test, with the workers and callers on it and their ledger."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import psutil
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from autotask.delayed import DelayedTask
from autotask.exceptions import PayloadRefused
from autotask.payload import load_result
from autotask.store import many, notify, read, rescue
from autotask.store.connection import execute, is_alone, rows
from autotask.store.read import LivingWorker, StoredTask
from autotask.task import State
from tests import programs
from tests.acceptance import processes
from tests.faults import checker, crashpoints, ledger
from tests.faults.crashpoints import CrashPoints
from tests.faults.ledger import Event, Ledger
from tests.faults.postgres import Server
from tests.helpers import ROOT, wait_until

T = TypeVar("T")

#: Seconds that a worker may take to start on a busy machine.
START = 20.0

#: The keys that Django adds to an entry of ``DATABASES``.
DEFAULTS = {"ATOMIC_REQUESTS": False, "AUTOCOMMIT": True, "CONN_HEALTH_CHECKS": False, "TIME_ZONE": None, "TEST": {}}

#: AUTOTASK_… of all processes, so that the suite takes minutes, not hours.
SHORT = {"LEASE": 3.0, "HEARTBEAT": 0.5, "SHUTDOWN_GRACE": 2.0, "POLL_INTERVAL": 1.0, "RETRY_DELAY": 0.1}


class Program(programs.Program):
    """A program, and the companion of its process."""

    def worker(self) -> int | None:
        """Return the process id of its companion's worker, if there is one."""
        return next((p.pid for p in self._below() if processes.is_worker(p)), None)

    def guard(self) -> int | None:
        """Return the process id of its companion's guard, if there is one."""
        return next((p.pid for p in self._below() if processes.is_guard(p)), None)

    def _below(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


class World:
    """Everything that belongs to one test.

    :param folder: for its files.
    :param server: the server with its database.
    :param name: the name of the database.
    :param seed: of everything random in it.
    :ivar settings: settings of autotask, without the prefix, for programs that are started from now on.
    :ivar environment: environment variables for the same programs.
    :ivar host: where they find the server; with *port*, *user*, *max_age* and *database_options*.
    :ivar before: words before their commands.
    """

    def __init__(self, folder: Path, server: Server, name: str, seed: int) -> None:
        self.folder, self.server, self.name = folder, server, name
        self.random = random.Random(f"{seed} {name}")
        self.seed = self.random.randrange(2**31)
        (folder / "ledger").mkdir()
        (folder / "crash").mkdir()
        self.ledger = Ledger(folder / "ledger")
        self.crashpoints = CrashPoints(folder / "crash")
        self.programs: list[Program] = []
        self.settings: dict[str, Any] = dict(SHORT)
        self.environment: dict[str, str] = {}
        self.port = server.port
        self.user = "postgres"
        self.host = "127.0.0.1"
        self.max_age: int | None = None
        self.before: tuple[str, ...] = ()
        self.database_options: dict[str, Any] = {}
        self._kept: list[Program] = []
        self._mark = uuid.uuid4().hex
        self._connections: list[BaseDatabaseWrapper] = []
        self._database: BaseDatabaseWrapper | None = None

    # --- the database -----------------------------------------------------------------------------------------------

    @property
    def database(self) -> BaseDatabaseWrapper:
        """The connection of the test, replaced when it is broken."""
        if self._database is None or not self._database.is_usable():
            if self._database is not None:
                self._database.close()
            self._database = self.connect(port=self.server.port)
        return self._database

    def entry(self, port: int | None = None, host: str = "", **options: Any) -> dict[str, Any]:
        """Return the entry of ``DATABASES`` for this world."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self.name,
            "USER": self.user,
            "PASSWORD": "",
            "HOST": host or self.host,
            "PORT": port or self.port,
            # No encryption: the proxy has to read the data.
            "OPTIONS": {"sslmode": "disable", "gssencmode": "disable", **self.database_options, **options},
            "CONN_MAX_AGE": self.max_age,
        }

    def connect(self, port: int | None = None, **options: Any) -> BaseDatabaseWrapper:
        """Return one more connection."""
        entry = {**DEFAULTS, **self.entry(port, "127.0.0.1", connect_timeout=5, **options)}
        connection = load_backend(entry["ENGINE"]).DatabaseWrapper(entry, "faults")
        connection.inc_thread_sharing()
        connection.ensure_connection()
        self._connections.append(connection)
        return connection

    # --- processes --------------------------------------------------------------------------------------------------

    def start(self, *command: str, options: dict[str, Any] | None = None, **environment: str) -> Program:
        """Start a Python program on this world; *options* are settings of autotask."""
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AUTOTASK_", "PG"))},
            **processes.environment(self._mark),
            "DJANGO_SETTINGS_MODULE": "tests.faults.app.settings",
            "FAULTS_DATABASE": json.dumps(self.entry()),
            "FAULTS_SECRET_KEY": settings.SECRET_KEY,
            "PYTHONPATH": str(ROOT),
            ledger.VARIABLE: str(self.ledger.folder),
            crashpoints.VARIABLE: str(self.crashpoints.folder),
            **{f"AUTOTASK_{name}": json.dumps(value) for name, value in {**self.settings, **(options or {})}.items()},
            **self.environment,
            **environment,
        }
        command = (*self.before, sys.executable, *command)
        self.programs.append(Program(list(command), variables, self.folder, stdin=subprocess.PIPE))
        return self.programs[-1]

    def worker(self, *options: str, ready: bool = True, **how: Any) -> Program:
        """Start a dedicated worker, and return when it is registered."""
        program = self.start("-m", "django", "autotask", "worker", *options, **how)
        if ready:
            wait_until(lambda: self.identity(program.pid), START, "a worker that is registered")
        return program

    def keep(self, count: int, *options: str, **how: Any) -> None:
        """Start workers that are replaced when they exit, as by a supervisor; see :meth:`until`."""
        self._kept += [self.worker(*options, ready=False, **how) for _ in range(count)]
        for program in self._kept:
            wait_until(lambda program=program: self.identity(program.pid), START, "a worker that is registered")

    def kept(self) -> list[Program]:
        """Return the kept workers."""
        return list(self._kept)

    def caller(self, *options: str, **how: Any) -> Program:
        """Start a program that calls tasks, and return when it is ready."""
        program = self.start("-m", "tests.faults.caller", f"--seed={self.seed}", *options, **how)
        wait_until(lambda: "ready" in program.output() or program.has_ended(), START, "a caller")
        assert not program.has_ended(), program.output()
        return program

    def start_calls(self, mix: str, *options: str, ready: bool = True, **how: Any) -> Program:
        """Start a program that calls tasks with flow control, and return when it is ready."""
        program = self.start("-m", "tests.faults.flowing.calls", mix, f"--seed={self.seed}", *options, **how)
        if ready:
            wait_until(lambda: "ready" in program.output() or program.has_ended(), START, "a program that calls")
            assert not program.has_ended(), program.output()
        return program

    def site(self, **how: Any) -> Program:
        """Start a process with a companion, and return when its worker is registered."""
        program = self.caller("--companion", **how)
        self.companion(program)
        return program

    def companion(self, program: Program, other_than: int | None = None, seconds: float = START) -> int:
        """Wait until the (next) worker of a companion is registered, and return its process id."""

        def ready() -> int | None:
            pid = program.worker()
            return pid if pid and pid != other_than and self.identity(pid) else None

        return wait_until(ready, seconds, "the worker of a companion") or 0

    def tend(self) -> None:
        """Replace the kept workers that have exited."""
        for number, program in enumerate(self._kept):
            if program.has_ended():
                self._kept[number] = program.again()
                self.programs.append(self._kept[number])

    def until(self, condition: Callable[[], T], seconds: float, what: str) -> T:
        """Wait for a condition, and tend the workers meanwhile."""

        def tended() -> T:
            self.tend()
            return condition()

        return wait_until(tended, seconds, what)

    def kill(self, pid: int, signum: int = signal.SIGKILL) -> None:
        """Note a fault, and send the signal."""
        self.ledger.write("fault", pid=pid, action=f"signal {signum}")
        os.kill(pid, signum)

    def stall(self, pids: Iterable[int], seconds: float) -> None:
        """Pause processes for some seconds."""
        pids = list(pids)
        for pid in pids:
            self.ledger.write("fault", pid=pid, action="stop", seconds=seconds + 1.0)
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    # --- tasks ------------------------------------------------------------------------------------------------------

    def call(self, task: DelayedTask[..., Any], *args: Any, **options: Any) -> str:
        """Enqueue one call, and return its id."""
        return self.call_many(task, [args], **options)[0]

    def call_many(self, task: DelayedTask[..., Any], items: Iterable[tuple[Any, ...]], **options: Any) -> list[str]:
        """Enqueue calls in one transaction, wake the workers, and return the ids."""
        using = task.using(**options)
        tasks = [using.new_call(args, {}) for args in items]
        # Django, which does not know the connection, could not begin a transaction for a large bulk.
        begins = is_alone(self.database)
        if begins:
            execute(self.database, "BEGIN")
        many.insert_many(self.database, tasks)
        if begins:
            execute(self.database, "COMMIT")
        for new in tasks:
            self.ledger.write("enqueued", id=new.id)
        notify.send(self.database)
        return [str(new.id) for new in tasks]

    def task(self, id: str) -> StoredTask | None:
        """Return a task as it is now."""
        return read.task(self.database, uuid.UUID(id))

    def ended(self, id: str) -> StoredTask | None:
        """Return a task if it has finished."""
        task = self.task(id)
        return task if task is not None and task.state.ended else None

    def wait_for(self, id: str, seconds: float = 20.0, state: State = State.DONE) -> StoredTask:
        """Wait until a task has finished; it must be in the expected state."""
        task = self.until(lambda: self.ended(id), seconds, f"the end of the task (now {self.task(id)})")
        assert task is not None and task.state is state, task
        return task

    def value(self, task: StoredTask) -> Any:
        """Return the result of a task."""
        return load_result(task.value, id=task.id, fence=task.fence or 0)

    def live(self) -> int:
        """Return how many tasks are live."""
        return int(rows(self.database, "SELECT count(*) FROM autotask_live")[0][0])

    def is_live(self, id: str) -> bool:
        """Return whether a task is live."""
        return bool(rows(self.database, "SELECT 1 FROM autotask_live WHERE id = %(id)s", {"id": id}))

    def identity(self, pid: int) -> LivingWorker | None:
        """Return a registered worker by its process id."""
        return next((worker for worker in read.workers(self.database) if worker.pid == pid and worker.alive), None)

    def events(self, kind: str, id: str = "") -> list[Event]:
        """Return the events of one kind, of one task or all."""
        return [event for event in self.ledger.read() if event.kind == kind and (not id or event.id == id)]

    def wait_for_start(self, id: str, times: int = 1, seconds: float = 20.0) -> Event:
        """Wait for the last of *times* starts of a task, and return it."""
        self.until(lambda: len(self.events("start", id)) >= times, seconds, f"start {times} of a task")
        return self.events("start", id)[times - 1]

    # --- proof ------------------------------------------------------------------------------------------------------

    def drain(self, seconds: float = 60.0) -> None:
        """Wait until all tasks have finished."""
        self.until(lambda: not self.live(), seconds, "the end of all tasks")

    def check(self) -> checker.Verdict:
        """Compare the tables with the ledger."""
        return checker.check(self.ledger.read(), self._rows(), self._retried())

    def recoveries(self) -> list[float]:
        """Return for each lost attempt the seconds from the death of its process to its rescue."""
        deaths = {event.pid: event.wall for event in self.events("fault") if event.facts.get("action") in _DEADLY}
        starts = {(event.id, event.fence): event.pid for event in self.events("start")}
        lost = rows(
            self.database,
            "SELECT task_id, fence, extract(epoch FROM ended_at)::float8 FROM autotask_attempt WHERE state = 7",
        )
        found = [(deaths.get(starts.get((str(id), fence))), back) for id, fence, back in lost]
        return [back - death for death, back in found if death is not None]

    def _rows(self) -> list[checker.Row]:
        sql = """
            SELECT id, state, fence, lost, NULL::bytea FROM autotask_live
            UNION ALL SELECT id, state, fence, lost, value FROM autotask_result
        """
        found = []
        for id, state, fence, lost, value in rows(self.database, sql):
            try:
                returned = None if value is None else load_result(bytes(value), id=id, fence=fence or 0)
            except PayloadRefused as error:
                returned = str(error)
            found.append(checker.Row(str(id), State(state), fence, lost, returned))
        return found

    def _retried(self) -> list[tuple[str, int]]:
        found = rows(self.database, "SELECT task_id, fence FROM autotask_attempt WHERE state = 6")
        return [(str(id), fence) for id, fence in found]

    # --- ending -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Kill whatever is left, and close the connections."""
        for program in self.programs:
            if program.process.stdin is not None:
                program.process.stdin.close()
        for process in processes.marked(self._mark):
            process.kill()
        for program in self.programs:
            program.wait(10)
        for connection in self._connections:
            connection.close()


_DEADLY = ("kill", f"signal {signal.SIGKILL}")


def bury(connection: BaseDatabaseWrapper, worker: uuid.UUID) -> None:
    """Rescue the tasks of a worker, as if it were dead."""
    rescue.rescue(connection, [worker], reason="buried by a test", max_crashes=100, error_ttl=checker.NEAR)


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def migrated(server: Server, folder: Path) -> str:
    """Make a migrated database on a server, as a template, and return its name."""
    world = World(folder, server, "postgres", 0)
    server.sql("CREATE DATABASE migrated")
    world.name = "migrated"
    command = world.start("-m", "django", "migrate", "--verbosity=0")
    status = command.wait(120)
    world.close()
    assert status == 0, command.output()
    return "migrated"

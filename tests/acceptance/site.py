"""A database of its own for one test, the servers that were started on it, and what becomes of them."""

import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import psutil
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import payload
from autotask.store import read
from autotask.store.read import LivingWorker, StoredTask
from autotask.task import State
from tests.acceptance import processes
from tests.acceptance.kinds import Kind
from tests.helpers import LONG, ROOT, wait_until
from tests.programs import Program

#: AUTOTASK_SHUTDOWN_GRACE of all servers, and what they may take beyond it until all that belongs to them is gone; more
#: where tests share a machine.
GRACE = 2.0
BEYOND_GRACE = 1.0 if LONG else 8.0

#: Seconds that a server, or a new worker, may take to start on a busy machine.
START = 20.0

TASKS = "tests.acceptance.app.tasks."


@dataclass(frozen=True)
class Companion:
    """The process ids of a companion that is ready to work, and of the Django process that it serves.

    Several companions can have one guard.
    """

    django: int
    guard: int
    worker: int


class Server(Program):
    """A server, or another program of the site, which runs in the folder of the test."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, port: int = 0) -> None:
        super().__init__(command, environment, folder, cwd=folder)
        self.url = f"http://127.0.0.1:{port}/"

    def get(self) -> int:
        """Ask for the page, and return the id of the process that has answered."""
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            return int(json.load(answer)["pid"])

    def call(self, name: str, *arguments: Any) -> uuid.UUID:
        """Have the server call a task function, one of the app or by its full name; return the id of the task."""
        name = name if "." in name else TASKS + name
        request = urllib.request.Request(f"{self.url}call/{name}/", json.dumps(arguments).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return uuid.UUID(json.load(answer)["id"])

    def answers(self) -> bool:
        """Whether there is an answer; it must not be an error."""
        assert not self.has_ended(), f"the server has ended:\n{self.output()}"
        try:
            return self.get() > 0
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error}\n{self.output()}") from error
        except OSError:
            return False

    def signal_group(self, signum: int) -> None:
        """Send a signal to the process group, as a terminal does with Ctrl-C."""
        os.killpg(self.pid, signum)


class Site:
    """Starts servers and programs, and knows all their processes.

    :param folder: where they may write files; modules in it can be imported.
    :param database: the connection of the test to the database of the servers.
    """

    def __init__(self, folder: Path, database: BaseDatabaseWrapper) -> None:
        self.folder = folder
        self.database = database
        self.servers: list[Server] = []
        self.apps: list[str] = []
        self.server_apps: tuple[str, ...] = ()
        self.paths: list[str] = []
        self._mark = uuid.uuid4().hex
        self._started = folder / "started"
        self._started.touch()

    # --- starting ---------------------------------------------------------------------------------------------------

    def runserver(self, *options: str, **settings: Any) -> Server:
        """Start ``manage.py runserver``, and return when it answers."""
        port = _free_port()
        manage = str(ROOT / "testproject" / "manage.py")
        return self._serve([manage, "runserver", *options, f"127.0.0.1:{port}"], port, settings)

    def gunicorn(self, *options: str, **settings: Any) -> Server:
        """Start gunicorn with two workers, and return when it answers."""
        port = _free_port()
        command = [
            "-m",
            "gunicorn",
            "testproject.wsgi",
            "--no-control-socket",
            "--workers=2",
            f"--bind=127.0.0.1:{port}",
            *options,
        ]
        return self._serve(command, port, settings)

    def serve(self, kind: Kind, *options: str, **settings: Any) -> Server:
        """Start a server of any kind with further options, and return when it answers."""
        port = _free_port()
        values = {"{port}": str(port), "{manage}": str(ROOT / "testproject" / "manage.py")}
        command = [reduce(lambda word, item: word.replace(*item), values.items(), word) for word in kind.command]
        self.server_apps = kind.apps
        self.paths = [os.environ[kind.path]] if kind.path else []
        return self._serve([*command, *options], port, settings)

    def worker(self, *options: str, **settings: Any) -> Server:
        """Start a dedicated worker."""
        return self._start([str(ROOT / "testproject" / "manage.py"), "autotask", "worker", *options], 0, settings)

    def script(self, text: str, **settings: Any) -> Server:
        """Start a program."""
        return self.program("-u", "-c", text, **settings)

    def program(self, *words: str, **settings: Any) -> Server:
        """Start Python with some words."""
        return self._start(list(words), 0, settings)

    def manage(self, *arguments: str, **settings: Any) -> str:
        """Run a command of ``manage.py`` to its end; return its output."""
        command = self._start([str(ROOT / "testproject" / "manage.py"), *arguments], 0, settings)
        status = command.wait(60)
        assert status == 0, command.output()
        return command.output()

    def app(self, name: str, **modules: str) -> Path:
        """Write an app for the servers that are started from now on; return its folder."""
        home = self.folder / name
        home.mkdir()
        for module, text in {"__init__": "", **modules}.items():
            (home / f"{module}.py").write_text(text, encoding="utf-8")
        self.apps.append(name)
        return home

    def _serve(self, arguments: list[str], port: int, settings: dict[str, Any]) -> Server:
        server = self._start(arguments, port, settings)
        wait_until(server.answers, START, "an answer of the server")
        return server

    def _start(self, arguments: list[str], port: int, settings: dict[str, Any]) -> Server:
        environment = {
            **os.environ,
            **processes.environment(self._mark),
            "ACCEPTANCE_APPS": " ".join(self.apps),
            "ACCEPTANCE_SERVER_APPS": " ".join(self.server_apps),
            "ACCEPTANCE_DATABASE": self.database.settings_dict["NAME"],
            "ACCEPTANCE_STARTED": str(self._started),
            "AUTOTASK_SHUTDOWN_GRACE": str(GRACE),
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.app.settings",
            "PYTHONPATH": os.pathsep.join(map(str, (*self.paths, ROOT, ROOT / "testproject", self.folder))),
            **{f"AUTOTASK_{name}": json.dumps(value) for name, value in settings.items()},
        }
        self.servers.append(Server([sys.executable, *arguments], environment, self.folder, port))
        return self.servers[-1]

    # --- looking ----------------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Return all living processes that come from this test."""
        return processes.marked(self._mark)

    def guards(self) -> list[psutil.Process]:
        """Return the guards of companions, ready or not."""
        return [process for process in self.processes() if processes.is_guard(process)]

    def companions(self) -> list[Companion]:
        """Return the companions that are ready: whose worker has entered the register."""
        serves = {worker.pid: worker.serves_pid for worker in self.registered()}
        guards, workers = set(), []
        for process in self.processes():
            if processes.is_guard(process):
                guards.add(process.pid)
            elif processes.is_worker(process):
                workers.append(process)
        found = []
        for worker in workers:
            guard, django = processes.parent(worker), serves.get(worker.pid)
            if guard in guards and django:
                found.append(Companion(django, guard, worker.pid))
        return found

    def companion(self, server: Server, seconds: float = START, *, other_than: Companion | None = None) -> Companion:
        """Wait for the only companion of the process that answers; *other_than* one that is being replaced."""

        def ready() -> Companion | None:
            if not server.answers():
                return None
            found = self.companions()
            workers = {companion.worker for companion in found}
            if len(found) != 1 or (other_than is not None and other_than.worker in workers):
                return None
            return found[0]

        companion = wait_until(ready, seconds, "a (new) companion")
        assert companion.django == server.get()
        return companion

    def companions_started(self) -> list[str]:
        """Return the commands by which guards were started, of all processes so far, living or not."""
        commands = self._started.read_text(encoding="utf-8").splitlines()
        return [command for command in commands if "autotask.companion" in command]

    def task(self, id: uuid.UUID) -> StoredTask:
        """Return a task as it is now."""
        task = read.task(self.database, id)
        assert task is not None
        return task

    def registered(self) -> list[LivingWorker]:
        """Return the register of workers."""
        return read.workers(self.database)

    def has_ended(self, id: uuid.UUID) -> StoredTask | None:
        """Return a task if it has ended."""
        task = self.task(id)
        return task if task.state.ended else None

    def wait_for_end(self, id: uuid.UUID, seconds: float = START) -> StoredTask:
        """Wait until a task has ended as it should, and return it."""
        task = wait_until(lambda: self.has_ended(id), seconds, "the end of the task")
        assert task.state is State.DONE, task
        return task

    def result(self, task: StoredTask) -> Any:
        """Return what a task has returned."""
        return payload.load_result(task.value, id=task.id, fence=task.fence or 0)

    # --- ending -----------------------------------------------------------------------------------------------------

    def wait_until_gone(self, seconds: float = GRACE + BEYOND_GRACE) -> None:
        """Wait until no process of this test is left."""
        wait_until(lambda: not self.processes(), seconds, "the end of all processes")

    def stop(self) -> None:
        """Kill the servers, and wait for the companions to go by themselves; whatever is left then is killed.

        :raises AssertionError: something was left.
        """
        for server in self.servers:
            if not server.has_ended():
                server.signal_group(signal.SIGKILL)
            server.wait(10)
        try:
            # Not everything is in the group of a server that was killed: a Django process can outlive its parent.
            for process in self.processes():
                if not processes.is_companion(process):
                    processes.kill(process)
            self.wait_until_gone()
        finally:
            for process in self.processes():
                processes.kill(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

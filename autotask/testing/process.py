"""worker_process(): a real worker process on the test database, for one test."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from django.db import connections

from autotask.exceptions import RunInTransaction, WorkerDidNotStart
from autotask.processes import module_path
from autotask.store import read
from autotask.store.connection import current
from autotask.testing import handed_on

#: Seconds that it may take to be ready, and to end.
START_WITHIN = 60.0
END_WITHIN = 30.0

#: Seconds between two checks whether it is ready.
_LOOK_EVERY = 0.05


class WorkerProcess:
    """A worker that a test has started.

    :ivar pid: its process id.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid

    @property
    def output(self) -> str:
        """The log lines of the worker."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as a crash would; the next worker runs its tasks again."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to finish its tasks, and wait until it has ended."""
        self._process.terminate()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait_until_ready(self) -> None:
        """Wait until it has signed on.

        :raises WorkerDidNotStart: it ended, or did not sign on in time.
        """
        deadline = time.monotonic() + START_WITHIN
        while self.pid not in {worker.pid for worker in read.workers(current())}:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise WorkerDidNotStart(output=self.output)
            time.sleep(_LOOK_EVERY)


@contextlib.contextmanager
def worker_process(*, threads: int = 2, queues: Sequence[str] = ()) -> Iterator[WorkerProcess]:
    """Run the tasks of the test database with a real worker inside the block.

    It has the settings of the test at its start. It runs tasks as in production: in another process, from committed data,
    with time limits. So the test must not keep its data in a transaction: use a ``TransactionTestCase``, or the fixture
    ``transactional_db``.

    :param threads: how many tasks it runs at a time in threads.
    :param queues: the queues it serves; empty means all.
    :raises RunInTransaction: there is an open transaction, whose tasks it would never see.
    :raises WorkerDidNotStart: it did not; the message contains its output.
    """
    if any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):
        raise RunInTransaction
    with tempfile.TemporaryDirectory(prefix="autotask-") as folder:
        log = Path(folder) / "worker.log"
        command = [sys.executable, *module_path.options(), "-m", "autotask.testing_process", str(os.getpid())]
        command += ["worker", "--threads", str(threads)]
        if queues:
            command += ["--queues", ",".join(queues)]
        environment = handed_on.environment(os.path.join(folder, "settings.pickle"))
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
            )
        worker = WorkerProcess(process, log)
        try:
            worker.wait_until_ready()
            yield worker
        finally:
            worker.stop()

"""A program that a test has started, and its output."""

import re
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

from tests import tether
from tests.helpers import ROOT, patient


class Program:
    """A process in its own session, as in its own terminal; it ends at the latest with the run of the tests.

    :param environment: of the process; with ``tether.environment()``, its children also end with the run.
    :param folder: for the file with its output.
    :param how: more arguments of ``Popen``, such as ``cwd`` (by default the checkout) and ``stdin`` (by default empty).
    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, **how: Any) -> None:
        self.command, self.environment, self.folder, self._how = command, environment, folder, how
        self.log = folder / f"{uuid.uuid4().hex}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                **{"cwd": ROOT, "stdin": subprocess.DEVNULL, **how},
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid
        tether.hold_process(self.pid)

    def again(self) -> "Program":
        """Start the same program again."""
        return type(self)(self.command, self.environment, self.folder, **self._how)

    def output(self) -> str:
        """Return the output of it and its children so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def lines(self, pattern: str) -> list[re.Match[str]]:
        """Return the matches in its output so far."""
        return list(re.finditer(pattern, self.output()))

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait until it ends, and return its exit status.

        :param seconds: the most that it takes on a quiet machine.
        """
        return self.process.wait(patient(seconds))

    def finish(self, seconds: float = 10.0) -> int:
        """Close its input, wait until it ends, and return its exit status."""
        self._close_input()
        return self.wait(seconds)

    def stop(self, seconds: float = 15.0) -> int:
        """Ask it to stop, and return its exit status; kill it if it does not stop."""
        if not self.has_ended():
            self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()
        self._close_input()

    def _close_input(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

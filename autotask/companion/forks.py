"""The guard's side of the template: has it fork workers, and replaces it; standard library only."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence

from autotask.companion.future import FutureProcess
from autotask.processes import packets
from autotask.processes.exit_status import FAILED
from autotask.processes.forked import ForkedProcess
from autotask.processes.starting import Process, Start

#: Tells the template the descriptor of its line to the guard.
LINE = "AUTOTASK_TEMPLATE_LINE"

#: The answers of the template: it has loaded the project; it has forked a worker; there is no room for one; its code is not
#: that of the files now; it must not be forked.
LOADED, FORKED, FULL, CHANGED, FORBIDDEN = "loaded", "forked", "full", "changed", "forbidden"

#: Tells a fork that the guard knows it. Otherwise nobody would end it if the template is killed before it answers.
GO = b"g"

#: If the code of this many templates in a row has changed before their first fork, workers are no longer forks.
TOO_LATE = 3


class Forks:
    """Starts workers as forks of a template, which is started for the first of them, and again when the code has changed.

    :param command: starts a template.
    :param environment: of the template.
    :param forbid: called once, with the reason, if workers cannot be forks.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], forbid: Callable[[str], None]) -> None:
        self._command = command
        self._environment = environment
        self._forbid = forbid
        self._is_forbidden = False
        self._late = 0
        self._template: _Template | None = None
        self._waiting: list[tuple[FutureProcess, Start]] = []

    def start(
        self, variables: Mapping[str, str], leave: int, descriptors: Sequence[int], *, otherwise: Start
    ) -> Process:
        """Start a worker; see :class:`autotask.processes.starting.Start`.

        :param descriptors: further ones that it gets.
        :param otherwise: starts it where it cannot be a fork.
        """
        if self._is_forbidden:
            return otherwise(variables, leave)
        future = FutureProcess(variables, [leave, *descriptors])
        self._waiting.append((future, otherwise))
        return future

    def look_after(self) -> None:
        """Take the answers of the template, have it fork the next worker, and start another template if that is due."""
        if self._template:
            self._listen(self._template)
        self._waiting = [(future, otherwise) for future, otherwise in self._waiting if future.is_due]
        if not self._waiting:
            return
        if self._template is None:
            self._start_template()
        elif self._template.is_idle:
            try:
                self._template.order(self._waiting[0][0])
            except OSError:  # no more descriptors
                self._end_waiting(FAILED)

    def descriptors(self) -> list[int]:
        """Return the descriptors that can be read when there is something to do."""
        return [self._template.line.fileno()] if self._template else []

    def pids(self) -> list[int]:
        """Return the process id of the template, if there is one."""
        return [self._template.process.pid] if self._template else []

    def end(self) -> None:
        """End the template."""
        if self._template:
            self._template.end()
            self._template = None

    def _listen(self, template: "_Template") -> None:
        # First whether it has ended, or its last answer could come in between.
        status = template.process.poll()
        while self._template and (answer := template.answer()):
            self._take(template, *answer)
        if self._template and status is not None:
            self.end()
            self._end_waiting(status or FAILED)

    def _take(self, template: "_Template", answer: str, fact: str) -> None:
        if answer == FORKED:
            self._late = 0
            template.let_go(int(fact))
        elif answer == FULL:
            template.give_up()
        elif answer == CHANGED:
            self.end()
            self._late += 1
        if answer == FORBIDDEN or self._late == TOO_LATE:
            self.end()
            self._is_forbidden = True
            self._forbid(fact)
            self._start_waiting()

    def _start_template(self) -> None:
        try:
            self._template = _Template(self._command, {**self._environment, **self._waiting[0][0].variables})
        except OSError:  # no memory, no more processes, or no more descriptors
            self._end_waiting(FAILED)

    def _start_waiting(self) -> None:
        """Start without the template those that have waited for it."""
        for future, otherwise in self._waiting:
            if future.is_due:
                leave = future.descriptors[0]
                try:
                    future.begin(otherwise({**future.variables, "AUTOTASK_LEAVE_FD": str(leave)}, leave))
                except OSError:
                    future.end(FAILED)
        self._waiting = []

    def _end_waiting(self, status: int) -> None:
        for future, _ in self._waiting:
            if future.is_due:
                future.end(status)
        self._waiting = []


class _Template:
    """A template, which carries out one order after the other when it has loaded the project."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.line, other = socket.socketpair(socket.AF_UNIX, packets.KIND)
        with other:
            self.line.setblocking(False)
            try:
                self.process = subprocess.Popen(
                    command,
                    env={**environment, LINE: str(other.fileno())},
                    stdin=subprocess.DEVNULL,
                    close_fds=True,
                    pass_fds=[other.fileno()],
                    process_group=0,
                )
            except OSError:
                self.line.close()
                raise
        self.is_idle = False
        self._go = -1
        self._ordered: FutureProcess | None = None

    def order(self, future: FutureProcess) -> None:
        """Have it fork a worker.

        :raises OSError: there are no more descriptors.
        """
        reader, self._go = os.pipe()
        self._ordered, self.is_idle = future, False
        try:
            packets.send(self.line, {"variables": dict(future.variables)}, [reader, *future.descriptors])
        except OSError:  # It has ended, or will never answer; its end is noted by and by.
            self.process.kill()
        finally:
            os.close(reader)

    def answer(self) -> tuple[str, str] | None:
        """Return its next answer, and a fact about it; None if there is none."""
        try:
            packet = packets.receive(self.line)
        except OSError:
            return None
        if packet is None:
            return None
        words, _ = packet
        self.is_idle = True
        return words["answer"], words["fact"]

    def let_go(self, pid: int) -> None:
        """Let the fork begin, unless it is no longer wanted; then it ends by itself."""
        if self._ordered and self._ordered.is_due:
            with contextlib.suppress(OSError):  # it has ended
                os.write(self._go, GO)
            self._ordered.begin(ForkedProcess(pid))
        self._forget_order()

    def give_up(self) -> None:
        """Count the order as a worker that has failed."""
        if self._ordered and self._ordered.is_due:
            self._ordered.end(FAILED)
        self._forget_order()

    def end(self) -> None:
        """End it, and a fork that has not begun yet."""
        self._forget_order()
        self.process.kill()
        self.process.wait()
        # What the project has started while it was loaded. The forks have groups of their own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.line.close()

    def _forget_order(self) -> None:
        if self._ordered:
            os.close(self._go)
        self._ordered = None

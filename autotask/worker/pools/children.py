"""One child process of a worker, seen from its parent."""

import os
import subprocess
import sys
import time
from typing import Any

from autotask import django_setup
from autotask.processes import module_path, readable
from autotask.processes.exit_status import how_it_ended
from autotask.worker.pools.messages import Frames, frame

#: Seconds between two checks whether a silent child still lives. Processes that it has forked may hold its pipe open.
LOOK_EVERY = 0.5

#: Seconds that an idle child gets to end.
TO_END = 1.0


class ChildDied(Exception):
    """The child has died; the argument says how."""


class Child:
    """One child process, seen from its parent."""

    def __init__(self, module: str) -> None:
        jobs, self._jobs = os.pipe()
        self._messages, messages = os.pipe()
        environment = {
            "AUTOTASK_WORKER": str(os.getpid()),
            **module_path.handed_on(os.environ),
            **django_setup.handed_on(),
        }
        command = [sys.executable, *module_path.options(), "-m", module, str(os.getpid()), str(jobs), str(messages)]
        try:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, close_fds=True, pass_fds=(jobs, messages)
            )
        except BaseException:
            os.close(self._jobs)
            os.close(self._messages)
            raise
        finally:
            os.close(jobs)
            os.close(messages)
        self.pid = self._process.pid
        self._frames = Frames(self._messages)

    def send(self, message: Any) -> None:
        """Send a message. A child that has died is noticed by :meth:`receive`."""
        data = memoryview(frame(message))
        try:
            while data:
                data = data[os.write(self._jobs, data) :]
        except BrokenPipeError:
            pass

    def receive(self, within: float = float("inf")) -> Any:
        """Wait for the next message.

        :param within: seconds after which a child that has sent nothing is killed.
        :raises ChildDied: there will be no more.
        """
        before = time.monotonic() + within
        while (message := self._frames.next()) is None:
            if time.monotonic() >= before:
                self.kill()
                raise ChildDied(f"had not begun after {within:g} s")
            died = self._process.poll() is not None
            # Messages that it sent before it died are still there.
            if readable.wait([self._messages], 0 if died else LOOK_EVERY):
                if not self._frames.read():
                    raise ChildDied(how_it_ended(self._process.wait()))
            elif died:
                raise ChildDied(how_it_ended(self._process.wait()))
        return message

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def let_go(self) -> None:
        """Let it end when it is idle."""
        jobs, self._jobs = self._jobs, -1
        if jobs >= 0:
            os.close(jobs)

    def close(self) -> None:
        """Let it end, and kill it if it does not."""
        self.let_go()
        try:
            self._process.wait(TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._messages)

"""Start a process that is supervised, in an interpreter of its own; standard library only."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import Protocol

#: The log line, with the reason, where forks are out of the question.
APART = "each worker loads the project itself, not as a fork that shares its memory"


class Process(Protocol):
    """A child process, as :class:`subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its process id; 0 as long as it does not run yet."""

    def poll(self) -> int | None:
        """Return its exit status if it has ended, or minus the number of the signal that has ended it."""

    def wait(self) -> int:
        """Wait for its end; return its exit status, as :meth:`poll` does."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Start(Protocol):
    """Starts a worker."""

    def __call__(self, variables: Mapping[str, str], leave: int) -> Process:
        """Start it.

        :param variables: environment variables about it and its predecessor.
        :param leave: the descriptor that it gets, open and with the same number, to say that it leaves.
        :raises OSError: there is no memory, no descriptor, or no room for one more process.
        """


class Interpreter:
    """Starts workers each in a fresh interpreter.

    :param environment: the environment, without the variables of a single worker.
    :param pass_fds: further descriptors that a worker gets.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, pass_fds: Sequence[int] = ()) -> None:
        self._command = command
        self._environment = environment
        self._pass_fds = tuple(pass_fds)

    def __call__(self, variables: Mapping[str, str], leave: int) -> Process:
        """Start one; see :class:`Start`."""
        return subprocess.Popen(
            self._command,
            env={**self._environment, **variables},
            stdin=subprocess.DEVNULL,
            close_fds=True,
            pass_fds=(*self._pass_fds, leave),
            process_group=0,  # so that processes left behind by tasks can be terminated with it
        )

"""A worker that is yet to be started; standard library only."""

import os
import signal
from collections.abc import Mapping, Sequence

from autotask.processes import packets
from autotask.processes.starting import Process


class FutureProcess:
    """Stands for a process before and after it is started, as :class:`autotask.processes.starting.Process` has it.

    :param variables: environment variables for it.
    :param descriptors: those that it gets; copies of them are open until it is started.
    :raises OSError: there are no more descriptors.
    """

    def __init__(self, variables: Mapping[str, str], descriptors: Sequence[int]) -> None:
        self.variables = variables
        self.descriptors: list[int] = []
        self._process: Process | None = None
        self._status: int | None = None
        try:
            for descriptor in descriptors:
                self.descriptors.append(os.dup(descriptor))
        except OSError:
            self._close()
            raise

    @property
    def pid(self) -> int:
        """Its process id; 0 as long as it does not run."""
        return self._process.pid if self._process else 0

    @property
    def is_due(self) -> bool:
        """Whether it should be started."""
        return self._process is None and self._status is None

    def poll(self) -> int | None:
        """Return its exit status if it has ended, or was ended before its start."""
        return self._process.poll() if self._process else self._status

    def wait(self) -> int:
        """Wait for its end, which must have been asked for if it does not run; return its exit status."""
        if self._process:
            return self._process.wait()
        assert self._status is not None
        return self._status

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process:
            self._process.terminate()
        else:
            self.end(-signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        if self._process:
            self._process.kill()
        else:
            self.end(-signal.SIGKILL)

    def begin(self, process: Process) -> None:
        """Be this process from now on."""
        self._process = process
        self._close()

    def end(self, status: int) -> None:
        """Have ended with this status, without having run."""
        self._status = status
        self._close()

    def _close(self) -> None:
        packets.close(self.descriptors)
        self.descriptors = []

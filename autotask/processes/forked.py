"""A fork, seen from the process that looks after it; standard library only."""

import os
import signal


class ForkedProcess:
    """A fork, seen from its parent, as :class:`subprocess.Popen` has it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status if it has ended."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        status = self._reap(0)
        assert status is not None
        return status

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        # Once it is reaped, its number may be that of another process.
        if self.poll() is None:
            os.kill(self.pid, signum)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:
                # SIGCHLD is ignored, as the process that started this one may have set it, or the project waits for all
                # children. The fork has ended, and its status is lost. subprocess.Popen reports 0 then, too.
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

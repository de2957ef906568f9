"""The worker processes of a measurement: started, watched, and stopped with their children."""

import subprocess
import sys

import psutil

#: Seconds that a worker has to exit by itself.
_PATIENCE = 10.0


class Workers:
    """Worker processes that run the same command.

    :param command: the program and its arguments.
    """

    def __init__(self, command: list[str], count: int) -> None:
        # Their output goes to the log of the driver.
        self._processes = [
            psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr) for _ in range(count)
        ]

    def check(self) -> None:
        """Raise if one of them has ended."""
        for process in self._processes:
            if (status := process.poll()) is not None:
                raise RuntimeError(f"a worker has ended with status {status}")

    def cpu_seconds(self) -> float:
        """Return the CPU time of them and their children so far."""
        return sum(cpu_seconds(process) for process in self._processes)

    def family(self) -> list[psutil.Process]:
        """Return them and their descendants."""
        return [member for process in self._processes for member in (*process.children(recursive=True), process)]

    def stop(self) -> None:
        """Ask them to stop, wait, and kill those that are left."""
        family = self.family()
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        _, alive = psutil.wait_procs(family, _PATIENCE)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, _PATIENCE)


def cpu_seconds(root: psutil.Process) -> float:
    """Return the CPU time of a process and its descendants, including those that have ended and were waited for."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total

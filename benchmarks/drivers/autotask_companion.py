"""The companion of this process, instead of worker processes started for a measurement."""

import os

import psutil

from autotask import companion
from benchmarks.drivers.workers import Workers, cpu_seconds


class Companion(Workers):
    """The companion of this process, which ends with it."""

    def __init__(self) -> None:
        super().__init__([], 0)
        if not companion.start():
            raise RuntimeError("no companion was started")

    @property
    def guard(self) -> psutil.Process:
        """The guard."""
        (found,) = psutil.Process(os.getpid()).children()
        return found

    @property
    def worker(self) -> psutil.Process:
        """The worker."""
        (found,) = self.guard.children()
        return found

    def check(self) -> None:
        """Do nothing: a worker that ends is replaced."""

    def cpu_seconds(self) -> float:
        """Return the CPU time of guard and worker so far."""
        return cpu_seconds(self.guard)

    def stop(self) -> None:
        """Do nothing: it ends with this process."""

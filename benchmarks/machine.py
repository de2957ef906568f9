"""The origin of figures: the machine, and the versions of the software."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import autotask
from autotask.doctor.interpreter import optimizations

_PACKAGES = ("django", "psycopg", "psycopg2-binary")


def describe(server: dict[str, str]) -> dict[str, object]:
    """Return the facts about the machine.

    :param server: see :meth:`benchmarks.server.Server.description`.
    """
    return {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_version()} (optimizations: {optimizations()})",
        "packages": {"autotask": autotask.__version__} | {name: _version(name) for name in _PACKAGES},
        "postgresql": server,
    }


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

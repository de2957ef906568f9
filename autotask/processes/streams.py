"""The standard streams: opens them where the parent process has closed them, and tells who reads; standard library only."""

import os
import sys

#: The variable with which a Django process whose log lines are JSON asks the processes below it for lines of that kind.
JSON_LINES = "AUTOTASK_JSON_LINES"


def complete() -> None:
    """Open /dev/null in place of missing standard streams.

    Otherwise the next pipe would get one of their numbers, and any message or print would be written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open as long as the process lives


def pipe() -> tuple[int, int]:
    """Return a pipe whose descriptors are not those of missing standard streams.

    :raises OSError: there are no more descriptors.
    """
    low: list[tuple[int, int]] = []
    try:
        while min(ends := os.pipe()) <= 2:
            low.append(ends)
        return ends
    finally:
        for descriptor in (descriptor for ends in low for descriptor in ends):
            os.close(descriptor)


def adds_time() -> bool:
    """Whether the reader of standard error knows when a line comes: systemd notes it, and a person at a terminal sees it."""
    try:
        error = os.fstat(2)
    except OSError:
        return False
    return os.isatty(2) or os.environ.get("JOURNAL_STREAM") == f"{error.st_dev}:{error.st_ino}"

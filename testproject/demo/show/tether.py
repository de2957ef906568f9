"""Tie a process group to this process: a small watcher ends the group as soon as we are gone, even by kill -9.

The watcher reads from a pipe whose other end only we hold; when we die, the kernel closes it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time

#: Seconds between asking a group to end and killing it.
GRACE = 15


def tie(group: int) -> "subprocess.Popen[bytes]":
    """Start a watcher for a process group."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def cut(watcher: "subprocess.Popen[bytes]") -> None:
    """Have the watcher end its group now."""
    assert watcher.stdin is not None
    watcher.stdin.close()


def end(group: int) -> None:
    """Ask a process group to end, and kill the rest of it after the grace time."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(int(sys.argv[1]))

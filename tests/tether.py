"""Ends what a run of the tests has left behind that was killed: processes, servers, and their folders.

The run starts this file as a program of its own, which reads from a pipe until the run is gone, however it ended.
"""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

#: Which run a process comes from, in its environment: children inherit it, whoever their parent becomes.
VARIABLE = "AUTOTASK_TEST_RUN"

#: Seconds that a server gets to end.
TO_END = 10.0

#: When a process was started that has ended, or on a system without /proc.
UNKNOWN = "-"

_run = uuid.uuid4().hex
_process: "subprocess.Popen[bytes] | None" = None


def environment() -> dict[str, str]:
    """Return the variable of processes that are to end with this run."""
    _start()
    return {VARIABLE: _run}


def hold_server(folder: Path) -> None:
    """Have a server of PostgreSQL, whose files are in this folder, end with this run."""
    _tell(b"folder", os.fsencode(folder))


def hold_process(pid: int) -> None:
    """Have a process end with this run whose title takes the place of its environment."""
    _tell(b"process", f"{pid} {_started(pid)}".encode())


def _tell(*words: bytes) -> None:
    process = _start()
    assert process.stdin is not None
    process.stdin.write(b" ".join(words) + b"\n")
    process.stdin.flush()


def _start() -> "subprocess.Popen[bytes]":
    global _process
    if _process is None:
        command = [sys.executable, "-I", "-S", __file__, _run]
        _process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        atexit.register(_process.communicate)
    return _process


# --- what the program does ------------------------------------------------------------------------------------------


def main() -> None:
    """Wait for the end of the run, and end what it has left."""
    lines = [line.partition(b" ") for line in sys.stdin.buffer.read().splitlines()]
    for what, _, process in lines:
        if what == b"process":
            pid, started = process.decode().split()
            if _started(int(pid)) == started != UNKNOWN:
                _send(int(pid), signal.SIGTERM)  # A supervisor ends its workers.
    deadline = time.monotonic() + TO_END
    while (left := _marked(sys.argv[1])) and time.monotonic() < deadline:
        for pid in left:
            _send(pid, signal.SIGKILL)
        time.sleep(0.05)
    for what, _, folder in lines:
        if what == b"folder":
            _end_server(Path(os.fsdecode(folder)))


def _marked(run: str) -> list[int]:
    mark = f"{VARIABLE}={run}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # Not what stops the server of the test project: others may use it.
            is_watcher = b"embedded/watch.py" in (folder / "cmdline").read_bytes()
            if not is_watcher and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _end_server(folder: Path) -> None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        postmaster = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        for pid in (postmaster, *_children(postmaster)):
            _send(pid, signal.SIGCONT)
        _send(postmaster, signal.SIGQUIT)
        deadline = time.monotonic() + TO_END
        while Path(f"/proc/{postmaster}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _started(pid: int) -> str:
    """Return when a process was started, which tells it from a later one with its number."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return UNKNOWN


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _send(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signum)


if __name__ == "__main__":
    main()

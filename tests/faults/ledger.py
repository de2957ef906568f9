"""The ledger: a record of events outside PostgreSQL, to compare the tables with.

It is a folder with one file for each process, to which the process only appends: one line for each event, one ``write``
for each line. So ``kill -9`` loses nothing, and nothing depends on the tested code.
"""

import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: The variable for all processes of a test that names the folder of its ledger.
VARIABLE = "FAULTS_LEDGER"


@dataclass(frozen=True)
class Event:
    """One line.

    :ivar kind: "enqueued" (the commit of a call was acknowledged), "unknown" (a call raised, so its commit is unknown), "start"
        and "end" of an attempt, "refused" (its outcome), "fault" (something was done to a process, or to all).
    :ivar at: when, by the monotonic clock, which all processes of a host share.
    :ivar wall: when, by the system clock, which PostgreSQL on the same host shares.
    :ivar pid: the process in which it happened; for a fault its target, None for all processes.
    """

    kind: str
    at: float
    wall: float
    pid: int | None
    id: str = ""
    fence: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


class Ledger:
    """One folder of events; each process that writes has its own instance.

    :param folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def write(self, kind: str, *, pid: int | None = -1, id: object = "", fence: int = 0, **facts: Any) -> None:
        """Append one event; *pid* is this process by default."""
        event = {
            "kind": kind,
            "at": time.monotonic(),
            "wall": time.time(),
            "pid": os.getpid() if pid == -1 else pid,
            "id": str(id),
            "fence": fence,
            "facts": facts,
        }
        os.write(self._descriptor(), (json.dumps(event) + "\n").encode())

    def read(self) -> list[Event]:
        """Return all events of all processes, in order."""
        events = []
        for path in self.folder.glob("*.jsonl"):
            # A line that is being written is incomplete.
            complete, _, _ = path.read_bytes().rpartition(b"\n")
            events += [Event(**json.loads(line)) for line in complete.splitlines()]
        return sorted(events, key=lambda event: event.at)

    def _descriptor(self) -> int:
        with self._lock:
            if self._file is None or self._owner != os.getpid():
                path = self.folder / f"{os.getpid()}-{time.monotonic_ns()}.jsonl"
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
                self._owner = os.getpid()
            return self._file


def from_environment() -> Ledger:
    """Return the ledger of the test that has started this process."""
    return Ledger(Path(os.environ[VARIABLE]))

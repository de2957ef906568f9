"""Watch the tasks, with a line for each change."""

import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import datetime

from django.utils import timezone

from autotask.exceptions import TaskExpired
from autotask.handle import TaskHandle
from autotask.models import TaskRecord
from autotask.task import State, Status

#: Of lines, where the output is no terminal.
WIDTH = 110


class Watch:
    """Looks repeatedly at the tasks that were created since a moment."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._began = time.monotonic()
        self._width = shutil.get_terminal_size((WIDTH, 24)).columns
        self._seen: dict[uuid.UUID, tuple[Status, int]] = {}

    def changes(self) -> Iterator[str]:
        """Look once, and yield a line for each task that has changed."""
        for record in TaskRecord.objects.filter(created_at__gte=self._since).order_by("created_at", "id"):
            now = status(record), record.failures
            if self._seen.get(record.id) != now:
                self._seen[record.id] = now
                yield self._line(record)

    def _line(self, record: TaskRecord) -> str:
        call = f"{record.name.removeprefix('demo.tasks.')}({record.arguments})"
        line = f"+{time.monotonic() - self._began:5.1f} s  {status(record):<9}  {call}"
        said = " ".join(text(record).split())
        line = f"{line}: {said}" if said else line
        return line if len(line) <= self._width else line[: self._width - 1] + "…"


def status(record: TaskRecord) -> Status:
    """Return the public status of a row."""
    return State(record.state).status


def text(record: TaskRecord) -> str:
    """Return the text on a task: its result, its error, or when it is due."""
    handle: TaskHandle[object] = TaskHandle(record.id)
    match status(record):
        case Status.DONE:
            try:
                return str(handle.result)
            except TaskExpired:
                return ""
        case Status.ERROR:
            return record.error_message
        case Status.RUNNING:
            return f"attempt {record.attempt}"
        case Status.WAITING if record.failures:
            return f"again in {_seconds_until(record.run_at)} after: {handle.error_message}"
        case Status.WAITING if record.run_at > timezone.now():
            return f"due in {_seconds_until(record.run_at)}"
        case Status.WAITING if record.gate:
            return f"held at {record.gate}"
        case Status.CANCELLED:
            return record.error_message or "it never ran"
    return ""


def _seconds_until(moment: datetime) -> str:
    return f"{max(0.0, (moment - timezone.now()).total_seconds()):.1f} s"

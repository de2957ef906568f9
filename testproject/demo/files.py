"""What the tasks of the demo leave behind: pictures, reports and mails."""

import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from django.conf import settings

from autotask.models import TaskRecord

#: Seconds by which the time of a new file may lag behind the clock: Linux takes it from the last tick of the kernel, of which there
#: are at least a hundred in a second.
_TICK = 0.01


@dataclass(frozen=True)
class Left:
    """What one task has left.

    :ivar chart: the name of a picture; "" without one.
    :ivar report: a table of text; "" without one.
    :ivar sends_mail: whether it sends a mail, or its end is told by mail.
    :ivar mail: that mail, once it is sent.
    """

    chart: str = ""
    report: str = ""
    sends_mail: bool = False
    mail: EmailMessage | None = None

    @property
    def mail_text(self) -> str:
        """The text of the mail."""
        body = self.mail and self.mail.get_body(("plain",))
        return body.get_content().strip() if body else ""


def left_by(record: TaskRecord, result: Any) -> Left:
    """Return what a task has left, once it is done."""
    match record.name.rpartition(".")[2], result:
        case "draw_sales", str(chart):
            return Left(chart=chart)
        case "report_sales", {"file": str(name)}:
            return Left(report=(settings.DEMO_OUTPUT / "reports" / name).read_text(encoding="utf-8"))
        case "mail_sales", {"file_path": str(path)}:
            return Left(chart=Path(path).name, sends_mail=True, mail=_mail_since(record))
        case "send_welcome_mail", str():
            return Left(sends_mail=True, mail=_mail_since(record))
    return Left()


def _mail_since(record: TaskRecord) -> EmailMessage | None:
    """Return the first mail after the start of a task."""
    since = record.started_at.timestamp() - _TICK if record.started_at else float("inf")
    mails = sorted((path.stat().st_mtime, path) for path in (settings.DEMO_OUTPUT / "mail").glob("*.log"))
    for written_at, path in mails:
        if written_at >= since:
            return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    return None

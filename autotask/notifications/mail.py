"""The mail about an ended task: its result, with a file if the result names one, its error, or that it was cancelled."""

import mimetypes
import os
import stat
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Any

from django.conf import settings as django_settings
from django.core import mail
from django.template.loader import render_to_string
from django.utils.encoding import punycode

from autotask.conf import settings
from autotask.notifications.ended import Ended
from autotask.texts.lines import describe

#: Seconds that a mail server may take to answer, if the settings of the project say nothing: a worker must not hang.
ANSWER_WITHIN = 60.0

#: A result with just these keys names a file to attach.
WITH_FILE = {"result", "file_path"}


@dataclass(frozen=True, slots=True)
class Attachment:
    """The file that a result names.

    :ivar problem: why it is not attached; "" if it is.
    """

    name: str = ""
    content: bytes = b""
    problem: str = ""

    @property
    def type(self) -> str | None:
        """Its MIME type, as far as its name says."""
        return mimetypes.guess_type(self.name)[0]


def send(ended: Ended, address: str) -> None:
    """Send the mail to one address.

    :raises Exception: it was not sent, for whatever reason the backend gives.
    """
    deliver(message(ended, address))


def deliver(composed: mail.EmailMessage) -> None:
    """Send a mail.

    :raises Exception: it was not sent, for whatever reason the backend gives.
    """
    connection = _connection()
    if getattr(connection, "timeout", 0) is None:
        connection.timeout = ANSWER_WITHIN
    if connection.send_messages([composed]) == 0:
        raise OSError("the mail backend has sent nothing, and says no reason")


def message(ended: Ended, address: str) -> mail.EmailMessage:
    """Return the mail to one address."""
    sender = settings.MAIL_FROM or django_settings.DEFAULT_FROM_EMAIL
    attached = _attachment(ended)
    composed = mail.EmailMessage(
        subject=settings.MAIL_SUBJECT,
        body=_body(ended, attached),
        from_email=sender,
        to=[address],
        headers={"Message-ID": message_id(ended, sender), "Auto-Submitted": "auto-generated"},
    )
    if attached is not None and not attached.problem:
        composed.attach(attached.name, attached.content, attached.type)
    return composed


def message_id(ended: Ended, sender: str) -> str:
    """Return the id of the mail: that of the task, so that readers recognise one that was sent twice.

    If a task is run again after it has ended, the next mail says something else, and has another id.
    """
    again = f".{ended.task.attempt}" if ended.task.attempt > 1 else ""
    return id_of(f"{ended.task.id}{again}", sender)


def id_of(local: str, sender: str) -> str:
    """Return the id of a mail from this sender."""
    domain = punycode(parseaddr(sender)[1].rpartition("@")[2]) or "localhost"
    return f"<{local}@{domain}>"


def _connection() -> Any:
    # Django 6.1 and newer have MAILERS; their default is made of the older settings if it is not set.
    mailers = getattr(mail, "mailers", None)
    return mail.get_connection() if mailers is None else mailers.default


def _body(ended: Ended, attached: Attachment | None) -> str:
    text = ended.value["result"] if _names_file(ended.value) else ended.value
    facts = {
        "id": ended.task.id,
        "name": ended.task.name,
        "status": ended.status.value,
        "text": _as_text(text),
        "error": _storable(ended.task.error_message),
        "problem": _storable(ended.problem),
        "file_name": attached.name if attached else "",
        "file_problem": attached.problem if attached else "",
    }
    return render_to_string(f"autotask/mail/{ended.status.value}.txt", facts)


def _attachment(ended: Ended) -> Attachment | None:
    """Return the file that the result names; None if it names none."""
    path = ended.value["file_path"] if _names_file(ended.value) else None
    if not path:
        return None
    try:
        name = _storable("".join(c if c.isprintable() else "_" for c in os.path.basename(os.fsdecode(path))))
    except TypeError:
        return Attachment(problem=f"its path is of type {type(path).__name__}, not a text")
    try:
        return _read(path, name)
    except OSError as error:
        return Attachment(name, problem=f"it could not be read: {error.strerror or error}")
    except ValueError as error:  # a path with a NUL
        return Attachment(name, problem=f"it could not be read: {error}")


def _names_file(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == WITH_FILE


def _read(path: Any, name: str) -> Attachment:
    # Opening a pipe would wait for somebody who writes to it.
    if not stat.S_ISREG(os.stat(path).st_mode):
        return Attachment(name, problem="it is not a file")
    most = settings.MAIL_MAX
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        return Attachment(name, problem=f"it is larger than {most:,} bytes")
    return Attachment(name, content)


def _as_text(value: Any) -> str:
    try:
        return _storable(str(value))
    except Exception as error:  # __str__ of the project's own classes
        return f"(the result cannot be shown: {_storable(describe(error))})"


def _storable(text: str) -> str:
    """Return text that can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()

"""A real mail server in this process, which can be away and come back."""

import asyncio
import email.policy
import socket
import threading
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import django
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

HOST = "127.0.0.1"


class PostOffice:
    """A mail server on one port; mails are kept in memory.

    :ivar mails: what was received.
    :ivar refusing: recipients whose mails are refused for ever.
    :ivar held: how many mails have come, whether they were accepted or not.
    """

    def __init__(self) -> None:
        with socket.create_server((HOST, 0)) as probe:
            self.port = probe.getsockname()[1]
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refusing: set[str] = set()
        self.held = 0
        self._release: threading.Event | None = None
        self._controller: Controller | None = None

    def hold(self) -> threading.Event:
        """Let mails wait for an event before they are accepted."""
        self._release = threading.Event()
        return self._release

    def open(self) -> None:
        """Accept mail from now on."""
        self._controller = Controller(self, hostname=HOST, port=self.port)
        self._controller.start()

    def close(self) -> None:
        """Accept none."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        """Accept or refuse a recipient."""
        if address in self.refusing:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        """Keep a mail."""
        self.held += 1
        if self._release is not None:
            await asyncio.to_thread(self._release.wait, 60)
        mail = BytesParser(policy=email.policy.default).parsebytes(envelope.content)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"

    def to(self, address: str) -> list[EmailMessage]:
        """Return the mails to one address."""
        return [mail for mail in self.mails if mail["To"] == address]


def settings_for(port: int) -> dict[str, Any]:
    """Return Django's settings for the server on a port, for the Django that is installed."""
    if django.VERSION >= (6, 1):
        backend = "django.core.mail.backends.smtp.EmailBackend"
        return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": {"host": HOST, "port": port}}}}
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": HOST,
        "EMAIL_PORT": port,
    }

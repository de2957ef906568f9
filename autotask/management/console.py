"""The connection, the two streams and the failures of a command."""

import getpass
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.management.base import CommandError, OutputWrapper
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.exceptions import TablesMissing
from autotask.store import tables
from autotask.store.connection import current
from autotask.texts import advice
from autotask.texts.lines import one_line, without_controls

#: Exit codes, as in the help of the command. argparse itself uses that of a wrong usage.
FAILED = 1
USAGE = 2
UNHEALTHY = 3
NOT_FOUND = 4


@dataclass(frozen=True, slots=True)
class Console:
    """The streams of a sub-command.

    :ivar out: data, and nothing else.
    :ivar err: everything else.
    :ivar is_program: whether the process ends with the command; False if other code has called it.
    """

    out: OutputWrapper
    err: OutputWrapper
    is_program: bool = False

    def say(self, *lines: str) -> None:
        """Print lines of data."""
        _write(self.out, lines)

    def complain(self, *lines: str) -> None:
        """Print lines that are not data."""
        _write(self.err, lines)


def failure(message: str, returncode: int = FAILED) -> CommandError:
    """Return the exception that ends a command with one line on stderr."""
    return CommandError(one_line(message, 2000), returncode=returncode)


def open_tables() -> BaseDatabaseWrapper:
    """Return the connection to the database of autotask.

    :raises TablesMissing: there is nothing to read yet.
    """
    connection = current()
    if not tables.are_there(connection):
        raise TablesMissing(alias=settings.DATABASE, command=advice.migrate(settings.DATABASE))
    return connection


def operator() -> str:
    """Return the name of the user that runs this command, and of the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"  # In containers the user may have no name.
    return f"{user}@{socket.gethostname()}"


def _write(stream: OutputWrapper, lines: Iterable[str]) -> None:
    # A stream may know fewer characters than the text has: a question mark is better than a traceback.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # Names and messages come from elsewhere, and must not drive the terminal. A JSON document has many lines.
    text = "\n".join(without_controls(part) for line in lines for part in line.split("\n"))
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()

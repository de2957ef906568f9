"""The meaning of a database error for its statement: try again later, wait for a lock, or give in."""

import enum
import re

from django.db import DataError, InterfaceError, OperationalError


class Trouble(enum.Enum):
    """Why a statement failed."""

    OUTAGE = "the server cannot do it now: the same statement may succeed later"
    LOCKED = "another transaction has held a lock for longer than the lock timeout"
    REFUSED = "the server does not accept the rows of this statement"
    DOUBTFUL = "either the rows are at fault, or the state of the server or of the session"


_LOCK_NOT_AVAILABLE = "55P03"

# The first two characters of a SQLSTATE are its class. (PostgreSQL documentation, "PostgreSQL Error Codes".) A class that is
# not listed is DOUBTFUL: for example 42 (a missing right, table or column), 3F (a missing schema), 58 (an input or output
# error), XX (a corrupt page), and 0A, 24, 25, 26, 34 (a prepared statement or transaction that is gone).
_CLASSES = {
    # Connection; authorization; missing database; deadlock or serialization; resources; operator intervention; old snapshot;
    # configuration file.
    **dict.fromkeys(("08", "28", "3D", "40", "53", "57", "72", "F0"), Trouble.OUTAGE),
    # Triggers; CASE; cardinality; data; integrity; routines; CHECK OPTION; limits of the program; PL/pgSQL.
    **dict.fromkeys(
        ("09", "20", "21", "22", "23", "27", "2F", "38", "39", "44", "54", "P0"),
        Trouble.REFUSED,
    ),
}

#: The session was ended by idle_in_transaction_session_timeout, or by transaction_timeout.
_OVERLONG = ("25P03", "25P04")

_CODES = {
    "25006": Trouble.OUTAGE,  # read-only: a standby, or a disk that is nearly full at many hosts
    **dict.fromkeys(_OVERLONG, Trouble.OUTAGE),
    "40002": Trouble.REFUSED,  # a deferred constraint
    "55006": Trouble.OUTAGE,  # the object is in use
    _LOCK_NOT_AVAILABLE: Trouble.LOCKED,
}

#: The queue of notifications is full, or the statement meets another limit of the server.
_PROGRAM_LIMIT = "54000"

#: An undefined table, column, function or schema.
_MISSING = ("42P01", "42703", "42883", "3F000")

#: The drivers have no code for a refused login, only the text of the server or of the pooler. (Of a server with messages in
#: another language nothing is known.)
_LOGIN_REFUSED = re.compile(
    r'FATAL: +(?:password authentication failed|(?:database|role) ".*" does not exist|no pg_hba\.conf entry|no such database)'
    r"|no password supplied"
)

_QUERY_CANCELED = "57014"

#: Serialization failure, deadlock.
_CONFLICTS = ("40001", "40P01")
_INSUFFICIENT_PRIVILEGE = "42501"


def trouble_of(error: BaseException) -> Trouble:
    """Return the meaning of an error for the statement that raised it."""
    state = sqlstate(error)
    if state:
        return _CODES.get(state) or _CLASSES.get(state[:2], Trouble.DOUBTFUL)
    if isinstance(error, (OperationalError, InterfaceError, MemoryError)):
        return Trouble.OUTAGE  # The driver raises these for a broken connection.
    if isinstance(error, (DataError, ValueError, OverflowError)):
        return Trouble.REFUSED  # The driver cannot send such a value.
    return Trouble.DOUBTFUL


def is_outage(error: BaseException) -> bool:
    """Whether there is an outage, rather than something wrong with the statement.

    A doubtful error counts as one if the driver calls it operational, such as an input or output error.
    """
    trouble = trouble_of(error)
    if trouble is Trouble.DOUBTFUL:
        return isinstance(error, OperationalError)
    return trouble in (Trouble.OUTAGE, Trouble.LOCKED)


def is_locked(error: BaseException) -> bool:
    """Whether another transaction has held the lock of a row for longer than the lock timeout."""
    return trouble_of(error) is Trouble.LOCKED


def is_timeout(error: BaseException) -> bool:
    """Whether a statement timed out or was cancelled."""
    return sqlstate(error) == _QUERY_CANCELED


def is_overlong(error: BaseException) -> bool:
    """Whether the server has ended the session because its transaction took too long, as it would do the next time, too."""
    return sqlstate(error) in _OVERLONG


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction conflicts with another one, and can simply be run again."""
    return sqlstate(error) in _CONFLICTS


def is_forbidden(error: BaseException) -> bool:
    """Whether the role lacks a right."""
    return sqlstate(error) == _INSUFFICIENT_PRIVILEGE


def refuses_login(error: BaseException) -> bool:
    """Whether the server has refused the login for a reason that lasts: the password, the role, or no such database.

    For a worker this is an outage all the same: passwords change, and databases are restored, while it runs.
    """
    return isinstance(error, OperationalError) and _LOGIN_REFUSED.search(str(error)) is not None


def is_missing(error: BaseException) -> bool:
    """Whether a table or a column is not there: ``migrate`` has not run, or not far enough."""
    return sqlstate(error) in _MISSING


def is_program_limit(error: BaseException) -> bool:
    """Whether the server has met a limit of its own, such as a full queue of notifications."""
    return sqlstate(error) == _PROGRAM_LIMIT


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of a database error; None if it comes from the driver."""
    state: str | None = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
    return state

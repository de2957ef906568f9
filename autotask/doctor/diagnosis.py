"""Go through the checks of the doctor: in order, without those that cannot be made, and never with a traceback."""

import enum
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from autotask.exceptions import AutotaskError
from autotask.store.connection import Dedicated, dedicated
from autotask.store.errors import is_outage
from autotask.texts.lines import describe, one_line

#: Seconds within which it should be known whether a pooler keeps sessions.
PATIENCE = 5.0


class Verdict(enum.StrEnum):
    """The verdict of a check."""

    OK = "ok"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    :ivar text: what was found.
    :ivar fix: what to do about it; "" if nothing is wrong.
    """

    verdict: Verdict
    text: str
    fix: str = ""


def fine(text: str) -> Finding:
    """Return the finding that nothing is wrong."""
    return Finding(Verdict.OK, text)


def problem(text: str, fix: str) -> Finding:
    """Return the finding that something is wrong."""
    return Finding(Verdict.PROBLEM, text, fix)


def finding_document(number: int, name: str, finding: Finding) -> dict[str, Any]:
    """Return a finding for JSON; the keys are documented, and stay."""
    return {
        "number": number,
        "name": name,
        "verdict": finding.verdict.value,
        "text": finding.text,
        "fix": finding.fix,
    }


class Patient:
    """The connection that checks use, with short time limits."""

    def __init__(self) -> None:
        self._dedicated: Dedicated | None = None

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """The open connection."""
        if self._dedicated is None:
            self._dedicated = dedicated("doctor")
        return self._dedicated.wrapper

    @property
    def pooled(self) -> bool:
        """Whether the connection goes through a pooler."""
        return self._dedicated is not None and self._dedicated.pooled

    def hears(self) -> bool | None:
        """Whether LISTEN receives notifications; None if that is not known within a few seconds."""
        until = time.monotonic() + PATIENCE
        while (hears := self._dedicated is not None and self._dedicated.hears()) is None and time.monotonic() < until:
            time.sleep(0.01)
        return hears

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._dedicated is not None:
            self._dedicated.close()


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    :ivar needs: names of earlier checks; if one of them found a problem, this one could only repeat it.
    """

    name: str
    look: Callable[[Patient], Finding]
    needs: tuple[str, ...] = ()


#: The check that all checks with queries need.
DATABASE = "database"


def examine(patient: Patient, checks: Iterable[Check]) -> Iterator[tuple[Check, Finding]]:
    """Yield the finding of each check. Problems do not raise."""
    unsound: set[str] = set()
    for check in checks:
        missing = [need for need in check.needs if need in unsound]
        finding = Finding(Verdict.SKIPPED, f"fix {missing[0]} first") if missing else _look(patient, check)
        if finding.verdict is not Verdict.OK:
            unsound.add(check.name)
        if finding.verdict is Verdict.PROBLEM and DATABASE in check.needs and not _answers(patient):
            unsound.add(DATABASE)
        yield check, finding


def _look(patient: Patient, check: Check) -> Finding:
    try:
        return check.look(patient)
    except (AutotaskError, ConnectionDoesNotExist) as error:
        return problem(one_line(str(error)), "Correct the settings: python manage.py check --tag autotask")
    except (DatabaseError, InterfaceError) as error:
        text = one_line(describe(error).strip())
        patient.close()
        if is_outage(error):
            return problem(text, "Start PostgreSQL, or correct HOST, PORT, USER and PASSWORD in DATABASES.")
        return problem(text, "Check the rights of this connection's role, and the log of PostgreSQL.")


def _answers(patient: Patient) -> bool:
    """Whether the database can still be reached after a problem; if not, it is no use to ask on."""
    try:
        patient.connection.ensure_connection()
    except (DatabaseError, InterfaceError):
        return False
    return True

"""What errors of the database mean for the statement that met them."""

import importlib

import pytest
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.store.errors import Trouble, is_locked, is_outage, refuses_login, trouble_of


class FromServer(Exception):
    """Stands for the driver's error, which Django has as the cause of its own."""

    def __init__(self, state):
        self.sqlstate = self.pgcode = state


def raised(state, kind=DatabaseError):
    error = kind("x")
    error.__cause__ = FromServer(state)
    return error


OUTAGES = {
    "connection does not exist": "08003",
    "protocol violation, as poolers say for their own limits": "08P01",
    "read only": "25006",
    "idle in transaction for too long": "25P03",
    "transaction timeout": "25P04",
    "wrong password": "28P01",
    "no such database": "3D000",
    "serialization failure": "40001",
    "deadlock": "40P01",
    "disk full": "53100",
    "out of memory": "53200",
    "too many connections": "53300",
    "temporary files too large": "53400",
    "object in use": "55006",
    "statement timeout": "57014",
    "admin shutdown": "57P01",
    "crash shutdown": "57P02",
    "starting up": "57P03",
    "idle session timeout": "57P05",
}


@pytest.mark.parametrize("state", OUTAGES.values(), ids=OUTAGES)
def test_what_passes_by_itself_is_an_outage(state):
    assert trouble_of(raised(state)) is Trouble.OUTAGE
    assert is_outage(raised(state))


REFUSALS = {
    "numeric value out of range": "22003",
    "not null violation": "23502",
    "unique violation": "23505",
    "deferred constraint": "40002",
    "check option": "44000",
    "program limit": "54000",
    "RAISE in a trigger": "P0001",
}


@pytest.mark.parametrize("state", REFUSALS.values(), ids=REFUSALS)
def test_what_the_rows_have_caused_is_a_refusal(state):
    assert trouble_of(raised(state)) is Trouble.REFUSED
    assert not is_outage(raised(state))


DOUBTS = {
    "missing right": "42501",
    "missing table": "42P01",
    "missing schema": "3F000",
    "cached plan must not change result type": "0A000",
    "prepared statement does not exist": "26000",
    "transaction is aborted": "25P02",
    "input or output error": "58030",
    "internal error": "XX000",
    "corrupt page": "XX001",
    "code of an extension": "ZZ001",
}


@pytest.mark.parametrize("state", DOUBTS.values(), ids=DOUBTS)
def test_what_may_be_the_state_of_the_server_is_doubtful(state):
    assert trouble_of(raised(state)) is Trouble.DOUBTFUL
    assert not is_outage(raised(state))


def test_a_lock_is_neither_an_outage_nor_a_refusal():
    error = raised("55P03", OperationalError)
    assert trouble_of(error) is Trouble.LOCKED
    assert is_locked(error) and is_outage(error)


def test_an_operational_error_that_is_doubtful_counts_as_outage():
    assert is_outage(raised("58030", OperationalError))
    assert not is_outage(raised("42501", ProgrammingError))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('failed: FATAL:  password authentication failed for user "shop"', True),
        ('failed: FATAL:  database "shop" does not exist', True),
        ('failed: FATAL:  role "shop" does not exist', True),
        ('failed: FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "shop", database "shop", no encryption', True),
        ("failed: FATAL: no such database: shop", True),
        ("failed: fe_sendauth: no password supplied", True),
        ("failed: FATAL:  the database system is starting up", False),
        ("failed: FATAL:  sorry, too many clients already", False),
        ("failed: Connection refused", False),
    ],
)
def test_a_refused_login_is_told_from_a_server_that_is_away_and_is_an_outage_for_a_worker_all_the_same(text, refused):
    error = OperationalError(f'connection to server at "db" {text}')
    assert refuses_login(error) is refused
    assert is_outage(error)


def test_the_code_of_the_server_counts_more_than_the_class_of_the_driver():
    # Both drivers call a program limit an operational error.
    assert trouble_of(raised("54000", OperationalError)) is Trouble.REFUSED
    assert trouble_of(raised("53100", ProgrammingError)) is Trouble.OUTAGE


def test_without_a_code_the_class_decides():
    assert trouble_of(OperationalError("server closed the connection unexpectedly")) is Trouble.OUTAGE
    assert trouble_of(InterfaceError("connection already closed")) is Trouble.OUTAGE
    assert trouble_of(MemoryError()) is Trouble.OUTAGE
    assert trouble_of(DataError("NUL")) is Trouble.REFUSED
    assert trouble_of(ValueError("NUL")) is Trouble.REFUSED
    assert trouble_of(IntegrityError("?")) is Trouble.DOUBTFUL
    assert trouble_of(TypeError("a fault of ours")) is Trouble.DOUBTFUL


def test_every_code_that_the_driver_knows_has_a_meaning():
    if is_psycopg3:
        codes = importlib.import_module("psycopg.errors")._sqlcodes
    else:
        codes = importlib.import_module("psycopg2.errorcodes").__dict__.values()
    codes = {code for code in codes if isinstance(code, str) and len(code) == 5}
    assert len(codes) > 200
    refused = {code[:2] for code in codes if trouble_of(raised(code)) is Trouble.REFUSED}
    assert not refused & {"08", "53", "57", "58", "XX"}

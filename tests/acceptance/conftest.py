"""Fixtures: a site on a database of its own, and proof that nothing of it is left when its test is over; a table of servers."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from tests.acceptance.kinds import KINDS
from tests.acceptance.site import Site
from tests.acceptance.table import PROPERTY, Table, verdict
from tests.helpers import LONG

#: Of this run of the tests; several may use one server.
NAME = f"autotask_acceptance_{os.getpid()}"

_table = Table()


def _connect(name: str | None) -> BaseDatabaseWrapper:
    """Return a connection to a database of the server that the settings name; None is the one that is always there."""
    settings = {**connections["default"].settings_dict, "NAME": name}
    return load_backend(settings["ENGINE"]).DatabaseWrapper(settings, "acceptance")


@pytest.fixture(scope="session")
def maintenance(django_db_blocker) -> Iterator[BaseDatabaseWrapper]:
    """A connection by which databases are made and dropped."""
    with django_db_blocker.unblock():
        connection = _connect(None)
        yield connection
        connection.close()


@pytest.fixture(scope="session")
def template(maintenance, tmp_path_factory) -> Iterator[str]:
    """A migrated database, of which each test gets a copy."""
    name = f"{NAME}_template"
    _create(maintenance, name)
    site = Site(tmp_path_factory.mktemp("template"), _connect(name))
    site.manage("migrate", "--verbosity=0")
    yield name
    _drop(maintenance, name)


@pytest.fixture
def site(template, maintenance, tmp_path, django_db_blocker) -> Iterator[Site]:
    """A site whose database is migrated."""
    with django_db_blocker.unblock():
        yield from _site(maintenance, tmp_path, template)


@pytest.fixture
def new_site(maintenance, tmp_path, django_db_blocker) -> Iterator[Site]:
    """A site whose database is empty."""
    with django_db_blocker.unblock():
        yield from _site(maintenance, tmp_path, "template1")


def _site(maintenance: BaseDatabaseWrapper, folder: Path, template: str) -> Iterator[Site]:
    _create(maintenance, NAME, template)
    site = Site(folder, _connect(NAME))
    try:
        yield site
        for server in site.servers:
            print(server.output())  # pytest shows it where the test has failed
    finally:
        try:
            site.stop()
        finally:
            site.database.close()
            _drop(maintenance, NAME)


def _create(maintenance: BaseDatabaseWrapper, name: str, template: str = "template1") -> None:
    with maintenance.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


def _drop(maintenance: BaseDatabaseWrapper, name: str) -> None:
    with maintenance.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a test of a server has measured."""
    figures: dict[str, Any] = {}
    request.node.user_properties.append((PROPERTY, figures))
    return figures


@pytest.fixture(params=[kind for kind in KINDS if LONG or kind.quick], ids=lambda kind: kind.name)
def kind(request, measured):
    """A way to run a server; one that is not installed is not tested."""
    measured.update(name=request.param.name, version=request.param.version())
    if not measured["version"]:
        measured["version"] = "not installed"
        pytest.skip("not installed")
    return request.param


@pytest.hookimpl(trylast=True)  # after pytest itself has noted it
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, figures in report.user_properties:
        # A test that is skipped has no call, and one whose setup fails neither.
        if name == PROPERTY and (report.when == "call" or not report.passed):
            _table.add(figures["name"], verdict(report), figures)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _table:
        terminalreporter.section("servers")
        for line in _table.lines():
            terminalreporter.write_line(line)

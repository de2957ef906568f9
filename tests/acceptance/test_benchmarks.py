"""``python -m benchmarks`` on a real server: it measures, and whatever happens it leaves nothing behind."""

import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.db import connections

from autotask.embedded import binaries
from benchmarks.server import Server
from tests.acceptance import processes
from tests.helpers import LONG, wait_until
from tests.programs import Program

needs_embedded = pytest.mark.skipif(
    not any(find_spec(package) for package in binaries.PACKAGES), reason="no package with a PostgreSQL is installed"
)

only_long = pytest.mark.skipif(not LONG, reason="measures more, in the same way")


class Benchmarks:
    """Runs of ``python -m benchmarks``, on the server of the tests."""

    def __init__(self, folder: Path, maintenance) -> None:
        self.json = folder / "figures.json"
        self._folder = folder
        self._maintenance = maintenance
        self._mark = uuid.uuid4().hex
        self._server = Server.from_settings(connections["default"].settings_dict)
        self.running: list[Program] = []

    def start(self, *arguments: str, named: bool = True) -> Program:
        """Start one; without *named* it has to find a server by itself."""
        kept = {name: text for name, text in os.environ.items() if name != "DATABASE_URL" and not name.startswith("PG")}
        address = self._server.environment(self._server.home_database) if named else {}
        command = [sys.executable, "-m", "benchmarks", *arguments, "--json", str(self.json)]
        self.running.append(Program(command, kept | address | processes.environment(self._mark), self._folder))
        return self.running[-1]

    def run(self, *arguments: str, named: bool = True) -> dict[str, float]:
        """Run one to its end, and return the medians by measure and figure."""
        status = self.start(*arguments, named=named).wait(120)
        assert status == 0, self.output()
        figures = json.loads(self.json.read_text())["figures"]
        return {f"{figure['measure']} {figure['key']}": figure["median"] for figure in figures}

    def output(self) -> str:
        """Return what was printed."""
        return "".join(run.output() for run in self.running)

    def databases(self) -> list[str]:
        """Return the databases that these runs have made and not dropped."""
        with self._maintenance.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            names = [name for (name,) in cursor.fetchall()]
        return [name for name in names for run in self.running if name.startswith(f"autotask_benchmark_{run.pid}_")]

    def end(self) -> None:
        """Check that nothing is left; kill what is."""
        try:
            wait_until(lambda: not processes.marked(self._mark), 20, "the end of all processes")
        finally:
            for process in processes.marked(self._mark):
                process.kill()


@pytest.fixture
def benchmarks(tmp_path, maintenance, django_db_blocker) -> Iterator[Benchmarks]:
    """Runs of the tool, of which nothing may be left."""
    with django_db_blocker.unblock():
        runs = Benchmarks(tmp_path, maintenance)
        yield runs
        runs.end()
        assert runs.databases() == []


def test_a_tiny_run_measures_what_it_is_asked_for(benchmarks):
    # When
    found = benchmarks.run("drain", "enqueue", "bulk", "--tasks", "200", "--repeat", "1")

    # Then
    assert found["drain rate"] > 0
    assert found["drain duplicates"] == 0
    assert 0 < found["enqueue ratio"] < 10
    assert found["bulk rate"] > 0
    assert "tasks/s" in benchmarks.output()


@only_long
def test_autotask_is_measured_as_its_peers_are(benchmarks):
    for metric in ("drain", "enqueue", "roundtrip"):
        process = benchmarks.start("compare", metric, "--with", "", "--tasks", "100", "--samples", "2", "--repeat", "1")
        assert process.wait(120) == 0, benchmarks.output()
        (result,) = json.loads(benchmarks.json.read_text())["results"]
        (figures,) = result["rounds"]["autotask"]
        assert figures.get("rate", figures.get("p50_ms")) > 0


@only_long
def test_the_price_of_limits_held_tasks_and_unique_keys_is_measured(benchmarks):
    # When
    found = benchmarks.run("limits", "held", "unique", "--quick", "--tasks", "200")

    # Then
    for figure in (
        "limits keys_ratio",
        "limits one_ratio",
        "limits counting_ratio",
        "held ratio",
        "unique single_ratio",
    ):
        assert found[figure] > 0
    assert 0 < found["unique many_ratio"] < 10


@only_long
def test_two_checkouts_are_measured_in_turns(benchmarks):
    # When
    here = str(Path(__file__).parents[2])
    process = benchmarks.start("compare", "--before", here, "--tasks", "100", "--repeat", "1")

    # Then
    assert process.wait(120) == 0, benchmarks.output()
    (result,) = json.loads(benchmarks.json.read_text())["results"]
    assert [rounds[0]["rate"] > 0 for rounds in result["rounds"].values()] == [True, True]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM] if LONG else [signal.SIGTERM])
def test_a_run_that_is_ended_in_the_middle_leaves_nothing(benchmarks, signum):
    # Given: it is at work in a database of its own
    process = benchmarks.start("drain", "--tasks", "1_000_000", "--repeat", "1")
    wait_until(benchmarks.databases, what="a database of the run")

    # When
    process.signal(signum)

    # Then
    assert process.wait(30) in (130, 143)
    assert benchmarks.databases() == []


@only_long
@needs_embedded
def test_without_a_server_it_starts_its_own_and_puts_it_away(benchmarks, tmp_path):
    # When: one server, and a slower one where there is a compiler
    found = benchmarks.run(
        "drain", "fsync", "--tasks", "200", "--repeat", "1", "--data", str(tmp_path / "data"), named=False
    )

    # Then
    assert found["drain rate"] > 0
    assert "fsync rate" in found or "it needs Linux and a C compiler" in benchmarks.output()
    assert not (tmp_path / "data").exists()

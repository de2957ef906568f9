"""The options of the suite, a server and a world for each test, and the table at the end."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.postgres import NoServer, Server
from tests.faults.proxy import Proxy
from tests.faults.report import PROPERTY, Figures, Report
from tests.faults.world import World, migrated

HERE = Path(__file__).parent

#: How many seconds a random or lasting fault goes on in the quick subset.
QUICK = 3.0

SEED = 20261121

#: The quick subset shares its machine with other tests, so its budgets of time are larger by this factor.
LENIENCE = 4.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "the fault suite (tests/faults)")
    group.addoption("--faults-seconds", type=float, help="Run all faults; lasting ones go on for this long.")
    group.addoption("--faults-seed", type=int, default=SEED, help="Seed of everything random.")
    group.addoption("--faults-json", type=Path, help="Where to write the table as JSON.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(*numbers, quick=False): a test of faults of tests/faults/catalogue.py")
    config.stash[_REPORT] = Report(_seed(config), _seconds(config) is not None)


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: seed {_seed(config)} (--faults-seed)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _seconds(config) is not None:
        return
    slow = [item for item in items if (mark := item.get_closest_marker("fault")) and not mark.kwargs.get("quick")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    mark = item.get_closest_marker("fault")
    if mark is not None and call.when == "call":
        figures = [vars(figure) for figure in item.stash[_FIGURES].found] if _FIGURES in item.stash else []
        item.user_properties.append((PROPERTY, {"numbers": mark.args, "figures": figures}))
        report.user_properties = item.user_properties
    elif mark is not None and call.when == "setup" and not report.passed:
        item.user_properties.append((PROPERTY, {"numbers": mark.args, "figures": []}))
        report.user_properties = item.user_properties
    return report


@pytest.hookimpl(trylast=True)  # after pytest itself
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # A skipped test has no call, and neither has one whose setup failed.
    if report.when == "call" or (report.when == "setup" and not report.passed):
        for name, found in report.user_properties:
            if name == PROPERTY:
                entry = (found["numbers"], report.nodeid, *_verdict(report), found["figures"])
                _collected.append(entry)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    table = config.stash[_REPORT]
    for entry in _collected:
        table.add(*entry)
    if not table:
        return
    terminalreporter.section("faults")
    for line in table.lines():
        terminalreporter.write_line(line)
    path = config.getoption("--faults-json", None)
    if path:
        table.save(path)
        terminalreporter.write_line(f"For the documentation: python -m tests.faults.page {path}")


@pytest.fixture(scope="session")
def lasting(pytestconfig: pytest.Config) -> float:
    """How many seconds a lasting fault goes on."""
    return _seconds(pytestconfig) or QUICK


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """The figures of a test."""
    found = Figures(1.0 if _seconds(request.config) is not None else LENIENCE)
    request.node.stash[_FIGURES] = found
    return found


@pytest.fixture(scope="session")
def stopped_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A stopped server with a migrated database, to be copied: to make one takes some seconds."""
    server = _server()
    server.make()
    migrated(server, tmp_path_factory.mktemp("migrated"))
    server.stop()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def shared_server(stopped_server: Server) -> Iterator[Server]:
    """A server with a migrated database, for tests that do not change the server."""
    server = _server()
    yield server.make(stopped_server)
    server.remove()


@pytest.fixture
def own_server(stopped_server: Server) -> Iterator[Callable[..., Server]]:
    """Start servers with a migrated database, for tests to break."""
    started: list[Server] = []

    def start(**settings: Any) -> Server:
        started.append(_server(**settings))
        return started[-1].make(stopped_server)

    yield start
    for server in started:
        server.remove()


@pytest.fixture
def make_world(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any
) -> Iterator[Callable[[Server], World]]:
    """Make worlds on servers."""
    made: list[World] = []
    name = "w_" + re.sub(r"\W+", "_", request.node.name).lower()[-50:]

    def make(server: Server) -> World:
        server.sql(f"CREATE DATABASE {name} TEMPLATE migrated")
        folder = tmp_path / f"world {len(made)}"
        folder.mkdir()
        made.append(World(folder, server, name, _seed(request.config)))
        return made[-1]

    with django_db_blocker.unblock():
        yield make
        for world in made:
            world.close()
            for program in world.programs:
                print(f"--- {' '.join(program.command[1:])} ({program.pid})\n{program.output()[-20_000:]}")


@pytest.fixture
def world(shared_server: Server, make_world: Callable[[Server], World]) -> Iterator[World]:
    """A world on the shared server."""
    world = make_world(shared_server)
    yield world
    world.close()
    shared_server.sql(f"DROP DATABASE IF EXISTS {world.name} WITH (FORCE)")


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    """A proxy between the server of the world and all programs that are started from now on."""
    with Proxy(world.server.port, world.random) as proxy:
        world.port = proxy.port
        yield proxy
        world.close()


_REPORT = pytest.StashKey[Report]()
_FIGURES = pytest.StashKey[Figures]()
_collected: list[tuple[Any, ...]] = []


def _server(**settings: Any) -> Server:
    try:
        return Server(**settings)
    except NoServer as error:
        pytest.skip(str(error))


def _seconds(config: pytest.Config) -> float | None:
    return config.getoption("--faults-seconds", None)


def _seed(config: pytest.Config) -> int:
    return config.getoption("--faults-seed", None) or SEED


def _verdict(report: pytest.TestReport) -> tuple[str, str]:
    if hasattr(report, "wasxfail"):
        # Strict: pytest itself reports one that passes as failed.
        return "fail", f"known: {report.wasxfail}"
    if report.skipped:
        return "not run", report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
    return ("pass", "") if report.passed else ("fail", "")

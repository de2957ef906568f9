"""The pytest plugin: fixtures and a marker for tests of code that enqueues tasks.

Importing it imports no Django, so everything of autotask is imported where it is used.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from autotask.testing import CapturedTasks, WorkerProcess

#: The modes of the marker, with their fixtures.
MODES = {"immediate": "autotask_immediate", "captured": "autotask_captured", "worker": "autotask_worker"}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        'autotask(mode="immediate", raise_errors=False): tasks run at the call ("immediate"), are only recorded '
        '("captured"), or run in a real worker process ("worker"); raise_errors=True: with "immediate", calls raise the '
        "exceptions of their tasks.",
    )


def _mode(mode: str = "immediate", *, raise_errors: bool = False) -> tuple[str, bool]:
    if mode not in MODES or (raise_errors and mode != "immediate"):
        raise pytest.UsageError(f"autotask: the mode must be one of {', '.join(MODES)}; raise_errors is for immediate")
    return mode, raise_errors


def _asked(request: pytest.FixtureRequest) -> tuple[str, bool] | None:
    marker = request.node.get_closest_marker("autotask")
    return None if marker is None else _mode(*marker.args, **marker.kwargs)


@pytest.fixture(autouse=True)
def _autotask_marker(request: pytest.FixtureRequest) -> None:
    """Use the fixture that the marker asks for."""
    if (asked := _asked(request)) is not None:
        request.getfixturevalue(MODES[asked[0]])


@pytest.fixture
def autotask_immediate(request: pytest.FixtureRequest) -> Iterator[None]:
    """A call runs its task at once, see ``autotask.testing.immediate``."""
    from autotask.testing import immediate

    with immediate(raise_errors=_asked(request) == ("immediate", True)):
        yield


@pytest.fixture
def autotask_captured() -> "Iterator[CapturedTasks]":
    """Tasks that the test enqueues are recorded, see ``autotask.testing.captured_tasks``."""
    from autotask.testing import captured_tasks

    with captured_tasks() as tasks:
        yield tasks


@pytest.fixture
def autotask_run_pending(autotask_captured: "CapturedTasks") -> Callable[..., list[Any]]:
    """Call it to run the due tasks, see ``autotask.testing.CapturedTasks.run_pending``."""
    return autotask_captured.run_pending


@pytest.fixture
def autotask_worker(transactional_db: None) -> "Iterator[WorkerProcess]":
    """A real worker process on the test database, see ``autotask.testing.worker_process``."""
    from autotask.testing import worker_process

    with worker_process() as worker:
        yield worker

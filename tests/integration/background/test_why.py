"""Why a value of a background worker is not handled: each obstacle alone keeps it waiting, and the first one is its reason."""

from collections.abc import Callable, Iterable

import pytest
from django.db import connection

from autotask import acts
from autotask.handle import TaskHandle
from autotask.store import background_hosting
from autotask.why import Code
from tests.helpers import patient, wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Start, is_hosted

pytestmark = pytest.mark.django_db(transaction=True)

#: What may be seen in between, while the worker takes notice.
PASSING = {Code.BACKGROUND, Code.RUNNING}


@pytest.mark.parametrize(
    "obstacles",
    [
        (),
        ("all paused",),
        ("name paused",),
        ("stopped",),
        ("no host",),
        ("busy",),
        ("name paused", "stopped", "busy"),
        ("all paused", "stopped", "no host"),
        ("all paused", "name paused", "stopped", "no host", "busy"),
    ],
    ids=lambda each: ", ".join(each) or "none",
)
def test_the_reason_of_a_value_is_the_true_one(start: Start, obstacles: tuple[str, ...]) -> None:
    # Given
    background_hosting.declare(connection, [tasks.handle.declared()], new=True)
    if "stopped" not in obstacles:
        tasks.handle.start()
    if "no host" not in obstacles:
        start()
        if "stopped" not in obstacles:
            wait_until(lambda: is_hosted(tasks.handle), what="the host")
    made = [_OBSTACLES[name](start) for name in obstacles if name in _OBSTACLES]
    if "busy" in obstacles:
        tasks.handle.put({"seconds": 2})
    handle = tasks.handle.put({"seconds": 1})

    # When, Then
    around = {code for code, _ in made} | PASSING
    for code, remove in made:
        wait_for(handle, code, around)
        remove()
    if "busy" in obstacles:
        wait_for(handle, Code.BACKGROUND, around)
    wait_for(handle, Code.RUNNING, around)
    wait_for(handle, Code.DONE, around)


def wait_for(handle: TaskHandle[object] | None, code: Code, around: Iterable[Code]) -> None:
    """Wait for a reason; until then, only some others may be seen."""
    assert handle is not None

    def is_there() -> bool:
        found = handle.why()
        assert found.code in {code, *around}, (found, code)
        return found.code == code

    wait_until(is_there, patient(20), what=f"the reason {code}")


def _paused(**what: object) -> tuple[Code, Callable[[], object]]:
    acts.pause(**what, by="ann")  # type: ignore[arg-type]  # one of its names
    return Code.PAUSED, lambda: acts.resume(**what)  # type: ignore[arg-type]


_OBSTACLES: dict[str, Callable[[Start], tuple[Code, Callable[[], object]]]] = {
    "all paused": lambda start: _paused(everything=True),
    "name paused": lambda start: _paused(task=f"background:{tasks.handle.name}"),
    "stopped": lambda start: (Code.BACKGROUND_STOPPED, tasks.handle.start),
    "no host": lambda start: (Code.BACKGROUND_STOPPED, start),
}

"""What each kind of background worker does."""

from tests.helpers import wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start


def test_a_plain_one_runs_again_and_again(start: Start, lines: Lines) -> None:
    start()
    assert tasks.endless.start()
    found = lines.wait_for("endless", 5)
    assert all(0.08 <= later[0] - sooner[0] for sooner, later in zip(found, found[1:], strict=False))
    tasks.endless.stop()
    count = len(lines.all("endless"))
    assert tasks.endless.is_stopped()
    assert not tasks.endless.is_active()
    assert len(lines.all("endless")) == count


def test_what_is_put_is_handled_in_order(start: Start, lines: Lines) -> None:
    tasks.handle.put(1)
    start()
    tasks.handle.start()
    lines.wait_for("handle", 1)
    for value in (None, 2, "three", [4]):
        tasks.handle.put(value)
    lines.wait_for("handle", 5)
    assert lines.words("handle") == [1, None, 2, "three", [4]]
    wait_until(lambda: not _waiting())


def _waiting() -> int:
    from autotask.models import Task

    return Task.objects.count()

"""The title of a worker in a list of processes."""

import psutil
import pytest

from tests.helpers import wait_until
from tests.integration.worker.app.tasks import sign_and_wait

pytest.importorskip("setproctitle")
pytestmark = pytest.mark.django_db(transaction=True)


def title(pid: int) -> str:
    """Return what ``ps`` shows."""
    return " ".join(psutil.Process(pid).cmdline()).strip()


def test_the_title_of_a_worker_shows_its_running_task(start_processes, tmp_path):
    # Given
    (worker,) = start_processes(1, "--threads=2")
    assert title(worker.pid) == "autotask: worker"

    # When
    path, end = str(tmp_path / "ledger"), tmp_path / "end"
    first = sign_and_wait(path, "first", str(end))
    name = "tests.integration.worker.app.tasks.sign_and_wait"
    wait_until(lambda: title(worker.pid) == f"autotask: worker [{name} #{first.id}]", what="a title with the task")
    sign_and_wait(path, "second", str(end))

    # Then
    both = f"autotask: worker [{name} #{first.id} and 1 more]"
    wait_until(lambda: title(worker.pid) == both, what="a title with both tasks")

    # When
    end.touch()

    # Then
    wait_until(lambda: title(worker.pid) == "autotask: worker", what="a title without a task")

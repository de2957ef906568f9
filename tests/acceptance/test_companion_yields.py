"""``AUTOTASK_COMPANION_YIELDS``: a companion steps aside for a dedicated worker, and is there when that is gone."""

from tests.acceptance.site import START
from tests.helpers import LONG, wait_until


def test_a_companion_is_back_soon_after_a_dedicated_worker_was_killed(site):
    # Given
    server = site.runserver("--noreload", COMPANION_YIELDS=True, HEARTBEAT=1)
    companion = site.companion(server)
    dedicated = site.worker("--queues=default")
    wait_until(lambda: len(site.registered()) == 2, START, "a dedicated worker")

    def runs_it():
        return site.result(site.wait_for_end(server.call("who")))

    # When
    wait_until(lambda: runs_it() == dedicated.pid, what="a look of the companion")

    # Then
    assert {runs_it() for _ in range(5)} == {dedicated.pid}

    # When
    dedicated.process.kill()
    dedicated.wait()

    # Then: a worker hears of its neighbours with each heartbeat, and sees within half a second that one is gone
    task = site.wait_for_end(server.call("who"), 3 if LONG else START)
    assert site.result(task) == companion.worker

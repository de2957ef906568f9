"""Pauses with a real server and its companion: they hold through restarts, and nothing is lost."""

import time

from tests.acceptance.site import START
from tests.helpers import wait_until


def test_nothing_paused_begins_also_after_a_restart_of_the_server(site):
    # Given
    server = site.runserver("--noreload")
    site.companion(server)
    site.wait_for_end(server.call("who"))

    # When
    site.manage("autotask", "pause", "--task", "tests.acceptance.app.tasks.who", "--reason", "a test")
    time.sleep(1)
    tasks = [server.call("who") for _ in range(5)]

    # Then: others go on
    diary = str(site.folder / "diary")
    site.wait_for_end(server.call("work", 0, diary))
    assert not any(site.task(id).state.ended for id in tasks)

    # When
    server.stop()
    server = site.runserver("--noreload")
    companion = site.companion(server)
    site.wait_for_end(server.call("work", 0, diary))

    # Then
    tasks.append(server.call("who"))
    time.sleep(1)
    assert not any(site.task(id).state.ended for id in tasks)

    # When
    site.manage("autotask", "resume", "--task", "tests.acceptance.app.tasks.who")

    # Then
    wait_until(lambda: all(site.task(id).state.ended for id in tasks), START, "the end of the tasks")
    assert {site.result(site.task(id)) for id in tasks} == {companion.worker}

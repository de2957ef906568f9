"""Log files of tasks of a real site: of its companion and its child processes, through kill -9, until the results are pruned."""

import os
import signal
from pathlib import Path

from tests.helpers import wait_until

#: An app whose workers go through the folder every two seconds.
TALKATIVE = {
    "__init__": "from autotask.worker import log_pruner\n\nlog_pruner.INTERVALS = 2\n",
    "tasks": """
import logging
import os
import time
from pathlib import Path

from autotask.tasks import delayed_task


def speak(context, file):
    logging.getLogger(f"autotask.task.{context.id}").info("in attempt %d", context.attempt)
    if context.attempt == 1:
        Path(file).write_text(str(os.getpid()))
        time.sleep(600)


in_thread = delayed_task(name="talkative.tasks.in_thread", takes_context=True, ttl=3)(speak)
in_process = delayed_task(name="talkative.tasks.in_process", takes_context=True, ttl=3, executor="process")(speak)
""",
}


def test_the_lines_of_tasks_survive_their_worker_and_go_with_their_results(site, tmp_path):
    # Given
    site.app("talkative", **TALKATIVE)
    folder = tmp_path / "logs"
    server = site.runserver("--noreload", LOG_DIR=str(folder), CLEAN_INTERVAL=1)
    companion = site.companion(server)
    files = [tmp_path / name for name in ("in_thread", "in_process")]
    ids = [server.call(f"talkative.tasks.{file.name}", str(file)) for file in files]
    pids = [wait_until(lambda file=file: file.exists() and file.read_text(), what="the start") for file in files]
    logs = [folder / f"{id}.log" for id in ids]
    assert all("in attempt 1" in log.read_text() for log in logs)
    assert int(pids[0]) == companion.worker != int(pids[1])

    # When
    os.kill(companion.worker, signal.SIGKILL)

    # Then
    for log, pid in zip(logs, pids, strict=True):
        assert_whole(wait_until(lambda log=log: (text := _text(log)).count("\n") >= 6 and text, what="all lines"), pid)

    # Then: once the results are pruned
    wait_until(lambda: not any(log.exists() for log in logs), what="the deletion of the files")


def _text(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def assert_whole(text: str, pid: str) -> None:
    """Assert that a log has both attempts, the first one in that process."""
    found = [line.partition(" - ")[2].partition(":")[0].split(" after ")[0] for line in text.splitlines()]
    assert found == ["started", "in attempt 1", "lost", "started", "in attempt 2", "attempt 1 of 1 done"], text
    assert [line.startswith(f"[{pid}] ") for line in text.splitlines()] == [True, True, False, False, False, False]

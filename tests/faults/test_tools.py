"""The tools themselves: they find what is wrong, and nothing else."""

import importlib
import os
import platform
import subprocess
import sys
import threading
import time

import psutil
import pytest

from autotask.store.connection import rows
from autotask.task import State
from tests.faults import crashpoints, page
from tests.faults.catalogue import FAULTS
from tests.faults.checker import Row, check
from tests.faults.ledger import Event, Ledger
from tests.faults.report import Figures, Report
from tests.helpers import LONG, ROOT, wait_until


def event(kind, at, pid=1, id="a", fence=0, **facts):
    return Event(kind, at, at, pid, id, fence, facts)


ENQUEUED, FIRST, SECOND = event("enqueued", 0), event("start", 10, fence=1), event("start", 20, pid=2, fence=2)
KILLED = event("fault", 15, pid=1, id="", action="kill")


def done(claim, **changes):
    return Row(**{"id": "a", "state": State.DONE, "fence": claim, "lost": 0, "value": claim} | changes)


def test_a_task_that_ran_once_and_has_its_outcome_is_correct():
    verdict = check([ENQUEUED, FIRST], [done(1)])
    assert (verdict.violations, verdict.calls, verdict.executions) == ([], 1, 1)


@pytest.mark.parametrize(
    "rows", [[], [done(1, state=State.READY, fence=None)], [done(1), done(1, state=State.RUNNING)]]
)
def test_a_call_without_exactly_one_outcome_is_lost(rows):
    assert check([ENQUEUED, FIRST], rows).lost == ["a"]


def test_a_task_that_nobody_has_enqueued_is_found_unless_a_call_was_unclear():
    assert "I1" in check([], [done(None)]).violations[0]
    assert check([event("unknown", 0)], [done(None)]).violations == []


def test_the_outcome_of_an_earlier_claim_is_found():
    assert check([ENQUEUED, FIRST, KILLED, SECOND], [done(1)]).overwritten == ["a"]
    assert check([ENQUEUED, FIRST, KILLED, SECOND], [done(2)]).violations == []


def test_the_value_of_another_claim_is_found():
    assert check([ENQUEUED, FIRST, KILLED, SECOND], [done(2, value=1)]).overwritten == ["a"]


@pytest.mark.parametrize(
    "fault",
    [
        None,
        event("fault", 15, pid=2, action="kill"),
        event("fault", 5, pid=1, action="kill"),
        event("fault", 25, pid=1, action="kill"),
    ],
    ids=["none", "of another process", "before it", "after it"],
)
def test_a_task_that_was_run_again_without_a_reason_is_found(fault):
    events = [ENQUEUED, FIRST, SECOND, *([fault] if fault else [])]
    assert check(events, [done(2)]).unexcused == ["a"]


def test_a_fault_of_all_a_stall_before_and_a_retry_are_reasons_to_run_again():
    for fault in (event("fault", 15, pid=None), event("fault", 5, pid=1, seconds=6)):
        assert check([ENQUEUED, FIRST, fault, SECOND], [done(2)]).violations == []
    assert check([ENQUEUED, FIRST, SECOND], [done(2)], [("a", 1)]).violations == []


def test_a_task_left_running_is_found():
    assert "I4" in " ".join(check([ENQUEUED, FIRST], [done(1, state=State.RUNNING)]).violations)


WRITE = "from tests.faults.ledger import Ledger; from pathlib import Path; import os, sys\n"
WRITE += "Ledger(Path(sys.argv[1])).write('start', id='a', fence=1); os.kill(os.getpid(), 9)"


def test_lines_of_a_killed_process_are_in_the_ledger_and_half_a_line_is_left_out(tmp_path):
    subprocess.run([sys.executable, "-c", WRITE, tmp_path], cwd=crashpoints.__file__.partition("/tests/")[0])
    Ledger(tmp_path).write("end", id="a")
    (tmp_path / "half.jsonl").write_text('{"kind": ')
    assert [(found.kind, found.id) for found in Ledger(tmp_path).read()] == [("start", "a"), ("end", "a")]


def test_a_figure_beyond_its_budget_fails_and_is_still_in_the_report():
    figures = Figures(lenience=2.0)
    figures.at_most("recovery", 1.9, 1.0, "s")
    with pytest.raises(AssertionError, match="lost is 1"):
        figures.at_most("lost", 1, 0)
    assert [figure.kept for figure in figures.found] == [True, False]


def test_a_fault_that_was_not_run_has_not_passed_and_one_failure_is_not_outvoted(tmp_path):
    report = Report(1, full=True)
    report.add([1], "one", "pass", "", [])
    report.add([1], "two", "fail", "", [])
    report.add([29], "three", "not run", "no pgbouncer", [])
    lines = {line.split()[0]: line for line in report.lines() if line[:3].strip().isdigit()}
    assert "fail" in lines["1"]
    assert "not run" in lines["29"] and "no pgbouncer" in lines["29"]
    assert "not run" in lines["55"] and "elsewhere" in lines["55"]
    assert "not run" in lines["2"]
    report.save(tmp_path / "report.json")
    assert '"verdict": "not run"' in (tmp_path / "report.json").read_text()


def test_a_proxy_loses_the_answer_to_a_statement_that_was_committed(world, proxy):
    with world.connect().cursor() as cursor:
        cursor.execute("CREATE TABLE t (n int)")
    connection = world.connect()
    proxy.lose_answer_to(b"VALUES (42)")
    with pytest.raises(Exception, match="connection|closed"), connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (42)")
    assert proxy.has_lost()
    assert rows(world.database, "SELECT n FROM t") == [(42,)]


def test_a_proxy_loses_the_first_answer_that_has_rows(world, proxy):
    # Given
    connection = world.connect()
    proxy.lose_answer_to(b"FROM generate_series", with_rows=True)

    # When
    assert rows(connection, "SELECT n FROM generate_series(1, 0) AS n") == []

    # Then
    assert not proxy.has_lost()
    with pytest.raises(Exception, match="connection|closed"):
        rows(connection, "SELECT n FROM generate_series(1, 1) AS n")
    assert proxy.has_lost() and proxy.lost == 1


def test_a_proxy_can_go_silent_cut_and_delay(world, proxy):
    # Given
    connection = world.connect(application_name="the one")
    other = world.connect(application_name="the other")
    assert rows(connection, "SELECT 1") == rows(other, "SELECT 1") == [(1,)]

    # When
    assert proxy.cut(b"the one") == 1

    # Then
    with pytest.raises(Exception, match="connection|closed"):
        rows(connection, "SELECT 1")
    assert rows(other, "SELECT 2") == [(2,)]

    # When
    proxy.delay = (0.1, 0.05)

    # Then
    began = time.monotonic()
    rows(other, "SELECT 3")
    assert time.monotonic() - began > 0.1


def test_a_server_can_be_paused_and_continues(own_server, make_world):
    server = own_server()
    world = make_world(server)
    connection = world.connect()
    server.pause()
    threading.Timer(0.5, server.resume).start()
    assert rows(connection, "SELECT 1") == [(1,)]
    server.restart("immediate")
    assert rows(world.database, "SELECT 1") == [(1,)]


def test_nothing_of_the_crash_points_is_in_the_package():
    """All of them wrap functions that exist, and only in processes for which a test has asked for it."""
    for path in (*crashpoints.COMMITS.values(), crashpoints.BODY, crashpoints.WORD):
        module, _, name = path.rpartition(".")
        function = getattr(importlib.import_module(module), name)
        assert function.__module__ == module, "it is wrapped in this process"


def test_a_program_that_has_ended_is_noticed(world):
    program = world.start("-c", "pass")
    wait_until(program.has_ended)


def test_the_page_of_the_documentation_shows_the_worst_figure_of_each_name_and_faults_that_were_not_run(tmp_path):
    # Given
    report = Report(7, full=True)
    for seconds in (0.5, 1.25, 0.75):
        figures = Figures()
        figures.at_most("back after", seconds, 1.5, "s")
        figures.at_least("tasks_a_second", seconds, 0.25)
        report.add([1], "a test", "pass", "", [vars(figure) for figure in figures.found])
    report.add([29], "another one", "not run", "no pgbouncer", [])
    report.save(tmp_path / "faults.json")

    # When
    page.main([str(tmp_path / "faults.json"), "--to", str(tmp_path / "page.rst")])

    # Then
    shown = (tmp_path / "page.rst").read_text()
    assert "All faults, seed 7. " in shown and f"Python {platform.python_version()}" in shown
    assert (
        "    * - 1\n"
        "      - worker killed at random times\n"
        "      - I1 I2 I3 I4\n"
        "      - | back after 1.25 s (≤ 1.5), the worst of 3\n"
        "        | tasks\\_a\\_second 0.5 (≥ 0.25), the worst of 3\n"
        "      - pass\n"
    ) in shown
    assert "not run: no pgbouncer" in shown
    assert shown.count("    * - ") == 1 + len(FAULTS)


#: A run of the tests that has started a server and processes, and hangs.
RUN = """
import os, subprocess, sys, time
from tests import tether
from tests.acceptance import processes
from tests.faults.postgres import Server
server = Server().make()
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"],
    env={**os.environ, **processes.environment("mark")},
    start_new_session=True,
)
titled = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
tether.hold_process(titled.pid)
print(server.folder, child.pid, titled.pid, (server.data / "postmaster.pid").read_text().split()[0], flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not LONG or sys.platform != "linux", reason="takes some seconds, and /proc")
def test_a_run_that_is_killed_leaves_no_process_and_no_server():
    # Given
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    folder, *pids = run.stdout.readline().split()

    # When
    run.kill()
    run.communicate()

    # Then
    wait_until(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids), what="the end of all processes")
    wait_until(lambda: not os.path.exists(folder), what="the end of its folder")

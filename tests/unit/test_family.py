"""Processes that share a guard: where they meet, and how workers are forked for them."""

import contextlib
import gc
import os
import resource
import signal
import socket
import subprocess
import sys

import pytest

from autotask.companion import family
from autotask.companion.forks import Forks
from autotask.companion.pipes import Pipes
from autotask.companion.siblings import Siblings
from autotask.processes import packets, readable
from autotask.processes.exit_status import FAILED
from tests.helpers import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")


@pytest.fixture
def pipes():
    pipes = Pipes()
    yield pipes
    pipes.close()


def test_only_processes_with_the_same_environment_command_and_parent_meet(monkeypatch, tmp_path):
    here = family.address({"A": "1"}, ["python"])
    assert here and here == family.address({"A": "1"}, ["python"])
    others = [family.address({"A": "2"}, ["python"]), family.address({"A": "1"}, ["python", "-O"])]
    monkeypatch.chdir(tmp_path)
    others.append(family.address({"A": "1"}, ["python"]))
    monkeypatch.undo()
    monkeypatch.setattr(os, "getppid", os.getpid)
    others.append(family.address({"A": "1"}, ["python"]))
    assert len({here, *others}) == 5


def test_the_first_one_listens_and_the_others_are_admitted_with_their_pipes(pipes, monkeypatch):
    # Given
    address = f"\0autotask-test-{os.getpid()}"
    listener = family.listen(address)
    assert family.listen(address) is None
    siblings = Siblings(listener)
    monkeypatch.setattr(siblings._code, "changed", str)  # whoever edits a file while the tests run
    code = (
        "import sys; from autotask.companion import family; from autotask.companion.pipes import Pipes;"
        "print(family.join(sys.argv[1].replace('%', chr(0)), Pipes(), 1.5).wait())"
    )

    # When
    other = subprocess.Popen([sys.executable, "-c", code, address.replace("\0", "%")], stdout=subprocess.PIPE)
    [(django, pidfd)] = wait_until(lambda: list(siblings.admit()), what="the other process")

    # Then
    assert (django.pid, django.grace, len(django.offers)) == (other.pid, 1.5, 2)
    assert not readable.wait([pidfd, django.life], 0)
    os.close(django.life)
    assert other.communicate()[0].strip() == b"0"
    assert readable.wait([pidfd], 5) == {pidfd}
    packets.close([pidfd, *django.descriptors()])
    siblings.close()
    assert family.join(address, pipes, 1.5) is None


@pytest.fixture
def visitors():
    """Siblings, and a function that connects to them and sends a packet, which returns the other side."""
    listener = family.listen(f"\0autotask-test-{os.getpid()}")
    siblings, sockets = Siblings(listener), []

    def visit(body=b'{"grace": 1.5}', descriptors=()):
        sockets.append(socket.socket(socket.AF_UNIX, packets.KIND))
        sockets[-1].settimeout(10)
        sockets[-1].connect(f"\0autotask-test-{os.getpid()}")
        if body:
            socket.send_fds(sockets[-1], [body], descriptors)
        return sockets[-1]

    yield siblings, visit
    siblings.close()
    for each in sockets:
        each.close()


@pytest.mark.parametrize("body", [b"no JSON", b"\xff", b"{}", b'{"grace": 1.5}', b"[]", b"1"])
def test_a_packet_that_no_sibling_sends_is_refused_and_harms_nobody(visitors, body):
    siblings, visit = visitors
    stranger = visit(body)
    assert list(siblings.admit()) == []
    assert packets.receive(stranger) is None
    assert len(siblings.descriptors()) == 1


def test_of_another_user_nothing_is_read_and_nothing_is_kept(visitors, monkeypatch):
    siblings, visit = visitors
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    stranger = visit(b"")
    assert list(siblings.admit()) == []
    assert packets.receive(stranger) is None
    assert len(siblings.descriptors()) == 1


def test_if_autotask_has_changed_all_that_wait_are_refused(visitors, monkeypatch, pipes):
    # Given two that have come at once
    siblings, visit = visitors
    both = [visit(b""), visit(b"")]
    for _ in both:
        assert list(siblings.admit()) == []
    for each in both:
        packets.send(each, {"grace": 1.5}, [pipes.wake, *pipes.offers])

    # When
    monkeypatch.setattr(siblings._code, "changed", lambda: "family.py")

    # Then
    assert list(siblings.admit()) == []
    for each in both:
        with contextlib.suppress(ConnectionResetError):  # what it has sent was not read
            assert packets.receive(each) is None
    assert siblings.descriptors() == []


def test_of_one_that_is_gone_before_it_is_admitted_no_descriptor_is_left(visitors, pipes):
    siblings, visit = visitors
    gc.collect()  # what earlier tests have left open
    before = set(os.listdir("/proc/self/fd"))
    with visit(descriptors=[pipes.wake, *pipes.offers]):
        pass
    assert list(siblings.admit()) == []
    assert set(os.listdir("/proc/self/fd")) <= before


def test_without_descriptors_nobody_is_admitted_any_more_rather_than_tried_for_ever(visitors):
    siblings, visit = visitors
    visit(b"")
    with no_more_descriptors():
        assert list(siblings.admit()) == []
    assert siblings.descriptors() == []


def test_where_python_knows_no_descriptors_of_processes_nobody_meets(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    assert family.address({}, []) is None


@contextlib.contextmanager
def open_process(pid):
    """A descriptor that can be read when the process is gone."""
    descriptor = os.pidfd_open(pid)
    yield descriptor
    os.close(descriptor)


@contextlib.contextmanager
def no_more_descriptors():
    """Allow no descriptor above those that are open, and fill the gaps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with contextlib.suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(2))
        yield


TEMPLATE = """
import os, signal, socket, subprocess, sys
from autotask.companion.forks import LINE
from autotask.processes import packets
line = socket.socket(fileno=int(os.environ[LINE]))
answers = iter(sys.argv[1:])
for answer in answers:
    if answer == "exit":
        sys.exit(3)
    if answer == "helper":
        helper = subprocess.Popen(["sleep", "600"])
        continue
    fact = ""
    if answer != "loaded":
        words, (go, leave, *rest) = packets.receive(line)
    if answer == "forked":
        pid = os.fork()
        if pid == 0:
            if os.read(go, 1):
                os.write(leave, (words["variables"]["SAYS"] or str(helper.pid)).encode())
            os._exit(0)
        packets.close([go, leave, *rest])
        fact = str(pid)
    packets.send(line, {"answer": answer, "fact": fact})
signal.pause()
"""


class Templates:
    """Forks whose templates answer what a test tells them."""

    def __init__(self, *answers):
        self.reasons = []
        command = [sys.executable, "-c", TEMPLATE, *answers]
        self.forks = Forks(command, {**os.environ, "PYTHONPATH": os.getcwd()}, self.reasons.append)
        self.reader, self.leave = os.pipe()

    def start(self, says="here", otherwise=None):
        return self.forks.start({"SAYS": says}, self.leave, [], otherwise=otherwise)

    def await_(self, condition):
        return wait_until(lambda: self.forks.look_after() or condition(), what="what the template answers")

    def close(self):
        self.forks.end()
        packets.close([self.reader, self.leave])


@pytest.fixture
def templates():
    made = []

    def make(*answers):
        made.append(Templates(*answers))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_workers_are_forked_one_after_the_other_and_begin_when_the_guard_knows_them(templates):
    found = templates("loaded", "forked", "forked")
    first, second = found.start("1"), found.start("2")
    assert first.pid == 0 and first.poll() is None
    found.await_(lambda: first.pid and second.pid)
    assert {os.read(found.reader, 1), os.read(found.reader, 1)} == {b"1", b"2"}


def test_a_worker_that_is_ended_before_it_is_forked_never_begins(templates):
    found = templates("loaded", "forked", "forked")
    first, second = found.start("1"), found.start("2")
    found.forks.look_after()
    first.terminate()
    assert first.poll() == first.wait() == -signal.SIGTERM and first.pid == 0
    found.await_(lambda: second.pid)
    assert os.read(found.reader, 1) == b"2"


def test_a_template_without_room_or_that_cannot_load_the_project_counts_as_workers_that_have_failed(templates):
    found = templates("loaded", "full")
    worker = found.start()
    assert found.await_(lambda: worker.poll()) == FAILED
    found = templates("exit")
    worker, other = found.start(), found.start()
    assert found.await_(lambda: worker.poll()) == other.poll() == 3
    assert found.forks.pids() == []


def test_a_worker_for_which_there_are_no_descriptors_leaves_none_behind_and_is_tried_again(templates):
    # Given
    found = templates("loaded", "forked")
    gc.collect()  # what earlier tests have left open
    before = set(os.listdir("/proc/self/fd"))
    with no_more_descriptors(), pytest.raises(OSError):
        found.start()
    assert set(os.listdir("/proc/self/fd")) <= before

    # When
    worker = found.start()
    found.forks.look_after()
    assert readable.wait(found.forks.descriptors(), 10)
    with no_more_descriptors():
        found.forks.look_after()

    # Then
    assert worker.poll() == FAILED
    after = found.start("2")
    found.await_(lambda: after.pid)
    assert os.read(found.reader, 1) == b"2"


def test_with_a_template_go_the_processes_that_the_project_has_started_while_it_was_loaded(templates):
    found = templates("helper", "loaded", "forked")
    worker = found.start(says="")
    found.await_(lambda: worker.pid)
    with open_process(int(os.read(found.reader, 20))) as helper:
        assert not readable.wait([helper], 0)
        found.forks.end()
        assert readable.wait([helper], 10)


def test_if_the_code_changes_again_and_again_workers_are_no_forks(templates):
    # Given
    interpreters = []

    def otherwise(variables, leave):
        os.write(leave, variables["SAYS"].encode())
        assert variables["AUTOTASK_LEAVE_FD"] == str(leave)
        interpreters.append(subprocess.Popen([sys.executable, "-c", ""]))
        return interpreters[-1]

    found = templates("loaded", "changed")
    worker = found.start("apart", otherwise)

    # Then
    assert found.await_(lambda: worker.pid) == interpreters[0].pid
    assert os.read(found.reader, 5) == b"apart"
    assert len(found.reasons) == 1
    assert worker.wait() == 0

    # When
    assert (
        found.forks.start({"SAYS": "", "AUTOTASK_LEAVE_FD": str(found.leave)}, found.leave, [], otherwise=otherwise)
        is interpreters[1]
    )
    interpreters[1].wait()

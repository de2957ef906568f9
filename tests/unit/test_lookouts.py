"""The workers of a host that listen for those that rest."""

import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from autotask.processes import lookouts
from autotask.processes.lookouts import POSTS, Lookouts, Word
from tests.helpers import ROOT, patient, wait_until

#: A process that takes a post, says whether it has one, and keeps it.
KEEPER = """
import sys, time
from autotask.processes.lookouts import Lookouts
mine = Lookouts(sys.argv[1], sys.argv[2])
print(mine.take_post(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder():
    """A path that is short enough for the names of sockets."""
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "lookouts")


@pytest.fixture
def start_keeper(folder):
    """Start other processes that take a post."""
    started = []

    def start():
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", KEEPER, folder, f"keeper{len(started)}"]
        keeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        started.append(keeper)
        return keeper, keeper.stdout.readline().strip() == "True"

    yield start
    for keeper in started:
        keeper.kill()
        keeper.communicate()


@pytest.fixture
def join(folder):
    """Make places for workers of this process."""
    made = []

    def join(name):
        made.append(Lookouts(folder, name))
        return made[-1]

    yield join
    for each in made:
        each.close()


def test_another_one_takes_the_post_of_a_lookout_that_is_killed(start_keeper, join):
    # Given
    keepers = [start_keeper() for _ in range(POSTS)]
    assert [has_post for _, has_post in keepers] == [True] * POSTS
    mine = join("mine")
    assert not mine.take_post()
    assert not mine.keeps_watch

    # When
    keepers[1][0].kill()

    # Then
    wait_until(mine.take_post, what="a post")
    assert mine.keeps_watch
    _, has_post = start_keeper()
    assert not has_post

    # When
    mine.leave_post()

    # Then
    _, has_post = start_keeper()
    assert has_post


def test_a_lookout_calls_those_that_rest(join):
    # Given
    one, two, lookout = join("one"), join("two"), join("lookout")
    one.rest()
    two.rest()

    # Then
    lookout.call(Word.WORK, 1.5)
    assert one.heard() == two.heard() == [(Word.WORK, 1.5)]
    assert one.heard() == []
    lookout.call(Word.ONE, 2.5, one=True)
    assert sorted([one.heard(), two.heard()]) == [[], [(Word.ONE, 2.5)]]

    # When
    one.rise()

    # Then
    lookout.call(Word.SCHEDULES, 3.5)
    assert one.fileno() is None
    assert one.heard() == []
    assert two.heard() == [(Word.SCHEDULES, 3.5)]


def test_a_lookout_sees_one_that_has_just_begun_to_rest(join):
    lookout = join("lookout")
    for number in range(20):
        lookout.call(Word.WORK, 0.0)
        resting = join(f"resting{number}")
        resting.rest()
        lookout.call(Word.WORK, 1.0)
        assert resting.heard() == [(Word.WORK, 1.0)]


def test_the_socket_of_one_that_was_killed_is_removed_and_another_one_is_called(join, folder):
    # Given
    gone, there, lookout = join("gone"), join("there"), join("lookout")
    gone.rest()
    there.rest()
    gone._socket.close()  # as the kernel does

    # Then
    for _ in range(10):
        lookout.call(Word.ONE, 1.0, one=True)
        assert there.heard() == [(Word.ONE, 1.0)]
    lookout.call(Word.WORK, 1.0)
    assert [name for name in os.listdir(folder) if name.endswith(".rest")] == ["there.rest"]


def test_one_whose_socket_was_removed_makes_another_one(join, folder):
    # Given
    mine, lookout = join("mine"), join("lookout")
    mine.rest()
    os.unlink(os.path.join(folder, "mine.rest"))

    # When
    mine.rest()

    # Then
    lookout.call(Word.WORK, 1.0)
    assert mine.heard() == [(Word.WORK, 1.0)]


def test_nothing_is_missed_if_more_calls_come_than_there_is_room_for(join):
    # Given
    mine, lookout = join("mine"), join("lookout")
    mine.rest()

    # When
    for number in range(5000):
        lookout.call(Word.WORK, float(number))
    lookout.call(Word.SCHEDULES, 9999.0)

    # Then
    assert {call.word for call in mine.heard()} >= {Word.WORK, Word.SCHEDULES}


def test_a_lookout_does_not_wait_for_one_that_does_not_read(join):
    # Given
    stuck, lookout = join("stuck"), join("lookout")
    stuck.rest()

    # When
    def call():
        for _ in range(2000):
            lookout.call(Word.WORK, 1.0)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()

    # Then
    caller.join(patient(20))
    assert not caller.is_alive()


def test_words_of_another_version_are_ignored(join):
    # Given
    mine, lookout = join("mine"), join("lookout")
    mine.rest()

    # When
    lookout._send(mine._socket, "mine.rest", b"?")
    lookout._send(mine._socket, "mine.rest", lookouts._CALL.pack(b"?", 1.0))
    lookout.call(Word.WORK, 1.0)

    # Then
    assert mine.heard() == [(Word.WORK, 1.0)]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_to_which_others_can_write_is_no_place(folder, mode):
    os.mkdir(folder)
    os.chmod(folder, mode)
    with pytest.raises(PermissionError):
        Lookouts(folder, "mine")


def test_a_link_is_no_place(folder):
    os.symlink(tempfile.gettempdir(), folder)
    with pytest.raises(PermissionError):
        Lookouts(folder, "mine")


def test_a_path_that_is_too_long_is_no_place_to_rest(folder):
    long = Lookouts(folder, "x" * 120)
    with pytest.raises(OSError, match="too long"):
        long.rest()
    assert long.fileno() is None
    long.close()


def test_the_last_calls_of_one_that_rises_are_not_lost(join, folder):
    mine, lookout = join("mine"), join("lookout")
    mine.rest()
    lookout.call(Word.ONE, 1.5)
    assert mine.rise() == [(Word.ONE, 1.5)]
    assert mine.rise() == []
    assert not [name for name in os.listdir(folder) if name.endswith(".rest")]


def test_a_folder_without_room_leaves_no_files_open(folder):
    os.mkdir(folder, 0o700)
    os.mkdir(os.path.join(folder, f"post{POSTS - 1}"))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="post"):
        Lookouts(folder, "mine")
    assert os.listdir("/proc/self/fd") == before


#: A process that rests, and leaves behind a fork of itself.
FORKED = """
import os, sys, time
from autotask.processes.lookouts import Lookouts
mine = Lookouts(sys.argv[1], "gone")
mine.rest()
if (child := os.fork()):
    print(child, flush=True)
time.sleep(600)
"""


def test_nobody_is_called_in_a_fork_of_one_that_was_killed(join, folder):
    # Given
    lookout, there = join("lookout"), join("there")
    command = [sys.executable, "-c", FORKED, folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as gone:
        child = int(gone.stdout.readline())
        there.rest()
        gone.kill()
    try:
        # Then
        wait_until(lambda: lookout.call(Word.WORK, 1.0) or not os.path.exists(f"{folder}/gone.rest"), what="its end")
        assert there.heard()
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_last_one_that_leaves_removes_the_folder(start_keeper, join, folder):
    # Given
    keeper, _ = start_keeper()
    mine, other = join("mine"), join("other")
    other.rest()

    # Then
    mine.close()
    assert sorted(os.listdir(folder)) == ["other.rest", "post0"]
    keeper.kill()
    keeper.wait()
    assert other.take_post()
    other.close()
    assert not os.path.exists(folder)
    assert join("new").take_post()

"""Python's search for garbage while a call makes many objects: stopped or rare, and as before afterwards."""

import gc
import os
import threading

import pytest

from autotask import garbage


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 11, 12)
    yield
    gc.set_threshold(*before)


def in_fork(holds):
    child = os.fork()
    if not child:
        os._exit(0 if holds() else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_process_that_is_forked_while_the_search_is_stopped_searches():
    with garbage.no_search():
        assert not gc.isenabled()
        assert in_fork(gc.isenabled)
    assert gc.isenabled()


def test_a_process_that_is_forked_while_the_search_is_rare_searches_as_usual():
    with garbage.rare_search():
        assert in_fork(lambda: gc.get_threshold() == (700, 11, 12))
        assert gc.get_threshold() == (garbage.SELDOM, 11, 12)
    assert gc.get_threshold() == (700, 11, 12)


def test_in_a_process_that_is_forked_the_search_can_be_rare_again():
    def again():
        with garbage.rare_search():
            rare = gc.get_threshold()[0] == garbage.SELDOM
        return rare and gc.get_threshold() == (700, 11, 12)

    with garbage.rare_search():
        assert in_fork(again)


def test_the_last_of_two_threads_has_the_search_as_before():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with garbage.rare_search():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with garbage.rare_search():
        thread.start()
        assert inside.wait(10)
    assert gc.get_threshold()[0] == garbage.SELDOM
    leave.set()
    thread.join()
    assert gc.get_threshold() == (700, 11, 12)


@pytest.mark.parametrize("own", [(0, 5, 5), (200_000, 5, 5)])
def test_a_project_that_searches_seldom_or_never_is_left_alone(own):
    gc.set_threshold(*own)
    with garbage.rare_search():
        assert gc.get_threshold()[0] == own[0]
    assert gc.get_threshold()[0] == own[0]


def test_a_project_that_has_stopped_the_search_is_left_alone():
    gc.disable()
    try:
        with garbage.no_search():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_thresholds_that_the_project_sets_meanwhile_stay():
    with garbage.rare_search():
        gc.set_threshold(5_000, 11, 12)
    assert gc.get_threshold() == (5_000, 11, 12)

"""Offers of a worker, in the pipe between it and the process that it serves."""

import os
import uuid

import pytest

from autotask.offer import Offers, take

ME = uuid.UUID(int=1)


@pytest.fixture
def pipe():
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for descriptor in ends:
        os.close(descriptor)


@pytest.fixture
def offers(pipe):
    offers = Offers(pipe)
    offers.open(ME)
    return offers


def test_an_offer_is_taken_by_one_caller_only(pipe, offers):
    offers.make()
    assert take(pipe[0]) == ME
    assert take(pipe[0]) is None


def test_there_is_one_offer_at_most_however_often_it_is_made(pipe, offers):
    offers.make()
    offers.make()
    assert take(pipe[0]) == ME
    assert take(pipe[0]) is None


def test_an_offer_that_nobody_has_taken_is_taken_back(pipe, offers):
    offers.make()
    offers.close()
    assert not offers.taken
    assert take(pipe[0]) is None


def test_the_worker_learns_that_its_offer_was_taken(pipe, offers):
    offers.make()
    take(pipe[0])
    offers.close()
    assert offers.taken


def test_none_is_made_until_it_is_known_what_has_become_of_the_last_one(pipe, offers):
    offers.make()
    take(pipe[0])
    offers.make()
    assert take(pipe[0]) is None

    offers.settle()
    offers.make()
    assert take(pipe[0]) == ME


def test_one_that_was_accepted_is_not_taken_for_one_that_is_still_to_come(pipe, offers):
    offers.make()
    take(pipe[0])
    offers.settle()
    offers.close()
    assert not offers.taken


def test_none_is_made_before_they_are_opened_nor_after_they_are_closed(pipe):
    offers = Offers(pipe)
    offers.make()
    assert take(pipe[0]) is None

    offers.open(ME)
    offers.close()
    offers.make()
    assert take(pipe[0]) is None


def test_what_a_dead_worker_has_offered_is_gone_when_the_next_one_begins(pipe, offers):
    offers.make()
    Offers(pipe)
    assert take(pipe[0]) is None


def test_a_worker_without_a_process_to_serve_makes_none():
    offers = Offers(None)
    offers.open(ME)
    offers.make()
    offers.close()
    assert not offers.taken


def test_an_offer_to_a_process_that_is_gone_does_no_harm():
    read, write = os.pipe()
    gone = os.dup(read)
    offers = Offers((gone, write))
    os.close(read)
    os.close(gone)
    readable = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(readable, gone)  # so that the number means something, and the pipe has no reader
        offers.open(ME)
        offers.make()
        offers.close()
    finally:
        for descriptor in {readable, gone, write}:
            os.close(descriptor)

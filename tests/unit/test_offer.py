"""Offers of a worker, in the pipe between it and the process that it serves."""

import os
import uuid

import pytest

from autotask import offer
from autotask.offer import Offer, Offers, take

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
    assert take(pipe[0]) == Offer(ME, 1)
    assert take(pipe[0]) is None


def test_there_is_one_offer_at_most_however_often_it_is_made(pipe, offers):
    offers.make()
    offers.make()
    assert take(pipe[0]) == Offer(ME, 1)
    assert take(pipe[0]) is None


def test_an_offer_that_nobody_has_taken_is_taken_back(pipe, offers, monkeypatch):
    monkeypatch.setattr(offer, "OVERDUE", 0.0)
    offers.make()
    offers.close()
    assert not offers.is_overdue()
    assert take(pipe[0]) is None


def test_the_worker_sees_that_its_offer_was_taken_and_nothing_comes(pipe, offers, monkeypatch):
    offers.make()
    assert not offers.is_overdue()
    take(pipe[0])
    assert not offers.is_overdue()
    monkeypatch.setattr(offer, "OVERDUE", 0.0)
    assert offers.is_overdue()


def test_it_sees_so_too_when_it_closes_its_offers(pipe, offers, monkeypatch):
    monkeypatch.setattr(offer, "OVERDUE", 0.0)
    offers.make()
    take(pipe[0])
    offers.close()
    assert offers.is_overdue()


def test_none_is_made_until_it_is_known_what_has_become_of_the_last_one(pipe, offers):
    offers.make()
    take(pipe[0])
    offers.make()
    assert take(pipe[0]) is None

    assert offers.accept(1)
    offers.make()
    assert take(pipe[0]) == Offer(ME, 2)


def test_nothing_is_overdue_any_more_when_it_has_come(pipe, offers, monkeypatch):
    monkeypatch.setattr(offer, "OVERDUE", 0.0)
    offers.make()
    take(pipe[0])
    assert offers.is_overdue()
    assert offers.accept(1)
    assert not offers.is_overdue()


def test_what_comes_after_it_was_looked_for_does_not_count(pipe, offers):
    # Given
    offers.make()
    take(pipe[0])

    # When
    offers.void()
    offers.make()

    # Then
    assert not offers.accept(1)
    assert take(pipe[0]) == Offer(ME, 2)
    assert offers.accept(2)


def test_what_comes_late_does_not_settle_a_later_offer(pipe, offers, monkeypatch):
    # Given
    monkeypatch.setattr(offer, "OVERDUE", 0.0)
    offers.make()
    take(pipe[0])
    offers.void()
    offers.make()
    take(pipe[0])

    # When
    offers.accept(1)

    # Then
    assert offers.is_overdue()


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


def test_an_offer_in_a_form_of_other_code_is_not_taken_for_one(pipe):
    os.write(pipe[1], bytes([200]) * 21)
    assert take(pipe[0]) is None


def test_a_descriptor_that_somebody_has_closed_is_no_offer():
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    assert take(read) is None


def test_a_worker_without_a_process_to_serve_makes_none():
    offers = Offers(None)
    offers.open(ME)
    offers.make()
    assert not offers.is_overdue()
    offers.close()


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

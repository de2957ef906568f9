"""Why a task waits, in words."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from autotask import reasons
from autotask.flow import Flow, LimitGate, RateGate
from autotask.reasons import Code, Place
from autotask.store.gates_read import COUNTED, Holder, SeenGate
from autotask.store.pauses import Kind, Pause
from autotask.store.read import StoredTask
from autotask.task import State

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ID = uuid.UUID("01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e")

OPENAI = LimitGate("limit:openai", "openai", 20)
OWN = LimitGate("limit:shop.sync(account_id=7)", "shop.sync", 1)
RATE = RateGate("rate:shop.sync(tenant_id=7)", "shop.sync", 0.6, 20)


@pytest.fixture(autouse=True)
def _in_utc():
    with timezone.override(UTC):
        yield


def task(*gates, state=State.HELD, gate=None, passed=0, unique=None):
    fields = dict.fromkeys(StoredTask.__dataclass_fields__) | {"name": "shop.sync", "queue": "mail", "state": state}
    gate = gate or (gates[passed].key if passed < len(gates) else None)
    return StoredTask(**fields | {"gate": gate, "passed": passed, "flow": Flow(gates, unique).stored})


def gate(terms=None, *, key=None, waiting=340, taken=0, full_at=None, closed_until=None):
    return SeenGate(key or terms.key, NOW, waiting, taken, full_at, closed_until, terms)


def held(task, gate, holders=(), pauses=()):
    return reasons.of_held(task, gate, holders, pauses)


def pause(kind, name="", until=None, reason="", by="ANN"):
    return Pause(Kind(kind), name, NOW, by, until, reason)


def in_seconds(seconds):
    return NOW + timedelta(seconds=seconds)


def test_a_task_waits_for_a_slot_of_a_shared_limit():
    reason = held(task(OPENAI), gate(OPENAI, taken=20))
    assert reason.text == "waits for a slot of limit openai (20 of 20 taken; 340 tasks wait)"
    assert (reason.code, reason.gate, reason.until, reason.waiting) == (Code.LIMIT, "limit:openai", None, 340)


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (Holder(ID, "shop.sync", State.RUNNING, None, 3.0), f"task {ID} running for 3.0 s"),
        (Holder(ID, "shop.sync", State.READY, None, None), f"task {ID}, which waits for a worker"),
        (Holder(ID, "shop.sync", State.HELD, OPENAI.key, None), f"task {ID}, which waits for a slot of limit openai"),
        (Holder(ID, "shop.sync", State.HELD, "pause:shop.sync", None), f"task {ID}, which is paused"),
    ],
)
def test_the_only_holder_of_a_slot_is_named_with_what_it_does(holder, words):
    reason = held(task(OWN), gate(OWN, taken=1, waiting=1), [holder])
    assert reason.text == f"waits for a slot of shop.sync(account_id=7): taken by {words}; 1 task waits"
    assert reason.holders == [holder]


def test_free_slots_are_given_out_by_a_worker():
    reason = held(task(OPENAI), gate(OPENAI, taken=3, waiting=COUNTED + 1))
    assert reason.text.endswith("(3 of 20 taken; more than 10,000 tasks wait): a worker has to look and let tasks pass")


@pytest.mark.parametrize(
    ("tokens", "cost", "seconds", "words"),
    [
        (20, 1, 0.6, "next at 12:00:00"),
        (25, 1, 3.6, "next at 12:00:03"),
        (20, 10, 6, "next at 12:00:06"),
        (19, 1, None, "they are there, and a worker has to look"),
        (0, 20, None, "they are there, and a worker has to look"),
    ],
)
def test_a_task_waits_for_tokens(tokens, cost, seconds, words):
    reason = held(task(RATE._replace(cost=cost)), gate(RATE, waiting=12, full_at=in_seconds(tokens * 0.6)))
    assert reason.text == f"waits for tokens of rate 100/m of shop.sync(tenant_id=7), {words}; 12 tasks wait"
    assert (reason.code, reason.until) == (Code.RATE, None if seconds is None else in_seconds(seconds))


def test_a_bucket_that_nobody_has_used_is_full():
    assert reasons.tokens(gate(RATE), RATE) == 20
    assert reasons.tokens(gate(RATE, full_at=in_seconds(6)), RATE) == pytest.approx(10)
    assert reasons.tokens(gate(RATE, full_at=in_seconds(600)), RATE) == 0


def test_a_task_waits_for_a_bucket_that_a_task_has_closed():
    reason = held(task(RATE), gate(RATE, closed_until=in_seconds(86400)))
    assert "nobody gets any until 2026-11-30 12:00:00; 340 tasks wait" in reason.text
    assert (reason.code, reason.until) == (Code.CLOSED, in_seconds(86400))
    assert held(task(RATE), gate(RATE, closed_until=in_seconds(-1))).code is Code.RATE


@pytest.mark.parametrize(
    ("pause", "words"),
    [
        (
            pause("limit", "openai", in_seconds(6 * 3600), "provider is down"),
            "the limit openai is paused by ANN until 18:00:00: provider is down",
        ),
        (pause("limit", "openai", by=""), "the limit openai is paused"),
    ],
)
def test_a_limit_is_paused(pause, words):
    reason = held(task(OPENAI), gate(OPENAI, taken=20), pauses=[pause])
    assert (reason.code, reason.text, reason.until) == (Code.PAUSED, words, pause.until)


@pytest.mark.parametrize("name", ["shop.sync", "shop.sync(account_id=7)"])
def test_a_limit_is_paused_with_all_keys_or_for_one(name):
    assert held(task(OWN), gate(OWN), pauses=[pause("limit", name)]).code is Code.PAUSED


def test_a_rate_is_paused_like_a_limit():
    assert held(task(RATE), gate(RATE), pauses=[pause("limit", "shop.sync")]).code is Code.PAUSED


@pytest.mark.parametrize(
    "other", [pause("limit", "shop.sync(account_id=8)"), pause("task", "shop.sync"), pause("queue", "shop.sync")]
)
def test_the_pause_of_something_else_does_not_matter(other):
    assert held(task(OWN), gate(OWN), pauses=[other]).code is Code.LIMIT
    assert held(task(RATE), gate(RATE), pauses=[other]).code is Code.RATE


def test_a_task_with_gates_is_held_while_its_queue_is_paused_and_then_resumed():
    waiting, seen = task(OWN, gate="pause:queue mail"), gate(key="pause:queue mail")
    reason = held(waiting, seen, pauses=[pause("task", "mail"), pause("queue", "mail")])
    assert (reason.code, reason.text) == (Code.PAUSED, "the queue mail is paused by ANN")
    assert held(waiting, seen).text == "the queue mail was paused, and is being resumed"
    assert reasons.brief("shop.sync", "pause:queue mail") == "the queue mail is paused"


def test_a_task_is_paused_and_resumed():
    paused, seen = task(gate="pause:shop.sync"), gate(key="pause:shop.sync")
    assert held(paused, seen, pauses=[pause("task", "shop.sync")]).text == "the task shop.sync is paused by ANN"
    assert held(paused, seen).text == "the task shop.sync was paused, and is being resumed"


@pytest.mark.parametrize(
    ("pause", "words"),
    [
        (pause("queue", "mail"), "the queue mail is paused by ANN"),
        (pause("task", "shop.sync"), "the task shop.sync is paused by ANN"),
        (pause("everything"), "everything is paused by ANN"),
        (pause("queue", "other"), None),
        (pause("limit", "mail"), None),
    ],
)
def test_a_ready_task_waits_for_the_end_of_a_pause(pause, words):
    reason = reasons.of_ready(task(state=State.READY), [pause])
    assert (reason and reason.text) == words
    assert reason is None or (reason.code, reason.gate) == (Code.READY_PAUSED, None)


@pytest.mark.parametrize(
    ("interval", "burst", "words"),
    [
        (0.6, 100, "100/m"),
        (0.005, 200, "200/s"),
        (1, 60, "60/m"),
        (1, 1, "1/s"),
        (1, 7, "1/s"),
        (600, 1, "6/h"),
        (7.0, 1, "1 each 7.0 s"),
        (86400 * 3, 1, "1 each 3 d"),
    ],
)
def test_a_rate_is_shown_as_people_write_it(interval, burst, words):
    assert reasons.per_time(RateGate("rate:a", "a", interval, burst)) == words


def test_a_task_has_passed_gates_waits_at_one_and_has_others_ahead():
    def places(**changes):
        return [place for _, place in reasons.gates_of(task(OWN, OPENAI, RATE, **changes))]

    assert places(passed=1) == [Place.PASSED, Place.HERE, Place.AHEAD]
    assert places(passed=0, state=State.SCHEDULED) == [Place.AHEAD] * 3
    assert places(passed=3, state=State.RUNNING) == [Place.PASSED] * 3
    assert places(passed=3, gate="pause:shop.sync") == [Place.PASSED] * 3


def test_a_unique_key_is_shown_with_the_time_at_which_it_is_free():
    assert reasons.unique_key(task(unique="a(b=1)")) == "a(b=1)"
    assert reasons.key_in_words("a(b=1)") == "a(b=1)"
    assert reasons.key_in_words("waiting:a(b=1)") == "a(b=1) (until it is claimed)"


def test_gates_in_full():
    assert reasons.in_full(OWN) == "limit shop.sync(account_id=7), 1 slot"
    assert reasons.in_full(OPENAI) == "limit openai, 20 slots"
    assert reasons.in_full(RATE._replace(cost=3.0)) == "rate 100/m of shop.sync(tenant_id=7), 3 tokens"

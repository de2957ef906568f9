"""Held tasks in ``list``, ``show`` and ``status``."""

import dataclasses
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from autotask.store import cancel, gates_read
from autotask.store.connection import current
from autotask.task import State
from tests.integration.commands.command import manage
from tests.integration.held import OPENAI, RATE, draw, give, hold, own, pause, pause_task

pytestmark = pytest.mark.django_db(transaction=True)


def has_line(pattern: str, text: str) -> bool:
    return re.search(rf"^{pattern}$", text, re.M) is not None


def test_list_shows_held_tasks_with_the_gate_at_which_they_wait():
    # Given
    (held,), (plain,) = hold(OPENAI), hold()

    # Then
    shown = manage("list", "--state", "held").out
    assert has_line(rf"{held} +held +shop\.sync .* waits for a slot of limit openai", shown)
    assert str(plain) not in shown
    assert str(held) in manage("list", "--state", "waiting").out


def test_list_says_that_a_gate_is_paused():
    hold(OPENAI)
    hold(own())
    pause("limit", "shop.sync")
    shown = manage("list", "--state", "held").out
    assert has_line(r".* waits for a slot of limit openai", shown)
    assert has_line(r".* waits for a slot of shop\.sync\(account_id=7\), which is paused", shown)


def test_status_shows_limits_whose_slots_are_taken_though_nobody_waits():
    # Given
    one, other = hold(OPENAI, count=2)
    give(OPENAI, one, state=State.RUNNING)
    give(own(), *hold(own()))

    # Then
    assert has_line(r"openai +1 of 2 +1 +-", manage("status").out)
    cancel.cancel(current(), other)
    shown = manage("status").out
    assert has_line(r"openai +1 of 2 +0 +-", shown)
    assert has_line(r"shop\.sync\(account_id=7\) +1 of 1 +0 +-", shown)


@pytest.mark.parametrize("name", ["openai", "limit:openai"])
def test_list_is_narrowed_by_the_gate_with_or_without_its_kind(name):
    # Given
    (held,), _ = hold(OPENAI), hold(own())

    # Then
    shown = manage("list", "--gate", name, "--json").json["tasks"]
    assert [task["id"] for task in shown] == [str(held)]
    assert shown[0]["gates"] == [{"gate": "limit:openai", "place": "here"}]


def test_show_says_why_a_task_waits_and_who_has_the_slots():
    # Given
    one, other = hold(OPENAI, count=2)
    give(OPENAI, one, other, state=State.RUNNING, seconds=60)
    (held,) = hold(OPENAI, RATE, unique="shop.sync(account_id=7)")

    # Then
    shown = manage("show", held).out
    assert has_line(r"state +waiting \(held\)", shown)
    assert has_line(
        r"why +held_by_limit: It waits for a slot of limit openai \(2 of 2 taken; 1 task waits\); .* number 1 in line\.",
        shown,
    )
    assert has_line(
        r"gates +limit openai, 2 slots \(waits here\); rate 100/m of shop\.call\(tenant_id=7\) \(ahead\)", shown
    )
    assert has_line(r"unique key +shop\.sync\(account_id=7\)", shown)
    assert has_line(rf"  task {one} running for 1 min( \d s)?: shop\.sync", shown)

    # And
    document = manage("show", held, "--json").json
    assert (document["status"], document["state"], document["gate"]) == ("waiting", "held", "limit:openai")
    assert document["unique_key"] == "shop.sync(account_id=7)"
    assert [gate["place"] for gate in document["gates"]] == ["here", "ahead"]
    reason = document["reason"]
    assert list(reason) == ["code", "text", "until", "waiting", "more_wait", "holders"]
    assert (reason["code"], reason["until"], reason["waiting"]) == ("held.limit", None, 1)
    assert {holder["id"] for holder in reason["holders"]} == {str(one), str(other)}
    assert list(reason["holders"][0]) == ["id", "name", "state", "running_seconds"]


def test_show_says_what_is_paused():
    # Given
    (limited,), (plain,), (paused,) = hold(OPENAI), hold(queue="mail"), hold()
    pause("limit", "openai", until=timezone.now() + timedelta(hours=2), reason="provider is down")
    pause("queue", "mail", paused_by="")
    pause("task", "shop.sync")
    pause_task(paused)

    # Then
    assert has_line(
        r"why +paused: The limit openai is paused by ANN until .*\d\d:\d\d:\d\d: provider is down\.",
        manage("show", limited).out,
    )
    assert has_line(r"why +paused: The queue mail is paused\.", manage("show", plain).out)
    assert manage("show", plain, "--json").json["reason"]["code"] == "ready.paused"
    assert has_line(r"why +paused: The task shop\.sync is paused by ANN\.", manage("show", paused).out)
    assert manage("show", paused, "--json").json["reason"]["code"] == "held.paused"


def test_a_task_without_gates_shows_nothing_of_them():
    (id,) = hold()
    shown, document = manage("show", id).out, manage("show", id, "--json").json
    assert not re.search(r"^(reason|gates|unique key) ", shown, re.M)
    assert (document["gates"], document["gate"], document["unique_key"], document["reason"]) == ([], None, None, None)


def test_status_shows_where_most_tasks_wait():
    # Given
    give(own(), *hold(own()), state=State.RUNNING)
    hold(own(), count=3)
    hold(OPENAI, count=2)
    hold(RATE)
    draw(RATE, 10)
    pause_task(*hold(name="shop.send"))
    pause("limit", "openai", reason="provider is down")
    pause("task", "shop.send", paused_by="")

    # Then
    shown = manage("status").out
    assert has_line(r"QUEUE +SCHEDULED +HELD +READY +RUNNING +OLDEST WAIT", shown)
    assert has_line(r"default +0 +7 +0 +1 +-", shown)
    assert has_line(r"LIMIT +TAKEN +WAITING +PAUSED", shown)
    assert has_line(r"shop\.sync\(account_id=7\) +1 of 1 +3 +-", shown)
    assert has_line(r"openai +0 of 2 +2 +by ANN: provider is down", shown)
    assert has_line(r"RATE +PER TIME +TOKENS +NEXT +WAITING +PAUSED", shown)
    assert has_line(r"shop\.call\(tenant_id=7\) +100/m +1\d(\.\d+)? of 20 +now +1 +-", shown)
    assert has_line(r"shop\.send +1 +yes", shown)


def test_status_as_json_has_limits_rates_and_paused_tasks():
    # Given
    hold(OPENAI, count=2)
    hold(RATE)
    draw(RATE, 20, closed=60)
    pause_task(*hold())
    pause("limit", "openai")

    # Then
    shown = manage("status", "--json").json
    [limit], [rate], [task] = shown["limits"], shown["rates"], shown["paused_tasks"]
    assert limit == {
        **{"name": "openai", "taken": 0, "most": 2, "waiting": 2, "more_wait": False},
        "paused": True,
    }
    assert list(rate) == ["name", "rate", "tokens", "burst", "next", "closed_until", "waiting", "more_wait", "paused"]
    assert (rate["name"], rate["rate"], rate["burst"], rate["waiting"]) == ("shop.call(tenant_id=7)", "100/m", 20, 1)
    assert rate["next"] == rate["closed_until"] > shown["at"]
    assert task == {"name": "shop.sync", "waiting": 1, "more_wait": False}


def test_status_without_held_tasks_shows_no_gates():
    shown = manage("status").out
    assert not re.search("LIMIT|RATE|PAUSED", shown)


def test_tasks_at_a_gate_are_counted_up_to_a_number(monkeypatch):
    # Given
    hold(OPENAI, count=3)
    seen = gates_read.busiest
    monkeypatch.setattr(
        gates_read,
        "busiest",
        lambda connection: [dataclasses.replace(gate, waiting=gates_read.COUNTED + 1) for gate in seen(connection)],
    )

    # Then
    assert has_line(r"openai +0 of 2 +10000\+ +-", manage("status").out)
    [limit] = manage("status", "--json").json["limits"]
    assert (limit["waiting"], limit["more_wait"]) == (10_000, True)

"""Held tasks in the admin: where they wait, why, and who has the slots."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from autotask.task import State
from tests.integration.admin.pages import TASKS, act, listed, page
from tests.integration.held import OPENAI, RATE, draw, give, hold, own, pause, pause_task

pytestmark = pytest.mark.django_db(transaction=True)


def change(id) -> str:
    return f"{TASKS}{id}/change/"


def test_the_list_shows_held_tasks_and_where_they_wait(admin):
    # Given
    hold(OPENAI)
    hold(RATE)
    pause_task(*hold())

    # Then
    shown = page(admin, TASKS)
    assert shown.count(">held</span>") == 3
    assert "waits for a slot of limit openai" in shown
    assert "waits for tokens of shop.call(tenant_id=7)" in shown
    assert "the task shop.sync is paused" in shown


def test_the_list_is_narrowed_to_held_tasks_and_to_a_gate(admin):
    # Given
    (openai,), (keyed,), (plain,) = hold(OPENAI), hold(own("name=a&b")), hold()

    # Then
    assert set(listed(admin, state="held")) == {openai, keyed}
    assert listed(admin, state="waiting") == [plain]
    assert listed(admin, gate=own("name=a&b").key) == [keyed]
    assert listed(admin, gate=OPENAI.key) == [openai]
    assert listed(admin, gate="limit:nothing") == listed(admin, gate="\0") == []


def test_the_page_of_a_held_task_says_why_it_waits_with_links_to_the_holders_and_to_those_that_wait(admin):
    # Given
    (waiting,) = hold(OPENAI, RATE, unique="waiting:shop.sync(account_id=<7>)")
    one, other = hold(OPENAI, count=2)
    give(OPENAI, one, other, state=State.RUNNING, seconds=3)

    # When
    shown = page(admin, change(waiting))

    # Then
    assert "It waits for a slot of limit openai (2 of 2 taken; 1 task waits); " in shown
    assert f'href="{TASKS}?gate=limit%3Aopenai"' in shown
    assert f'href="{change(one)}"' in shown and f'href="{change(other)}"' in shown
    assert "limit openai, 2 slots" in shown and "rate 100/m of shop.call(tenant_id=7)" in shown
    assert ">waits here</span>" in shown and ">ahead</span>" in shown
    assert "shop.<wbr>sync(account_<wbr>id=&lt;7&gt;) (until it is claimed)" in shown


def test_the_page_of_a_task_that_runs_shows_the_gates_it_has_passed_and_no_reason(admin):
    # Given
    (id,) = hold(own())
    give(own(), id, state=State.RUNNING)

    # Then
    shown = page(admin, change(id))
    assert ">passed</span> limit shop.sync(account_id=7), 1 slot" in shown
    assert "Why it does not run" not in shown


def test_the_page_shows_tokens_and_pauses(admin):
    # Given
    (rated,), (limited,), (plain,) = hold(RATE), hold(OPENAI), hold(queue="mail")
    draw(RATE, 25)
    pause("limit", "openai", reason="<b>down</b>")
    pause("queue", "mail")

    # Then
    assert "It waits for tokens of rate 100/m of shop.call(tenant_id=7), next at " in page(admin, change(rated))
    assert "The limit openai is paused by ANN: &lt;b&gt;down&lt;/b&gt;." in page(admin, change(limited))
    assert "The queue mail is paused by ANN." in page(admin, change(plain))


def test_the_page_of_a_plain_task_has_no_part_about_flow_control(admin):
    (id,) = hold()
    assert "Flow control" not in page(admin, change(id))


def test_a_cancelled_task_still_shows_its_gates(admin):
    # Given
    (id,) = hold(OPENAI, unique="shop.sync(account_id=7)")

    # When
    assert act(admin, "cancel", id) == ["1 task was cancelled."]

    # Then
    shown = page(admin, change(id))
    assert "limit openai, 2 slots" in shown and "shop.<wbr>sync(account_<wbr>id=7)" in shown
    assert "waits here" not in shown


def test_all_held_tasks_of_a_gate_are_cancelled_at_once(admin):
    hold(OPENAI, count=3)
    hold(own())
    query = {"gate": OPENAI.key}
    assert listed(admin, **query)
    messages = act(admin, "cancel", *listed(admin, **query)[:1], query="?gate=limit:openai", select_across="1")
    assert messages == ["3 tasks were cancelled."]
    assert listed(admin, **query) == []


def test_the_page_of_a_held_task_needs_few_queries_whatever_waits(admin):
    # Given
    give(OPENAI, *hold(OPENAI, count=2))
    first, *_ = hold(OPENAI, count=30)

    # Then
    with CaptureQueriesContext(connection) as queries:
        page(admin, change(first))
    assert len(queries) <= 10

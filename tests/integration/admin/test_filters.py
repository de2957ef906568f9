"""Filters and search in the list of tasks."""

import uuid

import pytest
from django.test import Client

from autotask.task import State
from tests.integration.admin.pages import TASKS, ended, listed
from tests.integration.admin.tasks import add, fail

NOT_VALID = "The filter or the page in the address is not valid. This is the whole list."


def test_filters_come_from_the_code(admin):
    # Given
    ended(name="unknown.task", queue="unknown_queue")

    # When
    choices = {choice.parameter_name: dict(choice.lookup_choices) for choice in filters_of(admin)}

    # Then
    assert set(choices["state"]) == {"scheduled", "waiting", "held", "running", "done", "error", "cancelled"}
    assert "elsewhere" in choices["queue"] and "unknown_queue" not in choices["queue"]
    assert add.name in choices["task"] and "unknown.task" not in choices["task"]
    assert "housekeeping" in choices["tag"]


def filters_of(client: Client):
    return client.get(TASKS).context["cl"].filter_specs


def test_filters_leave_what_fits(admin):
    # Given
    failed = ended(State.ERROR, queue="elsewhere", name=fail.name)
    done = ended(State.DONE, name=add.name)
    waiting = add(1, 2)

    # Then
    assert listed(admin, state="error") == [failed.id]
    assert listed(admin, state="done") == [done.id]
    assert listed(admin, state="waiting") == [waiting.id]
    assert listed(admin, state="running") == []
    assert listed(admin, queue="elsewhere") == [failed.id]
    assert listed(admin, task=add.name) == sorted([waiting.id, done.id], reverse=True)
    assert listed(admin, task=add.name, state="done") == [done.id]


def test_a_tag_is_looked_for_whether_or_not_the_code_names_it(admin):
    # Given
    ours, theirs = add.using(tags=["ours", "shared"])(1, 2), ended(State.DONE, tags=["shared"])
    ended(State.DONE)

    # Then
    assert listed(admin, tag="ours") == [ours.id]
    assert listed(admin, tag="shared") == sorted([ours.id, theirs.id], reverse=True)
    assert listed(admin, tag="shared", state="done") == [theirs.id]
    assert listed(admin, tag="share") == listed(admin, tag="\0") == []


def test_no_task_in_a_state_fits_a_value_that_no_task_can_have(admin):
    for state in (State.ERROR, State.CANCELLED):
        ended(state)
        assert listed(admin, state=state.name.lower(), tag="\0") == []
        assert listed(admin, state=state.name.lower(), queue="\0") == []
        assert listed(admin, state=state.name.lower(), subject="\0") == []


def test_search_finds_ids_their_beginnings_and_names(admin):
    # Given
    first = ended(id=uuid.UUID("01999999-aaaa-7000-8000-000000000001"), name="shop.pay")
    second = ended(id=uuid.UUID("01999999-bbbb-7000-8000-000000000002"), name="shop.ship")

    # Then
    assert listed(admin, q=str(first.id)) == [first.id]
    assert listed(admin, q=first.id.hex.upper()) == [first.id]
    assert listed(admin, q="01999999") == [second.id, first.id]
    assert listed(admin, q=" 01999999-b ") == [second.id]
    assert listed(admin, q="shop.ship") == [second.id]
    assert listed(admin, q="shop") == []
    assert listed(admin, q="x=1") == []
    assert listed(admin, q=" ") == [second.id, first.id]


def test_nothing_else_can_be_asked_for_in_the_address(admin):
    for query in ("arguments__icontains=x", "error_message__contains=x", "name__startswith=a", "worker_id=x"):
        assert told(admin, f"{TASKS}?{query}") == [NOT_VALID]


@pytest.mark.parametrize("query", ["state=nonsense", "_to_field=payload", "p=0&foo=bar"])
def test_an_address_that_is_not_valid_leads_to_the_whole_list_and_says_so(admin, query):
    ended()
    assert told(admin, f"{TASKS}?{query}") == [NOT_VALID]


@pytest.mark.parametrize("page_of", ["worker", "schedule", "pause", "apikey", "backgroundworker"])
def test_the_other_lists_do_the_same(admin, page_of):
    assert told(admin, f"/admin/autotask/{page_of}/?foo=bar") == [NOT_VALID]
    assert told(admin, "/admin/autotask/schedule/?state=nonsense") == [NOT_VALID]


def told(client: Client, address: str) -> list[str]:
    """Return what the list says to which an address leads that is not valid."""
    response = client.get(address)
    assert response.status_code == 302
    assert response["Location"].partition("?")[0] == address.partition("?")[0]
    shown = client.get(response["Location"])
    assert shown.status_code == 200
    return [str(message) for message in shown.context["messages"]]


def test_the_list_cannot_be_sorted_by_what_has_no_index(admin):
    # Given
    ids = [ended(queue=queue).id for queue in "bca"]

    # Then
    assert listed(admin, o="4") == sorted(ids, reverse=True)

"""``manage.py autotask list``."""

import re

import pytest
from django.contrib.auth.models import Group

from autotask.task import new_ids
from tests.integration.commands.command import insert, manage
from tests.integration.commands.tasks import add, misbehave

pytestmark = pytest.mark.django_db(transaction=True)


def test_list_shows_the_newest_first_and_no_more_than_asked_for():
    # Given
    first, second, third = new_ids(3)
    for id in (second, first, third):
        insert(id)

    # Then
    shown = manage("list", "--limit", 2).out.splitlines()
    assert [line.split()[0] for line in shown] == ["ID", str(third), str(second)]
    assert str(first) in manage("list").out


def test_list_is_narrowed_by_state_queue_and_name():
    # Given
    waiting, scheduled, cancelled = add(1, 1), add.using(delay=60)(1, 1), add(1, 1)
    cancelled.cancel()
    elsewhere = misbehave()

    # Then
    def ids(*words: str) -> set[str]:
        return {task["id"] for task in manage("list", "--json", *words).json["tasks"]}

    assert ids("--state", "cancelled") == {str(cancelled.id)}
    assert ids("--state", "waiting", "--queue", "default") == {str(waiting.id), str(scheduled.id)}
    assert ids("--name", misbehave.name) == ids("--queue", "bad") == {str(elsewhere.id)}
    assert ids("--state", "running") == set()


def test_tasks_are_listed_by_subject_and_shown_with_what_they_are_about():
    # Given
    group = Group.objects.create(name="staff")
    about = add.using(subject=group, metadata={"a": 1, "password": "s3cret"})(1, 1)
    add(1, 1)
    subject = f"auth.group:{group.pk}"

    # Then
    assert [task["id"] for task in manage("list", "--json", "--subject", subject).json["tasks"]] == [str(about.id)]
    shown = manage("show", about.id, "--json").json
    assert (shown["subject"], shown["metadata"]) == (subject, {"a": 1, "password": "•••"})
    words = manage("show", about.id).out
    assert re.search(rf"^subject +{subject}$", words, re.M) and '"a": 1' in words and "s3cret" not in words


def test_tasks_are_listed_by_tag_and_shown_with_their_tags():
    # Given
    bill, plain = add.using(tags=["billing", "eu"])(1, 1), add(1, 1)
    cancelled = add.using(tags=("eu",))(1, 1)
    cancelled.cancel()

    # Then
    def ids(tag: str) -> set[str]:
        return {task["id"] for task in manage("list", "--json", "--tag", tag).json["tasks"]}

    assert ids("billing") == {str(bill.id)}
    assert ids("eu") == {str(bill.id), str(cancelled.id)}
    assert manage("list", "--tag", "bill").err == "No tasks match.\n"
    assert manage("show", bill.id, "--json").json["tags"] == ["billing", "eu"]
    assert manage("show", plain.id, "--json").json["tags"] == []
    assert re.search(r"^tags +billing, eu$", manage("show", bill.id).out, re.M)


def test_list_says_on_stderr_when_there_is_nothing():
    shown = manage("list")
    assert (shown.code, shown.out, shown.err) == (0, "", "No tasks match.\n")


def test_what_an_error_says_cannot_drive_the_terminal(autotask_immediate):
    # Given
    handle = misbehave()

    # Then
    for words in (["list"], ["show", handle.id], ["list", "--json"], ["show", handle.id, "--json"]):
        shown = manage(*words)
        assert "gone" in shown.out
        assert set(re.findall(r"[^\x20-\x7e]", shown.out)) <= {"\n"}
    assert "\x1b[2Jgone" in manage("show", handle.id, "--json").json["error_message"]

"""``manage.py autotask pause`` and ``resume`` with queues, tasks, limits and everything."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from autotask import acts
from autotask.exceptions import InvalidPause, InvalidSetting
from autotask.management import arguments
from autotask.store.pauses import Kind
from tests.integration.commands.command import manage
from tests.integration.commands.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


def paused():
    return [(pause.kind, pause.name) for pause in acts.pauses()]


@pytest.mark.parametrize(
    ("words", "kind", "name"),
    [
        (("--queue", "mail"), Kind.QUEUE, "mail"),
        (("--task", add.name), Kind.TASK, add.name),
        (("--limit", "openai"), Kind.LIMIT, "openai"),
        (("--limit", "shop.sync(account_id=7)"), Kind.LIMIT, "shop.sync(account_id=7)"),
        (("--everything",), Kind.EVERYTHING, ""),
    ],
)
def test_each_kind_can_be_paused_and_resumed(words, kind, name, settings):
    settings.AUTOTASK_LIMITS = {"openai": 2, "shop.sync": 1}
    shown = manage("pause", *words, "--reason", "the provider is down", "--by", "ada")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{kind} {name}".strip() + " is paused\n"
    (pause,) = acts.pauses()
    assert (pause.kind, pause.name, pause.until) == (kind, name, None)
    assert (pause.reason, pause.paused_by) == ("the provider is down", "ada")
    shown = manage("resume", *words)
    assert (shown.code, shown.out) == (0, f"{kind} {name}".strip() + " is resumed\n")
    assert acts.pauses() == []


@pytest.mark.parametrize("word", ["extra", add.name])
def test_a_word_that_is_no_schedule_is_refused_before_anything_is_paused_or_resumed(word):
    shown = manage("pause", "--everything", word)
    assert (shown.code, shown.out) == (4, "")
    assert f"There is no schedule '{word}'" in shown.err
    assert paused() == []
    manage("pause", "--queue", "mail")
    assert manage("resume", "--queue", "mail", word).code == 4
    assert paused() == [("queue", "mail")]


def test_several_at_once():
    assert manage("pause", "--queue", "mail", "--queue", "sms", "--task", add.name).code == 0
    assert paused() == [("queue", "mail"), ("queue", "sms"), ("task", add.name)]
    shown = manage("resume", "--queue", "mail", "--queue", "other", "--task", add.name)
    assert (shown.code, shown.err) == (1, "queue other is not paused.")
    assert paused() == [("queue", "sms")]


def test_a_pause_ends_after_a_duration_or_at_a_moment():
    manage("pause", "--queue", "mail", "--for", "2h")
    manage("pause", "--queue", "sms", "--until", "2199-12-01T08:00+02:00")
    mail, sms = acts.pauses()
    assert timedelta(hours=1.9) < mail.until - datetime.now(UTC) < timedelta(hours=2.1)
    assert sms.until == datetime(2199, 12, 1, 6, tzinfo=UTC)


def test_the_end_of_a_pause_is_said_in_the_time_zone_of_the_project(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    assert manage("pause", "--queue", "mail", "--for", "2h").out.endswith("+09:00\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"queue": "mail", "until": "18:00"}, "until must be an aware datetime or a timedelta, but is '18:00'"),
        ({"queue": "mail", "until": 60}, "until must be an aware datetime or a timedelta, but is 60"),
        ({"queue": "mail", "until": datetime(2199, 1, 1)}, r"but is datetime.datetime\(2199"),  # noqa: DTZ001 - naive
        ({"queue": 5}, "queue must be a name, but is 5"),
        ({"queue": "mail", "reason": 5}, "reason must be text, but is 5"),
        ({"queue": "mail", "by": None}, "by must be text, but is None"),
        ({"limit": ["openai"]}, r"limit must be a name, but is \['openai'\]"),
    ],
    ids=str,
)
def test_a_call_with_values_of_other_types_is_refused_with_what_was_expected(given, said):
    with pytest.raises(InvalidPause, match=said):
        acts.pause(**given)
    assert acts.pauses() == []


def test_a_time_of_day_is_the_next_one_in_the_time_zone_of_the_project(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    now = datetime.now(UTC)
    for text in ("18:00", "6:05"):
        found = arguments.moment(text)
        assert now < found <= now + timedelta(days=1)
        local = timezone.localtime(found, timezone.get_default_timezone())
        assert local.strftime("%H:%M") == text.zfill(5)
        assert local.utcoffset() == timedelta(hours=9)
    assert arguments.moment("2199-12-01 08:00").utcoffset() == timedelta(hours=9)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Name schedules, or give --queue, --task, --limit or --everything."),
        (("--queue", "a b"), "'a b' is not a name"),
        (("--limit", ""), "'' is not the name of a limit: write openai, or shop.tasks.sync(account_id=7)"),
        (("--queue", "a", "--until", "soon"), "'soon' is not a moment: write a time like 18:00, or a date"),
        (("--queue", "a", "--until", "25:00"), "'25:00' is not a moment"),
        (("--queue", "a", "--until", "2001-01-01T08:00"), "'2001-01-01T08:00' is over already"),
        (("--queue", "a", "--until", "18:00", "--for", "2h"), "not allowed with argument"),
        (("some.schedule", "--for", "2h"), "Schedules are paused until they are resumed"),
    ],
    ids=str,
)
def test_mistakes_are_refused_with_what_was_expected(words, said):
    shown = manage("pause", *words)
    assert shown.code in (1, 2)
    assert said in shown.err
    assert acts.pauses() == []


def test_a_name_that_the_code_does_not_have_is_paused_and_doubted():
    shown = manage("pause", "--task", f"{add.name}x")
    assert shown.code == 0
    said = f"No task in the code of this process has the name {add.name}x (did you mean '{add.name}'"
    assert shown.err.count(said) == 1
    assert paused() == [("task", f"{add.name}x")]


def test_a_name_that_the_code_does_not_have_is_doubted_in_the_answer_and_in_the_log(caplog):
    with caplog.at_level("WARNING", logger="autotask"):
        assert acts.pause(task=add.name) is None
        assert acts.pause(queue="anything") is None
        assert acts.pause(everything=True) is None
        assert caplog.messages == []
        doubt = acts.pause(task=f"{add.name}x")
    said = f"No task in the code of this process has the name {add.name}x (did you mean '{add.name}'"
    assert str(doubt).startswith(said) and doubt.similar[0] == add.name
    assert caplog.messages == [f"task {add.name}x is paused. {doubt}"]
    assert ("task", f"{add.name}x") in paused()


def test_a_limit_that_nothing_has_is_doubted_by_its_name_without_its_key(settings, caplog):
    settings.AUTOTASK_LIMITS = {"openai": 2}
    assert acts.pause(limit="openai(tenant_id=7)") is None
    said = "No limit or rate in the code and settings of this process has the name opnai (did you mean 'openai'?)."
    assert str(acts.pause(limit="opnai(tenant_id=7)")) == said
    assert caplog.messages == [f"limit opnai(tenant_id=7) is paused. {said}"]


def test_a_limit_that_nothing_has_is_paused_and_doubted(settings):
    settings.AUTOTASK_LIMITS = {"openai": 2}
    assert "No limit" not in manage("pause", "--limit", "openai", "--limit", "openai(tenant_id=7)").err
    shown = manage("pause", "--limit", "opnai(tenant_id=7)")
    assert shown.code == 0
    assert "No limit or rate in the code and settings of this process has the name opnai (did you mean 'openai'?)" in (
        shown.err
    )


def test_a_task_that_is_named_like_a_schedule():
    shown = manage("pause", add.name)
    assert shown.code != 0
    assert f"There is no schedule '{add.name}': this is a task function. To pause" in shown.err
    assert f"write --task {add.name}." in shown.err


def test_status_shows_pauses():
    # Given
    assert "Paused" not in manage("status").out
    manage("pause", "--queue", "mail", "--for", "2h", "--reason", "the provider is down", "--by", "ada")

    # Then
    assert re.search(
        r"\n\nPaused\nWHAT +NAME +SINCE +BY +UNTIL +REASON\nqueue +mail +\S+ \S+ +ada +\S+ \S+ +the provider is down\n$",
        manage("status").out,
    )
    (document,) = manage("status", "--json").json["pauses"]
    assert list(document) == ["kind", "name", "paused_at", "paused_by", "until", "reason"]
    assert (document["kind"], document["name"], document["reason"]) == ("queue", "mail", "the provider is down")


def test_nothing_is_paused_if_the_settings_of_limits_are_wrong(settings):
    settings.AUTOTASK_LIMITS = {"openai": "many"}
    with pytest.raises(InvalidSetting, match="AUTOTASK_LIMITS"):
        acts.pause(limit="opnai")
    assert paused() == []

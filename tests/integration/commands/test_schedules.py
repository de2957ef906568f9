"""``manage.py autotask schedules`` and what else there is for schedules: next, pause, resume, run."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from autotask import agenda, registry
from autotask.agenda import Condition
from autotask.handle import TaskHandle
from autotask.models import Schedule, Task
from autotask.schedules import zone_data
from autotask.schedules.remarks import remarks
from autotask.store import schedules
from autotask.store.connection import execute
from autotask.task import DONE
from autotask.tasks import cron_task, periodic_task
from tests.helpers import wait_until
from tests.integration.commands.command import Outcome, manage

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = timedelta(minutes=1)


@periodic_task(seconds=900, name="shop.tasks.fetch_prices")
def fetch_prices() -> None:
    pass


@cron_task(cron="30 2 * * *", tz="Europe/Berlin", name="shop.tasks.send_reports")
def send_reports() -> None:
    raise ValueError("no paper\x1b[2J")


@cron_task(cron="0 6 L * *", tz="Australia/Lord_Howe", name="shop.tasks.close_the_month")
def close_the_month() -> None:
    pass


TASKS = (fetch_prices, send_reports, close_the_month)


@pytest.fixture(autouse=True)
def _own_definitions(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {task.name: task for task in TASKS})


@pytest.fixture
def registered(transactional_db) -> datetime:
    """All schedules are registered, as a worker does it; the moment of it."""
    moment = schedules.now(connection)
    for task in TASKS:
        put(task.name, spec=task.schedule.spec, next_tick=task.schedule.first_after(moment))
    return moment


def put(name: str, **fields) -> None:
    """Register a schedule."""
    now = schedules.now(connection)
    values = {"task": name, "spec": "every 60 s", "registered_at": now, "declared_at": now, "next_tick": now + MINUTE}
    Schedule.objects.create(name=name, **{**values, **fields})


def listed() -> dict[str, dict]:
    """Return what the list says for programs, by name."""
    return {each["name"]: each for each in manage("schedules", "--json").json["schedules"]}


def ran(name: str, worker_starts) -> TaskHandle:
    """Run a schedule by hand and wait for its end."""
    shown = manage("run", name)
    assert shown.code == 0, shown.err
    handle = TaskHandle(re.fullmatch(rf"{name} is enqueued as (\S+)\n", shown.out)[1])
    worker_starts()
    wait_until(lambda: handle.ready)
    return handle


def test_the_next_moments_come_with_the_data_of_the_time_zone_that_they_go_by(registered):
    data = str(zone_data.in_use(send_reports.schedule.zone))
    assert f"\n\nTime zone data:\n  {data}\n" in manage("next", send_reports.name).out
    assert manage("next", send_reports.name, "--json").json["time_zone_data"][0] == data
    assert "Time zone data" not in manage("next", fetch_prices.name).out


# --- the list -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("registered")
def test_the_list_says_in_words_when_each_is_due():
    shown = manage("schedules")
    assert shown.code == 0
    blocks = shown.out.strip("\n").split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == sorted(task.name for task in TASKS)
    assert re.search(r"^  when +Every 15 minutes$", blocks[1], re.M)
    assert re.search(r"^  when +At 02:30 every day \(30 2 \* \* \*\), Europe/Berlin$", blocks[2], re.M)
    assert re.search(r"^  last +never$", blocks[2], re.M)
    assert re.search(r"^  next( +\w{3} \d{4}-\d\d-\d\d 0[23]:[03]0:00\+0[12]:00,?){3}$", blocks[2], re.M)


def test_the_list_has_the_next_three_moments_for_programs(registered):
    found = listed()
    next_tick = schedules_next("shop.tasks.fetch_prices")
    quarters = [(next_tick + n * 15 * MINUTE).isoformat() for n in range(3)]
    assert found["shop.tasks.fetch_prices"]["next"] == quarters
    assert found["shop.tasks.fetch_prices"]["seconds"] == 900
    reports = found["shop.tasks.send_reports"]
    assert (reports["expression"], reports["time_zone"], reports["condition"]) == (
        "30 2 * * *",
        "Europe/Berlin",
        "active",
    )
    assert [datetime.fromisoformat(text) for text in reports["next"]] == send_reports.schedule.upcoming(3, registered)


def schedules_next(name: str) -> datetime:
    return Schedule.objects.get(name=name).next_tick.astimezone(UTC)


@pytest.mark.usefixtures("registered")
def test_the_list_tells_how_the_last_run_ended(start_worker):
    # When
    handle = ran("shop.tasks.send_reports", start_worker)

    # Then
    assert handle.error_message.startswith("ValueError: no paper")
    assert re.search(r"last .* error after 0\.\d s, by hand: ValueError: no paper \[2J$", manage("schedules").out, re.M)
    last = listed()["shop.tasks.send_reports"]["last_run"]
    assert (last["id"], last["status"], last["manual"]) == (str(handle.id), "error", True)


def test_a_schedule_that_no_worker_has_seen_is_in_the_list():
    assert "not registered: no worker with this code has run yet" in manage("schedules").out
    found = listed()["shop.tasks.fetch_prices"]
    assert (found["condition"], found["registered_at"], len(found["next"])) == ("not registered", None, 3)


def test_a_schedule_that_is_not_in_the_code_is_in_the_list():
    put("gone.tasks.tidy", spec="every 7 s")
    shown = manage("schedules").out
    assert re.search(
        r"^gone.tasks.tidy\n  when +every 7 s\n  state +active; not in the code of this process$", shown, re.M
    )
    assert not listed()["gone.tasks.tidy"]["in_code"]
    assert len(listed()["gone.tasks.tidy"]["next"]) == 1


def test_a_schedule_whose_code_differs_is_shown_as_it_is_registered():
    put(send_reports.name, spec="cron 0 5 * * * (UTC)")
    shown = manage("schedules").out
    assert "cron 0 5 * * * (UTC)" in shown
    assert "the code of this process has another timetable" in shown
    assert listed()[send_reports.name]["expression"] is None


@pytest.mark.usefixtures("registered")
def test_a_schedule_that_nobody_looks_after_is_late_and_its_next_moments_lie_ahead():
    # Given
    Schedule.objects.filter(name=fetch_prices.name).update(next_tick=schedules.now(connection) - 100 * MINUTE)

    # Then
    assert re.search(r"state +late by 1 h 40 min: no running worker", manage("schedules").out)
    found = listed()[fetch_prices.name]
    assert found["condition"] == "late"
    assert 0 < (datetime.fromisoformat(found["next"][0]) - schedules.now(connection)).total_seconds() <= 900


def test_without_schedules_the_list_says_how_they_come_to_be(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {})
    shown = manage("schedules")
    assert (shown.code, shown.out) == (0, "")
    assert "@periodic_task" in shown.err
    assert manage("schedules", "--json").json["schedules"] == []


def test_a_thousand_schedules_take_four_statements(django_assert_num_queries):
    for number in range(1000):
        put(f"many.{number}")
    with django_assert_num_queries(4):  # tables, time, schedules, last runs
        assert len(listed()) == 1000 + len(TASKS)


# --- next -----------------------------------------------------------------------------------------------------------


def test_the_next_moments_are_shown_with_what_changes_of_the_clock_mean():
    # Given: within a year each change comes once
    told = remarks(send_reports.schedule, datetime.now(UTC), datetime.now(UTC) + timedelta(days=366))
    assert 2 <= len(told) <= 3

    # When
    few, all_ = manage("next", send_reports.name, "--count", "2"), manage("next", send_reports.name, "--count", "370")

    # Then
    assert len(few.out.split("\n\n")[0].splitlines()) == 2
    assert len(all_.out.split("\n\nTime zone data:")[0].splitlines()) == 370
    for remark in told:
        local = remark.tick.astimezone(send_reports.schedule.zone)
        assert re.search(rf"^ *\d+  {local:%a %Y-%m-%d %H:%M:%S}.*  {re.escape(str(remark))}$", all_.out, re.M)
        assert str(remark) in few.out


def test_the_next_moments_for_programs():
    found = manage("next", close_the_month.name, "--json").json
    assert len(found["next"]) == 20
    expected = close_the_month.schedule.upcoming(20)
    assert [datetime.fromisoformat(each["at"]) for each in found["next"]] == expected
    assert [datetime.fromisoformat(each["local"]) for each in found["next"]] == expected
    assert all(each["local"].endswith(("+10:30", "+11:00")) for each in found["next"])


@pytest.mark.usefixtures("registered")
def test_the_next_moments_of_an_interval_are_those_of_its_grid():
    found = manage("next", fetch_prices.name, "--count", "3", "--json").json["next"]
    first = schedules_next(fetch_prices.name)
    assert [datetime.fromisoformat(each["at"]) for each in found] == [first + n * 15 * MINUTE for n in range(3)]


def test_what_is_not_in_the_code_has_no_next_moments():
    put("gone.tasks.tidy")
    shown = manage("next", "gone.tasks.tidy")
    assert (shown.code, shown.out) == (1, "")
    assert "The timetable of gone.tasks.tidy (every 60 s) is not in the code" in shown.err


@pytest.mark.parametrize("count", ["0", "x", "10001"])
def test_a_wrong_count_is_refused_with_its_bounds(count):
    shown = manage("next", fetch_prices.name, "--count", count)
    assert "is not a whole number from 1 to 10000" in shown.err


# --- pause and resume -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("registered")
def test_a_schedule_is_paused_and_resumed():
    # When
    shown = manage("pause", fetch_prices.name, "--by", "Ada, until the printer is mended")

    # Then
    assert (shown.code, shown.out) == (0, "shop.tasks.fetch_prices is paused\n")
    assert re.search(r"paused by Ada, until the printer is mended 0\.\d s ago", manage("schedules").out)
    assert listed()[fetch_prices.name]["condition"] == "paused"
    again = manage("pause", fetch_prices.name)
    assert (again.code, again.err) == (
        1,
        f"{fetch_prices.name} is already paused, by Ada, until the printer is mended.",
    )

    # When
    shown = manage("resume", fetch_prices.name)

    # Then
    assert (shown.code, shown.out) == (0, "shop.tasks.fetch_prices is resumed\n")
    assert listed()[fetch_prices.name]["condition"] == "active"
    assert manage("resume", fetch_prices.name).err == f"{fetch_prices.name} is not paused."


@pytest.mark.usefixtures("registered")
def test_who_paused_it_is_the_user_of_the_command_unless_told(monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    manage("pause", fetch_prices.name)
    assert listed()[fetch_prices.name]["paused_by"].startswith("ada@")


def test_what_no_worker_has_seen_cannot_be_paused():
    shown = manage("pause", fetch_prices.name)
    assert shown.code == 1
    assert "not registered yet" in shown.err


# --- run ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("registered")
def test_a_schedule_is_run_by_hand_though_it_is_paused(start_worker):
    # Given
    manage("pause", fetch_prices.name)
    before = schedules_next(fetch_prices.name)

    # When
    handle = ran(fetch_prices.name, start_worker)

    # Then
    assert handle.status == DONE
    assert listed()[fetch_prices.name]["last_run"]["manual"]
    assert schedules_next(fetch_prices.name) == before


def test_what_is_not_in_the_code_cannot_be_run():
    put("gone.tasks.tidy")
    shown = manage("run", "gone.tasks.tidy")
    assert (shown.code, shown.out) == (1, "")
    assert "not in the code of this process" in shown.err
    assert not Task.objects.exists()


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["next"], ["pause"], ["resume"], ["run"]])
@pytest.mark.parametrize("name", ["send_reports", "shop.tasks.send_report", "shop.send_reports"])
def test_an_unknown_name_is_answered_with_those_that_may_be_meant(words, name):
    shown = manage(*words, name)
    assert (shown.code, shown.out) == (4, "")
    what = "schedule or task" if words == ["run"] else "schedule"
    assert shown.err == f"There is no {what} {name!r} (did you mean 'shop.tasks.send_reports'?)."


def test_a_name_like_no_other_is_answered_plainly():
    assert manage("next", "zzz").err.startswith("There is no schedule 'zzz'. To list them: ")


@pytest.mark.usefixtures("registered")
def test_what_cannot_be_done_with_one_is_done_with_the_others():
    shown: Outcome = manage("pause", fetch_prices.name, "nothing", send_reports.name)
    assert shown.code == 4
    assert shown.out == "shop.tasks.fetch_prices is paused\nshop.tasks.send_reports is paused\n"
    assert shown.err.startswith("There is no schedule 'nothing'.") and shown.err.endswith("\n1 of 3 failed.")


# --- what the code and the register say together ------------------------------------------------------------------------


def test_an_entry_that_is_paused_is_not_late():
    past = schedules.now(connection) - timedelta(hours=1)
    put("n", next_tick=past, paused_at=past, paused_by="ada")
    [entry] = [entry for entry in agenda.entries(connection) if entry.name == "n"]
    assert entry.condition(schedules.now(connection)) is Condition.PAUSED
    assert entry.coming(schedules.now(connection), 3) == []
    execute(connection, "UPDATE autotask_schedule SET paused_at = NULL")
    [entry] = [entry for entry in agenda.entries(connection) if entry.name == "n"]
    assert entry.condition(schedules.now(connection)) is Condition.LATE

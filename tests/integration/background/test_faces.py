"""The list in the admin, the command and the doctor."""

import html
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection

from autotask.doctor import background as background_checks, examination
from autotask.doctor.diagnosis import Patient
from autotask.store import background_hosting, background_read
from autotask.store.connection import execute
from tests.helpers import wait_until
from tests.integration.admin.pages import client_of
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start
from tests.integration.commands.command import manage, sign_on

LIST = "/admin/autotask/backgroundworker/"


def declare(*workers: Any) -> None:
    """Declare background workers, as a worker does when it starts."""
    background_hosting.declare(connection, [worker.declared() for worker in workers], new=True)


def text(answer: Any) -> str:
    """Return the words of a page."""
    assert answer.status_code == 200
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.content.decode())).split())


def test_a_user_who_may_not_see_tasks_gets_no_links_to_what_waits(transactional_db: None) -> None:
    # Given
    declare(tasks.handle)
    tasks.handle.put(1)
    staff = User.objects.create_user("staff", is_staff=True)
    row = f"{LIST}{quote(tasks.handle.name)}/change/"

    def pages(*names: str) -> list[str]:
        staff.user_permissions.set(Permission.objects.filter(codename__in=names))
        return [client_of(staff).get(address).content.decode() for address in (LIST, row)]

    # Then
    address = f"/admin/autotask/taskrecord/?task=background%3A{tasks.handle.name}"
    assert [address in shown for shown in pages("view_backgroundworker")] == [False, False]
    assert [address in shown for shown in pages("view_backgroundworker", "view_taskrecord")] == [True, True]


def test_the_admin_lists_and_acts_by_permission(transactional_db: None) -> None:
    declare(tasks.handle, tasks.rebuild, tasks.endless)
    tasks.rebuild.start()
    tasks.handle.put(1)
    staff = User.objects.create_user("staff", is_staff=True)
    client = client_of(staff)
    assert client.get(LIST).status_code == 403

    def permit(*names: str) -> None:
        staff.user_permissions.set(
            Permission.objects.filter(codename__in=[f"{name}_backgroundworker" for name in names])
        )

    def act(action: str, worker: Any) -> list[str]:
        answer = client.post(LIST, {"action": action, "index": "0", "_selected_action": [worker.name]}, follow=True)
        return [str(message) for message in answer.context["messages"]]

    permit("view")
    page = client.get(LIST)
    assert "no host" in text(page) and "stopped" in text(page)
    assert 'name="action"' not in page.content.decode()
    act("start", tasks.endless)
    assert not tasks.endless.is_active()
    permit("view", "start", "stop", "trigger")
    assert act("start", tasks.endless) == ["1 background worker is started."]
    assert tasks.endless.is_active()
    assert act("start", tasks.endless) == [f"{tasks.endless.name}: already started"]
    assert act("stop", tasks.endless) == ["1 background worker stops after its current run."]
    assert act("trigger", tasks.rebuild) == ["1 background worker is triggered."]
    assert act("trigger", tasks.endless) == [f"{tasks.endless.name}: not one that can be triggered"]
    assert [each.waiting for each in background_read.read(connection)] == [0, 1, 1]


def test_the_page_of_one_shows_all_and_has_buttons_by_permission(transactional_db: None) -> None:
    declare(tasks.tick, tasks.adder)
    tasks.tick.start(_interval=5)
    execute(
        connection,
        "INSERT INTO autotask_background_instance "
        "(name, place, fence, start_id, host, pid, taken_at, runs, errors, last_error, last_error_at) VALUES "
        "(%s, '', 1, gen_random_uuid(), 'here', 7, now(), 5, 2, E'Traceback\n  File x\nValueError: <as always>', now())",
        (tasks.tick.name,),
    )
    staff = User.objects.create_user("staff", is_staff=True)
    client, page = client_of(staff), f"{LIST}{quote(tasks.tick.name)}/change/"
    assert client.get(page).status_code == 403

    def permit(*names: str) -> None:
        codenames = [f"{name}_backgroundworker" for name in names]
        staff.user_permissions.set(Permission.objects.filter(codename__in=codenames))

    permit("view")
    shown = client.get(page)
    assert "interval 0.5" in text(shown)
    assert "a call of start(): this lasts" in text(shown)
    assert "nowhere, last here:7" in text(shown) and "Traceback File x ValueError: <as always>" in text(shown)
    assert "formaction" not in shown.content.decode()
    assert client.post(f"{LIST}{quote(tasks.tick.name)}/stop/").status_code == 403
    permit("view", "start", "stop", "trigger")
    words = text(client.get(page))
    assert "Run now" in words and "Stop" in words and "Forget" not in words
    assert client.post(f"{LIST}{quote(tasks.tick.name)}/stop/").status_code == 302
    assert not tasks.tick.is_active()
    assert LogEntry.objects.get().change_message == "Stopped."
    execute(connection, "UPDATE autotask_background SET declared_at = declared_at - interval '2 days'")
    assert "Forget" in text(client.get(page))
    client.post(f"{LIST}{quote(tasks.tick.name)}/forget/")
    assert not tasks.tick.is_active() and not background_read.read(connection, tasks.tick.name)
    other = text(client.get(f"{LIST}{quote(tasks.adder.name)}/change/"))
    assert "executor process" in other and "the code" in other and "It has not run anywhere." in other
    assert "Run now" not in other


def test_the_command_lists_and_acts(transactional_db: None) -> None:
    assert "There are no background workers" in manage("background").err
    declare(tasks.endless, tasks.rebuild)
    assert manage("background", "start", tasks.endless.name).out == f"{tasks.endless.name} is started\n"
    assert tasks.endless.is_active()
    again = manage("background", "start", tasks.endless.name)
    assert (again.code, again.err) == (1, f"{tasks.endless.name} is already started.")
    assert manage("background", "trigger", tasks.rebuild.name).code == 0
    assert manage("background", "trigger", tasks.endless.name).code == 1
    assert manage("background", "stop", "unknown").code == 4
    assert manage("background", "stop").code == 2
    lines = manage("background").out.splitlines()
    assert lines[:3] == [
        tasks.endless.name,
        "  kind   continuous, one per site, queue default",
        "  state  starting",
    ]
    first, second = manage("background", "--json").json["background_workers"]
    assert (first["state"], first["instances"], second["waiting"]) == ("starting", [], 1)


def test_all_of_them_show_a_host_and_its_runs(start: Start, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEBACKS", "1")
    program = start()
    tasks.endless.start()
    tasks.failing.start()

    def shown() -> bool:
        found = {each["name"]: each for each in manage("background", "--json").json["background_workers"]}
        instances = found[tasks.failing.name]["instances"] + found[tasks.endless.name]["instances"]
        return len(instances) == 2 and all(each["runs"] and each["pid"] == program.pid for each in instances)

    wait_until(shown)
    words = manage("background").out
    assert f":{program.pid}" in words
    assert "ValueError: as always" in words
    page = text(client_of(User.objects.create_superuser("root")).get(LIST))
    assert "running" in page and f":{program.pid}" in page and "ValueError: as always" in page
    patient = Patient()
    assert "2 background workers running" in str(background_checks.look_at_hosts(patient))
    patient.close()


def test_the_doctor_names_one_that_does_not_run_and_why(transactional_db: None) -> None:
    patient = Patient()
    assert "there are no background workers" in str(background_checks.look_at_hosts(patient))
    declare(tasks.endless)
    tasks.endless.start()
    sign_on(("other",))
    assert "no worker serves its queue default" in str(background_checks.look_at_hosts(patient))
    sign_on()
    assert "no worker has taken it" in str(background_checks.look_at_hosts(patient))
    tasks.endless.stop()
    tasks.handle.put("for later")
    assert "0 background workers running" in str(background_checks.look_at_hosts(patient))
    assert "no ready task waits" in str(examination.look_at_waiting(patient)) or "0 s" in str(
        examination.look_at_waiting(patient)
    )
    patient.close()

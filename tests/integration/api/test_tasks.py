"""Submit, look at, wait for, cancel and retry tasks over HTTP, through Django's sync and async handlers."""

import threading
import time
import uuid
from datetime import datetime

import pytest
from django.contrib.auth.models import User
from django.db import connections

from autotask.handle import TaskHandle
from autotask.models import Result, Task
from autotask.store import task_logs
from autotask.store.connection import current, execute
from autotask.task import RUNNING, new_id
from tests.helpers import patient, wait_until
from tests.integration.api import tasks
from tests.integration.api.conftest import Api
from tests.integration.held import pause

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = "?wait=15"


@pytest.fixture(autouse=True)
def closed():
    tasks.opened.clear()
    tasks.runs.clear()
    yield
    tasks.opened.set()


def problem(response) -> tuple[int, str]:
    assert response["Content-Type"] == "application/problem+json"
    assert response.value["status"] == response.status_code
    return response.status_code, response.value["code"]


# --- submit ---------------------------------------------------------------------------------------------------------


def test_a_post_stores_a_task_and_says_where_it_is(api):
    # When
    response = api.post("/tasks/", {"name": "api.add", "params": {"x": 3, "y": 4}})

    # Then
    assert response.status_code == 201
    shown = response.value
    assert (shown["name"], shown["status"], shown["result"], shown["error"]) == ("api.add", "waiting", None, None)
    assert response["Location"] == f"/tasks/{shown['id']}/"
    assert TaskHandle(shown["id"]).status == "waiting"
    seen = api.get(response["Location"]).value
    assert seen["arguments"] == "x=3, y=4"
    assert abs(datetime.fromisoformat(seen["created_at"]) - datetime.fromisoformat(shown["created_at"])).seconds < 5
    assert shown.items() - {"created_at": shown["created_at"]}.items() <= seen.items()


def test_a_task_can_be_waited_for(api, worker):
    id = api.submit("api.fib", n=10)
    response = api.get(f"/tasks/{id}/{AT_ONCE}")
    assert response.status_code == 200
    assert (response.value["status"], response.value["result"]) == ("done", 89)
    assert response.value["ended_at"] is not None
    assert api.get(f"/tasks/{id}/result").value == 89


@pytest.mark.parametrize(
    ("what", "shown", "as_text"),
    [
        ("dict", {"a": 1}, "{'a': 1}"),
        ("text", "päper", "päper"),
        ("none", None, "None"),
        ("number", 1.5, "1.5"),
        ("list", [1, "two"], "[1, 'two']"),
        ("both", {"result": "ready", "file_path": "/srv/reports/7.txt"}, "ready"),
        ("date", "2026-11-28", "2026-11-28"),
        ("set", "{1}", "{1}"),
        ("nan", "nan", "nan"),
    ],
)
def test_results_are_json_or_text(api, worker, what, shown, as_text):
    id = api.submit("api.give", what=what)
    response = api.get(f"/tasks/{id}/{AT_ONCE}")
    assert response.value["result"] == shown
    assert response.value.get("result_is_text", False) == (what in ("set", "nan"))
    hard = api.get(f"/tasks/{id}/?as=hardworker").value
    assert (hard["id"], hard["type_of_task"], hard["status"], hard["result"]) == (id, "api.give", 2, as_text)
    assert hard["file_path"] == ("/srv/reports/7.txt" if what == "both" else None)


def test_what_a_task_is_about_is_shown_only_if_the_scope_says_so(api_with):
    # Given
    user = User.objects.create_user("ann")
    handle = tasks.add.using(subject=user, metadata={"campaign": 7, "token": "s3cret"})(3, 4)
    plain = tasks.add(3, 4)

    # When
    unseen = api_with("read").get(f"/tasks/{handle.id}/").value
    seen = api_with("read", "metadata").get(f"/tasks/{handle.id}/").value
    listed = api_with("read", "metadata:api.*").get("/tasks/").value["tasks"]

    # Then
    assert "subject" not in unseen and "metadata" not in unseen
    assert (seen["subject"], seen["metadata"]) == (f"auth.user:{user.pk}", {"campaign": 7, "token": "•••"})
    assert {task["id"]: task["metadata"] for task in listed} == {
        str(handle.id): {"campaign": 7, "token": "•••"},
        str(plain.id): {},
    }


def test_an_error_is_shown_without_its_traceback_unless_the_scope_says_so(api, api_with, worker):
    id = api.submit("api.fail")
    shown = api.get(f"/tasks/{id}/{AT_ONCE}").value
    assert shown["status"] == "error"
    assert shown["error"].startswith("ValueError") and "bad" in shown["error"]
    assert "traceback" not in shown
    assert problem(api.get(f"/tasks/{id}/result")) == (424, "failed")
    seen = api_with("read", "traceback").get(f"/tasks/{id}/").value
    assert "raise ValueError(reason, 5)" in seen["traceback"]
    hard = api.get(f"/tasks/{id}/?as=hardworker").value
    assert hard["status"] == 3 and "bad" in hard["result"] and hard["time_end"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "not_json"),
        (b"{", 400, "not_json"),
        (b"\xff", 400, "not_json"),
        (b"[" * 100_000, 400, "not_json"),
        (b'{"name": "api.add", "params": {"x": NaN}}', 400, "not_json"),
        ([], 422, "invalid"),
        ("x", 422, "invalid"),
        ({}, 422, "invalid"),
        ({"name": 5}, 422, "invalid"),
        ({"name": "api.add", "params": [1]}, 422, "invalid"),
        ({"name": "api.add", "params": {}}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1, "z": 1}}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": {}}}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "bogus": 1}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "delay": -1}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "delay": "soon"}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "run_after": "2026-12-01T08:00"}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "run_after": "tomorrow"}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "tags": ["a b"]}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "email": "no address"}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "email": "a@example.org\nBcc: b@example.org"}, 422, "invalid"),
        ({"name": "api.add", "params": {"x": 1}, "email": {"a": 1}}, 422, "invalid"),
        ({"name": "api.fail", "params": {"reason": "\ud800" * 10}}, 201, None),
        ({"name": "api.none", "params": {}}, 404, "unknown_task"),
        ({"name": "api.hidden", "params": {}}, 404, "unknown_task"),
        ({"name": "", "params": {}}, 404, "unknown_task"),
        ({"name": "api.add'; DROP TABLE autotask_task; --"}, 404, "unknown_task"),
        ({"name": "../../etc/passwd"}, 404, "unknown_task"),
        ({"name": "api.add\u0000"}, 404, "unknown_task"),
        ({"name": "os.system", "params": {"command": "true"}}, 404, "unknown_task"),
    ],
)
def test_each_wrong_body_has_its_code_and_makes_no_task(api, body, status, code):
    response = api.post("/tasks/", body)
    if code is not None:
        assert problem(response) == (status, code)
    assert response.status_code == status
    assert Task.objects.count() == (status == 201)


def test_input_that_does_not_fit_the_schema_names_path_and_rule(api):
    response = api.post("/tasks/", {"name": "api.fib", "params": {"n": "x"}})
    assert problem(response) == (422, "invalid")
    [error] = response.value["errors"]
    assert (error["path"], error["rule"]) == ("n", "type")
    assert "'x'" in error["message"]


def test_other_content_and_too_much_of_it_are_refused(api, settings):
    response = api.post("/tasks/", b"name=x", content_type="application/x-www-form-urlencoded")
    assert problem(response) == (415, "unsupported_media_type")
    settings.AUTOTASK_API_MAX_BODY = 1024
    response = api.post("/tasks/", {"name": "api.fail", "params": {"reason": "y" * 1024}})
    assert problem(response) == (413, "too_large")
    settings.AUTOTASK_API_MAX_BODY = 2**25
    settings.AUTOTASK_MAX_PAYLOAD = 1024
    response = api.post("/tasks/", {"name": "api.fail", "params": {"reason": "y" * 1024}})
    assert problem(response) == (413, "too_large")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    response = api.post("/tasks/", {"name": "api.fail", "params": {"reason": "y" * 1024}})
    assert problem(response) == (413, "too_large")


def test_a_call_can_be_late_and_tagged(api):
    body = {"name": "api.add", "params": {"x": 1}, "run_after": "2199-12-01T08:00:00+01:00", "tags": ["eu"]}
    shown = api.get(api.post("/tasks/", body)["Location"]).value
    assert (shown["run_at"], shown["tags"], shown["state"]) == ("2199-12-01T07:00:00+00:00", ["eu"], "scheduled")
    shown = api.get(api.post("/tasks/", {"name": "api.add", "params": {"x": 1}, "delay": 3600})["Location"]).value
    assert shown["state"] == "scheduled"


def test_a_task_named_in_the_settings_can_be_called(api):
    assert api.post("/tasks/", {"name": "api.listed"}).status_code == 201


def test_a_taken_unique_key_is_a_conflict_or_the_task_that_is_there(api):
    first = api.submit("api.once", n=1)
    response = api.post("/tasks/", {"name": "api.once", "params": {"n": 1}})
    assert problem(response) == (409, "already_enqueued")
    assert response.value["task"] == first
    first = api.submit("api.same", n=1)
    response = api.post("/tasks/", {"name": "api.same", "params": {"n": 1}})
    assert (response.status_code, response.value["id"]) == (200, first)


# --- idempotency ----------------------------------------------------------------------------------------------------


def test_a_repeated_idempotency_key_makes_one_task(api, api_with):
    body = {"name": "api.add", "params": {"x": 1}}
    first = api.post("/tasks/", body, Idempotency_Key="k-1")
    again = api.post("/tasks/", body, Idempotency_Key="k-1")
    assert (again.status_code, again.value["id"], again["Location"]) == (201, first.value["id"], first["Location"])
    assert Task.objects.count() == 1
    # Another request with that key is a mistake; another caller has keys of their own.
    assert problem(api.post("/tasks/", body | {"delay": 5}, Idempotency_Key="k-1")) == (409, "idempotency_mismatch")
    other = api_with("submit").post("/tasks/", body, Idempotency_Key="k-1")
    assert other.status_code == 201 and other.value["id"] != first.value["id"]
    assert problem(api.post("/tasks/", body, Idempotency_Key="a b")) == (400, "bad_request")
    assert problem(api.post("/tasks/", body, Idempotency_Key="x" * 256)) == (400, "bad_request")


def test_an_idempotency_key_is_forgotten_after_its_time(api, settings):
    settings.AUTOTASK_API_IDEMPOTENCY_TTL = 1
    body = {"name": "api.add", "params": {"x": 1}}
    first = api.post("/tasks/", body, Idempotency_Key="k-1").value["id"]
    api.post("/tasks/", body, Idempotency_Key="k-2")
    execute(current(), "UPDATE autotask_idempotency_key SET until = now()")
    second = api.post("/tasks/", body, Idempotency_Key="k-1").value["id"]
    assert first != second
    assert api.post("/tasks/", body, Idempotency_Key="k-1").value["id"] == second


def test_a_refused_request_uses_up_no_idempotency_key(api):
    body = {"name": "api.once", "params": {"n": 1}}
    api.post("/tasks/", body)
    assert problem(api.post("/tasks/", body, Idempotency_Key="k")) == (409, "already_enqueued")
    execute(current(), "DELETE FROM autotask_task")
    assert api.post("/tasks/", body, Idempotency_Key="k").status_code == 201


# --- look -----------------------------------------------------------------------------------------------------------


def test_an_unknown_id_is_not_found_and_its_result_may_have_expired(api):
    for id in (new_id(), uuid.uuid4(), "x", "x" * 1000, "..%2f..", "1'%20OR%20'1'='1", f"{{{uuid.uuid4()}}}"):
        assert problem(api.get(f"/tasks/{id}/")) == (404, "not_found")
        for act in ("cancel", "retry"):
            assert problem(api.post(f"/tasks/{id}/{act}")) == (404, "not_found")
    assert problem(api.get(f"/tasks/{new_id()}/result")) == (410, "expired")
    assert problem(api.get(f"/tasks/{uuid.uuid4()}/result")) == (404, "not_found")
    assert problem(api.get("/tasks/a/b/c")) == (404, "not_found")
    assert problem(api.post("/tasks/a/b/c")) == (404, "not_found")


def test_a_task_that_is_not_exposed_is_not_there(api):
    handle = tasks.hidden()
    assert problem(api.get(f"/tasks/{handle.id}/")) == (404, "not_found")
    assert problem(api.get(f"/tasks/{handle.id}/result")) == (404, "not_found")
    assert problem(api.post(f"/tasks/{handle.id}/cancel")) == (404, "not_found")
    assert [task["id"] for task in api.get("/tasks/").value["tasks"]] == []


def test_what_has_not_changed_is_not_sent_again(api):
    id = api.submit("api.add", x=1)
    first = api.get(f"/tasks/{id}/")
    again = api.get(f"/tasks/{id}/", If_None_Match=first["ETag"])
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    api.post(f"/tasks/{id}/cancel")
    changed = api.get(f"/tasks/{id}/", If_None_Match=first["ETag"])
    assert (changed.status_code, changed.value["status"]) == (200, "cancelled")
    assert changed["ETag"] != first["ETag"]


def test_progress_is_shown_while_a_task_runs(api, worker):
    id = api.submit("api.slow")
    shown = wait_until(lambda: (value := api.get(f"/tasks/{id}/").value)["progress"] and value)
    assert (shown["status"], shown["progress"]) == ("running", {"done": 1.0, "total": 2.0})
    assert problem(api.get(f"/tasks/{id}/result")) == (409, "not_finished")


def test_the_reason_of_a_task_names_no_hosts_and_people(api):
    # Given
    id = api.post("/tasks/", {"name": "api.add", "params": {"x": 3, "y": 4}}).value["id"]

    # Then
    found = api.get(f"/tasks/{id}/reason").value
    assert list(found) == ["id", "code", "sentence", "until", "place", "expected_wait", "checks"]
    assert (found["code"], found["sentence"]) == ("no_worker", "No worker is alive.")
    pause("everything", reason="secret", paused_by="ANN")
    found = api.get(f"/tasks/{id}/reason").value
    assert (found["code"], found["sentence"]) == ("paused", "Everything is paused.")
    assert problem(api.get(f"/tasks/{uuid.uuid4()}/reason")) == (404, "not_found")


def test_the_log_of_a_task_is_text_for_those_who_may_see_tracebacks(api, api_with, settings, tmp_path):
    # Given
    id = api.post("/tasks/", {"name": "api.add", "params": {"x": 3, "y": 4}}).value["id"]
    reader = api_with("read:*", "traceback:*")
    assert problem(reader.get(f"/tasks/{id}/logs")) == (404, "no_logs")
    settings.AUTOTASK_LOG_DIR = tmp_path
    assert problem(reader.get(f"/tasks/{id}/logs")) == (404, "no_logs")

    # When
    (tmp_path / f"{id}.log").write_text("<b>Zürich</b>\n", encoding="utf-8")

    # Then
    response = reader.get(f"/tasks/{id}/logs")
    assert (response.status_code, response["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert response["X-Content-Type-Options"] == "nosniff" and response.content.decode() == "<b>Zürich</b>\n"
    assert problem(api_with("read:*").get(f"/tasks/{id}/logs")) == (403, "forbidden")
    assert problem(reader.get("/tasks/..%2F..%2Fetc/logs"))[0] == 404

    # When its lines are in the database, too
    task_logs.write(current(), [task_logs.alone(uuid.UUID(id), 1, "Basel\n")])

    # Then
    assert reader.get(f"/tasks/{id}/logs").content.decode() == "Basel\n"


def test_the_log_of_a_task_says_how_many_earlier_lines_are_missing(api, api_with):
    # Given
    id = api.post("/tasks/", {"name": "api.add", "params": {"x": 3, "y": 4}}).value["id"]
    last = "2026-11-29 06:00:02.871Z | 1 | INFO | shop - last\n"
    # When
    task_logs.write(current(), [task_logs.alone(uuid.UUID(id), 1, last, before=1_234)])
    # Then
    response = api_with("read:*", "traceback:*").get(f"/tasks/{id}/logs")
    gap = "2026-11-29 06:00:02.871Z | 1 | WARNING | autotask.task - 1,234 earlier lines are not kept\n"
    assert response.content.decode() == gap + last


def test_a_wait_ends_with_the_task_or_with_its_time(api, worker):
    id = api.submit("api.slow", n=7)
    wait_until(lambda: TaskHandle(id).status == RUNNING)
    began = time.monotonic()
    assert api.get(f"/tasks/{id}/?wait=0.3").value["status"] == "running"
    assert 0.3 <= time.monotonic() - began < patient(5)
    threading.Timer(0.3, tasks.opened.set).start()
    assert api.get(f"/tasks/{id}/result?wait=15").value == 7


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "1e999"])
def test_a_wait_is_a_number_of_seconds(api, wait):
    id = api.submit("api.add", x=1)
    assert problem(api.get(f"/tasks/{id}/?wait={wait}")) == (400, "bad_request")


def test_a_wait_is_not_longer_than_the_setting_allows(api, settings):
    settings.AUTOTASK_API_WAIT = 0.2
    id = api.submit("api.add", x=1)
    began = time.monotonic()
    assert api.get(f"/tasks/{id}/?wait=1000").value["status"] == "waiting"
    assert time.monotonic() - began < patient(10)


# --- cancel and retry -----------------------------------------------------------------------------------------------


def test_a_waiting_task_is_cancelled_at_once_and_can_run_again(api, worker):
    id = api.post("/tasks/", {"name": "api.add", "params": {"x": 5}, "delay": 3600}).value["id"]
    response = api.post(f"/tasks/{id}/cancel")
    assert (response.status_code, response.value["status"]) == (200, "cancelled")
    assert problem(api.post(f"/tasks/{id}/cancel")) == (409, "not_cancellable")
    assert problem(api.get(f"/tasks/{id}/result")) == (424, "cancelled")
    response = api.post(f"/tasks/{id}/retry/")
    assert response.status_code == 200
    assert response.value["status"] in ("waiting", "running", "done")  # the worker may have been faster
    assert api.get(f"/tasks/{id}/{AT_ONCE}").value["result"] == 5
    response = api.post(f"/tasks/{id}/retry")
    assert problem(response) == (409, "not_retryable")
    assert response.value["task_status"] == "done"


def test_a_task_that_was_cancelled_can_be_discarded_once(api, api_with):
    id = api.post("/tasks/", {"name": "api.add", "params": {"x": 5}, "delay": 3600}).value["id"]
    assert problem(api.post(f"/tasks/{id}/discard")) == (409, "not_discardable")
    api.post(f"/tasks/{id}/cancel")
    assert problem(api_with("read", "retry").post(f"/tasks/{id}/discard")) == (403, "forbidden")
    assert api.post(f"/tasks/{id}/discard").status_code == 204
    assert api.get(f"/tasks/{id}/").status_code == api.post(f"/tasks/{id}/discard/").status_code == 404


def test_a_running_task_is_asked_to_stop(api, worker):
    id = api.submit("api.slow")
    wait_until(lambda: TaskHandle(id).status == RUNNING)
    response = api.post(f"/tasks/{id}/cancel")
    assert response.status_code == 202
    tasks.opened.set()
    assert api.get(f"/tasks/{id}/{AT_ONCE}").value["status"] in ("cancelled", "done")


def test_a_task_whose_unique_key_is_taken_is_not_retried(api):
    id = api.submit("api.once", n=1)
    api.post(f"/tasks/{id}/cancel")
    api.submit("api.once", n=1)
    assert problem(api.post(f"/tasks/{id}/retry")) == (409, "already_enqueued")


# --- lists ----------------------------------------------------------------------------------------------------------


def test_tasks_are_listed_page_by_page(api):
    ids = [api.submit("api.add", x=n) for n in range(5)]
    first = api.get("/tasks/?limit=2")
    assert [task["id"] for task in first.value["tasks"]] == ids[:2:-1]
    assert "result" not in first.value["tasks"][0]
    assert first["Link"] == f'</tasks/?limit=2&cursor={ids[3]}>; rel="next"'
    seen, cursor = [], first.value["next"]
    while cursor:
        page = api.get(f"/tasks/?limit=2&cursor={cursor}").value
        seen += [task["id"] for task in page["tasks"]]
        cursor = page["next"]
    assert seen == ids[2::-1]


def test_a_list_has_only_what_was_asked_for(api):
    waiting, cancelled = api.submit("api.add", x=1), api.submit("api.add", x=2)
    other = api.post("/tasks/", {"name": "api.listed", "tags": ["eu"]}).value["id"]
    api.post(f"/tasks/{cancelled}/cancel")

    def ids(query):
        return [task["id"] for task in api.get(f"/tasks/?{query}").value["tasks"]]

    assert set(ids("status=waiting")) == {other, waiting}
    assert ids("status=cancelled") == [cancelled]
    assert set(ids("status=waiting&status=cancelled&name=api.add")) == {cancelled, waiting}
    assert ids("status=waiting,cancelled&name=api.listed") == ids("tag=eu") == [other]
    assert ids("status=done") == ids("tag=us") == []
    assert api.get("/tasks/?as=hardworker&status=cancelled").value["tasks"][0]["status"] == 3


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("status=lost", 400, "bad_request"),
        ("limit=0", 400, "bad_request"),
        ("limit=201", 400, "bad_request"),
        ("limit=x", 400, "bad_request"),
        ("cursor=x", 400, "bad_request"),
        ("tag=a%00b", 400, "bad_request"),
        ("tag=%27%20OR%201=1", 400, "bad_request"),
        ("name=api.hidden", 404, "unknown_task"),
        ("name=a%00b", 404, "unknown_task"),
    ],
)
def test_an_unfit_query_is_refused(api, query, status, code):
    assert problem(api.get(f"/tasks/?{query}")) == (status, code)


def test_definitions_are_listed_with_schema_and_limits(api, api_with):
    found = {each["name"]: each for each in api.get("/tasks/definitions/").value["definitions"]}
    assert {"api.add", "api.fib", "api.listed"} <= set(found)
    assert "api.hidden" not in found
    assert found["api.add"]["description"] == "Add two numbers."
    assert found["api.add"]["schema"]["properties"]["x"] == {"type": "integer"}
    assert found["api.fib"]["concurrency"] == {"most": 2}
    few = api_with("submit:api.a*").get("/tasks/definitions/").value["definitions"]
    assert [each["name"] for each in few] == ["api.add"]


# --- who may --------------------------------------------------------------------------------------------------------


def test_without_a_key_nothing_is_answered(api_with):
    nobody = api_with()
    for method, address in (
        ("GET", "/tasks/"),
        ("POST", "/tasks/"),
        ("GET", "/tasks/definitions/"),
        ("GET", "/tasks/openapi.json"),
        ("GET", f"/tasks/{new_id()}/"),
        ("GET", f"/tasks/{new_id()}/result"),
        ("POST", f"/tasks/{new_id()}/cancel"),
        ("POST", "/hardworker/"),
    ):
        response = nobody.request(method, address, {})
        assert problem(response) == (401, "unauthenticated")
        assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_key_of_another_scope_is_forbidden(api, api_with):
    id = api.submit("api.add", x=1)
    reader, submitter = api_with("read:api.a*"), api_with("submit:api.fib")
    assert reader.get(f"/tasks/{id}/").status_code == 200
    assert problem(reader.post("/tasks/", {"name": "api.add", "params": {"x": 1}})) == (403, "forbidden")
    assert problem(reader.post(f"/tasks/{id}/cancel")) == (403, "forbidden")
    assert problem(reader.get("/tasks/?name=api.fib")) == (403, "forbidden")
    assert problem(submitter.get(f"/tasks/{id}/")) == (403, "forbidden")
    assert problem(submitter.post("/tasks/", {"name": "api.add", "params": {"x": 1}})) == (403, "forbidden")
    assert submitter.post("/tasks/", {"name": "api.fib", "params": {"n": 1}}).status_code == 201
    other = api.submit("api.fib", n=1)
    assert problem(reader.get(f"/tasks/{other}/")) == (403, "forbidden")
    assert [task["id"] for task in reader.get("/tasks/").value["tasks"]] == [id]


def test_what_is_public_needs_no_key(api_with):
    nobody = api_with()
    response = nobody.post("/open/", {"name": "api.add", "params": {"x": 1}})
    assert response.status_code == 201
    assert response["Location"].startswith("/open/")
    assert nobody.get(response["Location"]).status_code == 200
    assert problem(nobody.post("/open/", {"name": "api.hidden"})) == (404, "unknown_task")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_an_address_says_which_methods_it_takes(api, method):
    response = api.request(method, "/tasks/")
    assert problem(response) == (405, "method_not_allowed")
    assert response["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert api.request("OPTIONS", "/tasks/")["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert api.request("HEAD", "/tasks/").status_code == 200


# --- HardWorker -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({}, "500", "Field named name not found in your POST"),
        ({"name": "api.fib", "params": {}}, "500", "Field named email not found in your POST"),
        ([], "500", "Field named name not found in your POST"),
        ({"name": "nothing", "params": {}, "email": "nobody"}, 600, "No valid email"),
        ({"name": "nothing", "params": {}, "email": 5}, 600, "No valid email"),
        ({"name": "nothing", "params": {}, "email": "a@example.org"}, 300, "No this type of task"),
        ({"name": "api.hidden", "params": {}, "email": "a@example.org"}, 300, "No this type of task"),
        ({"name": 5, "params": {}, "email": "a@example.org"}, 300, "No this type of task"),
        ({"name": "api.fib", "params": {"n": "x"}, "email": "a@example.org"}, 200, "Validate failed"),
    ],
)
def test_hardworkers_route_answers_with_its_codes(api, body, code, message):
    response = api.post("/hardworker/", body)
    assert response.status_code == 200
    value = response.value
    assert (value["status"], value["error_code"], value["error_msg"]) == ("ERROR", code, message)
    assert not Task.objects.exists()


def test_hardworkers_route_submits_a_task_and_gives_its_id(api, worker):
    body = {"name": "api.fib", "params": {"n": 5}, "email": "A+b@example.technology"}
    response = api.post("/hardworker/", body)
    assert (response.status_code, response.value["status"]) == (200, "OK")
    assert TaskHandle(response.value["id"]).wait(15) == 8
    shown = wait_until(
        lambda: (each := api.get(f"/tasks/{response.value['id']}/?as=hardworker").value)["mailed"] and each
    )
    assert shown["email"] == "A+b@example.technology"
    assert problem(api.post("/hardworker/", b"name=x")) == (400, "not_json")


def test_a_result_that_cannot_be_read_any_more_is_named(api, worker):
    id = api.submit("api.add", x=1)
    TaskHandle(id).wait(15)
    Result.objects.filter(id=id).update(value=b"\x00spoiled")
    shown = api.get(f"/tasks/{id}/").value
    assert (shown["status"], shown["result"]) == ("done", None)
    assert "PayloadRefused" in shown["result_unreadable"]
    assert problem(api.get(f"/tasks/{id}/result")) == (410, "expired")


# --- several at once ------------------------------------------------------------------------------------------------


def test_the_same_idempotency_key_at_the_same_moment_makes_one_task(key, settings):
    # Given
    settings.ROOT_URLCONF = "tests.integration.api.urls"
    secret, start, ids = key("submit"), threading.Barrier(8), []

    def post():
        api = Api(False, secret)
        start.wait()
        ids.append(api.post("/tasks/", {"name": "api.add", "params": {"x": 1}}, Idempotency_Key="k").value["id"])
        connections.close_all()

    # When
    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(30))

    # Then
    assert len(ids) == 8 and len(set(ids)) == 1
    assert Task.objects.count() == 1

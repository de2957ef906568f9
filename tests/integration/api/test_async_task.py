"""AsyncTask's view: the envelope byte for byte, through Django's sync and async handlers."""

import pytest
from django.db import OperationalError

from autotask.store.connection import current, rows
from tests.helpers import wait_until
from tests.integration.api.conftest import Api
from tests.integration.class_tasks.async_tasks import Forecast
from tests.integration.worker.conftest import worker_program
from tests.integration.worker.stubborn import lines

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]

OPEN = "/open/forecast"


@pytest.fixture(autouse=True)
def addresses(settings):
    settings.ROOT_URLCONF = "tests.integration.api.async_task_urls"


@pytest.fixture(params=["sync", "async"])
def with_key(request, key):
    """Make clients whose keys have some scopes; without scopes, they have no key."""
    return lambda *scopes: Api(request.param == "async", key(*scopes) if scopes else None)


@pytest.fixture
def api(with_key):
    """A client without a key."""
    return with_key()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines"


def state(api, task_id, address=OPEN):
    response = api.get(f"{address}?task_id={task_id}")
    assert response.status_code == 200
    return response.value["data"]


def end(api, task_id, address=OPEN):
    """Wait for the end of a task, and return the bytes of the answer."""
    wait_until(lambda: state(api, task_id, address)["status"] != "running", 30, "the end of the task")
    return api.get(f"{address}?task_id={task_id}").content


def stored():
    return rows(
        current(), "SELECT count(*) FROM autotask_record WHERE name = %(name)s", {"name": Forecast.definition.name}
    )


def test_the_envelope_is_that_of_the_framework_byte_for_byte(api, start_worker):
    response = api.post(OPEN, {"data": {"city": "Oslo", "day": "today"}})
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response.content == b'{"status": "ok", "data": {"task_id": "Oslo-today"}, "error_data": [], "error_msg": ""}'
    running = b'{"status": "ok", "data": {"status": "running"}, "error_data": [], "error_msg": ""}'
    assert api.get(f"{OPEN}?task_id=Oslo-today").content == running
    start_worker()
    assert end(api, "Oslo-today") == (
        b'{"status": "ok", "data": {"status": "success", "result": {"t": 21, "day": "today"}}, '
        b'"error_data": [], "error_msg": ""}'
    )


def test_an_unknown_id_is_ok_with_no_data(api):
    response = api.get(f"{OPEN}?task_id=Bergen")
    assert response.status_code == 200
    assert response.content == b'{"status": "ok", "data": null, "error_data": [], "error_msg": ""}'


def test_the_id_can_be_in_the_body_of_get(api):
    api.post(OPEN, {"data": {"city": "Oslo"}})
    assert api.request("GET", OPEN, {"task_id": "Oslo-today"}).value["data"] == {"status": "running"}


def test_without_an_id_nothing_is_shown(api):
    for response in (api.get(OPEN), api.get(f"{OPEN}?task_id="), api.request("GET", OPEN, {"task_id": 5})):
        assert response.status_code == 400
        assert response.value == {
            "status": "error",
            "data": None,
            "error_data": [{"path": "task_id", "message": "it is missing"}],
            "error_msg": "task_id is missing.",
        }


def test_a_failed_task_shows_its_error_and_runs_again_with_new_arguments(api, worker):
    api.post(OPEN, {"data": {"city": "Oslo", "fails": True}})
    assert end(api, "Oslo-today") == (
        b'{"status": "ok", "data": {"status": "failed", "error": "ValueError: boom"}, "error_data": [], "error_msg": ""}'
    )
    api.post(OPEN, {"data": {"city": "Oslo"}})
    end(api, "Oslo-today")
    assert state(api, "Oslo-today") == {"status": "success", "result": {"t": 21, "day": "today"}}


def test_a_task_over_its_time_limit_has_failed_and_can_run_again(api, worker):
    address = "/open/impatient"
    api.post(address, {"data": {"city": "Oslo", "seconds": 5}})
    end(api, "Oslo-today", address)
    assert state(api, "Oslo-today", address) == {"status": "failed", "error": "timed out after 1 s"}
    api.post(address, {"data": {"city": "Oslo"}})
    end(api, "Oslo-today", address)
    assert state(api, "Oslo-today", address)["status"] == "success"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"bogus": 1, "cls": 1, "self": 1}, None),
        ({}, {"path": "city", "message": "it is missing"}),
        ({"city": "Oslo", "task_id": 5}, {"path": "task_id", "message": "it must be a string"}),
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_nothing_is_stored(api, data, error):
    # main() of this class takes other names only where it says so
    response = api.post("/open/limited" if error is None else OPEN, {"data": data})
    assert response.status_code == 422
    assert response.value["status"] == "error"
    if error is None:
        assert "bogus" in [each["path"] for each in response.value["error_data"]]
    else:
        assert response.value["error_data"] == [error]
    assert stored() == [(0,)]


def test_arguments_are_checked_with_the_schema(api):
    response = api.post("/open/limited", {"data": {"n": 10}})
    assert response.status_code == 422
    assert response.content == (
        b'{"status": "error", "data": null, "error_data": [{"path": "n", "message": "10 is greater than the maximum of 9"}], '
        b'"error_msg": "n: 10 is greater than the maximum of 9"}'
    )


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"data": null}', "application/json", 422),
        (b"{}", "application/json", 422),
        (b"[]", "application/json", 422),
        (b'{"data": []}', "application/json", 422),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"data": {"city": NaN}}', "application/json", 400),
        (b'{"data": {"city": "Oslo"}}', "text/plain", 415),
        (b"data=1", "application/x-www-form-urlencoded", 415),
    ],
)
def test_wrong_bodies_are_refused_in_the_envelope(api, body, content_type, status):
    response = api.request("POST", OPEN, body, content_type=content_type)
    assert response.status_code == status
    assert list(response.value) == ["status", "data", "error_data", "error_msg"]
    assert (response.value["status"], response.value["data"]) == ("error", None)
    assert isinstance(response.value["error_data"], list)
    assert response.value["error_msg"]
    assert stored() == [(0,)]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused_in_the_envelope(api, method):
    response = api.request(method, OPEN, {"data": {}})
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD, POST, OPTIONS"
    assert response.value["status"] == "error"


def test_other_members_of_a_body_do_not_count(api):
    assert api.post(OPEN, {"data": {"city": "Oslo"}, "more": 1}).status_code == 200


def test_a_known_id_runs_with_the_arguments_that_it_had(api, worker, path):
    api.post(OPEN, {"data": {"city": "Oslo", "fails": True, "path": str(path)}})
    end(api, "Oslo-today")
    response = api.post(OPEN, {"data": {"task_id": "Oslo-today"}})
    assert response.value["data"] == {"task_id": "Oslo-today"}
    wait_until(lambda: len(lines(path)) == 2, what="the second run")
    response = api.post(OPEN, {"data": {"task_id": "Bergen"}})
    assert (response.status_code, response.value["status"]) == (404, "error")


def test_a_key_is_needed_with_the_scopes_for_the_class(with_key, worker):
    address, name = "/api/forecast", Forecast.definition.name
    body = {"data": {"city": "Oslo", "fails": True}}
    response = with_key().post(address, body)
    assert (response.status_code, list(response.value)[0]) == (401, "status")
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert with_key().get(f"{address}?task_id=x").status_code == 401
    assert with_key("submit:other", "read").post(address, body).status_code == 403
    assert with_key(f"read:{name}").post(address, body).status_code == 403
    submitter = with_key(f"submit:{name}")
    assert submitter.post(address, body).status_code == 200
    assert submitter.get(f"{address}?task_id=Oslo-today").status_code == 403
    reader = with_key("read:*")
    end(reader, "Oslo-today", address)
    assert state(reader, "Oslo-today", address)["error"] == "ValueError: boom"


def test_only_the_scope_for_that_shows_a_traceback(with_key, worker):
    Forecast.run(city="Oslo", fails=True)
    end(with_key(), "Oslo-today")
    assert "Traceback" not in state(with_key(), "Oslo-today")["error"]
    error = state(with_key("read", "traceback"), "Oslo-today")["error"]
    assert error.startswith("Traceback") and error.rstrip().endswith("ValueError: boom")


def test_a_result_that_is_no_json_is_shown_as_text(api, worker):
    for what, text in {"set": "{1}", "nan": "nan"}.items():
        api.post("/open/odd", {"data": {"what": what}})
        end(api, what, "/open/odd")
        assert state(api, what, "/open/odd") == {"status": "success", "result": text, "result_is_text": True}


def test_an_error_of_the_class_is_an_error_without_its_text(api, caplog):
    response = api.post("/open/odd", {"data": {"what": "bad"}})
    assert (response.status_code, response.value["error_msg"]) == (500, "This request caused an error on the server.")
    assert "ZeroDivisionError" in caplog.text
    response = api.post("/open/odd", {"data": {"what": "long"}})
    assert response.status_code == 422
    assert "must return 1 to 200 printable characters" in response.value["error_msg"]


def test_a_class_can_have_its_own_retrieve(api):
    assert state(api, "x", "/open/overridden") == {"status": "success", "result": "mine: x"}


def test_a_database_that_is_away_is_no_error_of_the_caller(api, monkeypatch, caplog):
    def away(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(Forecast, "retrieve", away)
    response = api.get(f"{OPEN}?task_id=x")
    assert (response.status_code, response["Retry-After"], response.value["status"]) == (503, "5", "error")


def test_tasks_in_processes_are_shown_alike(api, start_worker):
    start_worker(processes=1)
    api.post("/open/process", {"data": {"city": "Oslo"}})
    end(api, "Oslo-today", "/open/process")
    assert state(api, "Oslo-today", "/open/process")["status"] == "success"


def test_a_client_sees_a_task_run_through_the_death_of_its_worker(api, path, tmp_path, start_worker):
    # Given
    api.post(OPEN, {"data": {"city": "Oslo", "path": str(path), "seconds": 2}})
    program = worker_program(tmp_path, ())
    wait_until(lambda: lines(path), 30, what="the start")

    # When
    program.kill()
    assert state(api, "Oslo-today") == {"status": "running"}
    assert api.post(OPEN, {"data": {"city": "Oslo", "path": str(path)}}).status_code == 200
    start_worker()

    # Then
    end(api, "Oslo-today")
    assert state(api, "Oslo-today") == {"status": "success", "result": {"t": 21, "day": "today"}}
    assert lines(path) == ["Oslo today 1", "Oslo today 2"]
    assert stored() == [(1,)]

"""The example program of HardWorker, posted to its route: results, states and mails."""

import pytest
from django.core import mail

from autotask.handle import TaskHandle
from autotask.task import DONE
from tests.helpers import ended, wait_until
from tests.integration.api import hardworker_program

pytestmark = pytest.mark.django_db(transaction=True)

PREFIX = "hardworker."


def post(api, name, params, email="anna@example.org"):
    response = api.post("/hardworker/", {"name": PREFIX + name, "params": params, "email": email})
    assert response.status_code == 200
    return response.value


def test_three_posts_run_and_are_mailed(api, start_worker, tmp_path):
    # Given
    start_worker()
    path = tmp_path / "output.txt"

    # When
    answers = [
        post(api, "task_1", {"time": 0.1}),
        post(api, "task_2", {"n": 10}),
        post(api, "task_3", {"n": 5, "path": str(path)}),
    ]

    # Then
    assert [answer["status"] for answer in answers] == ["OK"] * 3
    handles = [TaskHandle(answer["id"]) for answer in answers]
    assert [ended(handle) for handle in handles] == [DONE] * 3
    assert handles[0].result in range(120)
    assert handles[1].result == 89
    assert handles[2].result == {"result": "Факториал посчитан", "file_path": str(path)}
    wait_until(lambda: len(mail.outbox) == 3, 30, "the mails")
    assert {sent.to[0] for sent in mail.outbox} == {"anna@example.org"}
    (report,) = [sent for sent in mail.outbox if "Факториал" in sent.body]
    [attached] = report.attachments
    assert (attached[0], attached[1]) == ("output.txt", "Факториал 5 = 120")


def test_wrong_posts_get_the_codes_of_hardworker_and_store_nothing(api):
    assert post(api, "task_2", {"n": "x"})["error_code"] == 200
    assert post(api, "task_2", {"n": "x"})["errors"][0]["path"] == "n"
    assert post(api, "task_4", {})["error_code"] == 300
    assert post(api, "task_2", {"n": 1}, email="no address")["error_code"] == 600


def test_the_class_is_called_from_python_with_an_address(start_worker, tmp_path):
    start_worker()
    path = str(tmp_path / "7.txt")
    handle = hardworker_program.MyTask.enqueue({"n": 7, "path": path}, email=["anna@example.org", "ben@example.org"])
    assert handle.wait(20)["file_path"] == path
    wait_until(lambda: len(mail.outbox) == 2, 30, "the mails")
    assert sorted(sent.to[0] for sent in mail.outbox) == ["anna@example.org", "ben@example.org"]

"""Fixtures: the tables of the models, and a client with a key."""

import json

import pytest
from django.test import Client

from autotask.api import tokens
from autotask.api.simpletask2 import offers
from tests import rows
from tests.integration.st2app import models

_hidden = rows.hide(models.ALL)

KEY = "a-key-for-pulling-1234567890"


class Puller:
    """Sends the requests of a client of django-simpletask2."""

    def __init__(self):
        self.client = Client(enforce_csrf_checks=True)

    def raw(self, path, body=b"", method="POST", content_type="application/json", **headers):
        """Send any body; the answer must have the one shape."""
        answer = self.client.generic(method, f"/st2/{path}", body, content_type, **headers)
        assert answer.status_code == 200, answer
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Content-Length"] == str(len(answer.content))
        document = answer.json()
        assert set(document) == {"success", "result", "error"}
        assert document["success"] is (document["error"]["code"] == 0)
        return document

    def post(self, path, **body):
        """Send a body with the key."""
        return self.raw(path, json.dumps({"aclkey": KEY, **body}))

    def pull(self, *channels):
        """Return the task that is offered, or None."""
        document = self.post("get_a_task", channels=",".join(channels or ("default",)))
        assert document["success"], document
        return document["result"]

    def step(self, task_info, step=1, **more):
        """Return the answer to a step that went well."""
        document = self.post("do_task", task_info=task_info, step=step, **more)
        assert document["success"], document
        return document["result"]

    def refused(self, task_info, step=1, **more):
        """Return the code and the message of a step that did not go well."""
        document = self.post("do_task", task_info=task_info, step=step, **more)
        assert document["result"] is None
        return document["error"]["code"], document["error"]["message"]


@pytest.fixture
def tables(transactional_db, settings):
    """The app of these tests, with its tables; they are dropped after the test."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.integration.st2app"]
    with rows.existing(models.ALL, _hidden):
        yield


@pytest.fixture
def puller(tables, settings, monkeypatch):
    """A client with a key, that does not wait long for a task."""
    made = offers.Offers()
    monkeypatch.setattr(offers, "offers", made)
    settings.ROOT_URLCONF = "tests.integration.st2app.urls"
    settings.AUTOTASK_PULL_KEY = KEY
    settings.AUTOTASK_PULL_TIMEOUT = 0.2
    settings.ALLOWED_HOSTS = ["*"]
    tokens.wrong_keys.clear()
    yield Puller()
    tokens.wrong_keys.clear()
    made._stocks.clear()  # Its thread would withdraw what is left over from a test that has ended.

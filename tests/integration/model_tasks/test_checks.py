"""manage.py check finds wrong models."""

import pytest
from django.db import models
from django.test.utils import isolate_apps

from autotask import registry
from autotask.exceptions import OtherDatabase, UnknownOption
from autotask.model_tasks import SimpleTask
from autotask.store import model_rows
from autotask.tasks import Limit, Rate
from tests.integration.model_tasks import models as ours
from tests.integration.model_tasks.models import HelloTask


@pytest.fixture(autouse=True)
def _only_own(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_duplicates", [])
    monkeypatch.setattr(model_rows, "tables", dict(model_rows.tables))


def made(**attributes):
    """Return a model with these attributes, as one of the site's."""

    class Meta:
        app_label = "model_tasks"

    base = {"__module__": __name__, "Meta": Meta, "do_task_main": lambda self, payload: None}
    with isolate_apps("tests.integration.model_tasks") as apps, pytest.MonkeyPatch.context() as patched:
        patched.setattr("autotask.model_tasks.base.apps", apps)
        return type("Made", (SimpleTask,), base | attributes)


def ids(model):
    """Return the texts of the messages of autotask, by their ids."""
    found = {}
    for message in model.check():
        if message.id.startswith("autotask"):
            found.setdefault(message.id, []).append(f"{message.msg} {message.hint}")
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("model", ours.ALL)
def test_there_is_nothing_to_say_of_good_models(model):
    assert ids(model) == {}


def main(self, payload):
    pass


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("attributes", "id", "words"),
    [
        ({"final_step": 0}, "autotask.E030", "a whole number from 1 to 1000, but is 0"),
        ({"final_step": "2"}, "autotask.E030", "but is '2'"),
        ({"final_step": 2}, "autotask.E031", "no method do_task_main_step1(self, payload)"),
        ({"final_step": 2, "do_task_main_step1": main}, "autotask.E031", "no method do_task_main_step2"),
        ({"do_task_main": None}, "autotask.E031", "no method do_task_main(self, payload) for its step 1"),
        ({"do_task_main": lambda self: None}, "autotask.E031", "it cannot be called so"),
        ({"do_task_timeout": "300"}, "autotask.E037", "must be a number of seconds up to a century, but is '300'"),
        ({"do_task_timeout": 0}, "autotask.E037", "but is 0"),
        ({"channel_field": "regoin"}, "autotask.E032", "'regoin'"),
        ({"channel": "not one!"}, "autotask.E033", "'not one!'"),
        ({"options": {"retrys": 3}}, "autotask.E034", "unknown option 'retrys' (did you mean 'retries'?)"),
        ({"options": {"retries": -1}}, "autotask.E034", "'retries'"),
        ({"options": {"unique": True}}, "autotask.E034", "'unique', which model tasks do not have"),
        ({"options": {"queue": "x"}}, "autotask.E034", "write channel or channel_field"),
        (
            {"options": {"concurrency": Limit(1, key="regoin")}},
            "autotask.E034",
            "made of fields of the model ('",
        ),
        (
            {"options": {"rate": Rate("1/s", key=lambda: 1)}},
            "autotask.E034",
            "takes the arguments of the task function",
        ),
        ({"options": 5}, "autotask.E034", "must be a dict, but is 5"),
        ({"objects": models.Manager()}, "autotask.E035", "bulk_create() would insert the rows only"),
    ],
)
def test_what_is_wrong_is_found(attributes, id, words):
    found = ids(made(**attributes))

    assert set(found) == {id}
    assert any(words in each for each in found[id])


@pytest.mark.django_db
def test_a_row_with_wrong_options_is_refused():
    model = made(options={"retrys": 3})
    with pytest.raises(UnknownOption, match="retrys"):
        model(pk=1).save(force_insert=True)
    with pytest.raises(UnknownOption):
        model.objects.bulk_create([model()])


@pytest.mark.django_db
def test_a_row_in_another_database_is_refused(monkeypatch):
    with pytest.raises(OtherDatabase, match="elsewhere"):
        HelloTask.task_definition.enqueue_rows([HelloTask()], "elsewhere")
    monkeypatch.setattr("autotask.model_tasks.checking.database_of", lambda model: "elsewhere")
    assert list(ids(HelloTask)) == ["autotask.E036"]


def test_models_of_migrations_are_no_tasks():
    with isolate_apps("tests.integration.model_tasks"):

        class Former(SimpleTask):
            class Meta:
                app_label = "model_tasks"

    assert "model_tasks.former" not in model_rows.tables

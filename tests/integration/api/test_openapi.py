"""The OpenAPI document is made from the schemas of the tasks, and holds for what the API answers."""

import pytest
from jsonschema import Draft202012Validator

from autotask.api import openapi
from autotask.api.exposed import all_exposed
from autotask.tasks import delayed_task
from tests.integration.api import tasks

pytestmark = pytest.mark.django_db(transaction=True)

TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "$defs": {
        "node": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
    },
}


@delayed_task(name="api.grow", api=True, json_schema=TREE)
def grow(params): ...


def validator(document, name: str) -> Draft202012Validator:
    """Return what checks values against one of the schemas in a document."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def test_what_the_api_answers_fits_its_document(api, worker):
    # Given
    document = api.get("/tasks/openapi.json").value
    id = api.submit("api.add", x=1)

    # Then
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    validator(document, "Task").validate(api.get(f"/tasks/{id}/").value)
    validator(document, "Task").validate(api.get(f"/tasks/{id}/?wait=15").value)
    validator(document, "TaskOfList").validate(api.get("/tasks/").value["tasks"][0])
    validator(document, "Problem").validate(api.post("/tasks/", {}).value)
    validator(document, "Problem").validate(api.get("/tasks/x/").value)
    assert document["servers"] == [{"url": "/tasks"}]


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"name": "api.add", "params": {"x": 1}}, True),
        ({"name": "api.add", "params": {"x": "1"}}, False),
        ({"name": "api.add"}, False),
        ({"name": "api.listed"}, True),
        ({"name": "api.hidden"}, False),
        ({"name": "api.fib", "params": {"n": 1}, "delay": 5}, True),
        ({"name": "api.grow", "params": {"root": {"children": [{"children": []}]}}}, True),
        ({"name": "api.grow", "params": {"root": {"children": [{"children": 5}]}}}, False),
    ],
)
def test_a_submission_is_described_for_each_task(settings, body, fits):
    settings.AUTOTASK_API_TASKS = ["api.listed"]
    assert tasks.listed.name == "api.listed"
    document = openapi.document(all_exposed(), "/tasks/")
    assert validator(document, "Submission").is_valid(body) == fits


def test_a_caller_sees_only_the_tasks_that_it_may_submit(api_with):
    document = api_with("submit:api.f*").get("/tasks/openapi.json").value
    refs = [each["$ref"] for each in document["components"]["schemas"]["Submission"]["oneOf"]]
    assert [ref.rpartition("/")[2] for ref in refs] == ["Submit.api.fail", "Submit.api.fib"]


def test_every_address_is_described(api):
    document = api.get("/tasks/openapi.json").value
    described = {
        (method, path) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert described == {
        ("get", "/"),
        ("post", "/"),
        ("get", "/definitions/"),
        ("get", "/openapi.json"),
        ("get", "/{id}/"),
        ("post", "/{id}/cancel"),
        ("post", "/{id}/discard"),
        ("post", "/{id}/retry"),
        ("get", "/{id}/result"),
        ("get", "/{id}/reason"),
        ("get", "/{id}/logs"),
    }

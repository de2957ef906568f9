"""Tenants in schemas: tasks run in the schema of their call, and no instance comes from another one."""

import json
import subprocess
import sys
import uuid

import pytest
from django.db import connection

from tests.helpers import ROOT, environment

pytest.importorskip("django_tenants")


@pytest.fixture
def database(transactional_db):
    """A new database, since tenants have their tables elsewhere."""
    name = f"tenants_{uuid.uuid4().hex[:12]}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield name
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("age", ["0", "600"], ids=["each task connects", "connections are kept"])
def test_a_task_runs_in_the_schema_of_its_call_and_gets_no_instance_of_another(database, age):
    # When
    more = {"TENANTS_DATABASE": database, "TENANTS_CONN_MAX_AGE": age, "AUTOTASK_HEARTBEAT": "0.2", "DEBUG": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.tenants"],
        env=environment(DJANGO_SETTINGS_MODULE="tests.integration.tenants.settings", **more)
        | {"AUTOTASK_CONTEXT": '["autotask.carriers.TenantSchema"]'},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    # Then: an instance is refused where it could be mistaken for another one
    assert done.returncode == 0, done.stderr
    without, carried = map(json.loads(done.stdout.splitlines()[-1]).get, ("without", "with"))
    assert "belongs to a tenant, while the connection is in the schema 'public'" in without.pop(
        "called in the schema of all"
    )
    refusal = "belongs to the schema 'acme', but the connection 'default' is in the schema 'public'"
    assert refusal in without.pop("called in its schema")
    for switched, refused, (is_public, path) in without.pop("after a switch"):
        assert (switched, refusal in refused, is_public, path) == (None, True, True, "public")
    assert without == {"of all": True}

    # Then: with the carrier it comes from the schema of the call, in which its task runs
    assert carried["thread"] == carried["process"] == [["of acme", "acme"], ["of bolt", "bolt"]]
    assert carried["coroutine"] == [["of acme", "of acme", "acme"], ["of bolt", "of bolt", "bolt"]]
    assert carried["together"] is True
    assert carried["afterwards"] == [[True, "public"]] * 4
    assert carried["its result"] == "of acme"
    assert refusal in carried["its result elsewhere"]

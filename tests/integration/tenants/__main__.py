"""Make the tables of two tenants, run tasks for them, and print what came of them as JSON."""

import json
import threading

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django_tenants.utils import schema_context  # noqa: E402

from autotask.exceptions import AutotaskError  # noqa: E402
from autotask.worker.options import WorkerOptions  # noqa: E402
from autotask.worker.worker import Worker  # noqa: E402
from tests.integration.tenants import tasks  # noqa: E402
from tests.integration.tenants.models import Item  # noqa: E402


def make_tables():
    """Make the tables that all share, and an item with the same key for each tenant."""
    call_command("migrate_schemas", schema_name="public", interactive=False, verbosity=0)
    items = {}
    for name in ("acme", "bolt"):
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {name}")
        with schema_context(name):
            with connection.schema_editor() as editor:
                editor.create_model(Item)
            items[name] = Item.objects.create(name=f"of {name}")
    return items


def call(task, *args, schema="public"):
    """Return what comes of a call in a schema."""
    try:
        with schema_context(schema):
            return task(*args).wait(30)
    except AutotaskError as error:
        return str(error)


def without_carrier(items):
    """Return what comes of calls where nothing carries the schema."""
    user = User.objects.create(username="shared")
    return {
        "called in the schema of all": call(tasks.name_of, items["acme"]),
        "called in its schema": call(tasks.name_of, items["acme"], schema="acme"),
        "after a switch": [
            (call(tasks.switch, "bolt"), call(tasks.name_of, items["acme"], schema="acme"), call(tasks.where))
            for _ in range(3)
        ],
        "of all": call(tasks.same, user, schema="acme") == user,
    }


def with_carrier(items):
    """Return what comes of calls that carry the schema."""
    kinds = {
        "thread": tasks.name_of,
        "process": tasks.name_of_in_process,
        "coroutine": tasks.name_of_in_coroutine,
    }
    results = {kind: [call(task, items[name], schema=name) for name in items] for kind, task in kinds.items()}
    together = []
    for name in [*items] * 6:
        with schema_context(name):
            together.append((name, tasks.name_of_in_coroutine(items[name])))
    results["together"] = all(handle.wait(30) == (f"of {name}", f"of {name}", name) for name, handle in together)
    results["afterwards"] = [call(tasks.where) for _ in range(4)]
    with schema_context("acme"):
        handle = tasks.same(items["acme"])
        results["its result"] = handle.wait(30).name
    try:
        results["its result elsewhere"] = handle.result
    except AutotaskError as error:
        results["its result elsewhere"] = str(error)
    return results


def main():
    """Do it."""
    items = make_tables()
    worker = Worker(WorkerOptions(threads=2, coroutines=8, processes=1))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        carriers, settings.AUTOTASK_CONTEXT = settings.AUTOTASK_CONTEXT, []
        results = {"without": without_carrier(items)}
        settings.AUTOTASK_CONTEXT = carriers
        results["with"] = with_carrier(items)
    finally:
        worker.stop()
        thread.join()
    print(json.dumps(results))


main()

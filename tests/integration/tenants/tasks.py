"""Tasks of the tests with tenants."""

from asgiref.sync import sync_to_async
from django.db import connection
from django_tenants.utils import get_public_schema_name

from autotask.tasks import delayed_task
from tests.integration.tenants.models import Item


@delayed_task
def name_of(item):
    return item.name, connection.schema_name


@delayed_task(executor="process")
def name_of_in_process(item):
    return item.name, connection.schema_name


@delayed_task
async def name_of_in_coroutine(item):
    names = [name async for name in Item.objects.values_list("name", flat=True)]
    return item.name, *names, await sync_to_async(lambda: connection.schema_name)()


@delayed_task
def same(value):
    return value


@delayed_task
def switch(schema):
    connection.set_schema(schema)


@delayed_task
def where():
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        return connection.schema_name == get_public_schema_name(), cursor.fetchone()[0]

"""Instances of models in arguments and results: they travel by reference, and are fetched fresh."""

import contextlib
import copy
import uuid
from dataclasses import dataclass

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import connection, connections
from django.db.models import Count
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from autotask import references
from autotask.exceptions import NotReferable, ObjectGone, PayloadRefused, UnpicklableResult, UnsuitableArgument
from autotask.payload import dump_arguments, dump_result, load_arguments, load_result
from autotask.store import read
from autotask.store.connection import current, execute
from autotask.task import CANCELLED, DONE, ERROR, State
from autotask.tasks import delayed_task
from tests.helpers import wait_until
from tests.integration.shelf import models as shelf
from tests.integration.shelf.models import Author, Box, Ghostwriter, Novelist, Place, Portrait, Word

ID = uuid.UUID("01890000-0000-7000-8000-000000000001")
NAME = "shop.tasks.send"


def sealed(*args, **kwargs):
    return dump_arguments(args, kwargs, id=ID, name=NAME)


def opened(envelope):
    return load_arguments(envelope, id=ID, name=NAME)


def there_and_back(value):
    ((again,), _) = opened(sealed(value))
    return again


@contextlib.contextmanager
def tables(database):
    with database.schema_editor() as editor:
        for model in shelf.ALL:
            editor.create_model(model)
    yield


@pytest.fixture
def tables_of_models(db, settings):
    """The app of the tests, with its tables, until the end of the transaction of the test."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.integration.shelf"]
    with tables(connection):
        yield


@pytest.fixture
def elsewhere(tables_of_models, tmp_path):
    """The alias of a second database with the same tables."""
    connections.settings["elsewhere"] = copy.deepcopy(connections.settings["default"]) | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": tmp_path / "elsewhere.sqlite3",
        "OPTIONS": {},
    }
    # A test may not connect to what it has not declared, and when it could it was not there yet.
    connections["elsewhere"].connect()
    with tables(connections["elsewhere"]):
        yield "elsewhere"
    connections["elsewhere"].close()
    del connections["elsewhere"], connections.settings["elsewhere"]


# --- what travels ---------------------------------------------------------------------------------------------------


@dataclass
class Order:
    author: Author
    boxes: list[Box]


def test_references_to_many_rows_are_those_to_each_of_them(tables_of_models):
    authors = [Author.objects.create(name=name) for name in ("Ann", "Bob")]
    text = copy.copy(authors[1])
    text.pk = str(text.pk)  # as after create(pk="5")
    mixed = [*authors, text, User.objects.create(username="Cid"), Ghostwriter.objects.get(pk=authors[0].pk)]
    assert references.to_rows(mixed) == [references.reference(row) for row in mixed]
    assert references.to_rows([]) == []
    for unsaved in (Author(name="Dora"), authors[0].__class__(pk=5)):
        with pytest.raises(NotReferable):
            references.to_rows([authors[0], unsaved])


def test_an_instance_is_fetched_as_it_is_when_it_is_needed(tables_of_models):
    # Given
    author = Author.objects.create(name="before")
    author.name = "never saved, and forgotten"
    envelope = sealed(author)
    assert b"forgotten" not in envelope and b"before" not in envelope

    # When
    Author.objects.update(name="after")

    # Then
    ((again,), _) = opened(envelope)
    assert (again, again.name) == (author, "after")
    assert again._state.db == "default" and not again._state.adding


def test_instances_are_found_at_any_depth_and_fetched_with_one_query_for_each_model(tables_of_models):
    # Given
    authors = [Author.objects.create(name=str(number)) for number in range(20)]
    boxes = [Box.objects.create() for _ in range(5)]
    envelope = sealed(authors, {"one": (authors[0], {boxes[0]})}, order=Order(authors[1], boxes), number=7)

    # When
    with CaptureQueriesContext(connection) as queries:
        args, kwargs = opened(envelope)

    # Then
    assert args == (authors, {"one": (authors[0], {boxes[0]})})
    assert kwargs == {"order": Order(authors[1], boxes), "number": 7}
    assert len(queries) == 2, queries.captured_queries


def test_arguments_without_instances_ask_nothing(db):
    envelope = sealed([1, {"x": uuid.uuid4()}], AnonymousUser())
    with CaptureQueriesContext(connection) as queries:
        opened(envelope)
    assert len(queries) == 0


def test_a_row_that_is_passed_twice_is_one_object(tables_of_models):
    author = Author.objects.create(name="x")
    ((first, second), _) = opened(sealed(author, Author.objects.get()))
    assert first is second


@pytest.mark.parametrize(
    "make",
    [
        lambda: Author.objects.create(name="x"),
        lambda: Ghostwriter.objects.create(name="x"),
        lambda: Novelist.objects.create(name="x", genre="crime"),
        lambda: Novelist.objects.create(name="x", genre="crime").author_ptr,
        lambda: Author.objects.create(name="x", is_hidden=True),
        lambda: Box.objects.create(),
        lambda: Word.objects.create(text="ä b"),
        lambda: Portrait.objects.create(author=Author.objects.create(name="x")),
        lambda: Place.objects.create(board="left", number=3),
    ],
    ids=["plain", "proxy", "child", "parent", "hidden from its manager", "uuid", "text", "foreign key", "two columns"],
)
def test_models_of_all_kinds_come_back(tables_of_models, make):
    instance = make()
    again = there_and_back(instance)
    assert type(again) is type(instance) and again == instance and again is not instance
    assert {f.attname: getattr(again, f.attname) for f in again._meta.concrete_fields} == {
        f.attname: getattr(instance, f.attname) for f in instance._meta.concrete_fields
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box.objects.create(id=str(uuid.uuid4())),
        lambda: Author.objects.create(id="77", name="x"),
        lambda: Portrait.objects.create(author_id=str(Author.objects.create(name="x").pk)),
        lambda: Place.objects.create(board="left", number="3"),
    ],
)
def test_a_key_that_was_given_as_text_is_found(tables_of_models, make):
    assert there_and_back(make()) is not None


def test_what_was_deferred_or_added_by_a_query_is_fetched_or_left_out(tables_of_models):
    Author.objects.create(name="x")
    partly = Author.objects.only("id").annotate(n=Count("portrait")).get()
    with CaptureQueriesContext(connection) as queries:
        envelope = sealed(partly)
    assert len(queries) == 0
    again = there_and_back(partly)
    assert not again.get_deferred_fields() and not hasattr(again, "n")
    assert opened(envelope)


def test_a_lazy_user_is_the_user(db):
    user = User.objects.create(username="ada")
    again = there_and_back({"user": SimpleLazyObject(lambda: user)})
    assert type(again["user"]) is User and again["user"] == user


def test_instances_of_several_databases_are_fetched_from_theirs(elsewhere):
    here, there = Author.objects.create(name="here"), Author.objects.using(elsewhere).create(name="there")
    with CaptureQueriesContext(connection) as asked_here, CaptureQueriesContext(connections[elsewhere]) as asked_there:
        again = there_and_back([here, there, here])
    assert [author.name for author in again] == ["here", "there", "here"]
    assert [author._state.db for author in again] == ["default", elsewhere, "default"]
    assert (len(asked_here), len(asked_there)) == (1, 1)


# --- what does not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "what", "advice"),
    [
        (lambda: Author(name="x"), "an unsaved shelf.Author", "Save it first"),
        (lambda: Author(pk=3, name="x"), "an unsaved shelf.Author", "Save it first"),
        (lambda: Box(), "an unsaved shelf.Box", "Save it first"),
        (lambda: Place(board="left"), "an unsaved shelf.Place", "Save it first"),
        (lambda: _deleted(Author.objects.create(name="x")), "a shelf.Author without a primary key", "pass its values"),
        (lambda: _deleted(Place.objects.create(board="x", number=1)), "a shelf.Place without a primary key", "values"),
        (lambda: Author.objects.all(), "a queryset of shelf.Author", r"Pass list\(queryset\)"),
        (lambda: Author.objects.values_list("id"), "a queryset of shelf.Author", r"Pass list\(queryset\)"),
        (lambda: Author.objects.raw("SELECT 1"), "a queryset of shelf.Author", r"Pass list\(queryset\)"),
    ],
)
def test_what_cannot_be_referred_to_is_refused_at_the_call_with_its_place_and_advice(
    tables_of_models, make, what, advice
):
    value = make()
    with CaptureQueriesContext(connection) as queries:
        with pytest.raises(UnsuitableArgument, match=rf"args\[0\]\['x'\]\[1\] of .* is {what}.* {advice}"):
            sealed({"x": [1, value]})
        with pytest.raises(UnsuitableArgument, match=rf"^The argument order.author of {NAME} is {what}"):
            sealed(order=Order(value, []))
    assert len(queries) == 0


def _deleted(instance):
    instance.delete()
    return instance


def test_an_instance_that_is_gone_is_told_with_its_key_and_database(tables_of_models):
    author, *others = [Author.objects.create(name=str(number)) for number in range(4)]
    envelope, key = sealed([author, *others]), author.pk
    Author.objects.exclude(pk=others[0].pk).delete()
    with pytest.raises(ObjectGone) as caught:
        opened(envelope)
    assert str(caught.value) == (
        f"The shelf.Author with the primary key {key} is not in the database 'default' "
        "(nor are 2 others that are referred to)."
    )


def test_a_reference_cannot_be_made_to_point_elsewhere(tables_of_models):
    first, second = (Word.objects.create(text=text) for text in ("AAAA", "BBBB"))
    with pytest.raises(PayloadRefused):
        opened(sealed(first).replace(b"AAAA", b"BBBB"))
    assert opened(sealed(second))


# --- results --------------------------------------------------------------------------------------------------------


def test_a_result_with_instances_is_as_they_are_now(tables_of_models):
    author = Author.objects.create(name="before")
    envelope = dump_result({"best": author}, id=ID, fence=1, name=NAME)
    Author.objects.update(name="after")
    assert load_result(envelope, id=ID, fence=1)["best"].name == "after"
    author.delete()
    with pytest.raises(ObjectGone):
        load_result(envelope, id=ID, fence=1)


def test_a_result_with_a_queryset_is_refused_with_its_place_and_advice(tables_of_models):
    with pytest.raises(UnpicklableResult, match=r"result\['all'\]: It is a queryset of shelf.Author. Pass list"):
        dump_result({"all": Author.objects.all()}, id=ID, fence=1, name=NAME)


# --- in a worker ----------------------------------------------------------------------------------------------------


@delayed_task
def name_of(group: Group) -> str:
    return group.name


@delayed_task
def renamed(group: Group, name: str) -> Group:
    Group.objects.filter(pk=group.pk).update(name=name)
    return group


@delayed_task
async def name_in_coroutine(group: Group) -> str:
    return group.name


@delayed_task(on_missing="discard")
def discard(group: Group) -> str:
    return group.name


@delayed_task(on_missing="retry", retries=3, backoff=0.05, retry_on=KeyError)
def await_group(group: Group) -> str:
    return group.name


in_worker = pytest.mark.django_db(transaction=True)


@in_worker
@pytest.mark.parametrize("task", [name_of, name_in_coroutine])
def test_a_worker_gets_instances_as_they_are_when_the_task_runs(start_worker, task):
    # Given
    group = Group.objects.create(name="before")
    handle = task(group)

    # When
    Group.objects.update(name="after")
    start_worker()

    # Then
    assert handle.wait(10) == "after"


@in_worker
def test_an_instance_is_returned_fresh_also_to_a_coroutine(worker):
    group = Group.objects.create(name="before")
    handle = renamed(group, "after")
    assert async_to_sync(handle.await_result)(10).name == "after"
    assert handle.result == group and handle.result.name == "after"


@in_worker
@pytest.mark.parametrize("task", [name_of, name_in_coroutine])
def test_a_task_whose_instance_is_gone_ends_in_error_without_a_retry(start_worker, task):
    group = Group.objects.create(name="x")
    handle, key = task.using(retries=3)(group), group.pk
    group.delete()
    start_worker()
    wait_until(lambda: handle.ready)
    assert (handle.status, handle.attempts) == (ERROR, 1)
    gone = f"ObjectGone: The auth.Group with the primary key {key} is not in the database 'default'."
    assert handle.error_message == gone


@in_worker
def test_a_task_whose_instance_is_gone_can_be_discarded(start_worker):
    group = Group.objects.create(name="x")
    handle = discard(group)
    group.delete()
    start_worker()
    wait_until(lambda: handle.ready)
    assert handle.status == CANCELLED
    assert handle.error_message.startswith("discarded: The auth.Group with the primary key")


@in_worker
def test_a_task_whose_instance_is_not_there_yet_can_be_tried_again(start_worker):
    # Given
    group = Group.objects.create(name="x")
    key = group.pk
    handle, hopeless = await_group(group), await_group.using(retries=1)(Group.objects.create(name="y"))
    Group.objects.all().delete()

    # When
    start_worker()
    wait_until(lambda: handle.failed_attempts)
    Group.objects.create(pk=key, name="back")

    # Then
    assert handle.wait(10) == "back"
    wait_until(lambda: hopeless.ready)
    assert (hopeless.status, hopeless.attempts) == (ERROR, 2)
    assert "no retries are left" in hopeless.error_message
    assert "ObjectGone" in hopeless.failed_attempts[-1].traceback


@in_worker
def test_a_task_is_given_back_while_the_database_cannot_be_asked(start_worker, other_connection, settings):
    # Given a database that does not answer in time
    settings.AUTOTASK_RETRY_DELAY = 0.1
    group = Group.objects.create(name="x")
    handle = name_of(group)
    name = connection.settings_dict["NAME"]
    execute(other_connection, f"""ALTER DATABASE "{name}" SET statement_timeout = '200ms'""")
    try:
        other_connection.set_autocommit(False)
        execute(other_connection, "LOCK auth_group IN ACCESS EXCLUSIVE MODE")

        # When
        start_worker()
        wait_until(lambda: read.task(current(), handle.id).state is State.SCHEDULED, what="the return of the task")
        other_connection.rollback()
    finally:
        other_connection.set_autocommit(True)
        execute(other_connection, f'ALTER DATABASE "{name}" RESET statement_timeout')

    # Then
    assert handle.wait(10) == "x"
    assert (handle.status, handle.attempts, handle.failed_attempts) == (DONE, 1, [])

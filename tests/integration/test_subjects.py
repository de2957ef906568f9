"""What tasks are about: their subjects and their metadata, and how they are found by the former."""

import uuid

import pytest
from django.contrib.auth.models import Group, User

import autotask
from autotask import context
from autotask.exceptions import InvalidOption, InvalidOptionType, NotReferable, UnknownOption
from autotask.handle import TaskHandle
from autotask.payload import carries
from autotask.references import subject
from autotask.store import cancel
from autotask.store.connection import current, rows
from autotask.task import CANCELLED, DONE, WAITING
from autotask.tasks import delayed_task
from autotask.testing import immediate
from tests.integration.shelf.models import Box, Ghostwriter, Novelist, Place, Word
from tests.integration.store.shapes import stored

pytestmark = pytest.mark.django_db


@delayed_task
def greet(name):
    return name


@delayed_task(unique="name", on_conflict="replace")
def greet_once(name): ...


@delayed_task(takes_context=True)
def tell(own):
    inner = greet.enqueue("inner")
    here = context.current()
    assert (here.subject, here.metadata) == (own.subject, own.metadata)
    return own.subject, dict(own.metadata), inner.id


@delayed_task(takes_context=True)
async def tell_in_coroutine(own):
    return own.subject, dict(own.metadata)


@pytest.fixture
def user():
    return User.objects.create_user("ann")


def saved(kind, **values):
    """An instance as if it had been loaded."""
    instance = kind(**values)
    instance._state.adding = False
    return instance


# --- how they are stored --------------------------------------------------------------------------------------------


def test_a_call_keeps_what_it_is_about_through_its_end_and_a_retry(user):
    # Given
    handle = greet.using(subject=user, metadata={"campaign": 7, "é": [None, 1.5]})("Ann")
    about = f"auth.user:{user.pk}", '{"é": [null, 1.5], "campaign": 7}'

    # Then
    assert (stored(handle.id).subject, stored(handle.id).metadata) == about
    cancel.cancel(current(), handle.id)
    assert (handle.status, stored(handle.id).subject, stored(handle.id).metadata) == (CANCELLED, *about)
    handle.retry()
    assert (handle.status, stored(handle.id).subject, stored(handle.id).metadata) == (WAITING, *about)


def test_the_calls_of_a_bulk_share_what_they_are_about(user):
    handles = greet.using(subject=user, metadata={"a": 1}).enqueue_many([("Ann",), ("Bob",)])

    assert {record.id for record in autotask.tasks_of(user)} == {handle.id for handle in handles}
    assert {record.metadata["a"] for record in autotask.tasks_of(user)} == {1}


def test_a_call_that_is_about_nothing_takes_no_room_for_it(user):
    for handle in (
        greet("Ann"),
        greet.using(metadata={"a": 1}).using(metadata={})("Ann"),
        *greet.enqueue_many([("A",)]),
    ):
        assert (stored(handle.id).subject, stored(handle.id).metadata) == (None, None)
        [(payload,)] = rows(current(), "SELECT payload FROM autotask_live WHERE id = %s", [handle.id])
        assert not carries(bytes(payload))


def test_a_call_that_replaces_another_one_says_anew_what_it_is_about(user):
    # Given
    group = Group.objects.create(name="staff")
    first = greet_once.using(subject=user, metadata={"a": 1})("Ann")

    # When
    again = greet_once.using(subject=group)("Ann")

    # Then
    assert again.id == first.id
    assert list(autotask.tasks_of(user)) == []
    assert [(record.id, record.metadata) for record in autotask.tasks_of(group)] == [(first.id, None)]


# --- how the task sees them -----------------------------------------------------------------------------------------


def test_the_context_says_what_the_call_is_about_and_its_own_calls_inherit_nothing(user):
    with immediate(raise_errors=True):
        handle = tell.using(subject=user, metadata={"a": [1]})()

        assert handle.status == DONE
        about, metadata, inner = handle.result
        assert (about, metadata) == (f"auth.user:{user.pk}", {"a": [1]})
        assert (stored(inner).subject, stored(inner).metadata) == (None, None)


def test_the_context_of_a_call_that_is_about_nothing_is_empty():
    with immediate(raise_errors=True):
        assert tell().result[:2] == (None, {})


def test_a_coroutine_sees_what_it_is_about(user):
    with immediate(raise_errors=True):
        assert tell_in_coroutine.using(metadata={"a": 1})().result == (None, {"a": 1})
        assert tell_in_coroutine.using(subject=user)().result == (f"auth.user:{user.pk}", {})


# --- how they are found ---------------------------------------------------------------------------------------------


def test_the_tasks_of_an_object_are_found_newest_first_whatever_their_state(user):
    # Given
    about = greet.using(subject=user)
    ended, waiting, scheduled = about("Ann"), about("Ann"), about.using(delay=60)("Ann")
    greet.using(subject=User.objects.create_user("bob"))("Bob")
    greet.using(subject=Group.objects.create(pk=user.pk, name="staff"))("staff")
    ended.cancel()

    # When
    found = autotask.tasks_of(user)

    # Then
    assert {record.id for record in found} == {ended.id, waiting.id, scheduled.id}
    assert [record.id for record in found] == sorted((record.id for record in found), reverse=True)
    assert {record.id: record.status for record in found}[ended.id] == CANCELLED
    assert found.filter(name=greet.name).count() == 3
    assert TaskHandle(found.get(run_at=max(record.run_at for record in found)).id).status == WAITING


def test_the_tasks_of_an_object_are_read_when_they_are_used(user, django_assert_num_queries):
    with django_assert_num_queries(0):
        found = autotask.tasks_of(user)
    greet.using(subject=user)("Ann")
    with django_assert_num_queries(1):
        assert found.exists()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: saved(Word, text="a/b:c"), "shelf.word:a/b:c"),
        (lambda: saved(Box, id=uuid.UUID(int=1)), "shelf.box:00000000-0000-0000-0000-000000000001"),
        (lambda: saved(Ghostwriter, id=3), "shelf.author:3"),
        (lambda: saved(Ghostwriter, id="3"), "shelf.author:3"),
        (lambda: saved(Novelist, id=3, author_ptr_id=3), "shelf.novelist:3"),
        (lambda: saved(Place, board="left", number=1), 'shelf.place:["left", "1"]'),
    ],
    ids=["text", "uuid", "proxy", "key-as-text", "child", "composite"],
)
def test_a_subject_is_a_text_that_says_model_and_key(make, text):
    assert subject(make()) == text


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_subject_must_be_saved_and_a_model_instance():
    with pytest.raises(
        InvalidOption, match="'subject' of .*greet.using.* must be a saved model instance .*save it first"
    ):
        greet.using(subject=User(username="ann"))
    with pytest.raises(InvalidOptionType, match="'subject' .* must be a saved model instance, but is 42"):
        greet.using(subject=42)
    with pytest.raises(NotReferable, match="an unsaved auth.User"):
        autotask.tasks_of(User(username="ann"))
    with pytest.raises(NotReferable, match="a shelf.Word whose primary key has 501 characters"):
        greet.using(subject=saved(Word, text="x" * 501))("Ann")


def test_what_a_task_is_about_belongs_to_one_call():
    with pytest.raises(UnknownOption, match=r"metadata.*, which belongs to one call: .using\(metadata=...\)"):
        delayed_task(metadata={"a": 1})(lambda: None)


def test_the_package_has_no_other_names_than_it_has():
    with pytest.raises(AttributeError, match="module 'autotask' has no attribute 'tasks_off'"):
        autotask.tasks_off  # noqa: B018

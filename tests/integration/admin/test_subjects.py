"""What a task is about in the admin: on its own page, as a filter, and on the page of the object."""

from types import ModuleType

import pytest
from django.contrib import admin as admins
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.urls import path

from autotask.admin.object_tasks import TasksOfObjectMixin
from autotask.admin.tasks import TaskAdmin
from autotask.models import TaskRecord
from autotask.references import LONGEST_KEY
from autotask.task import CANCELLED, WAITING, State
from autotask.testing import captured_tasks
from tests.integration.admin.pages import TASKS, ended, listed, page, page_of
from tests.integration.admin.tasks import add


class WithTasks(TasksOfObjectMixin, UserAdmin):
    """The page of a user, with the tasks about that user."""


class WithTasksFirst(TasksOfObjectMixin, admins.ModelAdmin):
    """The same, with the tasks among the fields."""

    fields = ("background_tasks", "username")


@pytest.fixture
def ann():
    return User.objects.create_user("ann")


def page_of_object(rf, kind, instance, user):
    request = rf.get("/")
    request.user = user
    return kind(User, admins.site).change_view(request, str(instance.pk)).render().content.decode()


def test_the_page_of_a_task_shows_what_it_is_about_and_masks_secrets(admin, ann):
    about = page(admin, page_of(add.using(subject=ann, metadata={"campaign": 7, "token": "s3cret"})(1, 2)))
    other = page(admin, page_of(add(1, 2)))

    assert f'<a href="/admin/auth/user/{ann.pk}/change/">auth.user:{ann.pk}</a>' in about
    assert f"{TASKS}?subject=auth.user%3A{ann.pk}" in about
    assert "campaign" in about and "s3cret" not in about
    assert "all its tasks" not in other and "etadata" not in other


def test_the_subject_is_a_link_only_for_a_user_who_may_see_its_page(staff, ann):
    # Given
    address = page_of(add.using(subject=ann)(1, 2))
    link = f'<a href="/admin/auth/user/{ann.pk}/change/">'

    # Then
    html = page(staff("view_taskrecord"), address)
    assert f"auth.user:{ann.pk}" in html and link not in html


def test_the_list_can_be_filtered_by_subject(admin, ann):
    # Given
    waiting, done = add.using(subject=ann)(1, 2), ended(State.DONE, subject=f"auth.user:{ann.pk}")
    add(1, 2)

    # Then
    assert listed(admin, subject=f"auth.user:{ann.pk}") == sorted([waiting.id, done.id], reverse=True)
    assert listed(admin, subject=f"auth.user:{ann.pk}", state="done") == [done.id]
    assert listed(admin, subject="auth.user") == listed(admin, subject="\0") == []


def test_an_act_on_all_can_be_for_one_subject(admin, ann):
    # Given
    about, other = add.using(subject=ann, delay=3600)(1, 2), add.using(delay=3600)(1, 2)
    address = f"{TASKS}all/?subject=auth.user:{ann.pk}"

    # When
    shown = page(admin, address)
    with captured_tasks() as captured:
        admin.post(address, {"act": "cancel"})
    captured.run_pending()

    # Then
    assert f"auth.user:{ann.pk}" in shown
    assert (about.status, other.status) == (CANCELLED, WAITING)


@pytest.mark.parametrize("kind", [WithTasks, WithTasksFirst])
def test_the_page_of_an_object_shows_the_tasks_about_it_once(admin, ann, rf, kind):
    # Given
    about = add.using(subject=ann)
    oldest, *others = sorted(handle.id for handle in about.enqueue_many([(1, 2)] * 11))
    root = User.objects.get(username="root")

    # When
    shown, other = (page_of_object(rf, kind, instance, root) for instance in (ann, root))

    # Then
    assert [shown.count(f"{TASKS}{id}/change/") for id in (oldest, *others)] == [0, *[1] * 10]
    assert "More tasks of this object" in shown and "autotask/admin.css" in shown
    assert str(others[-1]) not in other and "none" in other


def test_the_tasks_about_an_object_are_for_those_who_may_see_tasks(transactional_db, ann, rf):
    # Given
    handle = add.using(subject=ann)(1, 2)
    ann.is_superuser = True
    ann.save()
    curious = User.objects.create_user("curious", is_staff=True)
    allowed = page_of_object(rf, WithTasks, ann, ann)

    # When
    request = rf.get("/")
    request.user = curious
    fieldsets = [kind(User, admins.site).get_fieldsets(request, ann) for kind in (WithTasks, WithTasksFirst)]

    # Then
    assert str(handle.id) in allowed
    assert "background_tasks" not in str(fieldsets)


@pytest.mark.parametrize(
    ("key", "shown"),
    [("a/b_c", '<a href="/admin/auth/user/a_2Fb_5Fc/change/">auth.user:a/b_c</a> ·'), ("", "auth.user: ·")],
    ids=["quoted", "empty"],
)
def test_any_key_of_a_subject_can_be_shown(admin, key, shown):
    assert shown in page(admin, page_of(ended(State.DONE, subject=f"auth.user:{key}")))


def test_a_subject_without_a_page_among_the_addresses_is_text(admin, settings):
    # Given the site has only an admin of its own, without users, who are registered in the default one
    site = admins.AdminSite(name="own")
    site.register(TaskRecord, TaskAdmin)
    settings.ROOT_URLCONF = ModuleType("own_urls")
    settings.ROOT_URLCONF.urlpatterns = [path("own/", site.urls)]
    about = ended(State.DONE, subject="auth.user:1")

    # Then
    assert "auth.user:1" in page(admin, f"/own/autotask/taskrecord/{about.id}/change/")


def test_an_object_whose_key_is_too_long_for_a_subject_has_a_page(rf):
    kind = type("SessionAdmin", (TasksOfObjectMixin, admins.ModelAdmin), {})
    session = Session(session_key="k" * (LONGEST_KEY + 1))
    session._state.adding = False
    assert kind(Session, admins.site).background_tasks(session) == "none"

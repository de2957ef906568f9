"""The admin in the languages of the catalogues."""

import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone, translation

from autotask.acts import pausing
from autotask.task import State
from tests.integration.admin.pages import TASKS, WORKERS, act, ended, page, page_of, registered
from tests.integration.admin.tasks import add

OVERVIEW = "/admin/autotask/dashboard/"

SAID = {
    "de": {
        OVERVIEW: ("Übersicht", "Aufgabentypen", "Zeitpläne", "Warteschlange", "Kein Worker lebt", "längste Wartezeit"),
        f"{OVERVIEW}errors/": ("<strong>1 Ursache</strong>; fehlgeschlagene Aufgaben: 1.", "Alle wiederholen …"),
        TASKS: ("gewartet / gelaufen", "Ausgewählte Aufgaben wiederholen", "Fehler", "wartet"),
        WORKERS: ("eigenständiger Worker", "lebt"),
    },
    "es": {
        OVERVIEW: (
            "Resumen",
            "Tipos de tarea",
            "Programaciones",
            "Cola",
            "No hay ningún worker vivo",
            "espera más larga",
        ),
        f"{OVERVIEW}errors/": ("<strong>1 causa</strong>; tareas fallidas: 1.", "Reintentar todas…"),
        TASKS: ("espera / ejecución", "Reintentar las tareas seleccionadas", "error", "en espera"),
        WORKERS: ("worker dedicado", "vivo"),
    },
}

#: Words of the English pages that no other language has.
ENGLISH = r">\s*(?:Overview|Task types|Schedules|Errors|waiting|Queue|Oldest|Retry selected tasks|enqueued|alive)\s*<"


@pytest.mark.parametrize("language", SAID)
def test_the_pages_speak_the_language_of_the_user(admin, language):
    # Given
    add(1, 2)
    ended(State.ERROR, name="shop.tasks.send", error_message="ValueError: no paper")

    # When, Then
    with translation.override(language):
        for address, words in SAID[language].items():
            if address == WORKERS:
                registered()
            html = page(admin, address)
            assert [word for word in words if word not in html] == [], address
            assert not re.findall(ENGLISH, html), address


def test_the_page_of_a_task_does_so_too(admin):
    handle = add(1, 2)
    pausing.pause(queue="default", by="ann", until=timezone.now() + timedelta(hours=1))
    with translation.override("de"):
        html = page(admin, page_of(handle))
    assert [
        word for word in ("Verlauf", "Diese Aufgabe abbrechen", "eingereiht", "Argumente") if word not in html
    ] == []


def test_what_to_do_about_tasks_that_nobody_takes_is_in_the_language_of_the_user(admin):
    handle = add.using(queue="mail")(1, 2)
    with translation.override("de"):
        words = "Starten Sie die Website oder einen Worker: python manage.py autotask worker"
        assert f"Es warten Aufgaben, und kein Worker lebt. {words}" in page(admin, TASKS)
        assert f"Kein Worker lebt. {words}" in page(admin, WORKERS)
        assert words in page(admin, page_of(handle))
        registered(queues="reports")
        words = "Es warten Aufgaben in Warteschlangen, die kein lebender Worker bedient: mail. Starten Sie einen:"
        assert f"{words} python manage.py autotask worker --queues mail" in page(admin, TASKS)


def test_messages_count_in_the_language_of_the_user(admin):
    ids = [str(add(1, 2).id), str(add(3, 4).id)]
    with translation.override("de"):
        assert act(admin, "cancel", *ids) == ["2 Aufgaben wurden abgebrochen."]
    with translation.override("es"):
        assert act(admin, "retry", ids[0]) == ["1 tarea se ejecutará de nuevo."]


def test_the_reason_is_in_the_language_of_the_user_and_for_programs_in_english(admin):
    handle = add(1, 2)
    with translation.override("de"):
        html = page(admin, page_of(handle))
        assert "Kein Worker lebt." in html and "nichts, was sie braucht, ist angehalten" in html
        assert handle.why().sentence == "No worker is alive."

        pausing.pause(queue="default", by="ann")
        assert "Die Warteschlange default ist angehalten von ann." in page(admin, page_of(handle))
        assert "is paused by ann" in handle.why().sentence

        output = StringIO()
        call_command("autotask", "show", str(handle.id), stdout=output)
        assert "is paused by ann" in output.getvalue()

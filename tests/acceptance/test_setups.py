"""Projects that set Django up in a way of their own: django-configurations, and settings.configure() in one file."""

import os
from pathlib import Path

import pytest

from tests.acceptance.kinds import Kind
from tests.acceptance.site import START
from tests.helpers import LONG, wait_until

TASKS = """
import os
from autotask.tasks import delayed_task

@delayed_task(executor="process")
def who_in_process():
    return os.getpid()
"""

#: The settings of other tests, as a class. It has all of Django's defaults too, beside which Django 6.1 refuses MAILERS.
CLASS = """
from configurations import Configuration
from tests.acceptance.app import settings

class Dev(Configuration):
    locals().update({name: value for name, value in vars(settings).items() if name.isupper() and name != "MAILERS"})
"""

BY_CLASS = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "classes.settings"
os.environ["DJANGO_CONFIGURATION"] = "Dev"
"""

#: A program that is a whole project. It can be imported, as "onefile", without doing anything.
ONE_FILE = """
import os, sys
from wsgiref.simple_server import make_server
import django
from django.conf import settings

def configure():
    from tests.acceptance.app import settings as base
    values = {{name: value for name, value in vars(base).items() if name.isupper()}}
    settings.configure(**{{**values, **{more!r}}})

if __name__ == "__main__":
    del os.environ["DJANGO_SETTINGS_MODULE"]
    configure()
    django.setup()
    if sys.argv[1] == "serve":
        from django.core.wsgi import get_wsgi_application
        make_server("127.0.0.1", int(sys.argv[2]), get_wsgi_application()).serve_forever()
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""


COMMANDS = ["worker --burst --configuration Dev", "worker --burst", "status", "show --help"]


@pytest.fixture
def classes(site, monkeypatch):
    """A project whose settings are a class of django-configurations."""
    package = pytest.importorskip("configurations", reason="django-configurations is not installed")
    # It need not be installed where the tests are.
    monkeypatch.setenv("CONFIGURATIONS", str(Path(package.__file__).parents[1]))
    site.paths.append(os.environ["CONFIGURATIONS"])
    site.app("extra", tasks=TASKS)
    (site.folder / "classes").mkdir()
    (site.folder / "classes" / "settings.py").write_text(CLASS)
    return site


def test_with_django_configurations_companions_and_their_children_work(classes):
    # Given
    program = BY_CLASS + (
        "from configurations.wsgi import application\n"
        "from wsgiref.simple_server import make_server\n"
        "make_server('127.0.0.1', {port}, application).serve_forever()"
    )
    server = classes.serve(Kind("configurations", "", ("-u", "-c", program), path="CONFIGURATIONS"))

    # When
    companion = classes.companion(server)
    results = [
        classes.result(classes.wait_for_end(server.call(name))) for name in ("who", "extra.tasks.who_in_process")
    ]

    # Then
    assert results[0] == companion.worker != results[1]
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("words", COMMANDS if LONG else COMMANDS[:1])
def test_with_django_configurations_the_command_knows_its_options(classes, words):
    program = BY_CLASS + (
        f"sys.argv = ['manage.py', 'autotask', *{words.split()!r}]\n"
        "from configurations.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)"
    )
    command = classes.script(program)
    assert command.wait(START) == 0, command.output()
    assert "Traceback" not in command.output()


@pytest.fixture
def one_file(site):
    """Write a project of one file; return the words that start it."""
    site.app("extra", tasks=TASKS)

    def write(**more: str) -> str:
        file = site.folder / "onefile.py"
        file.write_text(ONE_FILE.format(more=more))
        return str(file)

    return write


def test_a_project_of_one_file_names_the_function_that_configures_it(site, one_file):
    # Given
    file = one_file(AUTOTASK_SETUP="onefile.configure")
    server = site.serve(Kind("one file", "", ("-u", file, "serve", "{port}")))

    # When
    companion = site.companion(server)
    results = [site.result(site.wait_for_end(server.call(name))) for name in ("who", "extra.tasks.who_in_process")]

    # Then
    assert results[0] == companion.worker != results[1]
    assert "Traceback" not in server.output()


def test_a_project_of_one_file_without_it_is_told_once_what_to_do(site, one_file):
    # Given
    server = site.serve(Kind("one file", "", ("-u", one_file(), "serve", "{port}")))
    server.get()
    server.get()

    # Then
    wait_until(lambda: server.lines("This process has no companion"), what="a line")
    assert len(server.lines("Set AUTOTASK_SETUP to the dotted path of a function")) == 1
    assert site.companions_started() == []
    assert "Traceback" not in server.output()

    # When
    command = site.program(one_file(), "autotask", "worker", "--burst")

    # Then a worker does what it can do
    assert command.wait(START) == 0, command.output()
    assert len(command.lines('Tasks with executor="process" are left to other workers')) == 1

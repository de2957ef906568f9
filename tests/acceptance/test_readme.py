"""The README and the documentation do what they say: their blocks are run in a project that is made as they say."""

import ast
import doctest
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import django
import psutil
import pytest
from django.db import connection

from autotask import embedded
from autotask.embedded import binaries
from tests import tether
from tests.documents import ROOT, Block, blocks, pages
from tests.helpers import wait_until
from tests.programs import Program

needs_embedded = pytest.mark.skipif(
    not any(find_spec(package) for package in binaries.PACKAGES), reason="no package with a PostgreSQL is installed"
)

needs_django_6 = pytest.mark.skipif(django.VERSION < (6, 0), reason="has no tasks of its own")

#: What runs in "manage.py shell": the blocks one after the other, with the same variables, what is printed compared.
SESSION = """
import doctest, json
variables, wrong = {}, 0
runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
for language, where, line, text in json.load(open("session.json")):
    if language == "python":
        exec(compile(text, where, "exec"), variables)
        continue
    session = doctest.DocTestParser().get_doctest(text, variables, where, where, line - 1)
    assert session.examples, where
    wrong += runner.run(session, clear_globs=False).failed
    variables = session.globs
raise SystemExit(wrong)
"""


class Project:
    """A Django project in an empty folder, and what a reader does with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: list[Program] = []
        # No settings, and no database, but those of the project.
        self._environment = (
            {
                name: value
                for name, value in os.environ.items()
                if name not in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL") and not name.startswith(("PG", "AUTOTASK_"))
            }
            | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTEST_PLUGINS": "autotask.pytest_plugin"}
            | tether.environment()
        )

    def follow(self, page: Iterable[Block]) -> None:
        """Do what the blocks say, in their order; Python without a file, and sessions, go to a shell."""
        for kind, some in groupby(page, _kind):
            if kind == "session":
                self.talk(some)
            elif kind == "file":
                for block in some:
                    self.write(block)
            elif kind == "console":
                for command in (command for block in some for command in block.commands):
                    self.type(command)

    def write(self, block: Block) -> None:
        """Add the text to the file that it names."""
        assert block.file
        with (self.folder / block.file).open("a", encoding="utf-8") as file:
            file.write("\n" + block.text)

    def type(self, line: str) -> None:
        """Run a command as if it were typed; autotask is installed already, in the environment of the tests."""
        for command in line.split(" && "):
            program, *words = shlex.split(command)
            if program in ("pip", "tox", "source") or (program, words[:2]) == ("python3", ["-m", "venv"]):
                continue
            if program == "python" and words[1] == "runserver":
                self._serve(words)
            else:
                self.run({"python": [], "django-admin": ["-m", "django"]}[program] + words)

    def run(self, words: list[str]) -> str:
        """Run Python and return what it prints."""
        done = subprocess.run(
            [sys.executable, *words],
            **{"cwd": self.folder, "env": self._environment, "capture_output": True, "text": True, "timeout": 120},
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}\n{self._log_text()}"
        return done.stdout

    def talk(self, session: Iterable[Block]) -> None:
        """Enter the blocks into ``manage.py shell``, and compare what it prints."""
        found = [(block.language, block.where, block.line, block.text) for block in session]
        (self.folder / "session.json").write_text(json.dumps(found))
        self.run(["manage.py", "shell", "-c", SESSION])

    def end(self) -> None:
        """Stop the servers with all processes below them, and the database."""
        for server in self._servers:
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            server.stop(30)
            _, alive = psutil.wait_procs(family, 30)
            assert not alive, f"left over: {alive}"
        embedded.remove(self.folder / ".pgdata")

    def _serve(self, words: list[str]) -> None:
        # Any free port: the usual one may be taken here.
        command = [sys.executable, *words, "127.0.0.1:0"]
        self._servers.append(Program(command, self._environment, self.folder, cwd=self.folder))
        wait_until(lambda: "started as the companion of Django process" in self._log_text(), 60, "the companion")

    def _log_text(self) -> str:
        return "".join(server.output() for server in self._servers)


def _kind(block: Block) -> str:
    if block.language in ("python", "pycon"):
        return "file" if block.file else "session"
    return block.language


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty folder, in which a project is going to be made."""
    project = Project(tmp_path)
    yield project
    project.end()


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with an app, as the README takes it for granted."""
    project = Project(tmp_path_factory.mktemp("started"))
    project.type("django-admin startproject mysite .")
    project.type("python manage.py startapp shop")
    project.write(Block(ROOT / "README.rst", 0, "python", '# mysite/settings.py\nINSTALLED_APPS += ["shop"]\n'))
    return project.folder


@pytest.fixture
def shop(started: Path, project: Project) -> Project:
    """A project with an app; a copy, since Django takes a second to make one."""
    shutil.copytree(started, project.folder, dirs_exist_ok=True)
    return project


@needs_embedded
def test_the_readme_can_be_followed(shop):
    # Given: the last block of the page comes first for who has no database
    *page, database = blocks(ROOT / "README.rst")
    assert "embedded" in database.text
    shop.write(database)

    # When, Then
    shop.follow(page)


@needs_embedded
def test_the_quickstart_can_be_followed(project):
    # When
    project.follow(blocks(ROOT / "docs" / "quickstart.rst"))

    # Then: the task that nobody calls has run as well
    project.talk(
        [
            Block(
                ROOT / "docs" / "quickstart.rst",
                0,
                "pycon",
                ">>> from autotask.models import TaskRecord\n"
                ">>> from autotask.task import State\n"
                ">>> ticks = TaskRecord.objects.filter(name='shop.tasks.check_the_stock', state=State.DONE)\n"
                ">>> ticks.count() > 0\n"
                "True\n",
            )
        ]
    )


@needs_embedded
def test_the_tutorial_can_be_followed(project):
    project.follow(blocks(ROOT / "docs" / "tutorial.rst"))


#: What the recipes promise, tried in one shell: each call runs its task at once, as a worker would.
RECIPES = """
>>> from pathlib import Path
>>> from django.core import mail
>>> from django.test.utils import setup_test_environment
>>> setup_test_environment()
>>> from autotask.testing import immediate
>>> from shop import tasks
>>> from shop.models import Order, Part
>>> orders = [Order.objects.create(address=f"{n}@example.org") for n in range(3)]
>>> at_once = immediate(raise_errors=True)
>>> at_once.enable()
>>> for _ in range(2): handle = tasks.confirm(orders[0].pk)
>>> [sent.to for sent in mail.outbox]
[['0@example.org']]
>>> tasks.add_up("2026", orders)
>>> from autotask.models import TaskRecord
>>> TaskRecord.objects.filter(name="shop.tasks.report").count(), tasks.report("2026").result
(1, 300)
>>> handle = tasks.archive(size=2)
>>> Order.objects.filter(archived=True).count(), TaskRecord.objects.filter(name="shop.tasks.archive").count()
(3, 2)
>>> tasks.fetch_label("P1").result
'label of P1'
>>> tasks.ask = {"P2": "unknown", "P3": "queued"}.get
>>> tasks.fetch_label("P2").status, tasks.fetch_label("P3").status
(<Status.CANCELLED: 'cancelled'>, <Status.WAITING: 'waiting'>)
>>> day = tasks.export.run_now().result
>>> [path.name for path in Path("exports").iterdir()] == [f"{day}.csv"]
True
>>> tasks.clear_sessions.run_now().result, tasks.greet("de").result
('', 'Ja')
>>> import email.message, urllib.error, urllib.request
>>> def refuse(address, timeout):
...     headers = email.message.Message()
...     headers["Retry-After"] = "30"
...     raise urllib.error.HTTPError(address, 429, "", headers, None)
>>> urllib.request.urlopen = refuse
>>> tasks.push("http://shop.example").status
<Status.WAITING: 'waiting'>
"""


@needs_embedded
def test_the_recipes_do_what_they_say(shop):
    # Given: an app with the model of the page, on the database of the README
    page = ROOT / "docs" / "howto" / "recipes.rst"
    *_, database = blocks(ROOT / "README.rst")
    shop.write(Block(page, 0, "python", '# mysite/settings.py\nINSTALLED_APPS += ["autotask"]\n'))
    shop.write(database)
    found = blocks(page)
    for block in found:
        if block.file:
            shop.write(block)
    shop.type("python manage.py makemigrations shop && python manage.py migrate")

    # When, Then
    shop.talk([Block(page, 0, "pycon", RECIPES)])
    shop.follow([block for block in found if block.language == "console"])


@pytest.mark.parametrize(
    "page",
    [
        "howto/arguments",
        "howto/at_most_once",
        "howto/control",
        pytest.param("howto/django_tasks", marks=needs_django_6),
        "howto/executors",
        "howto/expire",
        "howto/limits",
        "howto/progress",
        "howto/retry",
        "howto/schedules",
        "howto/tags",
        "howto/time_limits",
        "howto/transactions",
        "reference/cron",
    ],
)
def test_the_examples_of_a_page_are_valid_tasks(shop, page):
    # Given
    found = blocks(ROOT / "docs" / f"{page}.rst")
    assert any(block.file for block in found)

    # When, Then: the files first, since the sessions import from them
    shop.write(Block(ROOT / "README.rst", 0, "python", '# mysite/settings.py\nINSTALLED_APPS += ["autotask"]\n'))
    shop.follow(sorted(found, key=lambda block: block.file is None))


@needs_embedded
def test_the_calls_of_a_page_do_what_it_says(shop):
    # Given
    *_, database = blocks(ROOT / "README.rst")
    shop.write(Block(ROOT / "README.rst", 0, "python", '# mysite/settings.py\nINSTALLED_APPS += ["autotask"]\n'))
    shop.write(database)

    # When, Then: on one server
    found = [block for page in ("debounce", "unique") for block in blocks(ROOT / "docs" / "howto" / f"{page}.rst")]
    for block in found:
        if block.file:
            shop.write(block)
    shop.type("python manage.py migrate")
    shop.follow([block for block in found if not block.file])


@pytest.mark.django_db(transaction=True)
def test_the_tests_of_the_page_on_testing_pass(shop):
    # Given: a test database of their own, on the same server
    server = {key: connection.settings_dict[key] for key in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")}
    database = server | {"TEST": {"NAME": f"autotask_documentation_{os.getpid()}"}}
    text = f'# mysite/settings.py\nINSTALLED_APPS += ["autotask"]\nDATABASES = {{"default": {database!r}}}\n'
    shop.write(Block(ROOT / "README.rst", 0, "python", text))

    # When, Then
    shop.follow(blocks(ROOT / "docs" / "howto" / "test_your_tasks.rst"))


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page)], ids=lambda page: page.stem)
def test_the_python_of_a_page_compiles(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text, block.where)
        elif block.language == "pycon":
            for example in doctest.DocTestParser().get_examples(block.text, block.where):
                ast.parse(example.source, block.where)


def test_a_block_that_prints_something_else_is_noticed(shop):
    with pytest.raises(AssertionError, match="Expected:"):
        shop.talk([Block(ROOT / "README.rst", 1, "pycon", ">>> 1 + 1\n3\n")])

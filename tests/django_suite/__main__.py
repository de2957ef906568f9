"""Fetch the tests of the installed Django, put autotask in the place of its backends, run them, and tell what was left out."""

import os
import re
import subprocess
import sys
import tarfile
import unittest
from collections.abc import Iterator
from pathlib import Path

import django
from django.test.runner import DiscoverRunner

from autotask.store.connection import current, rows

#: What Django's tests say of its own backends, which is not so of one with a database and workers.
LEFT_OUT = {
    "ImmediateBackendTestCase.test_cannot_get_result": "says that results cannot be looked up; here they can",
    "ImmediateBackendTestCase.test_cannot_refresh_result": "says that results cannot be looked up; here they can",
    "ImmediateBackendTestCase.test_cannot_pass_run_after": "says that nothing can be deferred; here it can",
    "ImmediateBackendTestCase.test_throws_keyboard_interrupt": (
        "says that a KeyboardInterrupt in a task reaches its caller, who is in another process here"
    ),
    "ImmediateBackendTransactionTestCase.test_doesnt_wait_until_transaction_commit_by_default": (
        "says that a task runs before the transaction of its caller is committed; here it does not exist before that"
    ),
    "DummyBackendTestCase.test_refresh_result": "changes a result in the memory of its backend; here it is in the database",
    "DummyBackendTestCase.test_refresh_result_async": (
        "changes a result in the memory of its backend; here it is in the database"
    ),
}

#: What stands in for the backends of Django, and for tests that must not use a database; in this order.
REPLACED = {
    "django.tasks.backends.dummy.DummyBackend": "tests.django_suite.backends.WaitingBackend",
    "django.tasks.backends.immediate.ImmediateBackend": "tests.django_suite.backends.RunningBackend",
    "from django.tasks.backends.dummy import DummyBackend": (
        "from tests.django_suite.backends import WaitingBackend as DummyBackend"
    ),
    "from django.tasks.backends.immediate import ImmediateBackend": (
        "from tests.django_suite.backends import RunningBackend as ImmediateBackend"
    ),
    "import SimpleTestCase, TransactionTestCase": "import TransactionTestCase",
    "SimpleTestCase": "TransactionTestCase",
}


OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Runner(DiscoverRunner):
    """Runs the tests but for those that are left out."""

    def build_suite(self, *args: object, **kwargs: object) -> unittest.TestSuite:
        """Return the tests, those left out with the reason."""
        suite = super().build_suite(*args, **kwargs)
        unknown = set(LEFT_OUT)
        for test in _tests(suite):
            name = f"{type(test).__name__}.{test._testMethodName}"
            if reason := LEFT_OUT.get(name):
                unknown.discard(name)
                setattr(test, test._testMethodName, unittest.skip(reason)(getattr(test, test._testMethodName)))
        if unknown:
            print(f"These are left out, but Django {django.__version__} has them not: {', '.join(sorted(unknown))}")
        return suite

    def teardown_databases(self, *args: object, **kwargs: object) -> None:
        """Drop the test database, though threads of event loops that are gone have left connections to it."""
        rows(current(), OTHERS)
        super().teardown_databases(*args, **kwargs)


def main(folder: Path) -> int:
    """Run the tests of the installed Django; return how many have failed.

    :param folder: where they are put, and left for the next time.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django_suite.settings")
    # Coroutines of these tests call what must not be called there, since the backends they know ask no database.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    adapt(fetch(folder), folder / "adapted")
    sys.path.insert(0, str(folder / "adapted"))
    django.setup()
    failures: int = Runner(verbosity=2, interactive=False).run_tests(["tasks"])
    print(f"\nOf the tests of Django {django.__version__}, {len(LEFT_OUT)} are left out:")
    for name, reason in LEFT_OUT.items():
        print(f"* {name} {reason}.")
    return failures


def fetch(folder: Path) -> Path:
    """Return the source distribution of the installed Django; its wheel has no tests."""
    version = f"django=={django.__version__}"
    if not (found := list(folder.glob(f"django-{django.__version__}.tar.gz"))):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
        subprocess.run([*pip, "--dest", str(folder), version], check=True)
        found = list(folder.glob(f"django-{django.__version__}.tar.gz"))
    return found[0]


def adapt(archive: Path, folder: Path) -> None:
    """Put the tests of tasks into a folder, with autotask in the place of the backends of Django."""
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            if found := re.search(r"/tests/(tasks/\w+\.py)$", member.name):
                text = source.extractfile(member).read().decode()
                if "custom" not in found[1]:  # That one brings its own backends.
                    for old, new in REPLACED.items():
                        text = text.replace(old, new)
                (folder / found[1]).parent.mkdir(parents=True, exist_ok=True)
                (folder / found[1]).write_text(text)


def _tests(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)

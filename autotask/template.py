"""A process that has loaded the project, and whose forks are workers."""

import contextlib
import gc

from django.conf import settings as django_settings
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.utils import load_backend
from django.urls import NoReverseMatch, get_resolver, reverse

from autotask.conf import settings
from autotask.processes import forking, immortal
from autotask.processes.code_files import CodeFiles
from autotask.worker import bounds, kept, turns


class Template:
    """Decides whether workers can be forks of this process."""

    def __init__(self) -> None:
        self._files: CodeFiles | None = None

    def obstacle(self) -> str:
        """Return why this process must not be forked, "" if it may; it loads now what it needs for that."""
        if self._files is None:
            self._load()
        # Each time: a library may start a thread later, such as one that reports errors, and files change.
        return forking.obstacle() or self.change()

    def change(self) -> str:
        """Return why the code that this process has loaded is not that of the files now; "" if it is."""
        path = self._files.changed() if self._files else ""
        return f"the code has changed since this process has loaded it ({path})" if path else ""

    def _load(self) -> None:
        """Import what each worker imports sooner or later."""
        # Those that were opened while Django was set up: a fork must not even close them, as both sides see that.
        connections.close_all()
        for alias in connections:
            load_backend(connections.settings[alias]["ENGINE"])
        with contextlib.suppress(Exception):  # that there is none, or whatever the settings of the project lead to
            _connect_to_nobody()
        if getattr(django_settings, "ROOT_URLCONF", None):
            with contextlib.suppress(Exception):  # Tasks that need addresses of pages get it.
                _find_addresses()
        kept.find_handlers()
        bounds.MEMORY.share()
        turns.MEMORY.share()
        self._files = CodeFiles()
        # Collecting garbage writes to each object that it looks at, and so would copy the pages that workers share.
        gc.collect()
        immortal.make_program_immortal()
        gc.freeze()


def _find_addresses() -> None:
    """Have Django read the patterns of the site, and those of each namespace, which it does at the first use of one."""
    for namespace in get_resolver().namespace_dict:
        with contextlib.suppress(NoReverseMatch):
            reverse(f"{namespace}:")


def _connect_to_nobody() -> None:
    """Try to connect where there is no server, so that what Django and the driver set up for that is common to the forks."""
    nobody = {**connections[settings.DATABASE].settings_dict, "HOST": "/nonexistent", "OPTIONS": {}}
    DatabaseWrapper(nobody, settings.DATABASE).ensure_connection()

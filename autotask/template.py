"""A process that has loaded the project, and whose forks are workers."""

import contextlib
import gc
import logging
from collections.abc import Callable

from django.conf import settings as django_settings
from django.db import connections
from django.db.utils import load_backend
from django.urls import get_resolver

from autotask.conf import settings
from autotask.processes import forking
from autotask.processes.code_files import CodeFiles
from autotask.worker import kept

logger = logging.getLogger("autotask.worker")


class Template:
    """Decides whether workers are forks of this process.

    :param say: logs a line.
    :param obstacle: why this process must not be forked, if that is known already.
    """

    def __init__(self, say: Callable[[str], None], obstacle: str = "") -> None:
        self._say = say
        self._obstacle = obstacle
        self._wanted = settings.FORK == "auto"
        self._files: CodeFiles | None = None

    def may_fork(self) -> bool:
        """Whether the next worker can be a fork of this process, which loads now what it needs for that. If not, say why."""
        if not self._wanted:
            return False
        # Each time: a library may start a thread later, such as one that reports errors, and files change.
        if not self._obstacle and self._files is None:
            self._load()
        if why := self._obstacle or forking.obstacle() or self._change():
            self._wanted = False
            self._say(f"each worker loads the project itself, not as a fork that shares its memory: {why}")
        return self._wanted

    def _load(self) -> None:
        """Import what each worker imports sooner or later."""
        # Those that were opened while Django was set up: a fork must not even close them, as both sides are told of that.
        connections.close_all()
        for alias in connections:
            load_backend(connections.settings[alias]["ENGINE"])
        if getattr(django_settings, "ROOT_URLCONF", None):
            with contextlib.suppress(Exception):  # Tasks that need addresses of pages get it.
                _ = get_resolver().reverse_dict  # its patterns, and those that they include
        kept.find_handlers()
        self._files = CodeFiles()
        # Collecting garbage writes to each object that it looks at, and so would copy the pages that workers share.
        gc.collect()
        gc.freeze()

    def _change(self) -> str:
        path = self._files.changed() if self._files else ""
        return f"the code has changed since this process has loaded it ({path})" if path else ""

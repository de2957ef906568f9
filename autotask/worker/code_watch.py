"""Notice code changes, as runserver does."""

import logging
import threading
from collections.abc import Callable

from django.utils import autoreload

logger = logging.getLogger("autotask.worker")


def start(changed: Callable[[], None]) -> None:
    """Watch the files that Django's own reloader watches, in a thread, and call a function after each change.

    With Django's signals ``autoreload_started`` and ``file_changed``, apps add more files, and name changes that need no new
    process: those of templates, for example.
    """
    threading.Thread(target=_watch, args=(changed,), name="autotask-code-watch", daemon=True).start()


def _watch(changed: Callable[[], None]) -> None:
    while True:
        try:
            autoreload.get_reloader().run(threading.main_thread())
        except SystemExit:
            changed()  # The reloader asks for a new process by it.
        except Exception:
            logger.exception("Code changes are not noticed any more")
            return

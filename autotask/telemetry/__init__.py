"""Reports calls and attempts to the modules in AUTOTASK_TELEMETRY; nothing more is imported unless one is named."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from autotask.conf import settings
from autotask.exceptions import InvalidSetting

if TYPE_CHECKING:
    from autotask.telemetry.hooks import Hooks

logger = logging.getLogger("autotask")

#: The modules that are notified; None: there are none. Read for each call and each attempt, so it is a variable and not a function.
used: "Hooks | None" = None


def start() -> None:
    """Notify from now on the modules that the setting names. Each process calls this once, when Django starts."""
    global used
    try:
        paths = settings.TELEMETRY
    except InvalidSetting as error:  # An exception here would keep "manage.py check" from reporting it.
        logger.error("%s Calls and attempts are not reported.", error)
        paths = ()
    used = importlib.import_module("autotask.telemetry.hooks").Hooks(paths) if paths else None


def restart(setting: str, **_: Any) -> None:
    """Do so again when a test has changed the setting."""
    if setting == "AUTOTASK_TELEMETRY":
        start()

"""Where the companions of one site meet that run on the same host, to have one of them work."""

import hashlib
import json
import logging
import os
import tempfile

from django.db import connections

from autotask.companion.election import Candidate
from autotask.conf import settings

logger = logging.getLogger("autotask.companion")


def meeting_place() -> str | None:
    """Return what the paths of the locks begin with; None where each companion is to work, or no lock can be had."""
    if settings.COMPANION != "host":
        return None
    try:
        path = os.path.join(tempfile.gettempdir(), f"autotask-{os.geteuid()}-{_site()}")
        Candidate(path).close()
    except OSError as error:
        logger.warning(
            'AUTOTASK_COMPANION is "host", but there is no place for the lock (%s): this process has a companion of its '
            "own. Make the folder writable, or set TMPDIR to another one.",
            error,
        )
        return None
    return path


def _site() -> str:
    """Return what two companions have in common that do the same work."""
    database = connections[settings.DATABASE].settings_dict
    same = [
        *(str(database[name]) for name in ("HOST", "PORT", "NAME")),
        os.environ.get("DJANGO_SETTINGS_MODULE", ""),
        sorted(settings.QUEUES),
    ]
    return hashlib.sha256(json.dumps(same).encode()).hexdigest()[:16]

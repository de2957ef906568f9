"""The place where the companions of one site on one host meet, so that one of them is active."""

import hashlib
import json
import logging
import os
import tempfile

from django.db import connections

from autotask.companion.election import Candidate
from autotask.companion.site_settings import plain
from autotask.conf import settings

#: Database settings that say how Django uses it and not which one it is; all others count, even those of other engines.
_CLIENTS = (
    *("ENGINE", "PASSWORD", "ATOMIC_REQUESTS", "AUTOCOMMIT", "CONN_HEALTH_CHECKS", "CONN_MAX_AGE"),
    *("DISABLE_SERVER_SIDE_CURSORS", "TEST", "TIME_ZONE"),
)
_CLIENTS_OPTIONS = (
    *("password", "passfile", "sslpassword", "application_name", "fallback_application_name", "connect_timeout"),
    *("cursor_factory", "isolation_level", "pool", "prepare_threshold", "server_side_binding"),
)

#: Variables with which libpq finds the database if the settings do not name it.
_VARIABLES = (
    *("DJANGO_SETTINGS_MODULE", "PGDATABASE", "PGHOST", "PGHOSTADDR", "PGOPTIONS", "PGPORT", "PGSERVICE"),
    *("PGSERVICEFILE", "PGSYSCONFDIR", "PGTARGETSESSIONATTRS", "PGUSER"),
)

logger = logging.getLogger("autotask.companion")


def meeting_place() -> str | None:
    """Return the path of the locks without suffixes; None if each companion works, or there is no lock."""
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
    """Return a name that companions with the same work share, and that does not reveal their settings."""
    database = connections[settings.DATABASE].settings_dict
    options = database.get("OPTIONS") or {}
    same = {
        "database": {name: plain(value) for name, value in database.items() if name not in (*_CLIENTS, "OPTIONS")},
        "options": {name: plain(value) for name, value in options.items() if name not in _CLIENTS_OPTIONS},
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "queues": sorted(settings.QUEUES),
    }
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]

"""The test project with connections that outlive a request, as on sites whose requests should be fast."""

from testproject.settings import *  # noqa: F403 - these settings are those, with other connections
from testproject.settings import DATABASES as _DATABASES

DATABASES = {alias: {**database, "CONN_MAX_AGE": 60} for alias, database in _DATABASES.items()}

"""The database that the environment names: in DATABASE_URL, or in the PG* variables of PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured

ENGINE = "django.db.backends.postgresql"
# Parsed by hand: urllib lowers the case of hosts, and a host may be the path of a socket (%2Fvar%2Frun).
URL = re.compile(
    r"postgres(?:ql)?://"
    r"(?:(?P<user>[^:@/?]*)(?::(?P<password>[^@/?]*))?@)?"
    r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^:/?\[\]]*)(?::(?P<port>\d*))?"
    r"(?:/(?P<dbname>[^?#]*))?"
    r"(?:\?(?P<query>[^#]*))?"
)
KEYS = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
VARIABLES = {"PGDATABASE": "NAME", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGHOST": "HOST", "PGPORT": "PORT"}


def database(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The ``DATABASES`` entry that ``environ`` names, or None."""
    if environ.get("DATABASE_URL"):
        return parse(environ["DATABASE_URL"])
    if environ.get("PGHOST") or environ.get("PGDATABASE"):
        return _entry({key: environ.get(variable, "") for variable, key in VARIABLES.items()}, {})
    return None


def parse(url: str) -> dict[str, Any]:
    """Read ``postgresql://user:password@host:port/name?host=/socket/folder&sslmode=require``.

    Any part may be missing or percent-encoded. In the query, ``host``, ``port``, ``user``, ``password`` and ``dbname``
    replace the parts before it, as in libpq; everything else goes to the driver, in ``OPTIONS``.
    """
    found = URL.fullmatch(url.strip())
    if found is None:  # without the address itself, which may contain a password
        raise ImproperlyConfigured("DATABASE_URL is not like postgresql://user:password@host:port/name.")
    parts = {key: unquote(value or "") for key, value in found.groupdict().items() if key != "query"}
    parts["host"] = parts["host"].strip("[]")
    # parse_qsl would read "+" as a blank, but libpq reads it as a plus.
    query = dict(parse_qsl((found["query"] or "").replace("+", "%2B"), keep_blank_values=True))
    parts.update({key: query.pop(key) for key in KEYS if key in query})
    return _entry({KEYS[key]: value for key, value in parts.items()}, query)


def _entry(parts: dict[str, str], options: dict[str, str]) -> dict[str, Any]:
    """An entry that always names a database: by default, as in PostgreSQL, the one with the name of the user."""
    entry: dict[str, Any] = {"ENGINE": ENGINE, **parts, "NAME": parts["NAME"] or parts["USER"] or "postgres"}
    if options:
        entry["OPTIONS"] = options
    return entry

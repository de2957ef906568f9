#!/bin/sh
# Celery 5.7.0 with kombu 5.7.0: the types of arguments that the JSON serializer keeps.
#
# Belief: JSON has no dates, so a date, a UUID or a Decimal arrives in the task as a string, or is refused.
# Seen: date, datetime, time, UUID, Decimal and bytes arrive as what they were. A tuple arrives as a list and a key that is a number as
# a string, silently; a set is refused at the call. So tasks that move from Celery have no strings to parse, but may rely on lists.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet celery==5.7.0 kombu==5.7.0
venv/bin/python - <<'PYTHON'
import datetime
import decimal
import sys
import uuid
from importlib.metadata import version

from kombu.exceptions import EncodeError
from kombu.serialization import dumps, loads

print("celery", version("celery"), "kombu", version("kombu"))


def arrives(value):
    kind, encoding, body = dumps(value, serializer="json")
    return loads(body, kind, encoding, accept={"application/json"})


kept = [
    datetime.date(2026, 11, 29),
    datetime.datetime(2026, 11, 29, 6, tzinfo=datetime.timezone.utc),
    datetime.time(6, 30),
    uuid.UUID(int=7),
    decimal.Decimal("1.50"),
    b"bytes",
]
right = True
for value in kept:
    print(f"{value!r} arrives as {arrives(value)!r}")
    right &= arrives(value) == value and type(arrives(value)) is type(value)
print(f"(1, 2) arrives as {arrives((1, 2))!r}, {{1: 2}} as {arrives({1: 2})!r}")
right &= arrives((1, 2)) == [1, 2] and arrives({1: 2}) == {"1": 2}
try:
    arrives({1, 2})
    right = False
except EncodeError as error:
    print("a set raises", repr(error))
print("belief:", "wrong" if right else "right after all")
sys.exit(0 if right else 1)
PYTHON

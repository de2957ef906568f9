"""Incidents: each has a row, so that it is announced once, and once when it is over, whichever process dies in between."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import aware, execute, rows, text

#: Seconds after which an incident is forgotten: of a rule that no process has now, and of all others.
GONE_AFTER = 86400.0
KEPT = 30 * 86400.0

#: Seconds that one message may take to send, and to be noted. A process that takes longer counts as dead, and another
#: process sends it.
PATIENCE = 300.0

_LONGEST = 1000

# The row without a key is the turn: the process that changes it looks. Others wait for its lock, and then see that it was changed.
TURN = """
INSERT INTO autotask_incident (key, rule, text, began_at, seen_at, due_at, told, tries)
VALUES ('', '', '', statement_timestamp(), statement_timestamp(), statement_timestamp(), 0, 0)
ON CONFLICT (key) DO UPDATE SET seen_at = statement_timestamp()
WHERE autotask_incident.seen_at < statement_timestamp() - %(every)s * interval '1 s'
RETURNING 1
"""

# It is over for good once its end was announced, or if it was over before its announcement was due.
_OVER = "(i.ended_at IS NOT NULL AND (i.told = 2 OR (i.told = 0 AND i.ended_at < i.due_at)))"

# A locked row is left to the next look, as a worker that looks has more to do.
NOTE = f"""
WITH free AS MATERIALIZED (
    SELECT key FROM autotask_incident WHERE key = ANY(%(key)s::text[]) ORDER BY key FOR UPDATE SKIP LOCKED
),
noted AS (
    INSERT INTO autotask_incident AS i (key, rule, text, facts, "to", quiet, began_at, seen_at, due_at, told, tries)
    SELECT f.key, f.rule, f.text, f.facts::jsonb, f."to"::jsonb, f.quiet,
           statement_timestamp(), statement_timestamp(), statement_timestamp(), 0, 0
    FROM unnest(%(key)s::text[], %(rule)s::text[], %(text)s::text[], %(facts)s::text[], %(to)s::text[], %(quiet)s::float8[])
         AS f(key, rule, text, facts, "to", quiet)
    WHERE f.key IN (SELECT key FROM free) OR NOT EXISTS (SELECT FROM autotask_incident known WHERE known.key = f.key)
    ORDER BY f.key
    ON CONFLICT (key) DO UPDATE SET
        text = excluded.text, facts = excluded.facts, "to" = excluded."to", quiet = excluded.quiet, seen_at = excluded.seen_at, ended_at = NULL,
        began_at = CASE WHEN {_OVER} THEN excluded.seen_at ELSE i.began_at END,
        due_at = CASE WHEN {_OVER}
            THEN greatest(excluded.seen_at, i.told_at + excluded.quiet * interval '1 s') ELSE i.due_at END,
        told = CASE WHEN {_OVER} THEN 0 ELSE i.told END,
        remaining = CASE WHEN {_OVER} THEN NULL ELSE i.remaining END,
        tries = CASE WHEN {_OVER} THEN 0 ELSE i.tries END
    RETURNING i.text, i.began_at = i.seen_at AS is_new
)
SELECT text FROM noted WHERE is_new
"""

END = """
UPDATE autotask_incident SET ended_at = statement_timestamp()
WHERE key = ANY(ARRAY(
    SELECT key FROM autotask_incident
    WHERE key <> '' AND ended_at IS NULL AND rule = ANY(%(rules)s::text[]) AND key <> ALL(%(found)s::text[])
    FOR UPDATE SKIP LOCKED
))
RETURNING text
"""

# Another version of the code may still have the rule.
FORGET = """
DELETE FROM autotask_incident
WHERE key = ANY(ARRAY(
    SELECT key FROM autotask_incident
    WHERE key <> '' AND seen_at < statement_timestamp()
          - CASE WHEN rule = ANY(%(rules)s::text[]) THEN %(kept)s ELSE %(gone)s END * interval '1 s'
      AND (ended_at IS NOT NULL OR rule <> ALL(%(rules)s::text[]))
    FOR UPDATE SKIP LOCKED
))
"""

# A message of which a try has begun is the business of one process, until it has had its time. "told_at" is when the last message
# was sent or, with tries, when the last step of sending the next one was noted; after a try that failed, it is so late that the
# next one begins after its wait.
_PENDING = f"""
key <> '' AND ((told = 0 AND due_at <= statement_timestamp() AND (ended_at IS NULL OR ended_at >= due_at))
               OR (told = 1 AND ended_at IS NOT NULL))
AND (tries = 0 OR told_at < statement_timestamp() - {PATIENCE} * interval '1 s')
"""

ARE_PENDING = f"SELECT EXISTS (SELECT FROM autotask_incident WHERE {_PENDING})"

# The claim is committed before anything is sent: no transaction waits for a mail server, and nobody else sends the same.
CLAIM = f"""
UPDATE autotask_incident SET tries = tries + 1, told_at = clock_timestamp()
WHERE key = (
    SELECT key FROM autotask_incident WHERE {_PENDING} AND key <> ALL(%(tried)s::text[])
    ORDER BY began_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING key, text, began_at, ended_at, told, coalesce(remaining, "to")::text, tries, facts::text
"""

_OURS = "key = %(key)s AND told = %(told)s AND tries = %(tries)s"

# An incident may begin again while the message of its end is on its way. Then that was the end of the former one, and this
# is the next one, which is announced like any other; otherwise nobody would be notified of it.
_GOES_ON = "(told = 1 AND ended_at IS NULL)"

SENT = f"""
UPDATE autotask_incident
SET told = CASE WHEN {_GOES_ON} THEN 0 ELSE told + 1 END, told_at = clock_timestamp(), remaining = NULL, tries = 0,
    began_at = CASE WHEN {_GOES_ON} THEN seen_at ELSE began_at END,
    due_at = CASE WHEN {_GOES_ON} THEN clock_timestamp() + quiet * interval '1 s' ELSE due_at END
WHERE {_OURS}
"""

LEFT = f"UPDATE autotask_incident SET remaining = %(remaining)s::jsonb, told_at = clock_timestamp() WHERE {_OURS}"

RELEASE = f"""
UPDATE autotask_incident SET told_at = clock_timestamp() + (%(wait)s - {PATIENCE}) * interval '1 s' WHERE {_OURS}
"""

OPEN = """
SELECT key, text, began_at, ended_at, told, "to"::text, tries, facts::text
FROM autotask_incident WHERE key <> '' AND ended_at IS NULL ORDER BY began_at LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A situation that a rule calls an incident.

    :ivar key: what tells it from other incidents.
    :ivar rule: the key of the rule.
    :ivar text: what it is, in the language of the site.
    :ivar facts: what it is, for other languages.
    """

    key: str
    rule: str
    text: str
    facts: Mapping[str, Any]
    to: Sequence[str]
    quiet: float


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident in the database.

    :ivar ended_at: None: it lasts.
    :ivar told: 0: its beginning was not announced yet; 1: it was; 2: so was its end.
    :ivar to: the recipients who are still to get the next message.
    :ivar tries: how often it was tried, with the try that a claim begins.
    :ivar facts: those of :class:`Found`.
    """

    key: str
    text: str
    began_at: datetime
    ended_at: datetime | None
    told: int
    to: list[str]
    tries: int
    facts: Mapping[str, Any]

    @property
    def is_of_end(self) -> bool:
        """Whether the next message is that it is over."""
        return self.told == 1


def take_turn(connection: BaseDatabaseWrapper, every: float) -> bool:
    """Return whether this process looks now: one process of the site does, once in that many seconds."""
    return bool(rows(connection, TURN, {"every": float(every)}))


def note(connection: BaseDatabaseWrapper, found: Sequence[Found], rules: Sequence[str]) -> tuple[list[str], list[str]]:
    """Note all current incidents, and return the texts of those that are new, and of those that are over.

    :param rules: the keys of all rules by which this process has looked.
    """
    new = add(connection, found)
    known = arrays.texts(rules)
    over = rows(connection, END, {"rules": known, "found": arrays.texts([each.key for each in found])})
    execute(connection, FORGET, {"rules": known, "kept": KEPT, "gone": GONE_AFTER})
    return new, [each for (each,) in over]


def add(connection: BaseDatabaseWrapper, found: Sequence[Found]) -> list[str]:
    """Note incidents, which are over at the next look that does not find them; return the texts of those that are new."""
    params = {
        "key": arrays.texts([each.key for each in found]),
        "rule": arrays.texts([each.rule for each in found]),
        "text": arrays.texts([text(each.text, _LONGEST) for each in found]),
        "facts": arrays.texts([json.dumps(dict(each.facts)) for each in found]),
        "to": arrays.texts([json.dumps(list(each.to)) for each in found]),
        "quiet": arrays.numbers([each.quiet for each in found]),
    }
    return [each for (each,) in rows(connection, NOTE, params)]


def are_pending(connection: BaseDatabaseWrapper) -> bool:
    """Whether there is something to announce."""
    return bool(rows(connection, ARE_PENDING)[0][0])


def claim(connection: BaseDatabaseWrapper, tried: Sequence[str]) -> Incident | None:
    """Return an incident of which something should be announced, which no other process does for :data:`PATIENCE` seconds.

    :param tried: the keys of others.
    """
    found = rows(connection, CLAIM, {"tried": arrays.texts(tried)})
    return _incident(*found[0]) if found else None


def sent(connection: BaseDatabaseWrapper, incident: Incident) -> None:
    """Note that the next message of a claimed incident is out, or was given up."""
    execute(connection, SENT, _ours(incident))


def left(connection: BaseDatabaseWrapper, incident: Incident, to: Sequence[str]) -> None:
    """Note which recipients have not received it yet, and that the process that has claimed it is alive."""
    execute(connection, LEFT, {**_ours(incident), "remaining": json.dumps(list(to))})


def release(connection: BaseDatabaseWrapper, incident: Incident, wait: float) -> None:
    """Leave the rest of a claimed incident to a process that sends after *wait* seconds."""
    execute(connection, RELEASE, {**_ours(incident), "wait": float(wait)})


def _ours(incident: Incident) -> dict[str, object]:
    return {"key": incident.key, "told": incident.told, "tries": incident.tries}


def going_on(connection: BaseDatabaseWrapper, limit: int = 100) -> list[Incident]:
    """Return the incidents that are not over, the oldest first."""
    return [_incident(*row) for row in rows(connection, OPEN, {"limit": limit})]


def _incident(
    key: str, text: str, began_at: datetime, ended_at: datetime | None, told: int, to: str, tries: int, facts: str
) -> Incident:
    ended = None if ended_at is None else aware(ended_at)
    return Incident(key, text, aware(began_at), ended, told, json.loads(to), tries, json.loads(facts))

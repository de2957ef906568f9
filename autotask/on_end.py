"""Notices of the end of a task, by mail and webhook: the options for them, and what was sent so far."""

import enum
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.task import Status
from autotask.values import one_of, why_not_url

#: The ends of which recipients can be notified.
EVENTS = (Status.DONE.value, Status.ERROR.value, Status.CANCELLED.value)

MOST_ADDRESSES = 50
MOST_WEBHOOKS = 20

_WHERE = "Webhook()"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that gets a signed POST when the task ends.

    ::

        @delayed_task(on_end=Webhook("https://billing.example/hooks/reports"))
        def make_report(number): ...

    :param url: ``https://…`` or ``http://…``; its host has to be in ``AUTOTASK_WEBHOOK_HOSTS``.
    :param events: the ends to tell: "done", "error" and "cancelled", or some of them.
    :param secret: the name of a setting with the secret that signs it, for example ``"BILLING_WEBHOOK_SECRET"``; None:
        ``AUTOTASK_WEBHOOK_SECRET``. The secret itself is not stored.
    :raises InvalidOption: a value is out of its range.
    :raises InvalidOptionType: a value has the wrong type.
    """

    url: str
    events: Sequence[str] = EVENTS
    secret: str | None = None

    def __post_init__(self) -> None:
        for option, value in (("url", self.url), *([] if self.secret is None else [("secret", self.secret)])):
            if not isinstance(value, str):
                raise _wrong_type(option, _WHERE, "a string", value)
        if problem := why_not_url(self.url):
            raise InvalidOption(option="url", where=_WHERE, expected=f"an address such as {problem}", value=self.url)
        if self.secret is not None and not (self.secret.isidentifier() and self.secret.isupper()):
            # Perhaps it is the secret: so it is not shown.
            expected = "the name of a setting, such as BILLING_WEBHOOK_SECRET, and not the secret itself"
            raise InvalidOption(option="secret", where=_WHERE, expected=expected, value="•••")
        if not isinstance(self.events, (list, tuple)) or not self.events:
            raise _wrong_type("events", _WHERE, f"a list of some of {EVENTS}", self.events)
        for event in self.events:
            one_of(event, "events", _WHERE, EVENTS)
        object.__setattr__(self, "events", tuple(event for event in EVENTS if event in self.events))


class NoticeState(enum.StrEnum):
    """The state of a notice."""

    #: The task is still live.
    PLANNED = "planned"
    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given up"
    #: The task has ended in a way that it does not tell.
    NOT_NEEDED = "not needed"


class Notice(NamedTuple):
    """One message about the end of a task.

    :ivar to: the mail address, or the URL.
    :ivar webhook: how to send it; None for a mail.
    :ivar tries: how often it was tried.
    :ivar at: when it was tried last, in UTC and ISO 8601; "" if it was not.
    :ivar error: why the last try failed.
    """

    to: str
    webhook: Webhook | None = None
    state: NoticeState = NoticeState.PLANNED
    tries: int = 0
    at: str = ""
    error: str = ""

    @property
    def key(self) -> str:
        """Its name among the notices of its task."""
        return self.to

    @property
    def kind(self) -> str:
        """ "mail" or "webhook"."""
        return "mail" if self.webhook is None else "webhook"

    @property
    def in_words(self) -> str:
        """Its state, as text."""
        tries = f", {self.tries} {'try' if self.tries == 1 else 'tries'}" if self.tries else ""
        return f"{self.kind} to {self.to}: {self.state}{tries}{f': {self.error}' if self.error else ''}"

    @property
    def document(self) -> dict[str, Any]:
        """The same, for JSON."""
        return {"kind": self.kind, "to": self.to, **self.record, "at": self.at or None}

    @property
    def record(self) -> dict[str, Any]:
        """Its stored values, for JSON."""
        return {"state": self.state.value, "tries": self.tries, "at": self.at, "error": self.error}

    @property
    def events(self) -> Sequence[str]:
        """The ends that it tells."""
        return EVENTS if self.webhook is None else self.webhook.events


def stored(email: Sequence[str] | None, webhooks: Sequence[Webhook] | None) -> str | None:
    """Return the options as they are stored; None if there is nobody to tell."""
    if not email and not webhooks:
        return None
    hooks = [{name: value for name, value in asdict(hook).items() if value is not None} for hook in webhooks or ()]
    return json.dumps({"email": list(email or ()), "webhooks": hooks}, separators=(",", ":"))


def notices(on_end: str | None, so_far: str | None, status: Status) -> list[Notice]:
    """Return the notices of a task, in the order of its options.

    :param on_end: the options as they are stored.
    :param so_far: the JSON object with the record of each notice that was tried, by its key.
    :param status: that of the task.
    """
    if on_end is None:
        return []
    options, records = json.loads(on_end), json.loads(so_far or "{}").get("of", {})
    planned = [
        *(Notice(address) for address in options["email"]),
        *(Notice(hook["url"], Webhook(**hook)) for hook in options["webhooks"]),
    ]
    return [_as_recorded(notice, records.get(notice.key), status) for notice in planned]


def _as_recorded(notice: Notice, record: Mapping[str, Any] | None, status: Status) -> Notice:
    if status not in EVENTS:
        return notice
    if status not in notice.events:
        return notice._replace(state=NoticeState.NOT_NEEDED)
    if record is None:
        return notice._replace(state=NoticeState.WAITING)
    return notice._replace(**{**record, "state": NoticeState(record["state"])})


def _addresses(value: Any, where: str) -> tuple[str, ...] | None:
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(address, str) for address in given):
        raise _wrong_type("email", where, "an address, or a list of addresses", value)
    if len(given) > MOST_ADDRESSES:
        expected = f"at most {MOST_ADDRESSES} addresses"
        raise InvalidOption(option="email", where=where, expected=expected, value=f"{len(given)} addresses")
    for address in given:
        if not address.isprintable():  # a line break would add headers to the mail
            raise InvalidOption(option="email", where=where, expected="an address on one line", value=address)
    return tuple(dict.fromkeys(map(str, given))) or None


def _webhooks(value: Any, where: str) -> tuple[Webhook, ...] | None:
    given = (value,) if isinstance(value, Webhook) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(hook, Webhook) for hook in given):
        raise _wrong_type("on_end", where, 'a Webhook("https://…"), or a list of them', value)
    urls = {hook.url for hook in given}
    if len(given) > MOST_WEBHOOKS or len(urls) < len(given):
        expected = f"at most {MOST_WEBHOOKS} webhooks with different addresses"
        raise InvalidOption(option="on_end", where=where, expected=expected, value=given)
    return tuple(given) or None


#: By option: returns a value as it is kept, or refuses it.
CHECKS: dict[str, Callable[[Any, str], Any]] = {"email": _addresses, "on_end": _webhooks}


def _wrong_type(option: str, where: str, expected: str, value: Any) -> InvalidOptionType:
    return InvalidOptionType(option=option, where=where, expected=expected, value=value, type=type(value).__name__)

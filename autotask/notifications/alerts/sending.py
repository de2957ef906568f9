"""Send the messages of incidents, each by the one process that has claimed it; its claim is committed before."""

import hashlib
import logging
from typing import Any

from django.conf import settings as django_settings
from django.core import mail as django_mail
from django.utils import timezone, translation
from django.utils.translation import gettext, pgettext

from autotask.alert_rules import is_url, shown
from autotask.conf import settings
from autotask.notifications import delivery, mail, webhook
from autotask.store import incidents
from autotask.store.connection import current
from autotask.store.incidents import Incident
from autotask.texts.lines import describe, one_line
from autotask.texts.localized import moment
from autotask.texts.render import count

logger = logging.getLogger("autotask")


def send_all() -> list[str]:
    """Send all messages that are due, and return the problems; those messages are due again after a while."""
    problems: list[str] = []
    tried: list[str] = []
    while (incident := incidents.claim(current(), tried)) is not None:
        tried.append(incident.key)
        problems += _send(incident)
    return problems


def _send(incident: Incident) -> list[str]:
    """Send a claimed message to all recipients, and return the problems."""
    problems: dict[str, str] = {}
    for place, to in enumerate(incident.to):
        try:
            _send_to(to, incident)
        except Exception as error:  # backends of mail raise anything
            problems[to] = f"{shown(to)}: {one_line(describe(error)) or type(error).__name__}"
        # If this process dies, only a message that was not noted is sent again.
        incidents.left(current(), incident, [*problems, *incident.to[place + 1 :]])
    if problems and incident.tries < settings.MAIL_TRIES:
        wait = delivery.wait_after(incident.tries)
        incidents.release(current(), incident, wait)
        for problem in problems.values():
            logger.warning("The alert %r is tried again in %.0f s: %s", incident.text, wait, problem)
    else:
        incidents.sent(current(), incident)
        for problem in problems.values():
            tries = count(incident.tries, "try", "tries")
            logger.error("The alert %r is given up after %s: %s", incident.text, tries, problem)
    return list(problems.values())


def _send_to(to: str, incident: Incident) -> None:
    if is_url(to):
        webhook.post(to, None, f"msg_{message_id(incident)}", document(incident))
    else:
        mail.deliver(message(incident, to))


def message_id(incident: Incident) -> str:
    """Return the id of a message: if it is sent twice, since a process died in between, both have the same."""
    which = f"{incident.key} {incident.began_at.timestamp():f} {incident.is_of_end}"
    return hashlib.sha256(which.encode()).hexdigest()[:32]


def message(incident: Incident, address: str) -> django_mail.EmailMessage:
    """Return the mail to one address, in the language of the site."""
    sender = settings.MAIL_FROM or django_settings.SERVER_EMAIL
    with translation.override(django_settings.LANGUAGE_CODE):
        what = gettext("Over") if incident.is_of_end else pgettext("subject of a mail", "Alert")
        began = gettext("Began: %(time)s") % {"time": moment(timezone.localtime(incident.began_at), zone=True)}
        lines = [f"{incident.text}.", "", began]
        if incident.is_of_end and incident.ended_at is not None:
            lines.append(gettext("Over: %(time)s") % {"time": moment(timezone.localtime(incident.ended_at), zone=True)})
    return django_mail.EmailMessage(
        subject=f"{django_settings.EMAIL_SUBJECT_PREFIX}{what}: {incident.text}"[:200],
        body="\n".join(lines) + "\n",
        from_email=sender,
        to=[address],
        headers={"Message-ID": mail.id_of(message_id(incident), sender), "Auto-Submitted": "auto-generated"},
    )


def document(incident: Incident) -> dict[str, Any]:
    """Return the body for a webhook."""
    event = "alert.ended" if incident.is_of_end else "alert.began"
    ended_at = incident.ended_at.isoformat() if incident.is_of_end and incident.ended_at else None
    data = {"key": incident.key, "text": incident.text, "began_at": incident.began_at.isoformat(), "ended_at": ended_at}
    return {"type": event, "timestamp": ended_at or data["began_at"], "data": data}

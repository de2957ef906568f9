"""System checks of mails and webhooks about the end of tasks."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning

from autotask import addresses, registry
from autotask.alert_rules import Rule, is_url, shown
from autotask.checks.about_settings import valid
from autotask.conf import Settings
from autotask.on_end import Webhook
from autotask.setting import PREFIX
from autotask.setting_types import webhook_keys

#: The sender of a project that has set none. Few mail servers accept it.
NO_SENDER = "webmaster@localhost"

_SECRET = Settings.WEBHOOK_SECRET

_ADD_THE_HOST = "Add the host to AUTOTASK_WEBHOOK_HOSTS, with its port unless that is 80 or 443."


def check_webhook_hosts(**_: Any) -> list[CheckMessage]:
    """autotask.E021: the host of a webhook is not allowed."""
    if valid("WEBHOOK_HOSTS", None) is None:
        return []
    return [
        Error(
            f"The task {definition.name!r} has a webhook at {webhook.url!r}, whose host is not in AUTOTASK_WEBHOOK_HOSTS.",
            hint=_ADD_THE_HOST,
            id="autotask.E021",
        )
        for definition in registry.definitions()
        for webhook in definition.options.on_end or ()
        if not addresses.is_listed(webhook)
    ]


def check_webhook_secrets(**_: Any) -> list[CheckMessage]:
    """autotask.E022: there is no secret to sign a webhook with."""
    names = {
        webhook.secret or _SECRET.name: definition.name
        for definition in registry.definitions()
        for webhook in definition.options.on_end or ()
    }
    return [
        Error(
            f"{name} must be {_SECRET.kind.expected}: a webhook of the task {task!r} is signed with it.",
            hint="For a new one: python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"",
            id="autotask.E022",
        )
        for name, task in names.items()
        if not _has_secret(name)
    ]


def check_alerts(**_: Any) -> list[CheckMessage]:
    """autotask.E024: alerts cannot be noticed, or reach nobody."""
    rules = valid("ALERTS", ())
    problems = [
        *_problems_of_rules(rules),
        *(
            (f"the host of {shown(url)!r} is not in AUTOTASK_WEBHOOK_HOSTS", _ADD_THE_HOST)
            for rule in rules
            for url in filter(is_url, rule.to)
            if valid("WEBHOOK_HOSTS", None) is not None and not addresses.is_listed(Webhook(url))
        ),
    ]
    return [Error(f"AUTOTASK_ALERTS: {problem}.", hint=hint, id="autotask.E024") for problem, hint in problems]


def _problems_of_rules(rules: Sequence[Rule]) -> Iterator[tuple[str, str]]:
    if any(rule.when == "failures" for rule in rules) and not valid("STATISTICS", True):
        yield (
            "a rule counts failures, but AUTOTASK_STATISTICS is False",
            "Remove AUTOTASK_STATISTICS = False, or the rule.",
        )
    if not all(rule.to or django_settings.ADMINS for rule in rules):
        yield "a rule has no 'to', and ADMINS is empty", "Add addresses to ADMINS, or 'to' to the rule."
    if any(is_url(to) for rule in rules for to in rule.to) and not _has_secret(_SECRET.name):
        yield "a rule calls a webhook, but AUTOTASK_WEBHOOK_SECRET is not set", "Set AUTOTASK_WEBHOOK_SECRET."


def check_mail(**_: Any) -> list[CheckMessage]:
    """autotask.W021: mails about the end of tasks have no sender, or there is no way to send them."""
    tasks = [definition.name for definition in registry.definitions() if definition.options.email]
    return [
        Warning(f"The task {tasks[0]!r} has the option 'email', but {problem}.", hint=hint, id="autotask.W021")
        for problem, hint in (_problems_of_mail() if tasks else [])
    ]


def _problems_of_mail() -> list[tuple[str, str]]:
    # Imported here: it takes long, and most sites do not need it when they start.
    from django.core import mail

    problems = []
    if valid("MAIL_FROM", "") is None and django_settings.DEFAULT_FROM_EMAIL == NO_SENDER:
        hint = f"Set DEFAULT_FROM_EMAIL or {PREFIX}MAIL_FROM to an address of yours."
        problems.append((f"its mails would come from {NO_SENDER}", hint))
    mailers = getattr(mail, "mailers", None)
    if mailers is not None and hasattr(django_settings, "MAILERS") and "default" not in mailers:
        problems.append(("MAILERS has no mailer 'default'", "Add it: mails about the end of tasks are sent with it."))
    return problems


def _has_secret(name: str) -> bool:
    if name == _SECRET.name and valid("WEBHOOK_SECRET", None) is None:
        return True  # E003 says what is wrong with it
    try:
        return bool(webhook_keys(getattr(django_settings, name, None)))
    except (ValueError, TypeError):
        return False

"""System checks: one function for each message and its id; none of them queries the database."""

import sys
from collections.abc import Callable

from django.core.checks import CheckMessage, register

from autotask.checks import about_limits, about_notices, about_pulling, about_settings, about_tasks

#: ``manage.py check --tag autotask`` runs these checks only.
TAG = "autotask"

CHECKS: tuple[Callable[..., list[CheckMessage]], ...] = (
    about_settings.check_engine,
    about_settings.check_alias,
    about_settings.check_autocommit,
    about_settings.check_values,
    about_tasks.check_names,
    about_tasks.check_functions,
    about_settings.check_lease,
    about_settings.check_executor_paths,
    about_tasks.check_executor_names,
    about_limits.check_limit_names,
    about_settings.check_secrets,
    about_notices.check_webhook_hosts,
    about_notices.check_webhook_secrets,
    about_notices.check_mail,
    about_notices.check_alerts,
    about_pulling.check_pull_key,
    about_pulling.check_redis,
    about_pulling.check_package_of_redis,
    about_settings.check_carriers,
    about_settings.check_telemetry,
    about_settings.check_modules,
    about_tasks.check_late,
    about_settings.check_unknown,
    about_limits.check_queues_of_limits,
    about_limits.check_type_names,
    about_limits.check_unused_limits,
    about_settings.check_allowed_modules,
    about_settings.check_log_dir,
    about_settings.check_time_zone,
    about_pulling.check_length_of_pull_key,
)

#: Those that only inform. Django runs all checks before most commands, which would repeat it forever: so these are
#: for ``manage.py check`` and the doctor.
NOTES: tuple[Callable[..., list[CheckMessage]], ...] = (
    about_tasks.check_changes_of_clocks,
    about_pulling.check_settings_of_simpletask2,
)


def register_all() -> None:
    """Register the checks with Django."""
    for check in (*CHECKS, *(NOTES if sys.argv[1:2] == ["check"] else ())):
        register(check, TAG)


def notes() -> list[CheckMessage]:
    """Return the messages of the notes that are not silenced."""
    return [message for note in NOTES for message in note() if not message.is_silenced()]

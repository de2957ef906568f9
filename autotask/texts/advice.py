"""Commands that messages advise to run."""

from django.utils.translation import gettext as _


def migrate(alias: str) -> str:
    """Return the command that creates the tables of autotask.

    :param alias: of the database that has them.
    """
    return "python manage.py migrate autotask" + (f" --database {alias}" if alias != "default" else "")


def start(*, companions: bool) -> str:
    """Return the advice to start a worker.

    :param companions: whether starting the site starts workers.
    """
    return (_("Start the site, or a worker:") if companions else _("Start a worker:")) + " " + manage("worker")


def serve(queue: str) -> str:
    """Return the command that starts a worker for one queue."""
    return f"python manage.py autotask worker --queues {queue}"


def manage(words: str) -> str:
    """Return a command of autotask."""
    return f"python manage.py autotask {words}"

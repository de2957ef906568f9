"""Settings of the test project: a small site on its own PostgreSQL.

These environment variables change them:

``DATABASE_URL`` or ``PGHOST``, ``PGUSER``, …
    use this PostgreSQL instead of the site's own
``DEMO_PGDATA``
    where the site's own PostgreSQL keeps its data
``DEMO_FSYNC``
    ``off`` if it should not wait for the disk, for tests
``DEMO_OUTPUT``
    where the tasks of the demo write their files
``SECRET_KEY``, ``DEBUG``
    the settings of the same name
``AUTOTASK_…``
    the setting of the same name, as JSON or otherwise text
"""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django

from autotask import embedded
from autotask.conf import Settings


def _from_environment(name: str, default: Any) -> Any:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        return json.loads(text)
    except ValueError:
        return text


BASE_DIR = Path(__file__).resolve().parent.parent

DEMO_OUTPUT = Path(os.environ.get("DEMO_OUTPUT", BASE_DIR / "output"))
DEMO_PGDATA = Path(os.environ.get("DEMO_PGDATA", BASE_DIR / ".pgdata"))

# Good enough for a site that answers only its own machine.
SECRET_KEY = os.environ.get("SECRET_KEY", "insecure-and-known-to-everybody")
DEBUG = _from_environment("DEBUG", True)
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "autotask",
    "demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"
ASGI_APPLICATION = "testproject.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": embedded.database_from_environment(DEMO_PGDATA, settings={"fsync": os.environ.get("DEMO_FSYNC", "on")})
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Django's own tasks run on the same workers. For Django 5.2 there is a backport.
if django.VERSION >= (6, 0) or find_spec("django_tasks"):
    TASKS = {"default": {"BACKEND": "autotask.backend.AutotaskBackend"}}

LANGUAGE_CODE = "en"
TIME_ZONE = "Europe/Berlin"
USE_TZ = True

STATIC_URL = "static/"

# Mails become files. Django 6.1 has a new setting for that, and warns about the old ones.
DEFAULT_FROM_EMAIL = "demo@autotask.example"
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "OPTIONS": {"file_path": DEMO_OUTPUT / "mail"},
        },
    }
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = DEMO_OUTPUT / "mail"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"autotask": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "INFO"), "propagate": True}},
}

for _setting in Settings():
    if _setting.name in os.environ:
        globals()[_setting.name] = _from_environment(_setting.name, None)
